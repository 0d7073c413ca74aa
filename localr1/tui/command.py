"""The commands of the app in tables: keys, footer, palette and help are all made from them.

Those of the advice are in `advice_command`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Command:
    """Something a user can ask for."""

    id: str
    """Stable name, for keymaps: `chat.stop`."""
    keys: str
    """As Textual writes them, several separated by commas; empty for the palette only."""
    action: str
    """The action of the screen or widget that does it."""
    label: str
    """A word or two for the footer and the palette."""
    help: str
    """One sentence."""
    shown: bool = False
    """Whether the footer has it."""
    palette: bool = True
    """Whether the command palette has it."""
    priority: bool = False
    """Whether it goes before keys of the focused widget."""
    display: str = ""
    """How the keys are written; empty for Textual's own way."""
    footer: str = ""
    """How the footer writes them, where that is another way."""

    @property
    def keys_text(self) -> str:
        """The keys for people: `Ctrl+N`, `Esc`."""
        if self.display:
            return self.display
        names = (key.strip() for key in self.keys.split(","))
        return " or ".join(
            "+".join(_NAMES.get(p, p.capitalize()) for p in n.split("+")) for n in names
        )


_NAMES = {"escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn", "question_mark": "?"}

APP = (
    Command(
        "app.palette",
        "ctrl+p",
        "command_palette",
        "Menu",
        "Search every command.",
        shown=True,
        palette=False,
        priority=True,
    ),
    Command(
        "app.downloads",
        "f3",
        "downloads",
        "Downloads",
        "See what is being downloaded; pause it, or change the order and the speed.",
    ),
    Command(
        "app.fix",
        "f6",
        "fix",
        "Mend the engine",
        "See why a graphics card lies idle or the engine fails, and mend it.",
    ),
    Command(
        "app.help",
        "f1",
        "show_help",
        "Help",
        "Show what the keys do here.",
    ),
    Command(
        "app.quit",
        "ctrl+q",
        "quit",
        "Quit",
        "Leave localr1; everything is saved.",
        palette=True,
        priority=True,
    ),
)

DOWNLOAD = (
    Command(
        "download.start",
        "enter",
        "start",
        "Download",
        "Start the download, or go on with it.",
        shown=True,
    ),
    Command(
        "download.cancel",
        "escape",
        "cancel",
        "Stop",
        "Stop; what is here stays and the next download goes on from it.",
        shown=True,
    ),
    Command(
        "download.background",
        "b",
        "background",
        "In the background",
        "Go on downloading while you do something else; F3 shows how far it is.",
        shown=True,
    ),
    Command(
        "download.demo",
        "d",
        "demo",
        "Use the demo",
        "Chat with the demonstration model instead.",
        shown=True,
    ),
)

DOWNLOADS = (
    Command(
        "downloads.pause",
        "space",
        "pause",
        "Pause or go on",
        "Pause this download, or let it go on.",
        shown=True,
    ),
    Command(
        "downloads.earlier",
        "shift+up,minus",
        "move(-1)",
        "Earlier",
        "Move it up; the first one that is not paused runs.",
        shown=True,
        display="Shift+↑",
    ),
    Command(
        "downloads.later",
        "shift+down,plus",
        "move(1)",
        "Later",
        "Move it down.",
        shown=True,
        display="Shift+↓",
    ),
    Command(
        "downloads.limit",
        "l",
        "limit",
        "Speed limit",
        "Limit the speed of all downloads together.",
        shown=True,
    ),
    Command(
        "downloads.remove",
        "delete,x",
        "remove",
        "Take out",
        "Take it out of the list; what has come stays on the disk until `localr1 rm --stopped`.",
        shown=True,
    ),
    Command("downloads.close", "escape", "close", "Close", "Go back.", shown=True, palette=False),
)

ANSWER_NOW = Command(
    "chat.answer_now",
    "ctrl+t",
    "answer_now",
    "Answer now",
    "End the thinking; the answer begins at once.",
    shown=True,
    priority=True,
)

CHAT = (
    Command(
        "chat.stop",
        "escape",
        "stop",
        "Stop",
        "Stop the reply, which keeps what came so far; else take back what waits; else stop "
        "loading.",
        shown=True,
    ),
    ANSWER_NOW,
    Command(
        "chat.thinking",
        "ctrl+o",
        "toggle_thinking",
        "Thinking",
        "Open or fold the thinking of the last reply.",
        shown=True,
        priority=True,
    ),
    Command(
        "chat.new", "ctrl+n", "new", "New", "Begin a new conversation.", shown=True, priority=True
    ),
    Command(
        "chat.list",
        "ctrl+l",
        "conversations",
        "Chats",
        "Find, open or delete an earlier conversation.",
        shown=True,
        priority=True,
    ),
    Command(
        "chat.models",
        "f2",
        "app.models",
        "Models",
        "See this machine and its models, and choose another one.",
        shown=True,
        priority=True,
    ),
    Command(
        "chat.copy",
        "ctrl+y",
        "copy_answer",
        "Copy answer",
        "Copy the last answer as Markdown.",
        priority=True,
    ),
    Command(
        "chat.formulas",
        "f4",
        "toggle_formulas",
        "Formulas",
        "Show formulas as the LaTeX that the model wrote, or drawn again.",
        priority=True,
    ),
    Command(
        "chat.restart",
        "ctrl+r",
        "restart",
        "Restart engine",
        "Load the model again, after it stopped or failed.",
        priority=True,
    ),
    Command(
        "chat.interrupt",
        "ctrl+c",
        "interrupt",
        "Copy, clear, stop, quit",
        "Copy the selection; else clear the prompt; else stop the reply; else, pressed twice, quit.",
        palette=False,
        priority=True,
    ),
    Command(
        "chat.page_up",
        "pageup",
        "page(-1)",
        "Page up",
        "Scroll the conversation up.",
        palette=False,
        priority=True,
    ),
    Command(
        "chat.page_down",
        "pagedown",
        "page(1)",
        "Page down",
        "Scroll the conversation down.",
        palette=False,
        priority=True,
    ),
    Command(
        "chat.end",
        "ctrl+end",
        "follow",
        "To the end",
        "Go to the end and follow the reply.",
        palette=False,
        priority=True,
    ),
)

COMPOSER = (
    Command("composer.send", "enter", "send", "Send", "Send the message.", palette=False),
    Command(
        "composer.newline",
        "shift+enter,ctrl+j",
        "newline",
        "New line",
        "Begin a new line.",
        palette=False,
    ),
    Command(
        "composer.earlier",
        "up",
        "earlier",
        "Earlier prompt",
        "In an empty prompt: bring back what you sent before.",
        palette=False,
    ),
)

CONVERSATIONS = (
    Command(
        "conversations.open",
        "enter",
        "open",
        "Open",
        "Open the conversation.",
        shown=True,
        palette=False,
    ),
    Command(
        "conversations.delete",
        "ctrl+d",
        "delete",
        "Delete",
        "Delete the conversation, after asking.",
        shown=True,
        palette=False,
        priority=True,
    ),
    Command(
        "conversations.close", "escape", "close", "Close", "Go back.", shown=True, palette=False
    ),
)


def bindings(commands: Iterable[Command]) -> list[BindingType]:
    """The commands that have keys, as Textual's bindings; ids let users change the keys."""
    return [
        Binding(
            command.keys,
            command.action,
            command.label,
            show=command.shown,
            key_display=command.footer or None,
            priority=command.priority,
            tooltip=command.help,
            id=command.id,
        )
        for command in commands
        if command.keys
    ]
