"""`localr1 history`: conversations without the app."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from localr1 import workflow
from localr1.chat.shelf import HIT_BEGIN, HIT_END
from localr1.chat.store import Store
from localr1.chat.types import ConversationSummary
from localr1.cli import output
from localr1.cli.parser_history import FORMATS
from localr1.config import expanded, write_atomically
from localr1.errors import UsageError
from localr1.printable import one_line, printable

SCHEMA: Final = 1
_EVERYTHING: Final = 1_000_000
_ENDINGS: Final = {"md": "markdown", "htm": "html", "txt": "text"}
_EXCERPT_WIDTH: Final = 68


def run(arguments: argparse.Namespace) -> int:
    """List, search, show, export, import or delete conversations."""
    home = workflow.open_home(offline=True)
    store = workflow.open_store(home)
    try:
        match arguments.action:
            case "list":
                _list(arguments, store.summaries(archived=arguments.archived, tag=arguments.tag))
            case "search":
                _list(arguments, store.summaries(query=" ".join(arguments.words)))
            case "show":
                _show(arguments, store)
            case "export":
                _export(arguments, store)
            case "import":
                _import(arguments, store)
            case "delete":
                titles = [store.conversation(number).title for number in arguments.ids]
                for number, title in zip(arguments.ids, titles, strict=True):
                    workflow.delete_conversation(home, store, number)
                    output.note(f"localr1: deleted “{title}”.")
    finally:
        store.close()
    return 0


def _list(arguments: argparse.Namespace, found: tuple[ConversationSummary, ...]) -> None:
    if arguments.json:
        output.print_json(
            {"schema": SCHEMA, "conversations": [_as_json(summary) for summary in found]}
        )
        return
    if not found:
        output.note("localr1: nothing found.")
    for item in found:
        date = item.updated_at.astimezone().strftime("%Y-%m-%d %H:%M")
        marks = "".join(f" #{tag}" for tag in item.tags)
        marks += " (pinned)" * item.pinned + " (archived)" * item.archived
        output.print_lines([f"{item.id:>5}  {date}  {one_line(item.title, 200)}{marks}"])
        if item.hit is not None:
            excerpt = one_line(_marked(item.hit.excerpt), _EXCERPT_WIDTH)
            output.print_lines([f"       {item.hit.where}: {excerpt}"])


def _marked(excerpt: str) -> str:
    """The excerpt with its hits between stars: a pipe has no colours."""
    return excerpt.replace(HIT_BEGIN, "*").replace(HIT_END, "*")


def _as_json(summary: ConversationSummary) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": summary.id,
        "title": summary.title,
        "model": summary.model_id,
        "updated_at": summary.updated_at.isoformat(),
        "message_count": summary.message_count,
        "pinned": summary.pinned,
        "archived": summary.archived,
        "tags": list(summary.tags),
    }
    if summary.hit is not None:
        value["hit"] = {"where": summary.hit.where, "excerpt": _marked(summary.hit.excerpt)}
    return value


def _show(arguments: argparse.Namespace, store: Store) -> None:
    from localr1.chat import export  # noqa: PLC0415 - brings a Markdown parser

    if arguments.json:
        output.print_json(export.document(_kept(store, [arguments.id])))
        return
    conversation = store.conversation(arguments.id)
    sys.stdout.write(printable(export.as_text(conversation, thinking=arguments.thinking)))


def _kept(store: Store, numbers: list[int]) -> list[Any]:
    summaries = {
        summary.id: summary
        for archived in (False, True)
        for summary in store.summaries(_EVERYTHING, archived=archived)
    }
    return [(summaries.get(number), store.conversation(number)) for number in numbers]


def _export(arguments: argparse.Namespace, store: Store) -> None:
    from localr1.chat import export  # noqa: PLC0415 - as above

    path = expanded(arguments.output) if arguments.output else None
    form = arguments.format or _form_of(path)
    numbers = _numbers(arguments.ids, store)
    if len(numbers) > 1 and form == "html":
        raise UsageError(
            "A page holds one conversation.",
            f"{len(numbers)} were named.",
            "Export them one by one.",
        )
    thinking = not arguments.no_thinking
    if form == "json":
        text = output.as_json(export.document(_kept(store, numbers), thinking=thinking))
    else:
        write = {"markdown": export.as_markdown, "html": export.as_html, "text": export.as_text}
        text = "\n".join(
            write[form](store.conversation(number), thinking=thinking) for number in numbers
        )
    if path is None:
        sys.stdout.write(text)
    else:
        write_atomically(path, text)
        what = "conversation" if len(numbers) == 1 else "conversations"
        output.note(f"localr1: wrote {len(numbers)} {what} to {path}.")


def _form_of(path: Path | None) -> str:
    ending = path.suffix.removeprefix(".").lower() if path else "md"
    form = _ENDINGS.get(ending, ending)
    if form not in FORMATS:
        raise UsageError(
            f"It is not clear what to write to {path}.",
            "Its name does not end in .md, .html, .txt or .json.",
            "Add --format.",
        )
    return form


def _numbers(words: list[str], store: Store) -> list[int]:
    if words == ["all"]:
        every = [*store.summaries(_EVERYTHING), *store.summaries(_EVERYTHING, archived=True)]
        return [summary.id for summary in every]
    if not all(word.isdecimal() for word in words):
        raise UsageError(
            "Which conversation?",
            "Numbers are needed, or the word `all`.",
            "`localr1 history list` shows the numbers.",
        )
    return [int(word) for word in words]


def _import(arguments: argparse.Namespace, store: Store) -> None:
    from localr1.chat import foreign  # noqa: PLC0415 - as above

    for name in arguments.files:
        path = expanded(name)
        coming = [one for one in foreign.read(path) if one.messages]
        taken = [number for one in coming if (number := store.take(one)) is not None]
        known = len(coming) - len(taken)
        also = f"; {known} are here already" if known else ""
        output.note(f"localr1: took {len(taken)} conversations in from {path.name}{also}.")
