"""The user's own editor, for long prompts."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from localr1.errors import FileError

_USUAL = ("notepad",) if sys.platform == "win32" else ("nano", "vim", "vi")


def command(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The editor's command: `$VISUAL`, else `$EDITOR`, else a usual one.

    Raises:
        FileError: There is none.
    """
    for name in ("VISUAL", "EDITOR"):
        if words := shlex.split(environment.get(name, ""), posix=sys.platform != "win32"):
            return words
    for name in _USUAL:
        if found := shutil.which(name):
            return [found]
    raise FileError("There is no editor.", "$EDITOR names none.", "Set EDITOR to your editor.")


def edited(text: str) -> str:
    """The text after the user wrote on it in the editor, which has the terminal meanwhile.

    Raises:
        FileError: The editor cannot be started or failed; the text is as it was.
    """
    words = command()
    with tempfile.TemporaryDirectory(prefix="localr1-") as folder:
        path = Path(folder) / "prompt.md"
        try:
            path.write_text(text, encoding="utf-8")
            done = subprocess.run([*words, str(path)], check=False)  # noqa: S603 - the user's own
            if done.returncode != 0:
                raise FileError(
                    f"{words[0]} ended with an error.",
                    f"Its exit code is {done.returncode}.",
                    "The prompt is as it was.",
                )
            return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        except OSError as error:
            raise FileError(
                f"The editor {words[0]} cannot be used.",
                error.strerror or str(error),
                "Set EDITOR to another one.",
            ) from error
