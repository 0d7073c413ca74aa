"""Settings, and where everything lies.

`LOCALR1_HOME` puts all of it under one folder (a USB disk, a test); otherwise the
operating system's own places are used, by platformdirs.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Literal, cast, get_args

import platformdirs

from localr1.amount import ThinkingBudget, parse_size, parse_thinking_budget
from localr1.errors import FileError, SettingsError, UsageError

ThinkingDisplay = Literal["folded", "open", "hidden"]
Goal = Literal["best", "balanced", "fast"]
WhenFull = Literal["continue", "stop"]
"""What happens when an answer fills the context window: it goes on after room was made, or
it ends."""
Quiet = Literal["never", "battery", "always"]
Call = Literal["desktop", "bell", "off"]
"""How the user is called back to a long reply: by a notice where the terminal has them and the
bell elsewhere, by the bell, or not at all."""

HEADERS_FOLDER: Final = "headers"
"""In the cache folder: headers of the catalogue's files that were read from the hub."""
DRAFT_TOKENS: Final = 8
"""Tokens guessed ahead in one step where `speculation` is on."""

_TRUE = frozenset({"1", "on", "yes", "true"})
# Settings that are text with a form of its own.
_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "thinking_budget": parse_thinking_budget,
    "kv_state_limit": parse_size,
}


@dataclass(frozen=True)
class Directories:
    """Where localr1 keeps its files. Nothing is created before it is needed: see `ensure`."""

    settings: Path
    """`settings.toml` and the user's own `models.toml`."""
    data: Path
    """State and the conversation database."""
    models: Path
    """Our own downloads; movable by the setting `models_directory`."""
    cache: Path
    """What can be computed again: probe results, measured speeds."""
    logs: Path
    database: Path
    """The SQLite file of conversations."""

    @classmethod
    def standard(cls, environment: Mapping[str, str] = os.environ) -> Directories:
        """The places on this computer.

        Args:
            environment: Environment variables; `LOCALR1_HOME` is read from it.
        """
        home = environment.get("LOCALR1_HOME", "").strip()
        if home:
            root = expanded(home).absolute()
            data = root / "data"
            return cls(
                settings=root / "settings",
                data=data,
                models=root / "models",
                cache=root / "cache",
                logs=root / "logs",
                database=data / "conversations.db",
            )
        places = platformdirs.PlatformDirs("localr1", appauthor=False)
        data = places.user_data_path
        return cls(
            settings=places.user_config_path,
            data=data,
            models=data / "models",
            cache=places.user_cache_path,
            logs=places.user_log_path,
            database=data / "conversations.db",
        )

    def preferring(self, preferences: Preferences) -> Directories:
        """The same places, with downloads where the user's settings put them."""
        if preferences.models_directory is None:
            return self
        return replace(self, models=preferences.models_directory)


@dataclass(frozen=True)
class KeySetting:
    """One line of `[keys]`."""

    command: str
    """Its name: `chat.stop`."""
    keys: str
    """As written, several between commas."""
    line: int
    """Of the file, counted from 1."""


