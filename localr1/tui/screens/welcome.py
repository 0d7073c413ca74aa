"""The machine and what fits it: where a first run begins, and where a model is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from localr1.errors import LocalR1Error
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import Choice, LocalModel
from localr1.printable import printable
from localr1.tui.advice_command import WELCOME
from localr1.tui.advice_row import AdviceRow, advice_rows, first_choice, wanted_row
from localr1.tui.advice_words import HINTS, LOOKING, NOT_HERE, NOT_ON_DISK, offer, ranking_line
from localr1.tui.command import bindings
from localr1.tui.idle import idle_words
from localr1.tui.plan_words import View, full_r1_words
from localr1.tui.ranking import QUIET_SECONDS, Ranked, Ranker
from localr1.tui.runner import Runner
from localr1.tui.scenario import LABELS, Scenario, moved, typed
from localr1.tui.screens.confirm import Confirm
from localr1.tui.screens.download import Download
from localr1.tui.screens.plan_detail import PlanDetail
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.services import Services
from localr1.tui.widgets.advice_detail import AdviceDetail
from localr1.tui.widgets.advice_list import AdviceList
from localr1.tui.widgets.machine_panel import MachinePanel
from localr1.tui.widgets.note import Note
from localr1.tui.widgets.what_if import WhatIf

_TAGLINE = "a private DeepSeek R1 machine"


@dataclass(frozen=True)
class Taken:
    """What the user chose to chat with."""

    local: LocalModel
    asked: Asked
    """How it is to be run, where the user cares."""


class Welcome(Screen[Taken | None]):
    """Shows the machine and ranked advice; gives back the model to chat with.

    Args:
        services: The layers below.
        runner: Remembers the machine as last examined.
        wanted: A model that the user named, to begin at.
        asked: How the chat's model is run, where the user chose that here before.
        can_go_back: Whether there is a chat to return to.
    """

    DEFAULT_CSS = """
    Welcome { background: $background; }
    Welcome > #title { height: 1; padding: 0 3; margin: 0 0 0 0; text-wrap: nowrap; }
    Welcome > #idle { height: auto; padding: 0 3; color: $warning; display: none; }
    Welcome > #offer { height: auto; padding: 0 3; color: $accent; display: none; }
    Welcome > #ranking { height: 1; margin: 1 0 0 0; padding: 0 3; text-wrap: nowrap; }
    Welcome > #full { height: auto; margin: 0 1; padding: 0 2; display: none; color: $text-muted; }
    Welcome > #top { height: auto; }
    Welcome #machine { width: 1fr; }
    Welcome #what-if { width: 1fr; display: none; }
    Welcome.-wide #what-if { width: 48; display: block; margin: 0 1 0 0; }
    Welcome.-open #what-if { display: block; }
    Welcome.-open #machine { display: none; }
    Welcome.-wide #machine { display: block; }
    Welcome.-short > #ranking, Welcome.-tiny > #ranking { margin: 0; }
    Welcome.-tiny #machine { display: none; }
    Welcome.-tiny > AdviceDetail { max-height: 5; min-height: 3; }
    Welcome.-tiny.-open > AdviceDetail { display: none; }
    Welcome.-tall > #full { display: block; }
    Welcome Note { margin: 1 1 0 1; }
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  # as below
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012  # Textual declares it as an instance's
        (0, "-tiny"),
        (20, "-short"),
        (30, "-tall"),
    ]
    AUTO_FOCUS = "AdviceList OptionList"
    COMMANDS_SHOWN = WELCOME
    HELP_TITLE = "Machine and models"
    BINDINGS: ClassVar[list[BindingType]] = bindings(WELCOME)

    def __init__(
        self,
        services: Services,
        runner: Runner,
        wanted: Choice | None = None,
        asked: Asked = NOTHING,
        *,
        can_go_back: bool = False,
    ) -> None:
        super().__init__()
        preferences = services.home.preferences
        self._services = services
        self._runner = runner
        self._wanted = wanted
        self._can_go_back = can_go_back
        self._scenario = Scenario(preferences.goal, asked.context_window, asked.kv_cache_type)
        self._panel = MachinePanel(
            "This machine" if services.home.profile is None else "The profile's machine"
        )
        self._idle = Static("", id="idle", markup=False)
        self._offer = Static("", id="offer", markup=False)
        self._line = Static("", id="ranking", markup=False)
        self._list = AdviceList()
        self._full = Static("", id="full", markup=False)
        self._detail = AdviceDetail()
        self._what_if = WhatIf(self._scenario, preferences.context_window)
        self._ranker = Ranker(services)
        self._all = wanted is not None and wanted.variant is not None
        self._ranked: Ranked | None = None
        self._first: AdviceRow | None = None
        self._connected = services.online
        self._record = ""

    def compose(self) -> ComposeResult:
        """Machine above, advice below, the chosen row's reasons at the end."""
        yield Static(
            Content.assemble(("localr1", "bold $primary"), (f"  {_TAGLINE}", "dim")), id="title"
        )
        yield self._idle
        with Horizontal(id="top"):
            yield self._panel
            yield self._what_if
        yield self._offer
        yield self._line
        yield self._list
        yield self._full
        yield self._detail
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Paint first, then look."""
        self._panel.show(self._runner.machine)
        self._detail.update(LOOKING)
        self._show_ranking()
        self._list.focus()
        self.look_for_connection()
        self.examine()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Back only where there is something to go back to, and from another machine."""
        if action == "back":
            return self._can_go_back
        if action == "leave":
            return not self._can_go_back
        if action == "this_machine":
            return self._scenario.elsewhere
        if action == "examine" and self._scenario.elsewhere:
            return False
        if action in {"examine", "next_goal", "toggle_all"}:
            return not self._what_if.has_focus  # they would be one too many in the footer
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
        self._ask(moved(self._scenario, "goal", 1, None, around=True))

    def action_what_if(self) -> None:
        """Open the panel and go there, or close it."""
        if self._what_if.has_focus:
            self.remove_class("-open")
            self._list.focus()
        else:
            self.add_class("-open")
            self._what_if.focus()

    def action_this_machine(self) -> None:
        """Back to this machine."""
        self._ask(self._scenario.here())

    def action_back(self) -> None:
        """Return to the chat, nothing chosen."""
        self.dismiss(None)

    async def action_leave(self) -> None:
        """Leave the app."""
        await self.run_action("app.quit")

    # Ranking

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
            self._record = await self._services.record_line(machine)
        except LocalR1Error as error:
            await self._fail(error)
            return
        if self.is_attached:
            self._ask(self._scenario, quiet_seconds=0.0)
            self._look_for_idle()

    @work(exclusive=True, group="idle")
    async def _look_for_idle(self) -> None:
        """Say that a card lies idle, and what it would be good for."""
        machine = self._runner.machine
        if machine is None:
            return
        text = await idle_words(self._services, machine, self._scenario)
        self._idle.update(Content(printable(text)))
        self._idle.display = bool(text)

    def _ask(self, scenario: Scenario, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Rank for something else; the choices are shown at once."""
        if scenario.elsewhere != self._scenario.elsewhere:
            self.call_after_refresh(self.refresh_bindings)
        self._scenario = scenario
        self._what_if.show(scenario, self._runner.machine)
        self._show_machine()
        self._show_ranking()
        self._rank(quiet_seconds)

    @work(group="rank")
    async def _rank(self, quiet_seconds: float) -> None:
        machine = self._runner.machine
        if machine is None:
            return
        try:
            ranked = await self._ranker.rank(machine, self._scenario, quiet_seconds)
        except LocalR1Error as error:
            await self._fail(error)
            return
        if ranked is not None and self.is_attached:
            self._ranked = ranked
            self._show(first=self._at_first)

    def _show_machine(self) -> None:
        machine = self._runner.machine
        scenario = self._scenario
        if machine is None:
            return
        try:
            self._panel.show(scenario.on(machine), elsewhere=scenario.elsewhere)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)

    def _show_ranking(self) -> None:
        busy = self._ranked is not None and not self._current
        line = ranking_line(self._scenario, all_variants=self._all, busy=busy)
        self._line.update(line)

    @property
    def _current(self) -> bool:
        """Whether the list is for what is asked for now."""
        return self._ranked is not None and self._ranked.scenario == self._scenario

    @property
    def _at_first(self) -> bool:
        """Whether the cursor is where the app put it; the user's own place is kept."""
        row = self._list.highlighted
        return row is None or self._first is None or row.key == self._first.key

    def _show(self, *, first: bool = False) -> None:
        if self._ranked is None:
            return
        ranked, scenario = self._ranked, self._ranked.scenario
        online = self._connected or scenario.elsewhere
        rows = advice_rows(ranked.advice, ranked.local, all_variants=self._all)
        if first:
            wanted = None if scenario.elsewhere else wanted_row(rows, self._wanted)
            self._first = wanted or first_choice(rows, online=online)
        self._show_ranking()
        self._list.show(rows, self._first if first else None)
        text = offer(rows, scenario, connected=self._connected, online=self._services.online)
        self._offer.update(text)
        self._offer.display = bool(text)
        full = ranked.advice.full_r1
        self._full.update(full_r1_words(full) if full else "")

    # The what-if panel

    def on_what_if_changed(self, event: WhatIf.Changed) -> None:
        """Rank as the user moves."""
        self._ask(event.scenario)

    def on_what_if_left(self) -> None:
        """The keys go to the list again."""
        self._list.focus()

    @work(exclusive=True, group="type")
    async def on_what_if_wanted(self, event: WhatIf.Wanted) -> None:
        """Have a value typed."""
        machine = self._runner.machine
        if machine is None:
            return
        field = event.field
        understand = partial(typed, self._scenario, field, machine=machine)
        scenario = await self.app.push_screen_wait(
            TypeValue(LABELS[field], HINTS[field], understand)
        )
        if scenario is not None:
            self._ask(scenario)

    # Choosing

    def _view(self, ranked: Ranked) -> View:
        return View(
            machine=ranked.machine,
            scenario=ranked.scenario,
            full_r1=ranked.advice.full_r1,
            hub=self._services.hub,
            online=self._services.online,
            record="" if ranked.scenario.elsewhere else self._record,
        )

    def on_advice_list_highlighted(self, event: AdviceList.Highlighted) -> None:
        """Explain the row."""
        if self._ranked is not None:
            self._detail.show(event.row, self._view(self._ranked))

    def on_advice_list_chosen(self, event: AdviceList.Chosen) -> None:
        """Load it, or download it first."""
        self._take(event.row)

    @work(exclusive=True, group="details")
    async def action_details(self) -> None:
        """Everything about the row's plan."""
        row, ranked = self._list.highlighted, self._ranked
        if row is None or ranked is None:
            return
        if await self.app.push_screen_wait(PlanDetail(row, self._view(ranked))):
            self._take(row)

    @work(exclusive=True, group="take")
    async def _take(self, row: AdviceRow) -> None:
        if self._ranked is None or self._ranked.scenario.elsewhere or self._scenario.elsewhere:
            self.notify(NOT_HERE, severity="warning", markup=False)
            return
        if not self._current:
            return  # the list is about to change
        if not row.plan.fits and not await self.app.push_screen_wait(
            Confirm(
                "This does not fit by our estimate. Go on anyway?",
                printable(row.plan.reasons[0]) if row.plan.reasons else "",
                "Go on",
            )
        ):
            return
        asked = self._scenario.asked
        if row.local is not None:
            self.dismiss(Taken(row.local, asked))
            return
        if not self._services.online:
            self.notify(NOT_ON_DISK, severity="warning", markup=False)
            return
        local = await self.app.push_screen_wait(Download(self._services, row.model, row.variant))
        if local is not None:
            self.dismiss(Taken(local, asked))

    async def _fail(self, error: LocalR1Error) -> None:
        await self.query(Note).remove()
        await self.mount(Note.of(error), after="#top")
