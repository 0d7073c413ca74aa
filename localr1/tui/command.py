"""The commands of the app in tables: keys, footer, palette and help are all made from them.

Those of the advice are in `advice_command`, those of downloads in `download_command`, those of a message
in `message_command`, those of the lists of conversations and settings in `list_command`.
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
    def title(self) -> str:
        """How the palette names it, with its keys where it has any."""
        return f"{self.label} ({self.keys_text})" if self.keys else self.label

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
    Command("app.settings", "f9", "settings", "Settings", "See and change every setting."),
    Command(
        "app.fix",
        "f6",
        "fix",
        "Mend the engine",
        "See why a graphics card lies idle or the engine fails, and mend it.",
    ),
    Command(
        "app.serve",
        "f10",
        "serve",
        "Serve this model",
        "Let editors and scripts on this computer use the model too, or end that.",
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

ANSWER_NOW = Command(
    "chat.answer_now",
    "ctrl+t",
    "answer_now",
    "Answer now",
    "End the thinking; the answer begins at once.",
    shown=True,
    priority=True,
)

CONTEXT = Command(
    "chat.context",
    "f5",
    "context",
    "Context window",
    "See what fills the context window, and what can be done when it is full.",
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
        "chat.private",
        "f7",
        "private",
        "New private",
        "Begin a conversation of which nothing is ever written to the disk.",
        priority=True,
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
        "chat.walk_up",
        "alt+up,ctrl+up",
        "walk(-1)",
        "Edit",
        "Choose an earlier message: edit, think again, answer again, copy, quote; its keys show below.",
        shown=True,
        palette=False,
        priority=True,
        display="Alt+↑",
        footer="alt+↑",
    ),
    Command(
        "chat.walk_down",
        "alt+down,ctrl+down",
        "walk(1)",
        "Next message",
        "Choose the next message; after the last one comes the prompt.",
        palette=False,
        priority=True,
        display="Alt+↓",
    ),
    Command(
        "chat.edit",
        "",
        "message('edit')",
        "Edit question",
        "Ask the last question in other words, as a branch of its own.",
    ),
    Command(
        "chat.think_again",
        "",
        "message('think_again')",
        "Think again",
        "Let the model think and answer the last question anew; the first reply stays.",
    ),
    Command(
        "chat.answer_again",
        "",
        "message('answer_again')",
        "Answer again",
        "Another answer from the same thinking: shorter, in French, as code.",
    ),
    Command(
        "chat.other_model",
        "",
        "message('other_model')",
        "Another model",
        "Let another model answer the last question too, and see both side by side.",
    ),
    Command(
        "chat.go_on",
        "",
        "message('go_on')",
        "Go on",
        "Go on with the last reply, where it was stopped or cut off.",
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
        "chat.find",
        "ctrl+f",
        "find",
        "Find in thinking",
        "Find words in the thinking of the chosen reply, or of the last one.",
        priority=True,
    ),
    CONTEXT,
    Command(
        "chat.panel",
        "f12",
        "panel",
        "Live figures",
        "Show or hide speed, context, memory, temperature and battery beside the chat.",
        priority=True,
    ),
    Command(
        "chat.manner",
        "f8",
        "manner",
        "This conversation",
        "Choose a kind of work, a system prompt, sampling and a seed for this conversation.",
        priority=True,
    ),
    Command(
        "chat.editor",
        "ctrl+g",
        "editor",
        "Editor",
        "Write the prompt in your own editor ($VISUAL or $EDITOR).",
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
        "composer.attach",
        "tab",
        "attach",
        "Attach",
        "Behind @ and a file's name: complete it. `@notes.txt` attaches the file; so does "
        "dropping it here.",
        palette=False,
        display="@ and Tab",
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


def bindings(commands: Iterable[Command]) -> list[BindingType]:
    """The commands as Textual's bindings; ids let users change the keys.

    What has no key has one that no terminal sends, in whose place a user may put another.
    """
    return [
        Binding(
            command.keys or f"none-{command.id}",
            command.action,
            command.label,
            show=command.shown,
            key_display=command.footer or None,
            priority=command.priority,
            tooltip=command.help,
            id=command.id,
        )
        for command in commands
    ]
