"""The message that was sent before the model is there."""

from __future__ import annotations

from localr1.tui.widgets.composer import Composer
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.transcript import Transcript


class Waiting:
    """Holds at most one message until it can be sent, in sight of the user.

    Args:
        transcript: Shows it meanwhile.
        composer: Gets it back when it is not sent.
    """

    def __init__(self, transcript: Transcript, composer: Composer) -> None:
        self._transcript = transcript
        self._composer = composer
        self._question: Question | None = None
        self._text = ""

    def __bool__(self) -> bool:
        return self._question is not None

    async def hold(self, text: str) -> None:
        """Let a message wait."""
        self._text, self._question = text, Question(text, waiting=True)
        await self._transcript.add(self._question, follow=True)
        self._transcript.screen.refresh_bindings()

    async def take(self) -> str:
        """The message, which waits no longer; empty when there is none."""
        question, self._question = self._question, None
        text, self._text = self._text, ""
        if question is not None:
            await question.remove()
            self._transcript.screen.refresh_bindings()
        return text

    async def give_back(self) -> None:
        """Return the message to the prompt; nothing typed is lost."""
        if text := await self.take():
            typed = self._composer.whole
            self._composer.load(f"{text}\n{typed}" if typed else text)
