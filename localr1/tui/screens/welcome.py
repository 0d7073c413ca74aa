"""The machine and what fits it: where a first run begins, and where a model is chosen."""

from __future__ import annotations

from typing import ClassVar, get_args

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from localr1.config import Goal
from localr1.errors import LocalR1Error
from localr1.fit.types import Advice, Plan
from localr1.models.types import Choice, LocalModel
from localr1.printable import printable
from localr1.tui.advice_row import AdviceRow, advice_rows, first_choice
from localr1.tui.command import WELCOME, bindings
from localr1.tui.runner import Runner
from localr1.tui.screens.confirm import Confirm
from localr1.tui.screens.download import Download
from localr1.tui.services import Services
from localr1.tui.widgets.advice_detail import AdviceDetail, detail_content
from localr1.tui.widgets.advice_list import AdviceList
from localr1.tui.widgets.machine_panel import MachinePanel
from localr1.tui.widgets.note import Note

_GOALS: tuple[Goal, ...] = get_args(Goal)
_GOAL_WORDS: dict[Goal, str] = {
    "best": "best quality first",
    "balanced": "balanced",
    "fast": "fast answers first",
}
_TAGLINE = "a private DeepSeek R1 machine"


class Welcome(Screen[LocalModel | None]):
    """Shows the machine and ranked advice; gives back the model to chat with.

    Args:
        services: The layers below.
        runner: Remembers the machine as last examined.
        wanted: A model that the user named, to begin at.
        can_go_back: Whether there is a chat to return to.
    """

    DEFAULT_CSS = """
    Welcome { background: $background; }
    Welcome > #title { height: 1; padding: 0 3; margin: 0 0 0 0; text-wrap: nowrap; }
    Welcome > #offer { height: auto; padding: 0 3; color: $accent; display: none; }
    Welcome > #ranking { height: 1; margin: 1 0 0 0; padding: 0 3; text-wrap: nowrap; }
    Welcome.-short > #ranking, Welcome.-tiny > #ranking { margin: 0; }
    Welcome.-tiny > MachinePanel { display: none; }
    Welcome.-tiny > AdviceDetail { max-height: 5; min-height: 3; }
    Welcome Note { margin: 1 1 0 1; }
    """

    VERTICAL_BREAKPOINTS = [  # noqa: RUF012  # Textual declares it as an instance's
        (0, "-tiny"),
        (20, "-short"),
        (30, "-tall"),
    ]
    COMMANDS_SHOWN = WELCOME
    HELP_TITLE = "Machine and models"
    BINDINGS: ClassVar[list[BindingType]] = bindings(WELCOME)

    def __init__(
        self,
        services: Services,
        runner: Runner,
        wanted: Choice | None = None,
        *,
        can_go_back: bool = False,
    ) -> None:
        super().__init__()
        self._services = services
        self._runner = runner
        self._wanted = wanted
        self._can_go_back = can_go_back
        self._goal: Goal = services.home.preferences.goal
        self._all = wanted is not None and wanted.variant is not None
        self._advice: Advice | None = None
        self._local: list[tuple[LocalModel, Plan]] = []
        self._connected = services.online

    def compose(self) -> ComposeResult:
        """Machine above, advice below, the chosen row's reasons at the end."""
        yield Static(
            Content.assemble(("localr1", "bold $primary"), (f"  {_TAGLINE}", "dim")), id="title"
        )
        yield MachinePanel()
        yield Static("", id="offer", markup=False)
        yield Static(self._ranking(), id="ranking", markup=False)
        yield AdviceList()
        yield AdviceDetail()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Paint first, then look."""
        self.query_one(MachinePanel).show(self._runner.machine)
        self.query_one(AdviceDetail).update(
            "Looking at this machine and working out which R1 fits it…"
        )
        self.query_one(AdviceList).focus()
        self.look_for_connection()
        self.examine()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Back only where there is something to go back to."""
        if action == "back":
            return self._can_go_back
        return super().check_action(action, parameters)

    def action_examine(self) -> None:
        """Look again."""
        self.look_for_connection()
        self.examine()

    def action_toggle_all(self) -> None:
        """Every variant, or the best of each model."""
        self._all = not self._all
        self._show()

    def action_next_goal(self) -> None:
        """Rank by the next goal."""
        self._goal = _GOALS[(_GOALS.index(self._goal) + 1) % len(_GOALS)]
        self.query_one("#ranking", Static).update(self._ranking())
        self.rank()

    def action_back(self) -> None:
        """Return to the chat, nothing chosen."""
        self.dismiss(None)

    async def action_leave(self) -> None:
        """Leave the app."""
        await self.run_action("app.quit")

    @work(exclusive=True, group="connection")
    async def look_for_connection(self) -> None:
        """Without a connection the demo is what can be had: say so, and begin there."""
        connected = await self._services.connected()
        if connected != self._connected:
            self._connected = connected
            self._show(first=True)

    @work(exclusive=True, group="examine")
    async def examine(self) -> None:
        """Examine the machine, then rank."""
        try:
            machine = await self._runner.examine()
            if not self.is_attached:
                return
            self.query_one(MachinePanel).show(machine)
            self._local = [
                (local, await self._services.plan_for(machine, local))
                for local in await self._services.local_models()
            ]
            self._advice = await self._services.advise(machine, self._goal)
        except LocalR1Error as error:
            await self._fail(error)
        else:
            self._show(first=True)

    @work(exclusive=True, group="examine")
    async def rank(self) -> None:
        """Rank again for another goal."""
        machine = self._runner.machine
        if machine is None:
            return
        try:
            self._advice = await self._services.advise(machine, self._goal)
        except LocalR1Error as error:
            await self._fail(error)
        else:
            self._show(first=True)

    def _show(self, *, first: bool = False) -> None:
        machine = self._runner.machine
        if self._advice is None or machine is None:
            return
        online = self._connected
        rows = advice_rows(self._advice, self._local, all_variants=self._all)
        at = (self._row_wanted(rows) or first_choice(rows, online=online)) if first else None
        self.query_one("#ranking", Static).update(self._ranking())
        self.query_one(AdviceList).show(rows, machine, at)
        self._offer(rows)

    def _row_wanted(self, rows: tuple[AdviceRow, ...]) -> AdviceRow | None:
        if self._wanted is None:
            return None
        variant = self._wanted.variant
        same = [row for row in rows if row.model.id == self._wanted.model.id]
        exact = [r for r in same if variant and r.variant.quantization == variant.quantization]
        return next(iter(exact or same), None)

    def _offer(self, rows: tuple[AdviceRow, ...]) -> None:
        """Say what can be done where nothing can be downloaded or nothing fits."""
        real = [row for row in rows if not row.model.demo]
        here = any(row.local is not None for row in real)
        text = ""
        if not self._connected and not here:
            state = "No connection" if self._services.online else "Offline"
            text = (
                f"{state}, and no R1 is on this disk. The demonstration is: it only adds, "
                "subtracts and compares numbers."
            )
        elif real and not any(row.plan.fits for row in real):
            text = "No R1 fits this machine as it is; the reasons below say what would help."
        offer = self.query_one("#offer", Static)
        offer.update(text)
        offer.display = bool(text)

    def on_advice_list_highlighted(self, event: AdviceList.Highlighted) -> None:
        """Explain the row."""
        machine = self._runner.machine
        if machine is not None:
            self.query_one(AdviceDetail).update(
                detail_content(
                    event.row, machine, hub=self._services.hub, online=self._services.online
                )
            )

    def on_advice_list_chosen(self, event: AdviceList.Chosen) -> None:
        """Load it, or download it first."""
        self._take(event.row)

    @work(exclusive=True, group="take")
    async def _take(self, row: AdviceRow) -> None:
        if not row.plan.fits and not await self.app.push_screen_wait(
            Confirm(
                "This does not fit by our estimate. Go on anyway?",
                printable(row.plan.reasons[0]) if row.plan.reasons else "",
                "Go on",
            )
        ):
            return
        if row.local is not None:
            self.dismiss(row.local)
            return
        if not self._services.online:
            self.notify(
                "Offline: this model is not on this disk. Choose one that is marked “here”.",
                severity="warning",
                markup=False,
            )
            return
        local = await self.app.push_screen_wait(Download(self._services, row.model, row.variant))
        if local is not None:
            self.dismiss(local)

    async def _fail(self, error: LocalR1Error) -> None:
        await self.query(Note).remove()
        await self.mount(Note.of(error), after="#machine")

    def _ranking(self) -> Content:
        what = "every variant" if self._all else "the best variant of each model"
        return Content.assemble(
            ("Which R1 fits", "bold"), (f"  {_GOAL_WORDS[self._goal]} · {what}", "dim")
        )
