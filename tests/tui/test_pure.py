"""The parts of the app that are plain functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content
from tui_scene import ADVICE, MACHINE, QWEN_7B, R1, a_model, a_plan, a_variant

from localr1.chat.types import (
    AnswerDelta,
    Finished,
    LoopNotice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
)
from localr1.fit.types import Plan
from localr1.models.types import LocalModel, Model
from localr1.printable import one_line, printable
from localr1.tui import (
    advice_command,
    command,
    download_command,
    list_command,
    message_command,
    wording,
)
from localr1.tui.advice_row import advice_rows, first_choice
from localr1.tui.live import after
from localr1.tui.reply_words import figures_text, thought_text
from localr1.tui.widgets.advice_list import row_content
from localr1.tui.widgets.code_block import CODE
from localr1.tui.widgets.machine_panel import machine_lines
from localr1.tui.widgets.status_line import Status, status_content
from localr1.tui.widgets.thinking import _pages

DEMO = a_model("demo", "localr1 demonstration model", a_variant("F16", 0.01), demo=True)


def local(model: Model = DEMO, number: int = 0) -> tuple[LocalModel, Plan]:
    variant = model.variants[number]
    here = LocalModel(model, variant, Path("model.gguf"), 1)
    return here, a_plan(model, variant, 5, "Needs little")


@given(st.text(), st.integers(0, 30))
def test_cleaning_does_not_depend_on_how_a_stream_is_cut(text: str, at: int) -> None:
    assert printable(text[:at]) + printable(text[at:]) == printable(text)


@given(st.text())
def test_nothing_a_terminal_would_obey_is_left(text: str) -> None:
    cleaned = printable(text)
    assert not any(c < " " and c not in "\n\t" for c in cleaned)
    assert not set(cleaned) & set("\x7f\x9b\u202e\u2066\u200f")
    cleaned.encode("utf-8")


@pytest.mark.parametrize("size", [0, 500, 4095 << 10, 3 << 20, 350 << 20, 1 << 30, 200 << 30])
def test_sizes_are_short(size: int) -> None:
    assert len(wording.size(size)) <= 9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "<0.1 s"),
        (0.4, "0.4 s"),
        (12.3, "12 s"),
        (59.6, "1 m 0 s"),
        (102, "1 m 42 s"),
        (7500, "2 h 5 m"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@given(st.floats(-1, 2), st.integers(0, 200))
def test_a_gauge_always_fills_its_room(fraction: float, cells: int) -> None:
    filled, empty = wording.gauge(fraction, cells)
    assert len(filled) + len(empty) == cells


@given(st.text(), st.integers(1, 40))
def test_one_line_is_one_line(text: str, width: int) -> None:
    line = one_line(text, width)
    assert "\n" not in line
    assert len(line) <= width


@given(st.text(alphabet="ab \n", max_size=9000))
def test_pages_hold_every_line_of_the_thinking(text: str) -> None:
    pages = _pages(text)
    assert "".join(pages).replace("\n", "") == text.replace("\n", "")
    assert max(len(page) for page in pages) <= 2000


def test_each_model_shows_its_best_variant_until_all_are_asked_for() -> None:
    few = advice_rows(ADVICE, [local()], all_variants=False)
    assert [row.model.id for row in few] == [
        "r1-distill-qwen-14b",
        "r1-distill-qwen-7b",
        "r1",
        "demo",
    ]
    every = advice_rows(ADVICE, [local()], all_variants=True)
    assert [row.variant.quantization for row in every[1:3]] == ["Q5_K_M", "Q4_K_M"]


def test_what_is_here_is_always_listed() -> None:
    rows = advice_rows(ADVICE, [local(QWEN_7B, 1), local()], all_variants=False)
    assert [row.variant.quantization for row in rows if row.local] == ["Q4_K_M", "F16"]


def test_offline_the_cursor_begins_at_what_can_be_had() -> None:
    rows = advice_rows(ADVICE, [local()], all_variants=False)
    online, offline = first_choice(rows, online=True), first_choice(rows, online=False)
    assert online is not None
    assert online.model.id == "r1-distill-qwen-14b"
    assert offline is not None
    assert offline.model.demo


@given(st.integers(20, 220))
def test_a_row_never_overflows_its_line(width: int) -> None:
    for row in advice_rows(ADVICE, [local()], all_variants=True):
        assert row_content(row, width).cell_length <= max(width, 44)


@given(st.integers(24, 160))
def test_machine_lines_fit(width: int) -> None:
    assert all(line.cell_length <= width for line in machine_lines(MACHINE, width))


def test_the_machine_is_told_in_plain_words() -> None:
    text = "\n".join(line.plain for line in machine_lines(MACHINE, 100))
    for part in (
        "AMD Ryzen 7 7840U",
        "8 cores",
        "AVX512",
        "21.0 GiB free of 32.0 GiB",
        "RTX 4070",
        "11.0 GiB free of 12.0 GiB",
        "CUDA0",
        "battery could not be read",
    ):
        assert part in text


@given(st.integers(10, 200), st.integers(0, 40000))
def test_the_status_line_fits_any_width(width: int, used: int) -> None:
    status = Status("DeepSeek-R1-Distill-Qwen-7B", "Q4_K_M", "thinking", 38, 400, used, 32768)
    assert status_content(status, width).cell_length <= width


def test_the_context_gauge_is_there_while_there_is_room() -> None:
    status = Status("DeepSeek-R1", "Q4_K_M", "thinking", 38, 400, 16384, 32768)
    assert "16k/32k" in status_content(status, 80).plain
    assert "16k/32k" in status_content(status, 40).plain


def test_the_context_grows_with_the_reply() -> None:
    status = after(Status(), PromptProgress(0, 100), 2048)
    status = after(status, ThinkingDelta("a", 50, 2.0), 2048)
    assert (status.state, status.context_used, status.generation_tps) == ("thinking", 150, 25)
    status = after(status, AnswerDelta("a", 10, 1.0), 2048)
    assert status.context_used == 160
    status = after(status, Finished(ReplyStats(finish_reason="cancelled", context_used=161)), 2048)
    assert (status.state, status.context_used) == ("stopped", 161)


def test_an_answer_that_goes_on_is_not_counted_twice() -> None:
    status = after(Status(), PromptProgress(0, 100), 2048)
    status = after(status, ThinkingDelta("a", 1000, 2.0), 2048)
    status = after(status, AnswerDelta("a", 900, 1.0), 2048)
    assert status.context_used == 2000
    # Read again without the thinking; the answer so far is part of the prompt.
    status = after(status, PromptProgress(0, 1000), 2048)
    assert status.context_used == 1000
    status = after(status, AnswerDelta("b", 910, 1.2), 2048)
    assert status.context_used == 1010


def test_a_loop_is_named_until_the_thinking_is_over() -> None:
    status = after(Status(), ThinkingDelta("a", 50, 2.0), 2048)
    status = after(status, LoopNotice("cycle", 3), 2048)
    assert "circles" in status.state
    assert "circles" in after(status, ThinkingDelta("a", 60, 2.5), 2048).state
    assert after(status, AnswerDelta("a", 1, 0.1), 2048).state == "answering"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("stop", ""),
        ("length", "context window is full"),
        ("cancelled", "stopped"),
        ("", "interrupted"),
    ],
)
def test_every_ending_has_its_words(reason: str, words: str) -> None:
    assert words in figures_text(ReplyStats(finish_reason=reason))  # type: ignore[arg-type]


def test_an_unfinished_thought_is_not_called_a_thought() -> None:
    stats = ReplyStats(finish_reason="cancelled", thinking_tokens=9, thinking_seconds=3)
    assert thought_text(stats) == "Thinking stopped after 3 s · 9 tokens"


def test_commands_are_unique_and_say_what_they_do() -> None:
    tables = (
        command.APP,
        advice_command.WELCOME,
        advice_command.WHAT_IF,
        advice_command.PLAN,
        download_command.DOWNLOAD,
        download_command.DOWNLOADS,
        CODE,
        command.CHAT,
        command.COMPOSER,
        list_command.CONVERSATIONS,
        list_command.SETTINGS,
    )
    # Questions and replies have some in common.
    of_messages = {c.id: c for c in (*message_command.QUESTION, *message_command.REPLY)}
    every = [*(c for table in tables for c in table), *of_messages.values()]
    assert len({c.id for c in every}) == len(every)
    assert all(c.help.endswith(".") for c in every)
    keys = [k for c in (*command.APP, *command.CHAT) for k in c.keys.split(",") if k]
    assert len(set(keys)) == len(keys)
    lists = (list_command.CONVERSATIONS, list_command.SETTINGS)
    for table in (message_command.QUESTION, message_command.REPLY, CODE, *lists):
        keys = [k for c in table for k in c.keys.split(",")]
        assert len(set(keys)) == len(keys)


def test_a_model_that_does_not_fit_says_so() -> None:
    row = next(r for r in advice_rows(ADVICE, [local()], all_variants=False) if r.model == R1)
    line: Content = row_content(row, 100)
    assert "too big" in line.plain
