"""`localr1 serve`: the model as an OpenAI-compatible API."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from localr1 import workflow
from localr1.cli import opening, output
from localr1.cli.ask import choose
from localr1.fit.types import Asked
from localr1.models.types import LocalModel
from localr1.server import defaults

if TYPE_CHECKING:
    from localr1.engine.client import Engine
    from localr1.server.listening import Door


def run(arguments: argparse.Namespace) -> int:
    """Load the model and answer until Ctrl+C."""
    try:
        from localr1.server import access, listening  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise defaults.not_installed(error) from error
    home = opening.home(arguments)
    local = choose(home, arguments.model)
    place = listening.door(arguments.host, arguments.port)
    with place.listener:
        key = "" if place.loopback else access.key_at(home.directories.data)
        asyncio.run(_serve(home, local, place, key, arguments))
    return 0


async def _serve(
    home: workflow.Home, local: LocalModel, place: Door, key: str, arguments: argparse.Namespace
) -> None:
    from localr1.server import access, listening  # noqa: PLC0415 - as in `run`
    from localr1.server.desk import Desk  # noqa: PLC0415

    loads = 0

    async def start() -> Engine:
        nonlocal home, loads
        if loads:
            home, words = await workflow.without_lost(home)
            if words:
                output.note(f"localr1: {words}")
        loads += 1
        machine = await workflow.examine(home)
        plan = workflow.plan_for(
            home, machine, local, Asked(arguments.context), most_at_once=arguments.parallel
        )
        return await workflow.start_engine(
            home, local, plan, on_step=lambda words: output.note(f"localr1: {words}")
        )

    desk = Desk(local, start, most_waiting=arguments.queue, most_seconds=arguments.longest_seconds)
    try:
        engine = await desk.open()
        output.print_lines(
            [
                f"{local.model.name} is served at {place.address}",
                f"  model    {local.model.id}, {engine.context_window:,} tokens",
                _at_once_line(engine.settings.sequences, arguments.parallel),
                _key_line(place, home.directories.data / access.KEY_NAME),
                "  stop     Ctrl+C",
            ]
        )
        sys.stdout.flush()
        await listening.serve(place, desk, listening.rules(place, key))
    finally:
        closing = asyncio.create_task(desk.close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing  # Ctrl+C: the worker still has to end in peace
            raise


def _at_once_line(sequences: int, asked: int) -> str:
    several = f"{sequences} replies" if sequences > 1 else "one reply"
    why = "" if sequences == asked else "; memory has no room for more"
    return f"  at once  {several}, others wait{why}"


def _key_line(place: Door, path: object) -> str:
    if place.loopback:
        return "  key      none: only this computer can reach it"
    return f"  key      in {path}; what is sent is not encrypted"
