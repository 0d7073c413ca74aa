"""The app: which screen is shown, and what lives as long as the app does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import constants, work
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from localr1 import crash
from localr1.config import Preferences
from localr1.errors import LocalR1Error
from localr1.fit.types import NOTHING
from localr1.machine.types import Machine
from localr1.models.queue import Item
from localr1.models.types import Choice
from localr1.printable import one_line, printable
from localr1.tui import keymap, theme
from localr1.tui.command import APP, Command, bindings
from localr1.tui.garbage import GARBAGE
from localr1.tui.idle import idle_words
from localr1.tui.keymap import Keymap
from localr1.tui.runner import Runner
from localr1.tui.screens.chat import Chat
from localr1.tui.screens.downloads import DownloadQueue, brief
from localr1.tui.screens.fix import Fix
from localr1.tui.screens.help import Help, Section
from localr1.tui.screens.serve import Serve
from localr1.tui.screens.settings import Settings
from localr1.tui.screens.welcome import Taken, Welcome
from localr1.tui.services import Services
from localr1.tui.serving import Serving

if TYPE_CHECKING:
    from localr1.workflow import Home

_SETTLED_SECONDS = 1.0
"""After the first frame, what belongs to the program itself is loaded."""


class LocalR1App(App[None]):
    """localr1 in the terminal.

    Args:
        home: Where things are and what the user asked for.
        choice: The model that the user named; None for the last one used.
        services: The layers below; made from `home` when None.
    """

    TITLE = "localr1"
    CSS = """
    Screen { background: $background; }
    #splash { width: 1fr; height: 1fr; content-align: center middle; }
    Footer { background: $background; padding: 0 1; }
    Toast { background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(APP)
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self, home: Home, choice: Choice | None = None, services: Services | None = None
    ) -> None:
        super().__init__()
        self._home = home
        self._choice = choice
        self.services = services or Services(home)
        self.runner = Runner(self.services)
        self.serving = Serving(self.services, self.runner)
        self._told_idle = False
        self.keys_now = Keymap()
        """The keys as the user has them."""
        for each in theme.THEMES:
            self.register_theme(each)
        self._look(home.preferences)

    def compose(self) -> ComposeResult:
        """The first frame; the first screen comes over it as soon as it is known."""
        yield Static(
            Content.assemble(("localr1", "bold $primary"), ("\nstarting…", "dim")), id="splash"
        )

    def on_mount(self) -> None:
        """Paint first, then decide."""
        wanted = self._home.preferences.theme
        if wanted and wanted not in self.available_themes:
            self.notify(f"There is no theme “{wanted}”.", severity="warning", markup=False)
        if (broken := self._home.broken_settings) is not None:
            words = one_line(f"{broken.what} {broken.why}. The usual value holds there.", 400)
            self.notify(words, severity="warning", timeout=15, markup=False)
        for problem in self.keys_now.problems[:3]:
            words = one_line(f"settings.toml, {problem}. The usual key holds there.", 400)
            self.notify(words, severity="warning", timeout=15, markup=False)
        if unused := self._home.unused_list:
            self.notify(one_line(unused, 400), severity="warning", markup=False)
        downloads = self.services.downloads
        downloads.on_change, downloads.on_end = self._show_downloads, self._download_ended
        self.serving.on_change = self._show_beside
        self.runner.others_wait = lambda: self.serving.busy
        self.runner.on_examined = self._say_what_is_idle
        if self.services.online:
            self._go_on_downloading()
        self._begin()
        self.set_timer(_SETTLED_SECONDS, GARBAGE.begin)

    @work(exclusive=True, group="downloads")
    async def _go_on_downloading(self) -> None:
        await self.services.downloads.start()

    @work(exclusive=True, group="begin")
    async def _begin(self) -> None:
        try:
            if self._choice is not None:
                local = await self.services.find(self._choice)
            else:
                local = await self.services.last_used()
        except LocalR1Error:
            local = None  # the next screen reads the same folder, and says what is wrong
        if local is not None:
            await self.push_screen(Chat(self.services, self.runner, local))
        else:
            if absence := await self.services.absence():
                self.notify(printable(absence), severity="warning", timeout=15, markup=False)
            await self.push_screen(
                Welcome(self.services, self.runner, self._choice), self._model_chosen
            )

    def action_models(self) -> None:
        """Show machine and models; the chat stays below."""
        if not isinstance(self.screen, Welcome):
            chat = self._chat
            at = Choice(chat.local.model, None) if chat is not None else None
            asked = chat.asked if chat is not None else NOTHING
            self.push_screen(
                Welcome(self.services, self.runner, at, asked, can_go_back=chat is not None),
                self._model_chosen,
            )

    def action_downloads(self) -> None:
        """What is being downloaded."""
        if not isinstance(self.screen, DownloadQueue):
            self.push_screen(DownloadQueue(self.services.downloads, online=self.services.online))

    @work(exclusive=True, group="idle")
    async def _say_what_is_idle(self, machine: Machine) -> None:
        """In the chat, once; the screen of machine and models has a line of its own."""
        if self._told_idle or not isinstance(self.screen, Chat):
            return
        self._told_idle = True
        if words := await idle_words(self.services, machine):
            self.notify(printable(words), severity="warning", markup=False)

    @work(exclusive=True, group="fix")
    async def action_fix(self) -> None:
        """What is wrong with the engine, and the build that mends it."""
        if isinstance(self.screen, Fix):
            return
        if self.services.home.profile is not None:
            words = "The engine of this computer is mended without --profile: localr1 doctor --fix."
            self.notify(words, severity="warning", markup=False)
            return
        machine = self.runner.machine or await self.runner.examine()
        bench = await self.services.bench()
        if await self.push_screen_wait(Fix(self.services, machine, bench)):
            await self.runner.examine()
            if isinstance(self.screen, Welcome):
                self.screen.action_examine()

    def action_serve(self) -> None:
        """Let other programs use the model that is loaded."""
        if not isinstance(self.screen, Serve):
            self.push_screen(Serve(self.serving))

    def action_settings(self) -> None:
        """See and change every setting."""
        if not isinstance(self.screen, Settings):
            self.push_screen(Settings(self.services, tuple(self.available_themes)))

    def on_settings_changed(self, event: Settings.Changed) -> None:
        """Let the settings hold from now on."""
        self._home = replace(self._home, preferences=event.preferences)
        self.services.home = replace(self.services.home, preferences=event.preferences)
        self._look(event.preferences)
        if (chat := self._chat) is not None:
            chat.transcript.use(event.preferences.thinking, event.preferences.thinking_limits)
            chat.panel.wanted = event.preferences.panel
            chat.composer.show_keys()

    def _look(self, preferences: Preferences) -> None:
        """Colours, motion and keys as the settings have them."""
        self.keys_now = keymap.read(preferences.keys)
        self.set_keymap(self.keys_now.changed)
        wanted = preferences.theme or theme.DEFAULT
        self.theme = wanted if wanted in self.available_themes else theme.DEFAULT
        moving = constants.TEXTUAL_ANIMATIONS
        self.animation_level = "none" if preferences.reduced_motion else moving

    def _show_downloads(self) -> None:
        if not self.is_running:
            return
        self._show_beside()
        if isinstance(self.screen, DownloadQueue):
            self.screen.show()

    def _show_beside(self) -> None:
        """In the chat's status line: what goes on beside it."""
        if self.is_running and (chat := self._chat) is not None:
            serving = f"served at :{self.serving.port}" if self.serving.running else ""
            parts = (serving, brief(self.services.downloads.status))
            chat.show_beside(" · ".join(part for part in parts if part))

    def _download_ended(self, item: Item, error: LocalR1Error | None) -> None:
        name = printable(item.name)
        if error is None:
            self.notify(
                f"{name} is here. {keymap.key(self, 'chat.models')} shows it.", markup=False
            )
        else:
            self.notify(
                f"{name} is not coming: {printable(error.what)} "
                f"{keymap.key(self, 'app.downloads')} tells more.",
                severity="error",
                markup=False,
            )

    def _model_chosen(self, taken: Taken | None) -> None:
        if taken is None:
            return
        if self.serving.running and self.serving.local != taken.local:
            self._end_serving()
        if self._chat is not None:
            self._chat.use(taken.local, taken.asked)
        else:
            self.push_screen(Chat(self.services, self.runner, taken.local, taken.asked))

    @work(group="serve")
    async def _end_serving(self) -> None:
        await self.serving.end()
        self.notify("Other programs are not served any more: another model takes its place.")

    @property
    def _chat(self) -> Chat | None:
        return next((s for s in self.screen_stack if isinstance(s, Chat)), None)

    def action_show_help(self) -> None:
        """The keys of this screen, and those that work everywhere."""
        if isinstance(self.screen, Help):
            return
        sections: list[Section] = []
        shown = _commands_of(self.screen)
        for place, usual in ((self.screen.focused, ()), (self.screen, shown)):
            own = getattr(place, "COMMANDS_HELPED", usual)
            if own and place is not None:
                sections.append((getattr(place, "HELP_TITLE", "Here"), own))
        sections.append(("Everywhere", APP))
        now = self.keys_now.of
        self.push_screen(Help([(title, [now(c) for c in own]) for title, own in sections]))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: this screen's commands, the app's, and the themes."""
        for command in _commands_of(screen):
            name = command.action.partition("(")[0]
            if command.palette and screen.check_action(name, ()) is not False:
                yield SystemCommand(
                    self.keys_now.of(command).title,
                    command.help,
                    lambda action=command.action: self.run_action(action, screen),
                )
        for command in APP:
            if command.palette:
                yield SystemCommand(
                    self.keys_now.of(command).title,
                    command.help,
                    lambda action=command.action: self.run_action(action),
                )
        yield SystemCommand("Theme", "Change the colours.", self.action_change_theme)

    async def action_quit(self) -> None:
        """Leave; a running reply is stopped and kept."""
        chat = self._chat
        if chat is not None:
            await chat.finish()
        self.workers.cancel_all()
        self.exit()

    async def on_unmount(self) -> None:
        """End the engine and close the database, however the app ends."""
        GARBAGE.end()
        await self.serving.end()
        await self.runner.close()
        await self.services.close()

    def _handle_exception(self, error: Exception) -> None:
        """The last resort: words on the screen that is left behind, the traceback in a log.

        Tests run headless and see the exception itself.
        """
        if self.is_headless:
            super()._handle_exception(error)
            return
        told = crash.explain(error, crash.record(error, self._home.directories.logs))
        message = "\n".join(printable(part) for part in (told.what, told.why, told.todo) if part)
        self.exit(return_code=told.exit_code, message=Text(message))


def _commands_of(screen: Screen[object]) -> Sequence[Command]:
    commands: Sequence[Command] = getattr(screen, "COMMANDS_SHOWN", ())
    return commands
