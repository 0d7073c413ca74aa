"""What an empty conversation shows: what is loaded and how to begin."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.remote.model import RemoteModel
from localr1.tui import wording
from localr1.tui.keymap import COMMANDS, Keymap


def blank_content(
    local: LocalModel, conversations: int, keys: Keymap, *, private: bool = False
) -> Content:
    """The words of the empty page.

    Args:
        local: The model that is used.
        conversations: How many earlier conversations there are.
        keys: As the user has them.
        private: Whether the conversation that begins is never written.
    """

    def key(command_id: str) -> str:
        return keys.of(COMMANDS[command_id]).keys_text

    elsewhere = isinstance(local, RemoteModel)
    where = "" if elsewhere else " · on this machine, nothing leaves it"
    if local.model.demo and not elsewhere:
        lines = [
            Content.styled("This is a demonstration, not an R1 model.", "bold $accent"),
            Content(
                "It adds, subtracts and compares numbers of up to four digits, and nothing else."
            ),
            Content(""),
            Content.assemble(("Try  ", "dim"), "What is 347 + 589?"),
            Content.assemble(
                ("Then ", "dim"), f"{key('chat.models')} shows which R1 fits this machine."
            ),
        ]
    else:
        lines = [
            Content.styled(printable(wording.short_name(local.model.name)), "bold"),
            Content.styled(f"{printable(local.variant.quantization)}{where}", "dim"),
            Content(""),
            Content(
                f"R1 thinks before it answers. {key('chat.thinking')} opens its thinking"
                + ("." if elsewhere else f", {key('chat.answer_now')} ends it early.")
            ),
            Content(
                f"{key('chat.walk_up')} chooses what was said: edit it, think again, answer again, "
                "quote."
            ),
        ]
    if private:
        lines += [
            Content(""),
            Content.styled(
                "Private: nothing of this conversation is written to the disk.", "$accent"
            ),
            Content.styled("It is gone when you begin another one or leave.", "dim"),
        ]
    elif conversations:
        earlier = wording.plural(conversations, "earlier conversation")
        lines += [Content(""), Content.assemble((f"{earlier}: ", "dim"), key("chat.list"))]
    return Content("\n").join(lines)


class Blank(Static):
    """The empty page."""

    DEFAULT_CSS = """
    Blank { width: 1fr; height: auto; margin: 1 0; padding: 0 2; text-align: center; }
    """

    def __init__(
        self, local: LocalModel, conversations: int, keys: Keymap, *, private: bool = False
    ) -> None:
        super().__init__(blank_content(local, conversations, keys, private=private), markup=False)
