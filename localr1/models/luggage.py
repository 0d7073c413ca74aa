"""The settings and catalogue files that travel with a bundle."""

from __future__ import annotations

import json
import tempfile
import tomllib
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Final

from localr1.config import (
    Directories,
    Preferences,
    ensure,
    load_preferences,
    write_atomically,
)
from localr1.errors import FileError, LocalR1Error
from localr1.models import catalog

SETTINGS: Final = "settings.toml"
CATALOGUE: Final = "models.toml"
REFRESHED: Final = catalog.REFRESHED_NAME

# Folders of the computer that was left.
_STAYING: Final = tuple(f.name for f in fields(Preferences) if "Path" in str(f.type))


def pack(directories: Directories) -> dict[str, str]:
    """The user's own files, by name; folders of this computer are left out of the settings.

    Raises:
        FileError: One cannot be read.
    """
    texts = {}
    for name in (SETTINGS, CATALOGUE, REFRESHED):
        path = directories.settings / name
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"{path} cannot be read.", str(error), "Check it.") from error
        texts[name] = _portable(text) if name == SETTINGS else text
    return texts


def unpack(directories: Directories, texts: dict[str, str]) -> list[str]:
    """Use what came where the user has nothing of the kind; what is here is never changed.

    Args:
        directories: Of this computer.
        texts: By name.

    Returns:
        What was done, in sentences.

    Raises:
        FileError: A file cannot be written.
    """
    said = []
    for name in (SETTINGS, CATALOGUE, REFRESHED):
        if name not in texts:
            continue
        path = directories.settings / name
        # Another release, or another hand, may have left them in.
        text = _portable(texts[name]) if name == SETTINGS else texts[name]
        if path.exists():
            same = False
            with suppress(OSError, UnicodeDecodeError):
                same = path.read_text(encoding="utf-8") == text
            said.append(f"{path} is kept as it is." if not same else f"{path} is the same.")
            continue
        problem = _problem(directories, name, text)
        if problem:
            said.append(f"{name} of the bundle is not used: {problem}")
            continue
        ensure(directories.settings)
        write_atomically(path, text)
        said.append(f"{path} came with the bundle.")
    return said


def _portable(text: str) -> str:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text  # it is looked at where it arrives
    if not any(key in table for key in _STAYING):
        return text
    # Every setting is a text, a number or a flag, which JSON writes as TOML does.
    kept = {key: value for key, value in table.items() if key not in _STAYING}
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}\n"
        for key, value in kept.items()
    )


def _problem(directories: Directories, name: str, text: str) -> str:
    """Why a file could not be used; empty where it can."""
    with tempfile.TemporaryDirectory() as folder:
        there = Directories(*(Path(folder) for _ in range(6)))
        (there.settings / name).write_text(text, encoding="utf-8")
        try:
            if name == SETTINGS:
                load_preferences(there)
            else:
                other = directories.settings / CATALOGUE
                catalog.load(
                    there.settings / name if name == CATALOGUE else other,
                    there.settings / name if name == REFRESHED else None,
                )
        except LocalR1Error as error:
            return error.why or error.what
    return ""
