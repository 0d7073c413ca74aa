"""The grammar of `history`."""

from __future__ import annotations

import argparse

from localr1.cli.parser_library import AddCommand

FORMATS = ("markdown", "html", "text", "json")


def add(command: AddCommand) -> None:
    """Add the command.

    Args:
        command: Adds one.
    """
    history = command(
        "history",
        "conversations without the app",
        "List, search, show, export, import or delete conversations.",
        "  localr1 history list\n"
        "  localr1 history search prime\n"
        "  localr1 history show 3 --thinking\n"
        "  localr1 history export 3 --format html --output proof.html\n"
        "  localr1 history export all --format json > conversations.json\n"
        "  localr1 history import conversations.json",
    )
    actions = history.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=summary.capitalize() + ".")

    listed = action("list", "list conversations, newest first")
    listed.add_argument("--archived", action="store_true", help="those that were put away")
    listed.add_argument("--tag", metavar="TAG", default="", help="only those with this tag")
    _json(listed)

    search = action("search", "search questions, answers and thinking")
    search.add_argument("words", nargs="+", metavar="WORDS", help="all of them must occur")
    _json(search)

    show = action("show", "print one conversation")
    show.add_argument("id", type=int, metavar="ID", help="its number, from `history list`")
    show.add_argument("--thinking", action="store_true", help="print the thinking too")
    _json(show)

    export = action("export", "write conversations to a file")
    export.add_argument("ids", nargs="+", metavar="ID", help="their numbers, or `all`")
    export.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by the name of --output, else markdown; json can be imported again",
    )
    export.add_argument("--output", metavar="FILE", help="default: standard output")
    export.add_argument("--no-thinking", action="store_true", help="leave the thinking out")

    take = action("import", "take conversations in from other programs")
    take.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="localr1's own JSON, LM Studio's, Ollama's or OpenAI's (conversations.json or .zip)",
    )

    delete = action("delete", "delete conversations for good")
    delete.add_argument("ids", nargs="+", type=int, metavar="ID", help="their numbers")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
