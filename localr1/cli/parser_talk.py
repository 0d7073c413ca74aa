"""The grammar of the commands that let people and programs talk with a model."""

from __future__ import annotations

import argparse
from typing import Final

from localr1.cli.parser_library import AddCommand, profile
from localr1.server import defaults

LEND_PORT: Final = 50_052


def add(command: AddCommand, model: str) -> None:
    """Add them.

    Args:
        command: Adds one.
        model: What a user may write for a model.
    """
    chat = command(
        "chat",
        "open the app on a model",
        "Open the app's chat on a model; without one, on the model of the last conversation.",
        "  localr1 chat\n  localr1 chat 7b\n  localr1 chat ~/models/R1-Distill-Qwen-7B-Q4_K_M.gguf\n"
        "  localr1 chat --endpoint http://gpu-box:8000/v1",
    )
    chat.add_argument("model", metavar="MODEL[:VARIANT]", nargs="?", help=model)
    chat.add_argument(
        "--model", dest="named", metavar="NAME", help="the same; a server's name of it"
    )
    chat.add_argument(
        "--plain",
        action="store_true",
        help="line by line, without drawing: for screen readers, dumb terminals and pipes",
    )
    endpoint(chat)
    pool(chat)
    profile(chat.add_argument)

    serve = command(
        "serve",
        "let editors and scripts use a model (OpenAI-compatible API)",
        "Load a model and answer requests in the form of OpenAI's API: chat completions with\n"
        "thinking as `reasoning_content`, completions, models, /health, /metrics; the schema is\n"
        "at /openapi.json. Only this computer can reach it unless --host says otherwise; then\n"
        "every request needs the key that is made at the first such start.",
        "  localr1 serve\n"
        "  localr1 serve 7b --port 8080\n"
        "  localr1 serve --host 0.0.0.0\n"
        "  OPENAI_BASE_URL=http://127.0.0.1:8017/v1 OPENAI_API_KEY=none some-editor",
    )
    serve.add_argument(
        "model", metavar="MODEL[:VARIANT]", nargs="?", help=f"{model}; default: the one last used"
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: 127.0.0.1)",
    )
    serve.add_argument(
        "--port",
        type=_port,
        default=defaults.PORT,
        metavar="N",
        help=f"0 for any (default: {defaults.PORT})",
    )
    pool(serve)
    profile(serve.add_argument)
    serve.add_argument("--context", type=_positive, metavar="N", help="context window in tokens")
    serve.add_argument(
        "--parallel",
        type=_at_once,
        default=defaults.AT_ONCE,
        metavar="N",
        help="replies at once, each with a context window of its own, as far as memory has room"
        f" (default: {defaults.AT_ONCE})",
    )
    serve.add_argument(
        "--queue",
        type=_positive,
        default=defaults.MOST_WAITING,
        metavar="N",
        help="requests that may wait; more are told to come again"
        f" (default: {defaults.MOST_WAITING})",
    )
    serve.add_argument(
        "--longest-seconds",
        type=_positive,
        default=defaults.LONGEST_SECONDS,
        metavar="N",
        help=f"a longer reply is cut (default: {defaults.LONGEST_SECONDS})",
    )

    lend = command(
        "lend",
        "lend this computer's memory to a localr1 on another one",
        "Let a localr1 on another computer use this one's memory (llama.cpp's RPC). The connection\n"
        "has no protection of its own: without --host only an ssh tunnel reaches it, and public\n"
        "addresses are refused. Both computers need a llama.cpp with RPC, of the same release:\n"
        "localr1 doctor --fix rpc.",
        "  localr1 lend\n  localr1 lend --host 192.168.1.5",
    )
    lend.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="this computer's address in a private network (default: 127.0.0.1)",
    )
    lend.add_argument(
        "--port", type=_port, default=LEND_PORT, metavar="N", help=f"default: {LEND_PORT}"
    )


def whose_model(parser: argparse.ArgumentParser, model: str) -> None:
    """Add the options that name a model, here or on a server."""
    parser.add_argument(
        "--model", metavar="MODEL[:VARIANT]", help=f"{model}; default: the one last used"
    )
    endpoint(parser)
    pool(parser)
    profile(parser.add_argument)


def endpoint(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a model elsewhere is used."""
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="use a model of a server with OpenAI's API; what you write goes there. Its key is"
        " read from LOCALR1_API_KEY or the system's keyring",
    )


def pool(parser: argparse.ArgumentParser) -> None:
    """Add the option by which other computers' memory is used."""
    parser.add_argument(
        "--pool",
        metavar="HOST:PORT[,...]",
        help="use the memory of other computers as well, on which `localr1 lend` runs",
    )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 16:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


def _at_once(text: str) -> int:
    value = _positive(text)
    if value > defaults.MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"{value} is more than {defaults.MOST_AT_ONCE}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value
