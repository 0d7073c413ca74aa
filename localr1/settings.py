"""The user's settings as people meet them: a sentence each, and the commented file.

The file stays the user's own: comments and order are kept, and only the line of a setting that
was changed is written anew.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from localr1.config import (
    Call,
    Directories,
    Goal,
    Preferences,
    Quiet,
    ThinkingDisplay,
    WhenFull,
    ensure,
    flat_keys,
    problem_of,
    write_atomically,
)
from localr1.errors import FileError, SettingsError, UsageError
from localr1.models.toml_line import key_lines

Kind = Literal["choice", "switch", "number", "text", "list", "keys"]
_FILE: Final = "settings.toml"
_HEADER: Final = (
    "# localr1's settings. Every line is optional: without it the value shown holds.\n"
    "# The app writes here too (Settings in its menu) and keeps what you write.\n"
)
_KEYS: Final = (
    "# Other keys for commands, several between commas; Settings has the names under Keys.\n"
    "# [keys]\n"
    '# "chat.panel" = "f12"\n'
)


@dataclass(frozen=True)
class Setting:
    """Something a user may set."""

    key: str
    title: str
    help: str
    """One sentence."""
    kind: Kind
    choices: tuple[str, ...] = ()
    takes_effect: str = "at once"
    """When a change does."""


SETTINGS: Final = (
    Setting("theme", "Theme", "The colours; localr1-contrast is the clearest.", "text"),
    Setting(
        "thinking",
        "Thinking",
        "How a reply's thinking is shown once it is over.",
        "choice",
        get_args(ThinkingDisplay),
        "from the next reply on",
    ),
    Setting(
        "thinking_budget",
        "Thinking budget",
        "How long a model may think about a question: tokens (2000), seconds (90s), or nothing.",
        "text",
        takes_effect="from the next reply on",
    ),
    Setting(
        "when_full",
        "Full window",
        "Whether an answer that fills the context window goes on after room was made, or ends.",
        "choice",
        get_args(WhenFull),
        "from the next reply on",
    ),
    Setting(
        "context_window",
        "Context window",
        "Tokens that a conversation can hold; 0 lets the advice decide.",
        "number",
        takes_effect="from the next load on (Ctrl+R)",
    ),
    Setting(
        "goal",
        "Goal",
        "What the advice ranks models by: quality, speed, or both.",
        "choice",
        get_args(Goal),
        "in the next advice (F2)",
    ),
    Setting(
        "model_titles",
        "Titles",
        "Whether the model names new conversations while nothing else is to do.",
        "switch",
        takes_effect="from the next reply on",
    ),
    Setting(
        "speculation",
        "Guessing ahead",
        "Whether words are guessed ahead from the conversation itself; answers stay the same.",
        "switch",
        takes_effect="from the next load on (Ctrl+R)",
    ),
    Setting(
        "quiet",
        "Quiet",
        "When fewer cores and smaller prompt batches are used, for a cool and lasting laptop.",
        "choice",
        get_args(Quiet),
        "from the next load on (Ctrl+R)",
    ),
    Setting(
        "kv_state_limit",
        "Disk for open chats",
        "Disk space for what was computed for conversations, so that they open fast; 0 for none.",
        "text",
    ),
    Setting(
        "call",
        "When it is ready",
        "How a long answer calls you: a desktop notice (else the bell), the bell, or nothing.",
        "choice",
        get_args(Call),
        "from the next reply on",
    ),
    Setting(
        "panel",
        "Live figures",
        "Whether speed, memory, temperature and battery are shown beside the chat (F12).",
        "switch",
    ),
    Setting(
        "reduced_motion",
        "Reduced motion",
        "Whether nothing on the screen moves by itself.",
        "switch",
    ),
    Setting(
        "models_directory",
        "Downloads",
        "The folder for downloaded models; nothing for the usual place.",
        "text",
        takes_effect="at the next start",
    ),
    Setting(
        "model_folders",
        "More models",
        "Other folders with model files, between commas; they are used where they lie.",
        "list",
        takes_effect="at the next start",
    ),
)
KEYS: Final = Setting(
    "keys", "Keys", "The keys of every command; Enter shows them and changes them.", "keys"
)
"""Stands for all of `[keys]`, which has a screen of its own."""
BY_KEY: Final[Mapping[str, Setting]] = {setting.key: setting for setting in SETTINGS}


def shown(setting: Setting, preferences: Preferences) -> str:
    """A setting's value for people; empty where nothing is set."""
    value = getattr(preferences, setting.key)
    if isinstance(value, bool):
        return "on" if value else "off"
    if setting is KEYS:
        return f"{len(value)} changed" if value else ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def understood(setting: Setting, text: str) -> object:
    """The value that was typed for a setting; None for its default.

    Raises:
        UsageError: It cannot be one; says what can.
    """
    text = text.strip()
    value: object = text
    match setting.kind:
        case "number":
            value = int(text) if re.fullmatch(r"\d{1,9}", text) else text
        case "switch":
            value = {"on": True, "true": True, "off": False, "false": False}.get(text.lower(), text)
        case "list":
            value = [part.strip() for part in text.split(",") if part.strip()]
        case _:
            pass
    if not text:
        return None
    if problem := problem_of(setting.key, value):
        raise UsageError(f"{setting.title} {problem}.")
    return value


