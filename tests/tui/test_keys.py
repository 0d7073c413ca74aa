"""Keys that the user changed: they work, they are shown, and what is wrong is told by line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input, OptionList
from tui_scene import a_chat, chat_of, hold_still, in_chat, texts, until

from localr1.config import Directories, KeySetting, ensure, load_preferences
from localr1.errors import UsageError
from localr1.tui import keymap
from localr1.tui.app import LocalR1App
from localr1.tui.command import APP, CHAT
from localr1.tui.keymap import COMMANDS, TABLES, Keymap
from localr1.tui.screens.conversations import Conversations
from localr1.tui.screens.help import Help
from localr1.tui.screens.keys import Keys
from localr1.tui.screens.settings import Settings
from localr1.tui.screens.type_value import TypeValue

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
KEY = st.sampled_from(["f2", "f5", "f12", "ctrl+k", "ctrl+n", "ctrl+l", "x", "enter", "esc", "?"])


def read(*lines: tuple[str, str]) -> Keymap:
    return keymap.read(KeySetting(name, keys, n) for n, (name, keys) in enumerate(lines, 1))


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("Ctrl+K", "ctrl+k"),
        ("F12, esc", "f12,escape"),
        ("alt+Up", "alt+up"),
        ("Shift+Ctrl+PgUp", "ctrl+shift+pageup"),
        ("?", "question_mark"),
        ("ctrl++", "ctrl+plus"),
        (",", "comma"),
        ("E", "E"),
        ("f2,f2", "f2"),
    ],
)
def test_keys_are_read_as_people_write_them(written: str, keys: str) -> None:
    assert keymap.understood_keys(written) == keys
    assert keymap.understood_keys(keys) == keys


@pytest.mark.parametrize("written", ["", "  ", "hyperspace", "ctrl+", "f99", "ctlr+k", "ctrl+i"])
def test_what_is_no_key_is_refused(written: str) -> None:
    with pytest.raises(UsageError):
        keymap.understood_keys(written)


def test_a_sound_table_holds() -> None:
    found = read(("chat.stop", "Ctrl+B, F11"), ("chat.new", "ctrl+l"), ("chat.list", "ctrl+n"))
    assert found.problems == ()
    assert found.changed == {"chat.stop": "ctrl+b,f11", "chat.new": "ctrl+l", "chat.list": "ctrl+n"}
    assert found.of(COMMANDS["chat.stop"]).keys_text == "Ctrl+B or F11"
    assert found.of(COMMANDS["chat.copy"]) == COMMANDS["chat.copy"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([("chat.now", "f11")], "line 1: there is no command `chat.now`; did you mean `chat.new`?"),
        ([("chat.stop", "esq")], "line 1: There is no key 'esq'"),
        ([("chat.stop", "ctrl+n")], "line 1: `chat.stop` cannot have Ctrl+N, which `chat.new` has"),
        ([("chat.stop", "f9")], "line 1: `chat.stop` cannot have F9, which `app.settings` has"),
        ([("app.help", "ctrl+k")], "line 1: `app.help` cannot have Ctrl+K, which edits texts"),
        ([("chat.copy", "x")], "line 1: `chat.copy` cannot have X, which is typed into texts"),
        ([("reply.good", "r")], "line 1: `reply.good` cannot have R, which `reply.again` has"),
        (
            [("chat.stop", "f11"), ("chat.new", "f11")],
            "line 2: `chat.new` cannot have F11, which `chat.stop` has",
        ),
    ],
)
def test_what_is_wrong_is_told_by_line_and_key(lines: list[tuple[str, str]], problem: str) -> None:
    found = read(*lines)
    assert [each.startswith(problem) for each in found.problems] == [True]
    assert lines[-1][0] not in found.changed


def test_letters_are_for_messages_which_are_chosen_not_typed() -> None:
    assert read(("reply.good", "y")).problems != ()  # `message.copy` has it
    assert read(("reply.good", "j")).changed == {"reply.good": "j"}


@given(st.lists(st.tuples(st.sampled_from([*sorted(COMMANDS), "no.command"]), KEY), max_size=8))
def test_whatever_is_set_no_new_clash_comes_of_it(lines: list[tuple[str, str]]) -> None:
    unique = dict(lines)
    found = read(*unique.items())
    assert len(found.changed) + len(found.problems) == len(unique)
    for together in keymap._TOGETHER:
        commands = {command.id: command for table in together for command in table}
        for name in found.changed.keys() & commands.keys():
            for other in commands.keys() - {name}:
                assert not found.keys(name) & found.keys(other) - {""}


def test_every_command_is_in_a_table_once_by_its_id() -> None:
    for title, table in TABLES.items():
        ids = [command.id for command in table]
        assert len(ids) == len(set(ids)), title
    assert {c.id for c in (*APP, *CHAT)} <= set(COMMANDS)


def set_keys(text: str) -> None:
    folder = ensure(Directories.standard().settings)
    (folder / "settings.toml").write_text(text, encoding="utf-8")


async def test_changed_keys_work_and_are_shown_in_footer_help_and_menu() -> None:
    set_keys(
        '[keys]\n"chat.list" = "f11"\n"composer.send" = "ctrl+s"\n"app.help" = "ctrl+b"\nchat.stop = "alt+s"\n'
    )
    app = await a_chat()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await until(pilot, lambda: "f11 Chats" in texts(app, "Footer"))
        assert "^l" not in texts(app, "Footer")
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "Chats (F11)" in titles
        assert "Help (Ctrl+B)" in titles
        composer = chat_of(app).composer
        assert "Ctrl+S sends" in str(composer.placeholder)
        chat_of(app)._say_busy()
        await until(pilot, lambda: any("Alt+S stops" in n.message for n in app._notifications))
        composer.load("two")
        await pilot.press("enter")
        assert composer.text == "two\n", "Enter is a new line now"
        await pilot.press("ctrl+b")
        await until(pilot, lambda: isinstance(app.screen, Help))
        await until(pilot, lambda: "Ctrl+S" in texts(app, "VerticalScroll"))
        assert "F11" in texts(app, "VerticalScroll")
        await pilot.press("escape", "ctrl+l")
        assert in_chat(app)
        await pilot.press("f11")
        await until(pilot, lambda: isinstance(app.screen, Conversations))


async def test_what_is_wrong_is_told_at_the_start_and_the_usual_key_holds() -> None:
    set_keys('goal = "fast"\n\n[keys]\n"chat.lost" = "f11"\n"chat.list" = "ctrl+n"\n')
    app = await a_chat()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: in_chat(app))
        told = [notice.message for notice in app._notifications]
        assert any("line 4: there is no command `chat.lost`" in message for message in told)
        assert any("line 5: `chat.list` cannot have Ctrl+N" in message for message in told)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))


async def test_a_command_without_a_key_gets_one() -> None:
    set_keys('[keys]\n"chat.edit" = "f11"\n')
    app = await a_chat()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await pilot.press("f11")
        told = [notice.message for notice in app._notifications]
        assert "There is no such message yet." in told


async def to_keys(app: LocalR1App, pilot: Pilot[None]) -> OptionList:
    await until(pilot, lambda: in_chat(app))
    await pilot.press("f9")
    await until(pilot, lambda: isinstance(app.screen, Settings))
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count)
    await pilot.press("end", "enter")
    await until(pilot, lambda: isinstance(app.screen, Keys))
    return app.screen.query_one(OptionList)


async def test_keys_are_changed_on_their_screen_and_hold_at_once() -> None:
    app = await a_chat()
    async with app.run_test(size=(120, 40)) as pilot:
        options = await to_keys(app, pilot)
        screen = app.screen
        assert isinstance(screen, Keys)
        options.highlighted = screen._commands.index(COMMANDS["chat.list"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        app.screen.query_one(Input).value = "ctrl+n"
        await pilot.press("enter")
        await until(pilot, lambda: "chat.new" in texts(app, "Vertical"))
        assert "ctrl+n" in texts(app, "Input"), "what is typed is seen"
        app.screen.query_one(Input).value = "F11"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and "F11" in texts(app, "OptionList"))
        (entry,) = load_preferences(Directories.standard()).keys
        assert (entry.command, entry.keys) == ("chat.list", "f11")
        await pilot.press("escape")
        await until(pilot, lambda: "1 changed" in texts(app, "OptionList"))
        await pilot.press("escape")
        await until(pilot, lambda: "f11 Chats" in texts(app, "Footer"))
        options = await to_keys(app, pilot)
        screen = app.screen
        assert isinstance(screen, Keys)
        options.highlighted = screen._commands.index(COMMANDS["chat.list"])
        await pilot.press("delete")
        await until(pilot, lambda: not load_preferences(Directories.standard()).keys)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "^l Chats" in texts(app, "Footer"))


@SIZES
def test_the_keys_of_every_command(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    set_keys('[keys]\n"app.fix" = "f11, ctrl+b"\n')
    app = asyncio.run(a_chat())

    async def look(pilot: Pilot[None]) -> None:
        await to_keys(app, pilot)
        await pilot.press("down", "down")
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=look)
