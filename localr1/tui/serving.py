"""The model that is loaded, for other programs of this computer as well, as long as the app runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from localr1.errors import EngineError, FileError, UsageError
from localr1.models.types import LocalModel
from localr1.remote.model import RemoteModel
from localr1.server import defaults
from localr1.tui.runner import Runner
from localr1.tui.services import Services

if TYPE_CHECKING:
    from localr1.engine.client import Engine
    from localr1.server.desk import Desk
    from localr1.server.listening import Beside, Door

_HOST = "127.0.0.1"


class Serving:
    """A server over the engine that the app runs, by turns with the chat.

    Args:
        services: The layers below.
        runner: Holds the engine.
    """

    def __init__(self, services: Services, runner: Runner) -> None:
        self._services, self._runner = services, runner
        self._server: Beside | None = None
        self._desk: Desk | None = None
        self._task: asyncio.Task[None] | None = None
        self.local: LocalModel | None = None
        """The model that is served; None while none is."""
        self.address = ""
        self.port = 0
        self.key = ""
        """Which requests have to carry."""
        self.on_change: Callable[[], object] = lambda: None
        """Called when serving begins or ends."""

    @property
    def running(self) -> bool:
        """Whether the server answers."""
        return self._task is not None

    @property
    def busy(self) -> bool:
        """Whether a reply for somebody else is being written or waits for its turn."""
        return self._desk is not None and self._desk.line.served > 0

    @property
    def offered(self) -> LocalModel | None:
        """What could be served: the model that is loaded here."""
        running = self._runner.running
        if running is None or not running.engine.alive or isinstance(running.local, RemoteModel):
            return None
        return running.local

    async def begin(self) -> None:
        """Answer requests from now on.

        Raises:
            UsageError: No model is loaded here, or the server's parts are not installed.
            FileError: The key cannot be kept, or there is no port to listen at.
        """
        local = self.offered
        if local is None:
            raise UsageError("No model is loaded on this computer.", "", "Load one first.")
        try:
            from localr1.server import access, listening  # noqa: PLC0415 - an extra
            from localr1.server.desk import Desk  # noqa: PLC0415 - as above
        except ModuleNotFoundError as error:
            raise defaults.not_installed(error) from error
        folder = self._services.home.directories.data
        self.key = await asyncio.to_thread(access.key_at, folder)
        place = _door(listening.door)
        self._desk = Desk(
            local,
            self._guest,
            most_waiting=defaults.MOST_WAITING,
            most_seconds=defaults.LONGEST_SECONDS,
        )
        self._server = listening.Beside(place, self._desk, self.key)
        self.local, self.address, self.port = local, place.address, place.port
        self._task = asyncio.create_task(self._server.run())
        self._task.add_done_callback(self._ended)
        self.on_change()

    async def end(self) -> None:
        """Answer no more; replies for others end, the engine goes on."""
        if self._server is not None and self._task is not None:
            self._server.end()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = self._server = self._desk = self.local = None
        self.on_change()
        if not task.cancelled():
            task.result()

    async def _guest(self) -> Engine:
        from localr1.engine.guest import Guest  # noqa: PLC0415 - not before somebody asks

        running = self._runner.running
        if running is None or running.local != self.local or not running.engine.alive:
            raise EngineError(
                "The app has this model no longer loaded.", "", "Load it there again."
            )
        return Guest(running.engine)


def _door(open_door: Callable[[str, int], Door]) -> Door:
    """The usual port, so that programs find it again; any other where that is taken."""
    try:
        return open_door(_HOST, defaults.PORT)
    except FileError:
        return open_door(_HOST, 0)
