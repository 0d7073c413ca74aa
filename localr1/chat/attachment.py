"""Files put into a question, in the form R1 was trained on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localr1.errors import FileError

_LARGEST_BYTES: Final = 4 * 1024 * 1024
"""No context window holds more text than this."""
_PDF_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Attachment:
    """A text file's name and content."""

    name: str
    content: str


def read(path: Path) -> Attachment:
    """Read a text file, or the text of a PDF where `pdftotext` is installed.

    Raises:
        FileError: It cannot be read, is too large, or is not text.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_BYTES else None
    except OSError as error:
        raise FileError(
            f"{path} cannot be read.",
            error.strerror or str(error),
            "Check the name and permissions.",
        ) from error
    if data is None:
        raise FileError(
            f"{path} is too large.", "It has more than 4 MiB, which no context window holds.",
            "Attach the part that matters.",
        )  # fmt: skip
    if data.startswith(b"%PDF-"):
        return Attachment(path.name, _pdf_text(path))
    if b"\0" in data[:8192]:
        raise FileError(
            f"{path} is not a text file.", "It has zero bytes.", "Convert it to text first."
        )
    return Attachment(path.name, data.decode("utf-8-sig", "replace"))


def _pdf_text(path: Path) -> str:
    program = shutil.which("pdftotext")
    if program is None:
        raise FileError(
            f"{path} is a PDF.",
            "Its text is taken out by the program pdftotext, which is not installed here.",
            "Install poppler (poppler-utils), or save the document as text.",
        )
    try:
        done = subprocess.run(  # noqa: S603 - a program and a file of the user's own
            [program, "-layout", "-enc", "UTF-8", "--", str(path), "-"],
            capture_output=True,
            timeout=_PDF_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        why = said.decode("utf-8", "replace").strip()[:200] or "pdftotext failed."
        raise FileError(
            f"{path} cannot be read.", why, "Save the document as text first."
        ) from error
    text = done.stdout.decode("utf-8", "replace").replace("\f", "\n")
    if not text.strip():
        raise FileError(
            f"{path} holds no text.", "Its pages are pictures, it seems.",
            "Run a text recognition over it first.",
        )  # fmt: skip
    return text


def question_with(attachments: Sequence[Attachment], question: str) -> str:
    """The question with its files before it (deepseek-ai/DeepSeek-R1, "Official Prompts")."""
    parts = [
        f"[file name]: {item.name}\n[file content begin]\n{item.content}\n[file content end]\n"
        for item in attachments
    ]
    return "".join(parts) + question
