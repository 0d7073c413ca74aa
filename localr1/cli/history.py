"""`localr1 history`: conversations without the app."""

from __future__ import annotations

import argparse
import sys

from localr1 import workflow
from localr1.chat.store import Store
from localr1.cli import output
from localr1.errors import UsageError
from localr1.printable import printable


def run(arguments: argparse.Namespace) -> int:
    """List, search, show or delete conversations."""
    home = workflow.open_home(offline=True)
    store = workflow.open_store(home)
    try:
        if arguments.action in {"list", "search"}:
            query = " ".join(arguments.words)
            if arguments.action == "search" and not query:
                raise UsageError(
                    "There is nothing to search for.", "", "localr1 history search WORDS"
                )
            _list(store, query)
        else:
            number = _number(arguments.words)
            conversation = store.conversation(number)
            if arguments.action == "delete":
                workflow.delete_conversation(home, store, number)
                output.note(f"localr1: deleted “{conversation.title}”.")
            else:
                for message in conversation.messages:
                    speaker = "You" if message.role == "user" else "R1"
                    sys.stdout.write(f"{speaker}: {printable(message.text)}\n\n")
    finally:
        store.close()
    return 0


def _list(store: Store, query: str) -> None:
    for item in store.summaries(query=query):
        date = item.updated_at.astimezone().strftime("%Y-%m-%d %H:%M")
        sys.stdout.write(
            f"{item.id:>5}  {date}  {item.model_id:<24} {printable(item.title)}"
            f" ({item.message_count} messages)\n"
        )


def _number(words: list[str]) -> int:
    if len(words) == 1 and words[0].isdecimal():
        return int(words[0])
    raise UsageError(
        "Which conversation?", "A number is needed.", "`localr1 history list` shows the numbers."
    )
