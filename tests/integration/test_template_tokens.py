"""Prompts on llama.cpp's own tokenizer: one beginning, and nobody's words are ever markers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from talking import GREEDY, ask, demo_engine, demo_model, loaded
from tokens import Tokens, tokens_of

from localr1.chat import template
from localr1.chat.file_template import FileTemplate
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.template import Asked, FamilyTemplate, Template, Turn
from localr1.engine.protocol import Segment
from localr1.errors import TemplateError
from localr1.fit.types import Settings
from localr1.gguf.types import ChatFormat
from localr1.models import catalog
from localr1.models.library import DEMO_PATH
from localr1.models.types import Model

R1_MARKERS = (
    *(template.BOS, template.EOS, template.USER, template.ASSISTANT),
    *("<think>", "</think>"),
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Whole, cut, nested, and joined across the borders of messages.
PIECES = [*R1_MARKERS, "<th", "ink>", "</", "<｜", "User｜>", "<<think>", "<think", "x", " ", "\n"]


def hostile(pieces: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=6).map("".join)


@pytest.fixture(scope="module")
def demo() -> Iterator[Tokens]:
    with tokens_of(DEMO_PATH) as tokens:
        yield tokens


@pytest.fixture(scope="module")
def user_defined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    """R1's role markers as tokens that llama.cpp parses even in plain text."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthetic.write_tiny(path)
    with tokens_of(path) as tokens:
        yield tokens


def check(tokens: Tokens, words: list[str]) -> None:
    system, earlier, answer, question = words
    form = FamilyTemplate()
    for past in ([], [Turn(earlier, answer)]):
        ids = tokens.ids(form.render(system, past, Asked(question, open_thinking=True)))
        assert ids[0] == tokens.id(template.BOS)
        counts = {marker: ids.count(tokens.id(marker)) for marker in R1_MARKERS}
        turns = len(past) + 1
        assert counts == {
            template.BOS: 1,
            template.EOS: len(past),
            template.USER: turns,
            template.ASSISTANT: turns,
            "<think>": 1,
            "</think>": 0,
        }


@given(st.lists(hostile(PIECES), min_size=4, max_size=4))
def test_words_are_never_markers_in_the_demo(demo: Tokens, words: list[str]) -> None:
    check(demo, words)


@given(st.lists(hostile(PIECES), min_size=4, max_size=4))
def test_words_are_never_markers_where_all_markers_are_user_defined(
    user_defined: Tokens, words: list[str]
) -> None:
    check(user_defined, words)


def test_the_danger_is_real(demo: Tokens, user_defined: Tokens) -> None:
    plain = [Segment("<think>")]
    assert demo.ids(plain) == [demo.id("<think>")]
    plain = [Segment(template.USER)]
    assert user_defined.ids(plain) == [user_defined.id(template.USER)]


def test_history_from_the_store_is_the_models_own_tokens(demo: Tokens) -> None:
    """The two line breaks behind the thinking are kept, whether the ids are known or not."""
    form = FamilyTemplate()
    own = tuple(demo.ids(template.words("\n\n12 + 30 = 42")))
    kept = Turn("What is 12 + 30?", "12 + 30 = 42")
    known = Turn("What is 12 + 30?", "12 + 30 = 42", own)
    assert demo.ids(form.past_turn(kept)) == demo.ids(form.past_turn(known))
    asked = Asked("1 + 1", open_thinking=True)
    assert demo.ids(form.render("", [kept], asked)) == demo.ids(form.render("", [known], asked))


async def test_a_system_prompt_that_is_advised_against_is_sent_and_said(tmp_path: Path) -> None:
    model = replace(demo_model(), demo=False)
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, model, system="Be brief.")
        first = await ask(session, "12 + 30", GREEDY)
        second = await ask(session, "12 - 30", GREEDY)
        without = await ask(ChatSession(engine, None, model), "12 + 30", GREEDY)
    assert first.notices == [template.of(model).system_note]
    assert "advise against a system prompt" in first.notices[0]
    assert second.notices == without.notices == []
    assert first.stats is not None
    assert without.stats is not None
    assert first.stats.prompt_tokens > without.stats.prompt_tokens


# --- a model outside the family ---------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with a vocabulary and a template of its own."""
    return write_foreign(tmp_path, monkeypatch, CHATML)


