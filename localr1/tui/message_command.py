"""The commands of one message, which work while it is chosen."""

from __future__ import annotations

from localr1.tui.command import Command

_LEAVE = Command(
    "message.leave", "escape", "leave", "Back", "Go back to the prompt.", shown=True, palette=False
)
_COPY = Command("message.copy", "c,y", "copy", "Copy", "Copy it.", shown=True, palette=False)
_QUOTE = Command(
    "message.quote",
    "q",
    "quote",
    "Quote",
    "Quote the selected text, or all of it, in the prompt.",
    shown=True,
    palette=False,
)
_VERSIONS = (
    Command(
        "message.older",
        "left",
        "version(-1)",
        "Version before",
        "Go to the branch with the version before this one.",
        palette=False,
        display="←",
    ),
    Command(
        "message.newer",
        "right",
        "version(1)",
        "Version after",
        "Go to the branch with the version after this one.",
        palette=False,
        display="→",
    ),
)

QUESTION = (
    Command(
        "question.edit",
        "e,enter",
        "edit",
        "Edit",
        "Ask it in other words, as a branch of its own; this one stays.",
        shown=True,
        palette=False,
        display="E or Enter",
        footer="e",
    ),
    _COPY,
    _QUOTE,
    Command(
        "question.open",
        "space,o",
        "open",
        "Whole question",
        "Show all of a long question, or only its beginning.",
        palette=False,
        display="Space",
    ),
    *_VERSIONS,
    _LEAVE,
)

REPLY = (
    Command(
        "reply.again",
        "r",
        "think_again",
        "Think again",
        "Let the model think and answer anew, as a branch of its own; this one stays.",
        shown=True,
        palette=False,
    ),
    Command(
        "reply.answer_again",
        "a",
        "answer_again",
        "Answer again",
        "Another answer from the same thinking: shorter, in French, as code.",
        shown=True,
        palette=False,
    ),
    Command(
        "reply.go_on",
        "g",
        "go_on",
        "Go on",
        "Go on with a reply that was stopped or cut off.",
        shown=True,
        palette=False,
    ),
    _COPY,
    _QUOTE,
    Command(
        "reply.code",
        "b",
        "code",
        "Code",
        "Choose the next code block; C copies it then, S saves it.",
        shown=True,
        palette=False,
    ),
    Command(
        "reply.thinking",
        "space,o",
        "thinking",
        "Thinking",
        "Open or fold its thinking.",
        palette=False,
        display="Space",
    ),
    Command(
        "reply.good", "plus", "rate(1)", "Good", "Mark it as good.", palette=False, display="+"
    ),
    Command("reply.bad", "minus", "rate(-1)", "Bad", "Mark it as bad.", palette=False, display="-"),
    *_VERSIONS,
    _LEAVE,
)
