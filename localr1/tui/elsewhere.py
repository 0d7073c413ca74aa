"""The layers below for a model on a server: nothing is loaded, measured or remembered for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from localr1.chat.session import ChatSession
from localr1.chat.types import Conversation, ReplyStats
from localr1.fit.types import NOTHING, Asked, Plan
from localr1.machine.types import Machine
from localr1.models.types import LocalModel
from localr1.remote.client import RemoteEngine, Served
from localr1.remote.conversation import Messages
from localr1.remote.model import RemoteModel, plan, remote_model
from localr1.track_record import Watch
from localr1.tui.services import Services

if TYPE_CHECKING:
    from localr1.engine.client import Engine
    from localr1.workflow import Home


class RemoteServices(Services):
    """As `Services`, beginning with a server's model; models on this computer work as ever.

    Args:
        home: Where things are and what the user asked for.
        served: The model.
        key: Of the server; empty for none.
    """

    def __init__(self, home: Home, served: Served, key: str) -> None:
        super().__init__(home)
        self._served = served
        self._key = key
        self._model = remote_model(served, home.catalogue.models)

    async def last_used(self) -> LocalModel | None:
        """The server's model: the user named it."""
        return self._model

    async def plan_for(self, machine: Machine, local: LocalModel, asked: Asked = NOTHING) -> Plan:
        """As in `Services`."""
        if isinstance(local, RemoteModel):
            return plan(local, self._served.context_window)
        return await super().plan_for(machine, local, asked)

    async def start_engine(
        self,
        local: LocalModel,
        plan: Plan,
        on_progress: Callable[[float], None],
        on_step: Callable[[str], None],
    ) -> Engine:
        """As in `Services`."""
        if isinstance(local, RemoteModel):
            thinks = local.model.force_think
            return RemoteEngine(self._served, self._key, open_thinking=thinks)
        return await super().start_engine(local, plan, on_progress, on_step)

    async def session(
        self, engine: Engine, local: LocalModel, conversation: Conversation | None
    ) -> ChatSession:
        """As in `Services`."""
        if isinstance(local, RemoteModel):
            return ChatSession(
                engine,
                await self.store(),
                local.model,
                conversation=conversation,
                look_ahead=False,
                form=Messages(),
            )
        return await super().session(engine, local, conversation)

    async def remember(self, local: LocalModel) -> None:
        """As in `Services`."""
        if not isinstance(local, RemoteModel):
            await super().remember(local)

    async def note_speed(
        self, local: LocalModel, stats: ReplyStats, watch: Watch | None = None
    ) -> None:
        """As in `Services`."""
        if not isinstance(local, RemoteModel):
            await super().note_speed(local, stats, watch)
