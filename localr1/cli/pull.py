"""`localr1 pull`: downloads, one after the other, with their progress."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Final, TypeVar

from localr1 import workflow
from localr1.amount import parse_rate
from localr1.cli import chosen, opening, output
from localr1.config import network_allowed
from localr1.errors import (
    Interrupted,
    LocalR1Error,
    NothingFits,
    OfflineError,
    UnknownModel,
    UsageError,
)
from localr1.fit import advisor
from localr1.fit.explain import duration
from localr1.models.downloads import follow
from localr1.models.place import size_text
from localr1.models.queue import Queue
from localr1.models.types import LocalModel, Model, Variant
from localr1.printable import printable

if TYPE_CHECKING:
    from localr1.models.download import DownloadEvent
    from localr1.models.limit import SpeedLimit

_LINE_SECONDS: Final = 5.0
_T = TypeVar("_T")


def run(arguments: argparse.Namespace) -> int:
    """Download variants, or go on with what waits in the queue."""
    home = opening.home(arguments)
    queue = workflow.queue_file(home)
    waiting = queue.read()
    limit = parse_rate(arguments.limit) if arguments.limit else None
    code = 0
    if arguments.model:
        wanted = _named(home, arguments.model)
    else:
        wanted, code = _waiting(home, waiting)
    items = [workflow.queue_item(model, variant) for model, variant in wanted]
    names = {item.name for item in items}
    # What rests in the queue takes no room until somebody lets it go on.
    others = [item for item in waiting.items if item.ready and item.name not in names]
    if items and len(items) + len(others) > 1:
        workflow.check_queue_room(home, (*items, *others))
    if network_allowed(home.offline):
        queue.change(lambda now: reduce(Queue.add, items, now))
    try:
        return _pull_all(home, wanted, limit) or code
    except Interrupted:
        queue.change(lambda now: reduce(Queue.pause, [item.name for item in items], now))
        raise


def _pull_all(
    home: workflow.Home, wanted: Sequence[tuple[Model, Variant]], limit: int | None
) -> int:
    """One after the other; what does not come stays in the queue, with the reason."""
    queue = workflow.queue_file(home)
    code = 0
    for number, (model, variant) in enumerate(wanted, 1):
        name = workflow.queue_item(model, variant).name
        which = f"{number} of {len(wanted)}: " if len(wanted) > 1 else ""
        try:
            local = _pull(home, model, variant, limit, which)
        except Interrupted:
            raise
        except LocalR1Error as error:
            # Offline is for this run only: the next one may be allowed to go on.
            if not isinstance(error, OfflineError):
                queue.change(partial(Queue.stop, name=name, problem=str(error)))
            if len(wanted) == 1:
                raise
            # The others may still come.
            output.print_error(error)
            code = code or error.exit_code
        else:
            queue.change(partial(Queue.remove, name=name))
            _say(local)
    return code


def _named(home: workflow.Home, names: Sequence[str]) -> list[tuple[Model, Variant]]:
    """What is to be downloaded of what the user named; what is here already is said.

    Raises:
        UnknownModel: A name means nothing, or several things.
        NothingFits: No variant was named, and none fits.
        UsageError: There is nothing to download.
    """
    wanted = {}
    for choice in [home.catalogue.resolve(name) for name in names]:
        local = home.library.find(choice)
        if local is not None:
            _say(local)
            continue
        if choice.variant is None and not choice.model.variants:
            raise UsageError(
                f"{choice.model.id} has nothing to download.", "", "See `localr1 models --all`."
            )
        variant = choice.variant or asyncio.run(_suitable(home, choice.model))
        wanted[choice.model.id, variant.quantization] = choice.model, variant
    return list(wanted.values())


def _waiting(home: workflow.Home, queue: Queue) -> tuple[list[tuple[Model, Variant]], int]:
    """What the queue has, paused or not, and what else was stopped half-way.

    What is in no list of models any more is told, with what can be done.

    Returns:
        The variants, and the exit code for what the queue has in vain.

    Raises:
        UsageError: There is nothing.
    """
    wanted, code = {}, 0
    for item in queue.items:
        try:
            wanted[item.name] = workflow.queued_variant(home, item)
        except UnknownModel:
            error = UnknownModel(
                f"{item.name} waits, but is in no list of models any more.",
                "",
                "In the app, F3 and then x take it out.",
            )
            output.print_error(error)
            code = error.exit_code
    for stopped in home.library.partials():
        listed = workflow.listed_variant(home, stopped)
        if listed is None:
            output.note(f"localr1: {stopped.name} was stopped and is in no list of models.")
            for line in chosen.unlisted(home, stopped):
                sys.stderr.write(f"{printable(line)}\n")
        else:
            wanted.setdefault(workflow.queue_item(*listed).name, listed)
    if not wanted:
        raise UsageError(
            "No download waits.", "", "Name a model: `localr1 pull 7b`, or see `localr1 models`."
        )
    return list(wanted.values()), code


def _say(local: LocalModel) -> None:
    output.say(f"{local.model.name} {local.variant.quantization} is here: {local.path}")
    if local.doubt:
        output.note(f"localr1: {local.doubt}")


def with_progress(
    home: workflow.Home,
    size_bytes: int,
    fetch: Callable[[Callable[[DownloadEvent], None], SpeedLimit], Awaitable[_T]],
    limit_bytes_per_second: int | None = None,
) -> _T:
    """Run a download and show how far it is, as a bar or, in a log, as lines.

    Args:
        home: Where things are.
        size_bytes: Expected.
        fetch: Called with the function that shows an event, and the speed to keep to.
        limit_bytes_per_second: 0 for none; None for that of the queue, also if it changes.

    Raises:
        Interrupted: The user stopped it.
    """
    queue = workflow.queue_file(home)

    async def run() -> _T:
        asked = limit_bytes_per_second
        limit = workflow.speed_limit(
            home, queue.read().limit_bytes_per_second if asked is None else asked
        )
        following = asyncio.create_task(follow(queue, limit)) if asked is None else None
        try:
            if sys.stderr.isatty():
                from localr1.cli.progress import DownloadBar  # noqa: PLC0415 - only on a terminal

                with DownloadBar(size_bytes) as bar:
                    return await fetch(bar.show, limit)
            return await fetch(_lines(), limit)
        finally:
            if following is not None:
                following.cancel()

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped.", "", "What has come is kept; the same command goes on with it."
        ) from None


async def _suitable(home: workflow.Home, model: Model) -> Variant:
    """The variant of a model that suits this computer best.

    Raises:
        NothingFits: None does.
    """
    machine = await workflow.examine(home)
    advice = advisor.advise(
        machine, (model,), home.preferences.goal, quantization_loss=home.catalogue.quantization_loss
    )
    if advice.best is None:
        nearest = advice.plans[0]
        raise NothingFits(
            f"No variant of {model.name} fits {_which(home)} computer.",
            nearest.reasons[0],
            f"See `localr1 advise`, or name one to download it all the same: localr1 pull {model.id}:{nearest.variant.quantization}",
        )
    output.note(f"localr1: {advice.best.variant.quantization} suits {_which(home)} computer best.")
    return advice.best.variant


def _which(home: workflow.Home) -> str:
    return "this" if home.profile is None else "the profile's"


def _pull(
    home: workflow.Home, model: Model, variant: Variant, limit: int | None, which: str
) -> LocalModel:
    output.note(
        f"localr1: {which}{model.name} {variant.quantization}, {size_text(variant.size_bytes)},"
        f" from {variant.repository}"
    )
    # Somebody who watches can make room; a script would wait for ever.
    watched = sys.stderr.isatty()
    return with_progress(
        home,
        variant.size_bytes,
        lambda show, speed: workflow.fetch(
            home, model, variant, show, limit=speed, wait_for_room=watched
        ),
        limit,
    )


def _lines() -> Callable[[DownloadEvent], None]:
    """Progress as a line every few seconds, for logs."""
    from localr1.models import download  # noqa: PLC0415 - heavy, and only for a download

    said_at = time.monotonic()

    def show(event: DownloadEvent) -> None:
        nonlocal said_at
        match event:
            case download.DownloadPaused():
                output.note(f"localr1: paused: {event.error}")
            case download.DownloadNotice() | download.DownloadRemark():
                output.note(f"localr1: {event.text}")
            case download.DownloadProgress() if time.monotonic() - said_at >= _LINE_SECONDS:
                said_at = time.monotonic()
                left = f", {duration(event.seconds_left)} left" if event.seconds_left else ""
                output.note(
                    f"localr1: {size_text(event.done_bytes)} of {size_text(event.total_bytes)},"
                    f" {size_text(int(event.bytes_per_second))}/s{left}"
                )
            case _:
                pass

    return show
