"""The user is called back to long replies, and told how long they take."""

from __future__ import annotations

import pytest
from textual.app import App
from tui_scene import STATS

from localr1.chat.types import AnswerDelta, Finished, PromptProgress, ThinkingDelta
from localr1.config import Call
from localr1.tui.attention import Attention, is_long, notice_sequence
from localr1.tui.reply_words import Reading, prompt_text


def test_who_looks_is_called_later_than_who_is_away() -> None:
    assert not is_long(10, focused=True)
    assert is_long(30, focused=True)
    assert is_long(10, focused=False)


def test_a_desktop_notice_goes_only_where_it_is_known() -> None:
    assert notice_sequence("ready", {}) == "\x07"
    assert notice_sequence("ready", {"TERM_PROGRAM": "WezTerm"}) == "\x1b]9;localr1: ready\x07"
    assert notice_sequence("ready", {"TERM_PROGRAM": "WezTerm", "TMUX": "x"}) == "\x07"


def test_a_user_who_wants_no_notice_or_no_bell_gets_none() -> None:
    wezterm = {"TERM_PROGRAM": "WezTerm"}
    assert notice_sequence("ready", wezterm, "bell") == "\x07"
    assert notice_sequence("ready", wezterm, "off") == ""


@pytest.mark.parametrize(("call", "rings"), [("desktop", 1), ("bell", 1), ("off", 0)])
def test_the_setting_holds_for_a_long_reply(
    monkeypatch: pytest.MonkeyPatch, call: Call, rings: int
) -> None:
    now = [0.0]
    monkeypatch.setattr("localr1.tui.attention.time.monotonic", lambda: now[0])
    monkeypatch.setenv("TERM_PROGRAM", "xterm")
    monkeypatch.delenv("KITTY_WINDOW_ID", raising=False)
    written: list[str] = []
    follows = Attention(App(), written.append, call)
    now[0] = 90
    follows.follow(AnswerDelta("So", 1, 0.1))
    follows.follow(Finished(STATS))
    assert written.count("\x07") == rings
    assert "" not in written
    assert written[-1] == "\x1b]0;localr1: ready\x07", "the title is told in any case"


def test_a_long_reply_rings_once_when_it_begins_and_not_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("localr1.tui.attention.time.monotonic", lambda: now[0])
    monkeypatch.delenv("TERM_PROGRAM", raising=False)
    monkeypatch.delenv("KITTY_WINDOW_ID", raising=False)
    written: list[str] = []
    follows = Attention(App(), written.append)
    follows.follow(ThinkingDelta("I", 1, 0.1))
    now[0] = 90
    follows.follow(ThinkingDelta(" think", 2, 89.0))
    follows.follow(AnswerDelta("So", 1, 0.1))
    now[0] = 95
    follows.follow(Finished(STATS))
    assert written == [
        "\x1b]0;localr1: thinking\x07",
        "\x1b]0;localr1: answering\x07",
        "\x07",
        "\x1b]0;localr1: ready\x07",
    ]


def test_the_time_left_of_a_prompt_is_told_when_it_is_known() -> None:
    reading = Reading()
    assert reading.seconds_left(PromptProgress(1000, 5000), 10.0) is None
    left = reading.seconds_left(PromptProgress(2000, 5000), 20.0)
    assert left == 30.0
    assert prompt_text(PromptProgress(2000, 5000), left).endswith(" 30 s left")
    assert prompt_text(PromptProgress(5000, 5000), 0.0).endswith("━")
