"""The keys as a user set them in `[keys]`: what of it can be used, and what is wrong with the rest.

Pure: from the tables of commands and the settings to what Textual calls a keymap.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from textual.app import App
from textual.binding import Binding
from textual.keys import _character_to_key
from textual.widgets import TextArea

from localr1.config import KeySetting
from localr1.errors import UsageError
from localr1.printable import one_line
from localr1.tui.advice_command import PLAN, WELCOME, WHAT_IF
from localr1.tui.command import APP, CHAT, COMPOSER, Command
from localr1.tui.download_command import DOWNLOAD, DOWNLOADS
from localr1.tui.list_command import CONVERSATIONS, SETTINGS
from localr1.tui.message_command import QUESTION, REPLY
from localr1.tui.widgets.code_block import CODE

TABLES: Final[Mapping[str, Sequence[Command]]] = {
    "Everywhere": APP,
    "Chat": CHAT,
    "Prompt": COMPOSER,
    "A question": QUESTION,
    "A reply": REPLY,
    "A code block": CODE,
    "Machine and models": WELCOME,
    "What if": WHAT_IF,
    "Details": PLAN,
    "Download": DOWNLOAD,
    "Downloads": DOWNLOADS,
    "Conversations": CONVERSATIONS,
    "Settings": SETTINGS,
}
COMMANDS: Final[Mapping[str, Command]] = {
    command.id: command for table in TABLES.values() for command in table
}
# What goes before the keys of messages and other screens; the others give way to those.
_FIRST: Final = tuple(command for command in (*APP, *CHAT) if command.priority)
# What works at the same time, and so needs different keys.
_TOGETHER: Final = (
    (APP, CHAT, COMPOSER),
    *((_FIRST, table) for table in (QUESTION, REPLY, CODE)),
    *(
        (tuple(command for command in APP if command.priority), table)
        for table in (WELCOME, WHAT_IF, PLAN, DOWNLOAD, DOWNLOADS, CONVERSATIONS, SETTINGS)
    ),
)
# Where a text is typed, a letter is a letter.
_TYPED: Final = {id(table) for table in (APP, CHAT, COMPOSER, CONVERSATIONS)}
_PROMPT: Final = {command.id for command in COMPOSER}
# What a text field does with keys of its own goes before commands without priority.
_EDITING: Final = {
    key.strip()
    for binding in TextArea.BINDINGS
    if isinstance(binding, Binding)
    for key in binding.key.split(",")
}
_MODIFIERS: Final = ("alt", "ctrl", "meta", "shift", "super", "hyper")
_SIGNS: Final = {_character_to_key(sign) for sign in string.punctuation}
_NAMED: Final = {
    *("escape", "enter", "tab", "space", "backspace", "delete", "insert", "home", "end"),
    *("pageup", "pagedown", "up", "down", "left", "right", *(f"f{n}" for n in range(1, 25))),
    *_SIGNS,
}
_ALSO: Final = {
    "esc": "escape",
    "return": "enter",
    "del": "delete",
    "ins": "insert",
    "pgup": "pageup",
    "pgdn": "pagedown",
    "control": "ctrl",
    "option": "alt",
    "cmd": "super",
}
# A terminal sends the same for both.
_SAME: Final = {"ctrl+i": "Tab", "ctrl+m": "Enter", "ctrl+left_square_bracket": "Esc"}


@dataclass(frozen=True)
class Keymap:
    """Which commands have other keys than usual."""

    changed: Mapping[str, str] = field(default_factory=dict)
    """Keys as Textual writes them, several between commas, by the command's id."""
    problems: tuple[str, ...] = ()
    """What of the settings is not used, and why, a sentence each without its full stop."""

    def of(self, command: Command) -> Command:
        """A command with the keys that it has now."""
        keys = self.changed.get(command.id)
        return command if keys is None else replace(command, keys=keys, display="", footer="")

    def keys(self, command_id: str) -> frozenset[str]:
        """The keys of a command one by one."""
        return frozenset(self.of(COMMANDS[command_id]).keys.split(","))


def keymap_of(app: App[None]) -> Keymap:
    """The keys of an app; the usual ones where it has no other."""
    found = getattr(app, "keys_now", None)
    return found if isinstance(found, Keymap) else Keymap()


def key(app: App[None], command_id: str) -> str:
    """The keys of a command in an app, for people."""
    return keymap_of(app).of(COMMANDS[command_id]).keys_text


