"""Files for code that a model wrote: named after its language, never over another file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from localr1.config import expanded
from localr1.errors import FileError, UsageError

_SUFFIXES: Final = {
    "bash": "sh", "c": "c", "c++": "cpp", "cpp": "cpp", "csharp": "cs", "css": "css", "go": "go",
    "haskell": "hs", "html": "html", "java": "java", "javascript": "js", "js": "js",
    "json": "json", "julia": "jl", "kotlin": "kt", "latex": "tex", "lua": "lua",
    "markdown": "md", "md": "md", "perl": "pl", "php": "php", "python": "py", "py": "py",
    "r": "r", "ruby": "rb", "rust": "rs", "scala": "scala", "sh": "sh", "shell": "sh",
    "sql": "sql", "swift": "swift", "tex": "tex", "toml": "toml", "ts": "ts",
    "typescript": "ts", "xml": "xml", "yaml": "yaml", "yml": "yml", "zig": "zig",
}  # fmt: skip


def suffix_of(language: str) -> str:
    """The file name's ending for a language as a model names it: `py`; `txt` for unknown ones."""
    words = language.lower().split()
    return _SUFFIXES.get(words[0], "txt") if words else "txt"


def free_name(language: str, folder: Path | None = None) -> str:
    """A name that no file of the folder has: `code.py`, `code-2.py`.

    Args:
        language: As the model names it.
        folder: Where the file is to lie; None for the current folder.
    """
    here, suffix = folder or Path.cwd(), suffix_of(language)
    number, name = 1, f"code.{suffix}"
    while (here / name).exists():
        number += 1
        name = f"code-{number}.{suffix}"
    return name


def write(name: str, code: str) -> Path:
    """Write code in a new file.

    Args:
        name: As the user typed it; `~` is expanded, and it is relative to the current folder.
        code: What is written.

    Returns:
        Where it is now.

    Raises:
        UsageError: No name, or there is such a file.
        FileError: It cannot be written.
    """
    if not name.strip():
        raise UsageError("There is no name.", "", "Type a file's name.")
    path = expanded(name.strip()).absolute()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(code if code.endswith("\n") else f"{code}\n")
    except FileExistsError as error:
        raise UsageError(f"{path.name} is there already.", "", "Choose another name.") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise FileError(f"{path} cannot be written.", why, "Choose another name.") from error
    return path
