"""The commands of the list of conversations, and of the settings."""

from __future__ import annotations

from localr1.tui.command import Command

SETTINGS = (
    Command("settings.next", "right", "step(1)", "Next", "Take the next value.", palette=False),
    Command(
        "settings.before", "left", "step(-1)", "Before", "Take the value before.", palette=False
    ),
    Command("settings.reset", "delete", "reset", "Usual", "Take the usual value.", palette=False),
    Command("settings.help", "f1", "app.show_help", "Keys", "Show the keys.", palette=False),
    Command("settings.close", "escape", "close", "Close", "Go back.", palette=False),
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
        "Delete the conversation; Ctrl+Z brings it back until you leave localr1.",
        shown=True,
        priority=True,
    ),
    Command(
        "conversations.undo",
        "ctrl+z",
        "undo",
        "Undo",
        "Bring back what was deleted last.",
        priority=True,
    ),
    Command("conversations.pin", "f5", "pin", "Pin", "Keep it at the top of the list."),
    Command("conversations.tags", "f6", "tags", "Tags", "Give it tags; #tag in the search."),
    Command("conversations.rename", "f7", "rename", "Rename", "Give it another title."),
    Command(
        "conversations.archive",
        "f8",
        "archive",
        "Put away",
        "Put it away from the list, or back; a search still finds it.",
    ),
    Command(
        "conversations.archived",
        "f9",
        "show_archived",
        "What was put away",
        "Show what was put away, or the list again.",
    ),
    Command(
        "conversations.export",
        "f10",
        "export",
        "Export",
        "Write it to a file: Markdown, HTML, text, or JSON for another localr1.",
    ),
    Command("conversations.help", "f1", "app.show_help", "Keys", "Show what the keys do here."),
    Command(
        "conversations.close", "escape", "close", "Close", "Go back.", shown=True, palette=False
    ),
)