def understood_keys(text: str) -> str:
    """Keys as people write them (`Ctrl+K, F12, ?`), as Textual does.

    Raises:
        UsageError: One of them is no key, or none that a terminal can tell.
    """
    parts = text.split(",") if text.strip() != "," else [text]
    keys = [_one_key(part) for part in parts if part.strip()]
    if not keys:
        raise UsageError("There is no key in it.", "", "Write one as ctrl+k or f12.")
    return ",".join(dict.fromkeys(keys))


def read(entries: Iterable[KeySetting]) -> Keymap:
    """What can be used of the settings; where something is wrong the usual keys hold.

    Args:
        entries: In the order of the file.
    """
    problems: list[str] = []
    sound: dict[str, KeySetting] = {}
    for entry in entries:
        try:
            if entry.command not in COMMANDS:
                raise UsageError(_unknown(entry.command))
            keys = understood_keys(entry.keys)
            _not_typed(entry.command, keys)
        except UsageError as error:
            problems.append(f"line {entry.line}: {error.what.rstrip('.')}")
        else:
            sound[entry.command] = replace(entry, keys=keys)
    while (clash := _clash(sound)) is not None:
        loser, key, other = clash
        problems.append(
            f"line {sound.pop(loser).line}: `{loser}` cannot have {shown(key)}, which `{other}` has"
        )
    return Keymap({name: entry.keys for name, entry in sound.items()}, tuple(problems))


def shown(keys: str) -> str:
    """Keys for people: `Ctrl+K or F12`."""
    return Command("", keys, "", "", "").keys_text


def check(command_id: str, text: str, entries: Iterable[KeySetting]) -> str:
    """New keys of a command, as Textual writes them; empty for the usual ones.

    Args:
        command_id: Of the command.
        text: As typed.
        entries: What is set already.

    Raises:
        UsageError: They cannot be used; says why.
    """
    if not text.strip():
        return ""
    keys = understood_keys(text)
    # Last, so that it gives way where two clash.
    entry = KeySetting(command_id, keys, 1 << 30)
    found = read([*(e for e in entries if e.command != command_id), entry])
    if command_id not in found.changed:
        raise UsageError(f"{found.problems[-1].partition(': ')[2]}.")
    return keys


def _one_key(text: str) -> str:
    written = text.strip()
    *modifiers, name = written.split("+") if len(written) > 1 else [written]
    if not name and modifiers and not modifiers[-1]:  # `ctrl++`
        name = "+"
        modifiers.pop()
    modifiers = [_ALSO.get(each.strip().lower(), each.strip().lower()) for each in modifiers]
    name = name.strip()
    if len(name) == 1:
        name = _character_to_key(name.lower() if modifiers else name)
    else:
        name = _ALSO.get(name.lower(), name.lower())
    if any(each not in _MODIFIERS for each in modifiers) or not (len(name) == 1 or name in _NAMED):
        raise UsageError(
            f"There is no key {one_line(repr(written), 40)}.", "", "Write one as ctrl+k or f12."
        )
    key = "+".join([*sorted(set(modifiers)), name])
    if key in _SAME:
        raise UsageError(f"A terminal cannot tell {shown(key)} from {_SAME[key]}.")
    return key


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    also = f"; did you mean `{near[0]}`?" if near else "; F9 lists them under Keys"
    return f"there is no command `{one_line(name, 40)}`{also}"


def _not_typed(command_id: str, keys: str) -> None:
    """Raise where a key would take a letter from what is typed."""
    tables = [table for table in TABLES.values() if any(c.id == command_id for c in table)]
    if not any(id(table) in _TYPED for table in tables):
        return
    for key in keys.split(","):
        if key in _EDITING and not COMMANDS[command_id].priority and command_id not in _PROMPT:
            raise UsageError(f"`{command_id}` cannot have {shown(key)}, which edits texts")
        name = key.removeprefix("shift+")
        if len(name) == 1 or name in _SIGNS or name == "space":
            raise UsageError(
                f"`{command_id}` cannot have {shown(key)}, which is typed into texts; "
                "take one with ctrl or alt, or f1 to f12"
            )


def _clash(sound: Mapping[str, KeySetting]) -> tuple[str, str, str] | None:
    """The command that must give its keys back, the key, and who has it; the last line first."""
    for name in sorted(sound, key=lambda each: -sound[each].line):
        mine = set(sound[name].keys.split(","))
        for together in _TOGETHER:
            commands = {command.id: command for table in together for command in table}
            if name not in commands:
                continue
            for other, command in commands.items():
                usual = set(command.keys.split(","))
                theirs = set(sound[other].keys.split(",")) if other in sound else usual
                shared = sorted(mine & theirs)
                if other != name and shared:
                    return name, shared[0], other
    return None