def write(directories: Directories, key: str, value: object) -> None:
    """Set one setting in the file; the file is made, with a comment on each, where there is none.

    Args:
        directories: Where it lies.
        key: Of a setting.
        value: As TOML has it; None takes the setting out, so that its default holds.

    Raises:
        SettingsError: The file is not TOML; it is left as it is.
        FileError: It cannot be read or written.
    """
    _rewrite(directories, lambda text: with_value(text, key, value))


def write_keys(directories: Directories, command: str, keys: str) -> None:
    """Give a command other keys in the file's table `[keys]`.

    Args:
        directories: Where it lies.
        command: Its name.
        keys: Several between commas; empty takes the line out, so that the usual ones hold.

    Raises:
        SettingsError: The file is not TOML, or has its keys in a form that only its owner can
            change; it is left as it is.
        FileError: It cannot be read or written.
    """
    _rewrite(directories, lambda text: with_keys(text, command, keys))


def _rewrite(directories: Directories, change: Callable[[str], str]) -> None:
    path = ensure(directories.settings) / _FILE
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        text = template()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read.", str(error), "Check it, or delete it.") from error
    try:
        changed = change(text)
    except ValueError as error:  # of TOML, or what stands in the way
        raise SettingsError(
            f"The settings file {path} cannot be changed.", str(error), "Correct it, or delete it."
        ) from error
    write_atomically(path, changed)


def template() -> str:
    """A file in which nothing is set and everything is explained."""
    return _HEADER + "".join(f"\n{_unset(setting)}" for setting in SETTINGS) + f"\n{_KEYS}"


def with_value(text: str, key: str, value: object) -> str:
    """The file's text with another value; everything else stays as it was.

    Args:
        text: TOML.
        key: Of a setting.
        value: None for none.

    Raises:
        TOMLDecodeError: The text is not TOML.
    """
    before = tomllib.loads(text)
    wanted = {name: old for name, old in before.items() if name != key}
    lines = text.splitlines()
    at = len(lines)
    if key in before:
        at = key_lines(text)[(key,)] - 1
        count = next(
            n
            for n in range(1, len(lines) - at + 1)
            if _reads_as(lines[:at] + lines[at + n :], wanted)
        )
        del lines[at : at + count]
    elif (place := _place_of(key, lines)) is not None:
        at = place
        del lines[at]
    else:
        tables = (n for n, line in enumerate(lines) if line.lstrip().startswith("["))
        at = next(tables, len(lines))
        lines[at:at] = ["", f"# {BY_KEY[key].help}"]
        at += 2
    setting = BY_KEY[key]
    new = _line(key, value) if value is not None else _unset(setting).splitlines()[-1]
    lines.insert(at, new)
    return "\n".join(lines) + "\n"


def with_keys(text: str, command: str, keys: str) -> str:
    """The file's text with other keys for a command; everything else stays as it was.

    Args:
        text: TOML.
        command: Its name.
        keys: Empty for the usual ones.

    Raises:
        ValueError: The text is not TOML, or its keys do not stand on lines of their own.
    """
    before = tomllib.loads(text)
    if not keys and command not in flat_keys(before.get("keys", {})):
        return text
    lines = text.splitlines()
    wanted = {**flat_keys(before.get("keys", {})), command: keys}
    places = []
    if command in flat_keys(before.get("keys", {})):
        found = key_lines(text)
        places = [n for path, n in found.items() if ".".join(map(str, path)) == f"keys.{command}"]
        del lines[places[0] - 1]
    if not keys:
        del wanted[command]
    tries = [(lines, place - 1) for place in places] + [_with_head(lines)]
    for rest, at in tries:
        new = [f"{json.dumps(command)} = {json.dumps(keys)}"] if keys else []
        changed = "\n".join([*rest[:at], *new, *rest[at:]]) + "\n"
        try:
            after = tomllib.loads(changed)
        except tomllib.TOMLDecodeError:
            continue
        same = {**after, "keys": {}} == {**before, "keys": {}}
        if same and flat_keys(after.get("keys", {})) == wanted:
            return changed
    raise ValueError("its keys do not stand on a line each below [keys]")


def _with_head(lines: list[str]) -> tuple[list[str], int]:
    """The lines with a table `[keys]` among them, and the place behind its head."""
    heads = [n for n, line in enumerate(lines) if line.partition("#")[0].strip() == "[keys]"]
    if heads:
        return lines, heads[0] + 1
    begun = [n for n, line in enumerate(lines) if line.strip() == "# [keys]"]
    if begun:
        return [*lines[: begun[0]], "[keys]", *lines[begun[0] + 1 :]], begun[0] + 1
    head = _KEYS.splitlines()[0]
    return [*lines, "", head, "[keys]"], len(lines) + 3


def _reads_as(lines: list[str], wanted: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads("\n".join(lines) + "\n") == wanted
    except tomllib.TOMLDecodeError:
        return False


def _place_of(key: str, lines: list[str]) -> int | None:
    """The line where a setting is commented out."""
    pattern = re.compile(rf"\s*#\s*{re.escape(key)}\s*=")
    return next((n for n, line in enumerate(lines) if pattern.match(line)), None)


def _unset(setting: Setting) -> str:
    default = getattr(Preferences(), setting.key)
    value = list(default) if isinstance(default, tuple) else "" if default is None else default
    also = f" ({' | '.join(setting.choices)})" if setting.choices else ""
    return f"# {setting.help}{also}\n# {_line(setting.key, value)}\n"


def _line(key: str, value: object) -> str:
    if isinstance(value, list):
        return f"{key} = [{', '.join(json.dumps(str(one), ensure_ascii=False) for one in value)}]"
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
