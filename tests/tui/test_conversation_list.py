"""The list of conversations: what is found is shown, and everything can be put in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from tui_scene import a_chat, hold_still, in_chat, texts, until

from localr1.chat.store import Store
from localr1.chat.types import Incoming, ReplyStats, Said
from localr1.config import Directories
from localr1.tui.app import LocalR1App
from localr1.tui.screens.conversations import Conversations
from localr1.tui.screens.help import Help
from localr1.tui.screens.type_value import TypeValue

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
HOSTILE = "\x1b[31m[red]R[/red] \u202eevil\nline"


def keep(title: str, answer: str, thinking: str = "", day: int = 1, **marks: Any) -> None:
    store = Store(Directories.standard().database)
    at = datetime(2026, 1, day, 12, tzinfo=UTC)
    stats = ReplyStats(finish_reason="stop")
    said = (
        Said(None, "user", title, "", at),
        Said(0, "assistant", answer, thinking, at, stats),
    )
    store.take(Incoming(title, "demo", said, **marks))
    store.close()


def keep_some() -> None:
    keep("Is 91 prime?", "No: 91 = 7 · 13.", "Try seven: 7 times 13 is 91, so it is composite.", 1)
    keep("Shopping list for a cake", "Flour, eggs, butter and sugar.", "A cake needs flour.", 2)
    keep("Proof that √2 is irrational", "Suppose it is p/q.", "", 3, pinned=True, tags=("maths",))
    keep("Old travel plans", "Take the train.", "", 4, archived=True)


@asynccontextmanager
async def at_list(
    size: tuple[int, int] = (100, 30),
) -> AsyncIterator[tuple[LocalR1App, Pilot[None], Conversations]]:
    app = await a_chat()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: in_chat(app))
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))
        listing = app.screen
        assert isinstance(listing, Conversations)
        await until(pilot, lambda: listing._summaries)
        yield app, pilot, listing


def titles(listing: Conversations) -> list[str]:
    return [summary.title for summary in listing._summaries]


async def search(pilot: Pilot[None], listing: Conversations, text: str, *found: str) -> None:
    """Type a search, and wait for the titles that begin so."""
    listing.query_one(Input).value = text
    await until(pilot, lambda: [t.split()[0] for t in titles(listing)] == list(found))
    await pilot.pause()


async def test_a_search_shows_where_it_found_its_words() -> None:
    keep_some()
    async with at_list() as (app, pilot, listing):
        assert titles(listing)[0].startswith("Proof")
        await search(pilot, listing, "composite", "Is")
        shown = texts(app, "OptionList")
        assert "thinking:" in shown
        assert "so it is composite" in shown
        await search(pilot, listing, "train", "Old")
        assert "(put away)" in texts(app, "OptionList")
        await search(pilot, listing, "#maths", "Proof")
        assert titles(listing)[0].startswith("Proof")
        await search(pilot, listing, "#mat", "Proof")
        await search(pilot, listing, "volcano")
        await until(pilot, lambda: "Nothing found" in texts(app, ".empty"))
        assert "Nothing found" in texts(app, ".empty")


async def test_deleting_is_undone_and_leaving_makes_it_final() -> None:
    keep_some()
    async with at_list() as (app, pilot, listing):
        await pilot.press("ctrl+d")
        await until(pilot, lambda: len(listing._summaries) == 2)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: len(listing._summaries) == 1)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(listing._summaries) == 2)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(listing._summaries) == 3)
        await pilot.press("ctrl+z", "ctrl+d")
        await until(pilot, lambda: len(listing._summaries) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: in_chat(app))
        await pilot.press("ctrl+q")
    store = Store(Directories.standard().database)
    connection = store._connection
    assert connection.execute("SELECT COUNT(*) FROM conversation").fetchone()[0] == 3
    assert not connection.execute("SELECT 1 FROM message WHERE text LIKE '%√2%'").fetchall()
    store.close()


async def test_pins_tags_titles_and_putting_away() -> None:
    keep_some()
    async with at_list() as (app, pilot, listing):
        await pilot.press("down", "down", "f5")
        await until(pilot, lambda: sum(s.pinned for s in listing._summaries) == 2)
        await pilot.press("home")
        listing.query_one("OptionList").highlighted = 0  # type: ignore[attr-defined]
        first = listing._summaries[0].id
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        assert "maths" in texts(app, ".hint")
        app.screen.query_one(Input).value = "a b, #c"
        await pilot.press("enter")
        await until(pilot, lambda: listing._summaries[0].tags == ("a b", "c"))
        await pilot.press("f7")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        app.screen.query_one(Input).value = "Another title"
        await pilot.press("enter")
        await until(pilot, lambda: titles(listing)[0] == "Another title")
        await pilot.press("f8")
        await until(pilot, lambda: first not in [s.id for s in listing._summaries])
        await pilot.press("f9")
        await until(pilot, lambda: len(listing._summaries) == 2)
        assert "put away" in str(listing.query_one("Vertical").border_title)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, Help))
        await until(pilot, lambda: "Ctrl+Z" in texts(app, "Help Vertical, Help VerticalScroll"))


async def test_titles_tags_and_excerpts_are_only_text() -> None:
    keep(HOSTILE, f"Here is {HOSTILE} with a needle", tags=(HOSTILE,))
    async with at_list() as (app, pilot, listing):
        await search(pilot, listing, "needle", "\x1b[31m[red]R[/red]")
        shown = texts(app, "OptionList")
        assert "[31m[red]R[/red] evil" in shown
        assert not set("\x1b\u202e") & set(shown)


@SIZES
def test_the_list_shows_what_a_search_found(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    keep_some()
    keep("Übungen", "Sieben ist eine Primzahl; 91 ist keine.", "91 " * 40, 5, tags=("school", "de"))

    async def look(pilot: Pilot[None]) -> None:
        app = pilot.app
        await until(pilot, lambda: in_chat(app))  # type: ignore[arg-type]
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))
        await search(pilot, app.screen, "91", "Übungen", "Is")  # type: ignore[arg-type]
        await hold_still(pilot)

    import asyncio

    app = asyncio.run(a_chat())
    assert snap_compare(app, terminal_size=size, run_before=look)


@SIZES
def test_the_list_shows_what_is_pinned_and_tagged(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    keep_some()
    keep("Übungen", "Sieben ist eine Primzahl.", "", 5, tags=("school", "de"))

    async def look(pilot: Pilot[None]) -> None:
        app = pilot.app
        await until(pilot, lambda: in_chat(app))  # type: ignore[arg-type]
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))
        await until(pilot, lambda: len(app.screen._summaries) == 4)  # type: ignore[attr-defined]
        await hold_still(pilot)

    import asyncio

    app = asyncio.run(a_chat())
    assert snap_compare(app, terminal_size=size, run_before=look)