@dataclass(frozen=True)
class Preferences:
    """What a user may set in `settings.toml`; every key is optional."""

    models_directory: Path | None = None
    """Folder for downloaded models; unset means the standard place. `~` is expanded, and a
    relative path is relative to the settings file."""
    theme: str = ""
    """Name of a Textual theme; empty means the app's own."""
    thinking: ThinkingDisplay = "folded"
    """How a reply's thinking is shown: `folded` into one line once it is over, `open`, or
    `hidden`."""
    context_window: int = 0
    """Tokens a conversation can hold; 0 lets the advice decide."""
    goal: Goal = "balanced"
    """What advice is ranked by: `best` quality, `fast` answers, or `balanced`."""
    when_full: WhenFull = "continue"
    """What happens when an answer fills the context window: `continue` after making room, or
    `stop`."""
    thinking_budget: str = ""
    """How long a model may think about each question: tokens (`2000`) or seconds (`90s`);
    empty means as long as it likes."""
    kv_state_limit: str = "4GiB"
    """Disk space for the computed state of conversations, which lets them open faster; `0`
    keeps none."""
    quiet: Quiet = "never"
    """When fewer cores and smaller prompt batches are used, for a cool and lasting laptop:
    `never`, on `battery`, or `always`."""
    speculation: bool = False
    """Whether words are guessed ahead from the conversation itself; answers stay the same, but for
    rounding."""
    model_titles: bool = True
    """Whether the model names new conversations while nothing else is to do."""
    call: Call = "desktop"
    """How the user is called when a long answer is ready: `desktop` notice, `bell`, or `off`."""
    panel: bool = False
    """Whether the panel with live figures stands beside the chat, where there is room."""
    reduced_motion: bool = False
    """Whether nothing on the screen moves by itself."""
    model_folders: tuple[Path, ...] = ()
    """More folders to look for model files in; they are used where they lie."""
    keys: tuple[KeySetting, ...] = ()
    """Other keys for commands, as the table `[keys]` has them; the app knows the commands."""

    @property
    def thinking_limits(self) -> ThinkingBudget:
        """`thinking_budget` as numbers."""
        return parse_thinking_budget(self.thinking_budget)

    @property
    def kv_state_limit_bytes(self) -> int:
        """`kv_state_limit` as a number."""
        return parse_size(self.kv_state_limit)

    @property
    def draft_tokens(self) -> int:
        """Tokens to guess ahead in one step; 0 where `speculation` is off."""
        return DRAFT_TOKENS if self.speculation else 0


def load_preferences(directories: Directories) -> Preferences:
    """Read the user's settings; a missing file means defaults.

    Raises:
        SettingsError: Not TOML, an unknown key or a value of the wrong kind; names the line
            and the key.
        FileError: The file exists but cannot be read.
    """
    path = directories.settings / "settings.toml"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return Preferences()
    except OSError as error:
        raise FileError(
            f"The settings file {path} cannot be read.",
            _reason(error),
            "Check its permissions, or set LOCALR1_HOME to a folder you can use.",
        ) from error
    except UnicodeDecodeError as error:
        raise _settings_error(path, str(error)) from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _settings_error(path, str(error)) from error
    preferences, problems = _preferences(table, text, path)
    if problems:
        raise PartlyUsable(path, problems[0], preferences)
    return preferences