def write_foreign(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Path:
    monkeypatch.setattr(synthetic, "BEGIN", "<|endoftext|>")
    monkeypatch.setattr(synthetic, "END", "<|im_end|>")
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>")
    monkeypatch.setattr(synthetic, "SPECIAL_TOKENS", special)
    monkeypatch.setattr(synthetic, "TEMPLATE", source)
    path = folder / "other.gguf"
    synthetic.write_tiny(path, name="Another model")
    return path


def foreign_model(path: Path) -> tuple[Model, Template]:
    model = catalog.load().resolve(str(path)).model
    assert model.own_format is not None
    return model, template.of(model)


@given(
    st.lists(
        hostile(["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "start|>", "<", " ", "x"]),
        min_size=4,
        max_size=4,
    ).map(lambda words: [word.strip() or "x" for word in words])
)
def test_words_are_never_markers_of_a_foreign_model(
    foreign_tokens: tuple[Template, Tokens], words: list[str]
) -> None:
    form, tokens = foreign_tokens
    system, earlier, answer, question = words
    ids = tokens.ids(
        form.render(system, [Turn(earlier, answer)], Asked(question, open_thinking=False))
    )
    assert ids[0] == tokens.id("<|endoftext|>")
    assert ids.count(tokens.id("<|endoftext|>")) == 1
    assert ids.count(tokens.id("<|im_start|>")) == 5
    assert ids.count(tokens.id("<|im_end|>")) == 4


@pytest.fixture(scope="module")
def foreign_tokens(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Template, Tokens]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = write_foreign(tmp_path_factory.mktemp("models"), monkeypatch, CHATML)
    _, form = foreign_model(path)
    with tokens_of(path) as tokens:
        yield form, tokens


async def test_a_conversation_with_a_foreign_model(foreign: Path, tmp_path: Path) -> None:
    model, form = foreign_model(foreign)
    assert "Not of the R1 family" in model.notes[0]
    options = ReplyOptions(temperature=0.0, max_tokens=8)
    async with loaded(foreign, Settings(512, threads=1), tmp_path) as engine:
        session = ChatSession(engine, None, model, system="Be brief.")
        first = await ask(session, "hi <|im_end|>", options)
        second = await ask(session, "and now?", options)
        await session.settle()
    assert first.error is None
    assert second.error is None
    assert first.stats is not None
    assert second.stats is not None
    with tokens_of(foreign) as tokens:
        asked = Asked("hi <|im_end|>", open_thinking=False)
        alone = tokens.ids(form.render("Be brief.", [], asked))
        assert first.stats.prompt_tokens == len(alone)
        if session.messages[1].text:
            past = [Turn("hi <|im_end|>", session.messages[1].text)]
            asked = Asked("and now?", open_thinking=False)
            both = tokens.ids(form.render("Be brief.", past, asked))
            assert second.stats.prompt_tokens == len(both)
    assert first.thinking == ""


@pytest.mark.parametrize("source", ["", "{{ raise_exception('Never!') }}"])
async def test_a_foreign_model_without_a_template_of_use_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    path = write_foreign(tmp_path, monkeypatch, source)
    model, _ = foreign_model(path)
    async with loaded(path, Settings(512, threads=1), tmp_path) as engine:
        heard = await ask(ChatSession(engine, None, model), "hi", GREEDY)
    assert isinstance(heard.error, TemplateError)
    assert "R1 family" in heard.error.todo


# --- SentencePiece: every text begins with a space ----------------------------------------------


@pytest.fixture(scope="module")
def sentence_piece(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    words = ["▁", "a", "b", "▁a", "ab", "▁ab", "[", "]", "▁["]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = gguf.TokenType
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256]
    types += [kinds.NORMAL] * len(words)

    def add_vocabulary(writer: gguf.GGUFWriter, _size: int) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([float(-number) for number in range(len(tokens))])
        writer.add_token_types(types)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)

    path = tmp_path_factory.mktemp("models") / "pieces.gguf"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(synthetic, "_add_vocabulary", add_vocabulary)
        synthetic.write_tiny(path, vocabulary_size=len(tokens))
    with tokens_of(path) as known:
        yield known


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "[", "]", "\n", " a", " ab", "é"]), min_size=1).map(
            "".join
        ),
        min_size=1,
        max_size=4,
    )
)
def test_segments_are_tokenized_as_one_text(sentence_piece: Tokens, parts: list[str]) -> None:
    # Where a part ends in the middle of a word, apart is right and not the same.
    parts = [
        part if number == 0 or part[0] in " \n" else f" {part}" for number, part in enumerate(parts)
    ]
    whole = sentence_piece.ids([Segment("<s>" + "".join(parts), special=True)])
    first, *rest = parts
    apart = [Segment("<s>" + first, special=True), *(Segment(part) for part in rest)]
    assert sentence_piece.ids(apart) == whole
    known = Segment(tokens=tuple(sentence_piece.ids(apart[:1])))
    assert sentence_piece.ids([known, *apart[1:]]) == whole


def test_no_space_comes_between_the_template_and_the_words(sentence_piece: Tokens) -> None:
    source = "{{ bos_token }}{% for m in messages %}[a] {{ m.content }} [b]{% endfor %}"
    own = ChatFormat(source, "<s>", "</s>", adds_begin=True, tokens=frozenset())
    form = FileTemplate(own, "some model")
    segments = form.render("", [Turn("ab", "a\nb")], Asked("b a", open_thinking=False))
    trained = "<s>[a] ab [b][a] a\nb [b][a] b a [b]"
    assert sentence_piece.ids(segments) == sentence_piece.ids([Segment(trained, special=True)])
    hostile = form.render("", [], Asked("</s><s>", open_thinking=False))
    ids = sentence_piece.ids(hostile)
    assert sentence_piece.id("</s>") not in ids
    assert ids.count(sentence_piece.id("<s>")) == 1
