"""All settings on one screen; each change holds at once and stands in the commented file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1 import settings
from localr1.config import Preferences, load_usable_preferences
from localr1.errors import LocalR1Error
from localr1.printable import one_line, printable
from localr1.settings import KEYS, SETTINGS, Setting
from localr1.tui import keymap
from localr1.tui.command import bindings
from localr1.tui.list_command import SETTINGS as COMMANDS
from localr1.tui.screens.keys import Keys
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.services import Services

_TITLE_CELLS = 22
_ROWS = (*SETTINGS, KEYS)


def setting_content(setting: Setting, preferences: Preferences, width: int) -> Content:
    """A line of the list: what it is, and its value.

    Args:
        setting: Which one.
        preferences: As they are.
        width: Cells.
    """
    value = settings.shown(setting, preferences)
    usual = settings.shown(setting, Preferences())
    name = setting.title.ljust(_TITLE_CELLS)
    words = one_line(value, max(10, width - len(name))) or "as usual"
    return Content.assemble(name, (words, "dim" if value == usual else "bold $accent"))


class Settings(ModalScreen[None]):
    """The settings.

    Args:
        services: The layers below.
        themes: The names of all themes.
    """

    DEFAULT_CSS = """
    Settings { align: center middle; }
    Settings > Vertical {
        width: 90;
        max-width: 96%;
        height: auto;
        max-height: 100%;
        padding: 0 1;
        border: round $primary;
        background: $surface;
    }
    Settings OptionList {
        height: auto; border: none; padding: 0; margin: 0 0 1 0; background: $surface;
        scrollbar-size-vertical: 1; text-wrap: nowrap;
    }
    Settings OptionList:focus { border: none; }
    Settings .help { height: 3; margin: 0 1; color: $text-muted; }
    Settings .problem { height: auto; margin: 0 1 1 1; color: $warning; display: none; }
    Settings .path { height: auto; margin: 0 1; color: $text-muted; }
    """

    COMMANDS_SHOWN = COMMANDS
    HELP_TITLE = "Settings"
    BINDINGS: ClassVar[list[BindingType]] = bindings(COMMANDS)

    class Changed(Message):
        """The settings are others now."""

        def __init__(self, preferences: Preferences) -> None:
            super().__init__()
            self.preferences = preferences

    def __init__(self, services: Services, themes: Sequence[str]) -> None:
        super().__init__()
        self._services = services
        self._themes = tuple(sorted(themes))
        self._preferences = services.home.preferences

    def compose(self) -> ComposeResult:
        """The list, the sentence on what is chosen, and where the file lies."""
        path = self._services.home.directories.settings / "settings.toml"
        with Vertical() as box:
            box.border_title = "Settings"
            box.border_subtitle = "Enter or ← → changes · Delete takes the usual · Esc closes"
            yield Static("", classes="problem", markup=False)
            yield OptionList()
            yield Static("", classes="help", markup=False)
            yield Static(f"Kept in {printable(str(path))}", classes="path", markup=False)

    def on_mount(self) -> None:
        """Show the settings as the file has them now."""
        self.reload()

    @work(exclusive=True, group="settings")
    async def reload(self) -> None:
        """Read the file: it may have been changed by hand."""
        await self._read()

    async def _read(self) -> None:
        broken: LocalR1Error | None
        try:
            directories = self._services.home.directories
            read = await asyncio.to_thread(load_usable_preferences, directories)
            self._preferences, broken = read
        except LocalR1Error as error:
            broken = error
        self._show(broken)
        self.post_message(self.Changed(self._preferences))

    def _show(self, broken: LocalR1Error | None = None) -> None:
        problem = self.query_one(".problem", Static)
        wrong = broken.why if broken else "; ".join(keymap.read(self._preferences.keys).problems)
        problem.display = bool(wrong)
        problem.update(printable(f"{wrong}. The usual value holds there."))
        options = self.query_one(OptionList)
        at = options.highlighted or 0
        width = max(30, options.size.width - 4)
        options.clear_options()
        options.add_options(
            [Option(setting_content(each, self._preferences, width)) for each in _ROWS]
        )
        options.highlighted = at

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say what the setting does, and when."""
        event.stop()
        setting = _ROWS[event.option_index]
        also = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
        text = f"{setting.help}{also} A change holds {setting.takes_effect}."
        self.query_one(".help", Static).update(text)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click changes it."""
        event.stop()
        self.action_change()

    @property
    def _chosen(self) -> Setting:
        return _ROWS[self.query_one(OptionList).highlighted or 0]

    @work(exclusive=True, group="settings")
    async def action_change(self) -> None:
        """The next value; or ask for one."""
        if self._values(self._chosen):
            await self._step(1)
            return
        setting = self._chosen
        if setting is KEYS:
            await self.app.push_screen_wait(Keys(self._services))
            await self._read()
            return
        screen = TypeValue[tuple[object]](
            setting.title,
            setting.help,
            lambda text: (settings.understood(setting, text),),
            settings.shown(setting, self._preferences),
        )
        value = await self.app.push_screen_wait(screen)
        if value is not None:
            await self._set(setting, value[0])

    @work(exclusive=True, group="settings")
    async def action_step(self, step: int) -> None:
        """The next or the one before."""
        await self._step(step)

    @work(exclusive=True, group="settings")
    async def action_reset(self) -> None:
        """The usual value."""
        if self._chosen is KEYS:
            await self.action_change().wait()
            return
        await self._set(self._chosen, None)

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)

    def _values(self, setting: Setting) -> tuple[str, ...]:
        """What a setting can be, where that is a short list."""
        if setting.key == "theme":
            return self._themes
        return ("off", "on") if setting.kind == "switch" else setting.choices

    async def _step(self, step: int) -> None:
        setting = self._chosen
        values = self._values(setting)
        if not values:
            return
        now = settings.shown(setting, self._preferences)
        if setting.key == "theme":
            now = self.app.theme
        at = values.index(now) + step if now in values else 0
        await self._set(setting, settings.understood(setting, values[at % len(values)]))

    async def _set(self, setting: Setting, value: object) -> None:
        directories = self._services.home.directories
        try:
            await asyncio.to_thread(settings.write, directories, setting.key, value)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        await self._read()
