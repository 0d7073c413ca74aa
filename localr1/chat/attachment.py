"""Files put into a question, in the form R1 was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localr1.errors import FileError

_LARGEST_BYTES: Final = 4 * 1024 * 1024
"""No context window holds more text than this."""


@dataclass(frozen=True)
class Attachment:
    """A text file's name and content."""

    name: str
    content: str


def read(path: Path) -> Attachment:
    """Read a text file.

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
    if b"\0" in data[:8192]:
        raise FileError(
            f"{path} is not a text file.", "It has zero bytes.", "Convert it to text first."
        )
    return Attachment(path.name, data.decode("utf-8-sig", "replace"))


def question_with(attachments: Sequence[Attachment], question: str) -> str:
    """The question with its files before it (deepseek-ai/DeepSeek-R1, "Official Prompts")."""
    parts = [
        f"[file name]: {item.name}\n[file content begin]\n{item.content}\n[file content end]\n"
        for item in attachments
    ]
    return "".join(parts) + question
