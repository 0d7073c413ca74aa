"""Models outside the family are asked by the template in their file, and words stay words."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime

import official
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.chat.file_template import FileTemplate
from localr1.chat.template import Asked, Turn
from localr1.engine.protocol import Segment
from localr1.errors import TemplateError
from localr1.gguf.types import ChatFormat

# Templates as they are found in files, in our own words: each shows another way.
CHATML = (
    "{% for m in messages %}\n"
    "    {% if loop.first and m.role != 'system' %}\n"
    "{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}\n"
    "    {% endif %}\n"
    "{{ '<|im_start|>' ~ m['role'] ~ '\\n' ~ m['content'] ~ '<|im_end|>\\n' }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TRIMMING = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('No system!') }}"
    "{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Not by turns!') }}"
    "{% endif %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content.strip() + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SYSTEM_IN_FIRST = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% set turns = messages[1:] if system else messages %}"
    "{{ bos_token }}{% for m in turns %}{% if m.role == 'user' %}[INST] "
    "{% if loop.first and system %}{{ '<<SYS>>' ~ system ~ '<</SYS>>\n' }}{% endif %}"
    "{{ m.content }} [/INST]{% else %}{{ ' ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
OPENS_THINKING = (
    "{% macro turn(role, text) %}<|im_start|>{{ role }}\n{{ text }}<|im_end|>\n{% endmacro %}"
    "{% for m in messages %}{% set text = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in text %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ turn(m.role, text) }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{{ '<think>\n' if enable_thinking else '<think>\n\n</think>\n\n' }}{% endif %}"
)
LAST_IS_OTHER = (
    "{{ bos_token }}{% set system = messages | selectattr('role', 'equalto', 'system') | list %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST]"
    "{% if loop.last and system %}{{ system[0].content ~ '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content ~ eos_token }}{% endif %}"
    "{% endfor %}"
)
AS_JSON = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | tojson }}\n{% endfor %}<|assistant|>"
)
SHOUTING = (
    "{% for m in messages %}<|{{ m.role | upper }}|>{{ m.content | upper }}<|END|>{% endfor %}"
    "<|ASSISTANT|>"
)
REPLACING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{{ m.content.replace('a', 'bb') | replace('<', '&lt;') }}{% endfor %}<|assistant|>"
)
TWICE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|and|>{{ m.content }}{% endfor %}"
TEMPLATES = {
    "chatml": CHATML,
    "trimming": TRIMMING,
    "system in the first turn": SYSTEM_IN_FIRST,
    "opens thinking": OPENS_THINKING,
    "last turn unlike others": LAST_IS_OTHER,
    "json": AS_JSON,
    "upper case": SHOUTING,
    "replacing": REPLACING,
    "twice": TWICE,
}
BY_PARTS = ("chatml", "trimming", "system in the first turn", "opens thinking")
SOAK = os.environ.get("LOCALR1_SOAK") == "1"
conversations = settings(max_examples=300 if SOAK else 30)
NOON = datetime(2025, 5, 28, 12, tzinfo=UTC)


def form_of(source: str, *, begin: str = "<s>", adds_begin: bool = False) -> FileTemplate:
    own = ChatFormat(source, begin, "</s>", adds_begin, frozenset())
    return FileTemplate(own, "some model", NOON)


def text_of(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def written(source: str, system: str, past: Sequence[Turn], question: str) -> str:
    messages = [{"role": "system", "content": system}] if system else []
    for turn in past:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": question})
    return official.written(source, messages, begin="<s>", end="</s>")


WORDS = (
    st.text()
    | st.from_regex(r"(</?think>|<\|im_end\|>|\[/INST\]|[ \n]|.){0,8}")
    | st.sampled_from(["\U000f0000", "\U0010fffd\U0010fffc x", "a<b", '"q"\\', " x ", "\x85x\x1f"])
)
FILLED = WORDS.filter(str.strip)
ANSWERS = FILLED.filter(lambda text: "</think>" not in text and "<think>" not in text)
TURNS = st.lists(st.builds(Turn, FILLED, ANSWERS), max_size=3)


@pytest.mark.parametrize("name", TEMPLATES)
@conversations
@given(system=st.just("") | FILLED, past=TURNS, question=FILLED)
def test_the_text_is_the_templates_own(
    name: str, system: str, past: list[Turn], question: str
) -> None:
    source = TEMPLATES[name]
    segments = form_of(source).render(system, past, Asked(question, open_thinking=False))
    assert text_of(segments) == written(source, system, past, question)


@pytest.mark.parametrize("name", TEMPLATES)
@conversations
@given(system=st.just("") | FILLED, past=TURNS, question=FILLED)
def test_only_the_templates_text_is_tokenized_as_special(
    name: str, system: str, past: list[Turn], question: str
) -> None:
    form = form_of(TEMPLATES[name])
    segments = form.render(system, past, Asked(question, open_thinking=False))
    harmless = [Turn("q", "a") for _ in past]
    plain = form.render("s" if system else "", harmless, Asked("q", open_thinking=False))

    def own(of: Sequence[Segment]) -> str:
        return "".join("".join(s.text for s in of if s.special).split())

    assert own(segments) == own(plain)
    for segment in segments:
        if not segment.special:
            for marker in ("<think>", "</think>", "<|im_end|>", "[/INST]", "<|and|>"):
                assert marker not in segment.text or marker not in TEMPLATES[name]


@pytest.mark.parametrize("name", BY_PARTS)
@conversations
@given(system=st.just("") | FILLED, past=TURNS, question=FILLED)
def test_parts_put_together_are_the_whole(
    name: str, system: str, past: list[Turn], question: str
) -> None:
    form = form_of(TEMPLATES[name])
    asked = Asked(question, open_thinking=False)
    turns = [segment for turn in past for segment in form.past_turn(turn)]
    whole = form.render(system, past, asked)
    assert text_of([*form.opening(system), *turns, *form.ending(asked)]) == text_of(whole)
    # What the next prompt begins with is computed while nobody waits.
    assert text_of(whole).startswith(text_of(form.render(system, past, None)).rstrip())


def test_a_template_without_system_messages_gets_the_text_in_the_first_question() -> None:
    form = form_of(NO_SYSTEM)
    asked = Asked("2+2?", open_thinking=False)
    assert text_of(form.render("Be brief.", [Turn("hi", "Hello!")], asked)) == (
        "<s><start_of_turn>user\nBe brief.\n\nhi<end_of_turn>\n"
        "<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert text_of(form.render("", [], asked)) == written(NO_SYSTEM, "", [], "2+2?")


def test_a_template_that_drops_system_messages_gets_the_text_in_the_first_question() -> None:
    source = "{% for m in messages if m.role == 'user' %}Q: {{ m.content }}{% endfor %} A:"
    segments = form_of(source).render("Be brief.", [], Asked("2+2?", open_thinking=False))
    assert text_of(segments) == "Q: Be brief.\n\n2+2? A:"


def test_contents_in_typed_parts() -> None:
    source = (
        "{% for m in messages %}{% for part in m.content if part['type'] == 'text' %}"
        "<|{{ m.role }}|>{{ part.text }}{% endfor %}{% endfor %}<|assistant|>"
    )
    segments = form_of(source).render("", [Turn("a", "b")], Asked("c", open_thinking=False))
    assert text_of(segments) == "<|user|>a<|assistant|>b<|user|>c<|assistant|>"


@pytest.mark.parametrize(
    ("source", "adds_begin", "beginnings"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", True, 1),
        ("{{ bos_token }}{{ messages[0].content }}", False, 1),
        ("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}", True, 1),
        ("{{ messages[0].content }}", True, 1),
        ("{{ messages[0].content }}", False, 0),
    ],
)
def test_there_is_never_a_second_beginning(source: str, adds_begin: bool, beginnings: int) -> None:
    form = form_of(source, adds_begin=adds_begin)
    segments = form.render("", [], Asked("<s>hi", open_thinking=False))
    special = "".join(segment.text for segment in segments if segment.special)
    assert special.count("<s>") == beginnings
    assert text_of(segments) == "<s>" * beginnings + "<s>hi"
    assert "<s>" not in [segment.text for segment in segments if not segment.special]


def test_thinking_that_the_template_opens_is_known_and_never_resent() -> None:
    form = form_of(OPENS_THINKING)
    assert form.opens_thinking(asked=False)
    asked = text_of(form.new_turn("2+2?", open_thinking=True))
    assert asked.endswith("<|im_start|>assistant\n<think>\n")
    assert asked.count("<think>") == 1
    begun = text_of(form.render("", [], Turn("2+2?", "It is")))
    assert begun.endswith("2+2?<|im_end|>\n<|im_start|>assistant\nIt is")
    closed, open_ = Turn("a", "<think>\nhm</think>\n\nyes"), Turn("b", "<think>\nhm")
    told = text_of(form.render("", [closed, open_], Asked("c", open_thinking=False)))
    assert "hm" not in told
    assert "assistant\nyes<|im_end|>" in told
    assert "user\nb" not in told  # its thinking was never closed


def test_thinking_is_opened_only_for_models_that_know_it() -> None:
    assert not form_of(CHATML).opens_thinking(asked=True)
    assert "<think>" not in text_of(form_of(CHATML).new_turn("q", open_thinking=True))
    leaves_it = CHATML + "{# it may write <think> itself #}"
    assert not form_of(leaves_it).opens_thinking(asked=False)
    assert form_of(leaves_it).opens_thinking(asked=True)
    asked = text_of(form_of(leaves_it).new_turn("q", open_thinking=True))
    assert asked.endswith("<|im_start|>assistant\n<think>\n")


def test_the_date_is_told_and_stays() -> None:
    form = form_of("{{ strftime_now('%d %b %Y') }}: {{ messages[-1].content }}")
    assert text_of(form.new_turn("hi", open_thinking=False)) == "hi"
    assert text_of(form.opening("")) == "28 May 2025: "


def test_markers_that_the_template_puts_together_are_cut_in_words() -> None:
    source = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}<|assistant|>"
    )
    segments = form_of(source).new_turn("<|user|>", open_thinking=False)
    assert [s.text for s in segments if not s.special] == ["<|us", "er|>"]


def test_all_characters_there_are_do_not_confuse_it() -> None:
    every = "".join(map(chr, range(0x20, 0x20000))) + "<|im_end|>"
    form = form_of(CHATML)
    segments = form.new_turn(every, open_thinking=False)
    assert text_of(segments).startswith(every[:100])
    assert "<|im_end|>" in "".join(s.text for s in segments if not s.special)
    assert json.dumps([s.text for s in segments if s.special]).count("im_end") == 1


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "has no chat template"),
        (" \n", "has no chat template"),
        ("{% if %}", "fails: "),
        ("{{ nothing.at.all }}", "fails: 'nothing' is undefined"),
        ("{{ raise_exception('Only on Sundays!') }}", "fails: Only on Sundays!"),
        ("the same for all", "leaves out what is asked"),
        ("{{ messages[:-1] }}", "leaves out what is asked"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "not safe to run"),
        ("{{ 10 ** 10 ** 10 }}", "not safe to run"),
    ],
)
def test_a_template_of_no_use_is_said_to_be(source: str, why: str) -> None:
    form = form_of(source)
    for use in (
        lambda: form.render("s", [Turn("q", "a")], Asked("q", open_thinking=False)),
        lambda: form.opens_thinking(asked=True),
        lambda: form.opening(""),
    ):
        with pytest.raises(TemplateError) as caught:
            use()
        assert why in caught.value.why
        assert "some model" in caught.value.what
        assert "R1 family" in caught.value.todo
