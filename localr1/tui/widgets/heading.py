"""The line above the conversation: what it is about."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from localr1.chat.types import Message
from localr1.printable import one_line

_MOST_CHARACTERS = 200


class Heading(Static):
    """The app's name and the conversation's first question."""

    DEFAULT_CSS = """
    Heading { height: 1; padding: 0 2; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="heading")
        self.private = False
        """Whether the conversation is never written."""

    def show(self, about: Sequence[Message] | str) -> None:
        """Name the conversation by its first question.

        Args:
            about: The messages, or the question that is about to be the first.
        """
        first = about if isinstance(about, str) else about[0].text if about else ""
        title = one_line(first, _MOST_CHARACTERS) or "new conversation"
        mark = "  private, never written" if self.private else ""
        self.update(
            Content.assemble(("localr1", "bold $primary"), (mark, "$accent"), (f"  {title}", "dim"))
        )