def load_usable_preferences(directories: Directories) -> tuple[Preferences, SettingsError | None]:
    """The user's settings as far as they are sound, and what is wrong with the others.

    A file that is not TOML gives all defaults; otherwise a key that is wrong gives its default.

    Raises:
        FileError: The file exists but cannot be read.
    """
    try:
        return load_preferences(directories), None
    except PartlyUsable as error:
        return error.usable, error
    except SettingsError as error:
        return Preferences(), error


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` replaced; that of a user who is not known stays as written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises for such users


def ensure(path: Path) -> Path:
    """Create a folder and its parents where they are missing.

    Returns:
        The same path.

    Raises:
        FileError: It cannot be created, or a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"The folder {path} cannot be created.",
            _reason(error),
            "Check its permissions, or set LOCALR1_HOME to a folder you can write to.",
        ) from error
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader or a crash sees the old or the new text, never half.

    Raises:
        FileError: The file cannot be written.
    """
    import tempfile  # noqa: PLC0415  # most starts write nothing

    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise FileError(
            f"The file {path} cannot be written.", _reason(error), "Check permissions and space."
        ) from error


def network_allowed(offline_flag: bool, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether localr1 may open a connection to the hub.

    Args:
        offline_flag: The command line's `--offline`.
        environment: Environment variables; `HF_HUB_OFFLINE` is read as huggingface_hub does
            (`1`, `ON`, `YES`, `TRUE` in any case).
    """
    return not offline_flag and environment.get("HF_HUB_OFFLINE", "").lower() not in _TRUE


class PartlyUsable(SettingsError):
    """Some settings are wrong; `usable` has the others, with defaults for those."""

    def __init__(self, path: Path, why: str, usable: Preferences) -> None:
        error = _settings_error(path, why)
        super().__init__(error.what, error.why, error.todo)
        self.usable = usable


def _preferences(
    table: dict[str, object], text: str, path: Path
) -> tuple[Preferences, tuple[str, ...]]:
    """The settings that are sound, and what is wrong with the others."""
    names = [field.name for field in fields(Preferences)]
    values: dict[str, object] = {}
    problems: list[str] = []
    for key, value in table.items():
        line = f"line {_line_of(key, text)}"
        if key not in names:
            problems.append(
                f"{line}: there is no setting `{key}`; the settings are {', '.join(names)}"
            )
        elif key == "keys":
            values[key], wrong = _keys(value, text)
            problems += wrong
        elif problem := problem_of(key, value):
            problems.append(f"{line}: `{key}` {problem}")
        else:
            values[key] = value
    if "models_directory" in values:
        folder = expanded(cast("str", values["models_directory"]))
        values["models_directory"] = path.parent.absolute() / folder
    if "model_folders" in values:
        named = cast("list[str]", values["model_folders"])
        here = path.parent.absolute()
        values["model_folders"] = tuple(here / expanded(folder) for folder in named)
    return Preferences(**values), tuple(problems)  # type: ignore[arg-type]  # checked above


def flat_keys(table: object) -> dict[str, object]:
    """The lines of `[keys]`: TOML reads `chat.stop = "f12"` as a table in a table."""
    if not isinstance(table, dict):
        return {"keys": table}
    found: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= {f"{name}.{rest}": deep for rest, deep in flat_keys(value).items()}
        else:
            found[name] = value
    return found


def _keys(table: object, text: str) -> tuple[tuple[KeySetting, ...], list[str]]:
    found, problems = [], []
    for name, value in flat_keys(table).items():
        line = max(_line_of(name, text), _line_of(name.rpartition(".")[2], text))
        several = value if isinstance(value, list) else [value]
        if name == "keys" or not all(isinstance(each, str) for each in several):
            problems.append(f"line {line}: `{name}` must be keys in quotes, not {value!r}")
        else:
            found.append(KeySetting(name, ", ".join(map(str, several)), line))
    return tuple(found), problems


def problem_of(key: str, value: object) -> str:
    """What is wrong with a setting's value; empty when it is fine."""
    choices = {
        "thinking": get_args(ThinkingDisplay),
        "goal": get_args(Goal),
        "when_full": get_args(WhenFull),
        "quiet": get_args(Quiet),
        "call": get_args(Call),
    }
    if key in choices:
        allowed = choices[key]
        return "" if value in allowed else f"must be one of {', '.join(allowed)}, not {value!r}"
    if key == "context_window":
        good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return "" if good else f"must be a whole number of tokens, 0 or more, not {value!r}"
    if key in {"speculation", "model_titles", "reduced_motion", "panel"}:
        return "" if isinstance(value, bool) else f"must be true or false, not {value!r}"
    if key == "model_folders":
        named = isinstance(value, list) and all(isinstance(f, str) and f.strip() for f in value)
        return "" if named else f"must be a list of folders in quotes, not {value!r}"
    return _text_problem(key, value)


def _text_problem(key: str, value: object) -> str:
    """The same for settings that are text."""
    if not isinstance(value, str):
        return f"must be text in quotes, not {value!r}"
    if key == "models_directory" and not value.strip():
        return "must name a folder"
    try:
        _PARSERS.get(key, str)(value)
    except UsageError as error:
        return f"cannot be {value!r}; {error.todo[0].lower()}{error.todo[1:].rstrip('.')}"
    return ""


def _settings_error(path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"The settings file {path} cannot be used.", why, "Correct that line or remove it."
    )


def _line_of(key: str, text: str) -> int:
    """The line where a key or table of a TOML text is first set; 1 where it cannot be found."""
    name = re.escape(key)
    pattern = re.compile(rf"""^\s*\[*\s*["']?{name}["']?\s*[=.\]]""")
    return next((n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
