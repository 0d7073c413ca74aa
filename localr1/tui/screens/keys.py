"""The keys of every command, which can be changed here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1 import settings
from localr1.config import KeySetting, load_usable_preferences
from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui import keymap
from localr1.tui.command import Command, bindings
from localr1.tui.keymap import TABLES, Keymap
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.services import Services

_COMMANDS = (
    Command("keys.reset", "delete", "reset", "Usual", "Take the usual keys.", palette=False),
    Command("keys.close", "escape", "close", "Close", "Go back.", palette=False),
)
_NAME_CELLS = 26


def key_lines(keys: Keymap) -> list[tuple[Content, Command | None]]:
    """The list: the tables with their names, and each command with its keys."""
    lines: list[tuple[Content, Command | None]] = []
    for title, table in TABLES.items():
        lines.append((Content.styled(title, "bold $accent"), None))
        for command in table:
            now = keys.of(command)
            changed = command.id in keys.changed
            style = "bold $accent" if changed else "" if now.keys else "dim"
            text = now.keys_text if now.keys else "no key"
            name = command.label.ljust(_NAME_CELLS)
            lines.append((Content.assemble(f" {name}", (text, style)), command))
    return lines


class Keys(ModalScreen[None]):
    """Every command with its keys.

    Args:
        services: The layers below.
    """

    DEFAULT_CSS = """
    Keys { align: center middle; }
    Keys > Vertical {
        width: 84;
        max-width: 96%;
        height: 94%;
        padding: 0 1;
        border: round $primary;
        background: $surface;
    }
    Keys OptionList {
        height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1;
        text-wrap: nowrap;
    }
    Keys OptionList:focus { border: none; }
    Keys .help { height: 3; margin: 1 1 0 1; color: $text-muted; }
    Keys .problem { height: auto; margin: 0 1; color: $warning; display: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._entries: Sequence[KeySetting] = services.home.preferences.keys
        self._commands: list[Command | None] = []

    def compose(self) -> ComposeResult:
        """The list, and the sentence on what is chosen."""
        with Vertical() as box:
            box.border_title = "Keys"
            box.border_subtitle = "Enter changes · Delete takes the usual · Esc closes"
            yield Static("", classes="problem", markup=False)
            yield OptionList()
            yield Static("", classes="help", markup=False)

    def on_mount(self) -> None:
        """Show the keys as the settings have them."""
        self._show()

    def _show(self) -> None:
        keys = keymap.read(self._entries)
        problem = self.query_one(".problem", Static)
        problem.display = bool(keys.problems)
        problem.update(printable(f"settings.toml, {'; '.join(keys.problems)}."))
        options = self.query_one(OptionList)
        at = options.highlighted
        lines = key_lines(keys)
        self._commands = [command for _, command in lines]
        options.clear_options()
        options.add_options([Option(text, disabled=command is None) for text, command in lines])
        options.highlighted = at if at is not None else 1

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say what the command does, and how the file calls it."""
        event.stop()
        command = self._commands[event.option_index]
        if command is not None:
            usual = f"usually {command.keys_text}" if command.keys else "usually without a key"
            text = f"{command.help} In settings.toml: {command.id}, {usual}."
            self.query_one(".help", Static).update(text)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click changes it."""
        event.stop()
        self._change()

    @property
    def _chosen(self) -> Command | None:
        at = self.query_one(OptionList).highlighted
        return None if at is None else self._commands[at]

    @work(exclusive=True, group="keys")
    async def _change(self) -> None:
        command = self._chosen
        if command is None:
            return
        now = keymap.read(self._entries).of(command)
        hint = (
            "A key as ctrl+k, alt+left or f12, several between commas; nothing for the usual ones."
        )
        screen = TypeValue[str](
            f"Keys: {command.label}",
            hint,
            lambda text: keymap.check(command.id, text, self._entries),
            now.keys.replace(",", ", "),
        )
        keys = await self.app.push_screen_wait(screen)
        if keys is not None:
            await self._set(command, keys)

    @work(exclusive=True, group="keys")
    async def action_reset(self) -> None:
        """The usual keys."""
        if (command := self._chosen) is not None:
            await self._set(command, "")

    async def _set(self, command: Command, keys: str) -> None:
        directories = self._services.home.directories
        try:
            await asyncio.to_thread(
                settings.write_keys, directories, command.id, "" if keys == command.keys else keys
            )
            preferences, _ = await asyncio.to_thread(load_usable_preferences, directories)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        self._entries = preferences.keys
        self._show()

    def action_close(self) -> None:
        """Go back; the settings read the file anew."""
        self.dismiss(None)
