"""A model that a command loaded; loaded again when a computer that held a part of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from localr1 import workflow
from localr1.chat.session import ChatSession
from localr1.chat.task import can_go_on
from localr1.chat.types import GoOn, ThinkAgain, Wish
from localr1.engine.client import Engine
from localr1.errors import EngineDied
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import LocalModel
from localr1.track_record import Watch


class Loaded:
    """One model in memory; use `Loaded.load`, and `close` it when done."""

    def __init__(
        self,
        home: workflow.Home,
        local: LocalModel,
        tell: Callable[[str], None],
        asked: Asked,
    ) -> None:
        self._home, self.local = home, local
        self._tell, self._asked = tell, asked
        self.engine: Engine
        self.watch: Watch
        """Records how replies compare with what was predicted."""

    @classmethod
    async def load(
        cls,
        home: workflow.Home,
        local: LocalModel,
        tell: Callable[[str], None],
        asked: Asked = NOTHING,
    ) -> Loaded:
        """Plan and load a model.

        Args:
            home: Where things are.
            local: The model.
            tell: Called with sentences about how it is loaded.
            asked: What the user wants of the plan.

        Raises:
            LocalR1Error: It cannot be loaded.
        """
        loaded = cls(home, local, tell, asked)
        await loaded._load()
        return loaded

    async def without_lost(self, session: ChatSession, error: EngineDied) -> Wish:
        """Load it again without the computers that are lost.

        Args:
            session: The conversation, which gets the new engine.
            error: What ended the old one.

        Returns:
            What has to be wished so that the reply goes on.

        Raises:
            EngineDied: The error, where nobody is lost.
            LocalR1Error: It cannot be loaded without them.
        """
        self._home, words = await workflow.without_lost(self._home)
        if not words:
            raise error
        self._tell(words)
        await self.engine.close()
        await self._load()
        session.replace_engine(self.engine)
        last = session.messages[-1]
        return GoOn() if can_go_on(last) else ThinkAgain(last.id)

    async def close(self) -> None:
        """Free the memory."""
        await self.engine.close()

    async def _load(self) -> None:
        home = self._home
        machine = await workflow.examine(home)
        plan = workflow.plan_for(home, machine, self.local, self._asked)
        self.engine = await workflow.start_engine(home, self.local, plan, on_step=self._tell)
        self.watch = workflow.watch(home, replace(plan, settings=self.engine.settings), machine)
