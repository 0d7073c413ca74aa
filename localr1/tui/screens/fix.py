"""Making the GPU count: what is wrong with the engine, and the build that mends it, made here."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, ProgressBar, Static

from localr1 import doctor
from localr1.errors import LocalR1Error
from localr1.fit import time_words
from localr1.install import mend
from localr1.install.installer import Progress
from localr1.install.types import Bench, Build
from localr1.machine.types import Machine
from localr1.printable import printable
from localr1.tui.command import Command, bindings
from localr1.tui.services import Services

_COMMANDS = (
    Command("fix.start", "enter", "start", "Mend it", "Make the build and try it.", shown=True),
    Command("fix.close", "escape", "close", "Close", "Go back; what runs is stopped.", shown=True),
)


class Fix(ModalScreen[bool]):
    """Shows the engine's troubles and mends them; gives back whether there is another engine now.

    Args:
        services: The layers below.
        machine: As it was examined.
        bench: What a build would be made on.
    """

    DEFAULT_CSS = """
    Fix { align: center middle; }
    Fix > Vertical {
        width: 90;
        max-width: 96%;
        height: auto;
        max-height: 90%;
        padding: 1 2;
        border: round $primary;
        background: $surface;
        overflow-y: auto;
    }
    Fix Static { height: auto; }
    Fix .command { margin: 1 0; color: $accent; }
    Fix .state { margin: 1 0 0 0; }
    Fix ProgressBar { display: none; width: 1fr; }
    Fix.-running ProgressBar { display: block; }
    """

    COMMANDS_SHOWN = _COMMANDS
    HELP_TITLE = "The engine"
    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, services: Services, machine: Machine, bench: Bench) -> None:
        super().__init__()
        self._services, self._machine, self._bench = services, machine, bench
        self._builds: tuple[Build, ...] = doctor.ways(machine, bench)
        self._mended = False

    def compose(self) -> ComposeResult:
        """What is wrong, the command, how far it is."""
        wrong = [one for one in doctor.engine(self._machine, self._bench) if one.status != "ok"]
        with Vertical() as box:
            box.border_title = "The engine"
            for finding in wrong:
                yield Static(Content.assemble((printable(finding.what), "bold")))
                yield Static(Content(printable(finding.why)))
                if not finding.command:
                    yield Static(Content(printable(finding.todo)))
            yield Static(Content(self._offer(bool(wrong))), classes="state")
            if self._builds:
                command = self._builds[0].command.text(self._bench.place.system)
                yield Static(Content(printable(command)), classes="command")
            yield ProgressBar(total=1.0, show_eta=False)
        yield Footer(show_command_palette=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Mending only where there is something to mend, and once."""
        if action == "start":
            return bool(self._builds) and not self.has_class("-running") and not self._mended
        return super().check_action(action, parameters)

    def action_start(self) -> None:
        """Make the build."""
        self._mend()

    def action_close(self) -> None:
        """Go back."""
        self.workers.cancel_node(self)
        self.dismiss(self._mended)

    def _offer(self, wrong: bool) -> str:
        if not wrong:
            return "Nothing is wrong: this is the engine for this computer."
        if not self._builds:
            return ""
        build = self._builds[0]
        first = f"First: {'; '.join(build.first)}. Then " if build.first else ""
        return (
            f"{first}Enter gets {build.about}, which takes {build.minutes}. It is made and tried"
            " beside the old one, which stays if it does not work. What runs:"
        )

    @work(exclusive=True, group="mend")
    async def _mend(self) -> None:
        self._show_running(True)
        try:
            mended = await self._services.mend(self._builds, self._machine, self._bench, self._show)
        except LocalR1Error as error:
            self._say(" ".join(part for part in (error.what, error.why, error.todo) if part))
        else:
            self._mended = True
            self._say(
                f"Done: {mended.build.about}. The demonstration model ran on {mended.offloaded}."
                " The next model that is loaded uses it."
            )
        finally:
            self._show_running(False)

    def _show_running(self, running: bool) -> None:
        self.set_class(running, "-running")
        self.refresh_bindings()

    def _show(self, event: mend.Event) -> None:
        match event:
            case mend.Stage():
                self._say(event.text.partition(" What runs")[0])
            case mend.Refused():
                self._say(f"{event.error.what} {event.error.why} Trying another way.")
            case Progress():
                self.query_one(ProgressBar).update(
                    total=None if event.share is None else 1.0, progress=event.share or 0.0
                )
                self._say(f"{event.stage} · {time_words.rough_duration(event.seconds)}")

    def _say(self, text: str) -> None:
        if self.is_attached:
            self.query_one(".state", Static).update(Content(printable(text)))
