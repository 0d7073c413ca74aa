"""What the chat screen talks with: the model, the conversation, and what waits to be sent."""

from __future__ import annotations

from collections.abc import Callable

from localr1.chat.session import ChatSession
from localr1.chat.types import Conversation, Message
from localr1.models.types import LocalModel
from localr1.tui.runner import Runner
from localr1.tui.services import Services


class Talk:
    """A conversation that outlives engines: it is there before one is loaded and after one died.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with.
    """

    def __init__(self, services: Services, runner: Runner, local: LocalModel) -> None:
        self._services = services
        self._runner = runner
        self.local = local
        self.session: ChatSession | None = None
        self._conversation: Conversation | None = None

    @property
    def ready(self) -> bool:
        """Whether a question would be answered now."""
        running = self._runner.running
        return (
            self.session is not None
            and running is not None
            and running.local == self.local
            and running.engine.alive
        )

    @property
    def busy(self) -> bool:
        """Whether a reply is being written."""
        return self.session is not None and self.session.busy

    @property
    def conversation_id(self) -> int | None:
        """The conversation's number; None until the first message is sent."""
        if self.session is not None:
            return self.session.conversation_id
        return self._conversation.id if self._conversation else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far."""
        if self.session is not None:
            return self.session.messages
        return self._conversation.messages if self._conversation else ()

    async def load(self, on_progress: Callable[[float], None]) -> None:
        """Have the model loaded and go on with the conversation.

        Args:
            on_progress: Called with the share loaded, 0 to 1.

        Raises:
            LocalR1Error: The model cannot be loaded, or the conversation not be read.
        """
        running = await self._runner.start(self.local, on_progress)
        if self.session is not None:
            self.session.replace_engine(running.engine)
        else:
            self.session = await self._services.session(
                running.engine, running.local, self._conversation
            )

    async def remember(self) -> None:
        """Use this model at the next start.

        Raises:
            FileError: That cannot be written.
        """
        await self._services.remember(self.local)

    async def use(self, local: LocalModel) -> None:
        """Go on with another model; it is not loaded before `load`.

        Raises:
            StoreError: The conversation cannot be read.
        """
        if local != self.local:
            await self._let_go()
            self.local = local

    async def open(self, conversation_id: int) -> None:
        """Go on with an earlier conversation.

        Raises:
            StoreError: It cannot be read.
        """
        await self._begin(await self._services.conversation(conversation_id))

    async def new(self) -> None:
        """Begin a new conversation."""
        await self._begin(None)

    async def _begin(self, conversation: Conversation | None) -> None:
        self._conversation, self.session = conversation, None
        running = self._runner.running
        if running is not None and running.local == self.local and running.engine.alive:
            self.session = await self._services.session(running.engine, running.local, conversation)

    async def _let_go(self) -> None:
        """Keep the conversation, drop the session that is tied to a model."""
        number = self.conversation_id
        self._conversation = (
            await self._services.conversation(number) if number is not None else None
        )
        self.session = None
