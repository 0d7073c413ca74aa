"""What questions and replies have in common: each can be chosen, and something be done with it."""

from __future__ import annotations

from textual.message import Message as Posted
from textual.widget import Widget

from localr1.chat.types import Message, Wish
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.widgets.laid_out import LaidOutOnce


class Chosen(LaidOutOnce, Widget):
    """A message that the keyboard can choose; a click does not, so that typing stays typing."""

    FOCUS_ON_CLICK = False

    message: Message | None = None
    """None while it is not stored yet."""
    versions: tuple[int, ...] = ()
    """The messages in its place on all branches, itself included."""

    class Wanted(Posted):
        """A reply is wanted."""

        def __init__(self, wish: Wish) -> None:
            super().__init__()
            self.wish = wish

    class EditWanted(Posted):
        """A question is to be asked in other words."""

        def __init__(self, message: Message) -> None:
            super().__init__()
            self.message = message

    class WishWanted(Posted):
        """Another answer from the same thinking is wanted; how is to be chosen."""

        def __init__(self, message: Message) -> None:
            super().__init__()
            self.message = message

    class OtherModelWanted(Posted):
        """Another model is to answer the same question."""

        def __init__(self, message: Message) -> None:
            super().__init__()
            self.message = message

    class CompareWanted(Posted):
        """A reply and another version of it are to be shown side by side."""

        def __init__(self, message_id: int, other_id: int) -> None:
            super().__init__()
            self.message_id = message_id
            self.other_id = other_id

    class BranchWanted(Posted):
        """Another version is to be shown."""

        def __init__(self, message_id: int) -> None:
            super().__init__()
            self.message_id = message_id

    class Quoted(Posted):
        """A text is to stand in the prompt as a quotation."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Rated(Posted):
        """The user says what a reply is worth."""

        def __init__(self, message_id: int, rating: int) -> None:
            super().__init__()
            self.message_id = message_id
            self.rating = rating

    class Left(Posted):
        """The prompt is wanted back."""

    @property
    def words(self) -> str:
        """The message's text."""
        return self.message.text if self.message else ""

    @property
    def versions_text(self) -> str:
        """Which of how many versions it is: `◂ 2 of 3 ▸`; empty where there is one."""
        if self.message is None or self.message.id not in self.versions or len(self.versions) < 2:
            return ""
        return f"◂ {self.versions.index(self.message.id) + 1} of {len(self.versions)} ▸"

    def settle(self, message: Message, versions: tuple[int, ...]) -> None:
        """Take note of what is stored."""
        self.message, self.versions = message, versions
        self.show_versions()

    def show_versions(self) -> None:
        """Draw which version it is."""
        raise NotImplementedError

    def action_leave(self) -> None:
        """Back to the prompt."""
        self.post_message(self.Left())

    def action_copy(self) -> None:
        """Copy the selection, or else the text."""
        text = self.screen.get_selected_text() or self.words
        if text:
            self.app.copy_to_clipboard(printable(text))
            lines = wording.plural(len(text.splitlines()), "line")
            self.notify(f"Copied {lines}.", markup=False)

    def action_quote(self) -> None:
        """Quote the selection, or else the text."""
        if text := self.screen.get_selected_text() or self.words:
            self.screen.clear_selection()
            self.post_message(self.Quoted(printable(text)))

    def action_version(self, step: int) -> None:
        """Show the version before or after."""
        if self.message is None or self.message.id not in self.versions:
            return
        at = self.versions.index(self.message.id) + step
        if 0 <= at < len(self.versions):
            self.post_message(self.BranchWanted(self.versions[at]))
