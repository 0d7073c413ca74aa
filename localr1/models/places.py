"""Where other programs on this computer keep GGUF files.

Only folders are named here, none is opened but for two small settings files that say where a
user has moved them. Sources: huggingface_hub's environment variables page; lmstudio.ai/docs;
Ollama's FAQ (docs/faq.md); `fs_get_cache_directory` in llama.cpp's common.cpp; the guides of
Jan and text-generation-webui.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from localr1.models.place import opened

Layout = Literal["folder", "hub", "ollama"]

OWN: Final = "localr1"
"""The tool's name of our own downloads."""
ADDED: Final = "your folder"
"""The tool's name of what the setting `model_folders` names."""
IMPORTED: Final = "imported"
"""The tool's name of files that were imported where they lie."""

_MOST_SETTINGS_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Place:
    """A folder in which GGUF files may lie."""

    tool: str
    """The program that it belongs to."""
    folder: Path
    layout: Layout = "folder"
    """`folder`: files at any depth; `hub`: the cache of the Hugging Face hub; `ollama`: blobs
    named by their hash, and manifests."""


def places(
    added: Sequence[Path] = (),
    *,
    environment: Mapping[str, str] = os.environ,
    home: Path | None = None,
    platform: str = sys.platform,
) -> tuple[Place, ...]:
    """Every place to look at, the preferred first; a folder that is missing is no error.

    Args:
        added: Folders that the user added.
        environment: Environment variables.
        home: The user's home; None for the real one.
        platform: As `sys.platform`.
    """
    user = _User(home or Path.home(), environment, platform)
    named = [
        *(Place(ADDED, folder) for folder in added),
        *(Place("Hugging Face", folder, "hub") for folder in user.hub()),
        *(Place("LM Studio", folder) for folder in user.lm_studio()),
        *(Place("Ollama", folder, "ollama") for folder in user.ollama()),
        *(Place("llama.cpp", folder) for folder in user.llama_cpp()),
        *(Place("Jan", folder) for folder in user.jan()),
        *(Place("text-generation-webui", folder) for folder in user.webui()),
    ]
    unique = {os.path.normcase(place.folder): place for place in reversed(named)}
    return tuple(reversed(unique.values()))


@dataclass(frozen=True)
class _User:
    home: Path
    environment: Mapping[str, str]
    platform: str

    def variable(self, name: str) -> Path | None:
        value = self.environment.get(name, "").strip()
        if not value:
            return None
        return self.home / value[2:] if value.startswith("~/") else Path(value)

    @property
    def cache(self) -> Path:
        """Where programs that follow the system's customs keep a cache."""
        if self.platform == "darwin":
            return self.home / "Library" / "Caches"
        if self.platform == "win32":
            return self.variable("LOCALAPPDATA") or self.home / "AppData" / "Local"
        return self.variable("XDG_CACHE_HOME") or self.home / ".cache"

    @property
    def data(self) -> Path:
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return self.variable("APPDATA") or self.home / "AppData" / "Roaming"
        return self.variable("XDG_DATA_HOME") or self.home / ".local" / "share"

    @property
    def settings(self) -> Path:
        if self.platform in {"darwin", "win32"}:
            return self.data
        return self.variable("XDG_CONFIG_HOME") or self.home / ".config"

    def hub(self) -> Iterator[Path]:
        # huggingface_hub uses ~/.cache on every system.
        cache = self.variable("XDG_CACHE_HOME") or self.home / ".cache"
        root = self.variable("HF_HOME") or cache / "huggingface"
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            if (moved := self.variable(name)) is not None:
                yield moved
        yield root / "hub"

    def lm_studio(self) -> Iterator[Path]:
        roots = [self.home / ".lmstudio", self.home / ".cache" / "lm-studio"]
        if pointer := _text(self.home / ".lmstudio-home-pointer").strip():
            roots.insert(0, Path(pointer.splitlines()[0].strip()))
        for folder in (*roots, self.settings / "LM Studio"):
            if moved := _setting(folder / "settings.json", "downloadsFolder"):
                yield Path(moved)
        for root in roots:
            yield root / "models"

    def ollama(self) -> Iterator[Path]:
        if (moved := self.variable("OLLAMA_MODELS")) is not None:
            yield moved
        yield self.home / ".ollama" / "models"
        if self.platform == "linux":
            # The service's own home: Ollama's installer, and some distributions.
            yield Path("/usr/share/ollama/.ollama/models")
            yield Path("/var/lib/ollama/.ollama/models")
            yield Path("/var/lib/ollama/models")

    def llama_cpp(self) -> Iterator[Path]:
        if (moved := self.variable("LLAMA_CACHE")) is not None:
            yield moved
        yield self.cache / "llama.cpp"

    def jan(self) -> Iterator[Path]:
        roots = [self.data / "Jan" / "data", self.settings / "Jan" / "data", self.home / "jan"]
        if moved := _setting(self.settings / "Jan" / "settings.json", "data_folder"):
            roots.insert(0, Path(moved))
        for root in roots:
            yield root / "llamacpp" / "models"
            yield root / "models"

    def webui(self) -> Iterator[Path]:
        for name in ("text-generation-webui", "textgen", "oobabooga"):
            # Its archives have a folder of its own name in them.
            for root in (self.home / name, self.home / name / name):
                yield root / "user_data" / "models"
                yield root / "models"


def _text(path: Path) -> str:
    """A small text file of another program; empty where it cannot be read."""
    try:
        with opened(path, "r") as file:
            return file.read(_MOST_SETTINGS_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _setting(path: Path, key: str) -> str:
    """One text of another program's JSON settings; empty where there is none."""
    try:
        value = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return ""
    found = value.get(key) if isinstance(value, dict) else None
    return found.strip() if isinstance(found, str) else ""
