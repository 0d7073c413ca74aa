"""The settings on one screen: a change holds at once and stands in the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from textual.color import Color
from textual.pilot import Pilot
from textual.widgets import Input, OptionList
from tui_scene import a_chat, chat_of, hold_still, in_chat, texts, until

from localr1.config import Directories, load_preferences
from localr1.settings import SETTINGS
from localr1.tui import theme
from localr1.tui.app import LocalR1App
from localr1.tui.screens.settings import Settings
from localr1.tui.screens.type_value import TypeValue

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
PLACE = {setting.key: number for number, setting in enumerate(SETTINGS)}


@asynccontextmanager
async def at_settings(
    size: tuple[int, int] = (100, 34),
) -> AsyncIterator[tuple[LocalR1App, Pilot[None]]]:
    app = await a_chat()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: in_chat(app))
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, Settings))
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count)
        yield app, pilot


async def choose(app: LocalR1App, pilot: Pilot[None], key: str) -> None:
    app.screen.query_one(OptionList).highlighted = PLACE[key]
    await pilot.pause()


def kept(key: str) -> object:
    return getattr(load_preferences(Directories.standard()), key)


async def test_changes_hold_at_once_and_stand_in_the_file() -> None:
    async with at_settings() as (app, pilot):
        assert app.theme == theme.DEFAULT
        await choose(app, pilot, "theme")
        await pilot.press("right")
        await until(pilot, lambda: app.theme != theme.DEFAULT and kept("theme") == app.theme)
        await pilot.press("delete")
        await until(pilot, lambda: app.theme == theme.DEFAULT and kept("theme") == "")
        await choose(app, pilot, "reduced_motion")
        assert app.animation_level == "full"
        await pilot.press("enter")
        await until(pilot, lambda: app.animation_level == "none" and kept("reduced_motion"))
        await choose(app, pilot, "thinking")
        await pilot.press("left")
        await until(pilot, lambda: kept("thinking") == "hidden")
        await choose(app, pilot, "context_window")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        app.screen.query_one(Input).value = "lots"
        await pilot.press("enter")
        await until(pilot, lambda: "whole number" in texts(app, ".problem"))
        app.screen.query_one(Input).value = "16384"
        await pilot.press("enter")
        await until(pilot, lambda: kept("context_window") == 16384)
        assert "16384" in texts(app, "OptionList")
        await pilot.press("escape")
        await until(pilot, lambda: in_chat(app))
        await until(pilot, lambda: app.services.home.preferences.context_window == 16384)
        assert chat_of(app).transcript._display == "hidden"


async def test_a_broken_file_is_told_and_the_rest_holds() -> None:
    folder = Directories.standard().settings
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text('thinking = "open"\ngoal = "cheap"\n')
    async with at_settings() as (app, pilot):
        assert any("line 2" in note.message for note in app._notifications)
        assert "line 2" in texts(app, ".problem")
        assert app.services.home.preferences.thinking == "open"
        await choose(app, pilot, "goal")
        await pilot.press("enter")
        await until(pilot, lambda: kept("goal") == "best" or kept("goal") == "fast")
        await until(pilot, lambda: not app.screen.query_one(".problem").display)


def contrast(one: Color, other: Color) -> float:
    """The ratio of WCAG 2.2, "relative luminance"."""

    def light(colour: Color) -> float:
        parts = [part / 255 for part in colour.rgb]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_the_clear_themes_are_clear() -> None:
    for each in (theme.CONTRAST, theme.CONTRAST_LIGHT):
        ground = Color.parse(str(each.background))
        colours = [each.foreground, each.primary, each.secondary, each.accent]
        colours += [each.success, each.warning, each.error]
        colours += [each.variables["text-muted"], each.variables["footer-description-foreground"]]
        for colour in colours:
            assert contrast(ground, Color.parse(str(colour))) >= 7.0, colour


async def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = await a_chat()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await hold_still(pilot)
        for line in app.screen._compositor.render_strips():
            for filter_ in app._filters:
                line = line.apply_filter(filter_, Color(0, 0, 0))  # noqa: PLW2901
            for segment in line:
                for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                    if colour is not None:
                        red, green, blue = colour.get_truecolor()
                        assert red == green == blue


@SIZES
def test_the_settings_with_a_sentence_each(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    async def look(pilot: Pilot[None]) -> None:
        app = pilot.app
        await until(pilot, lambda: in_chat(app))  # type: ignore[arg-type]
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, Settings))
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count)
        app.screen.query_one(".path").update("Kept in ~/.config/localr1/settings.toml")  # type: ignore[attr-defined]
        await choose(app, pilot, "thinking")  # type: ignore[arg-type]
        await hold_still(pilot)

    app = asyncio.run(a_chat())
    assert snap_compare(app, terminal_size=size, run_before=look)
