"""Downloads beside the chat: real bytes over loopback, a real queue, a fixed machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loopback_hub import Fault, LoopbackHub
from test_walk import small_model_home
from textual.pilot import Pilot
from textual.widgets import OptionList
from tui_scene import FrozenServices, a_chat, at_advice, chat_of, in_chat, texts, until

from localr1.errors import HubUnreachable
from localr1.fit.types import NOTHING
from localr1.models.catalog import REFRESHED_NAME
from localr1.models.downloads import Status
from localr1.models.library import DEMO_PATH
from localr1.models.queue import Item, Queue
from localr1.tui.app import LocalR1App
from localr1.tui.screens.chat import Chat
from localr1.tui.screens.download import Download
from localr1.tui.screens.downloads import (
    LIMITS,
    DownloadQueue,
    brief,
    limit_text,
    next_limit,
    row_content,
    state_text,
)
from localr1.tui.screens.welcome import Taken, Welcome
from localr1.tui.widgets.status_line import Status as LineStatus
from localr1.tui.widgets.status_line import status_content
from localr1.workflow import open_home, queue_file

NAME = "r1-small:Q4_K_M"
RUNNING = Status(NAME, 45, 100, 2 << 20, 180.0)


async def in_background(pilot: Pilot[None], app: LocalR1App) -> None:
    """From the advice: begin a download, and send it to the background."""
    await until(pilot, lambda: at_advice(app))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, Download))
    await until(pilot, lambda: "%" in texts(app, ".figures"))
    await pilot.press("b")
    await until(pilot, lambda: isinstance(app.screen, Welcome))


async def test_a_download_goes_on_while_another_model_chats(hub: LoopbackHub) -> None:
    hub.bytes_per_second = 150_000
    home, advice = small_model_home(hub)
    services = FrozenServices(home, advice=advice, idle=True)
    app = LocalR1App(home, services=services)
    async with app.run_test(size=(110, 30)) as pilot:
        await in_background(pilot, app)
        demo = (await services.local_models())[-1]
        app.screen.dismiss(Taken(demo, NOTHING))
        await until(pilot, lambda: in_chat(app))
        await until(pilot, lambda: "↓" in texts(app, "#status"))
        assert queue_file(home).read().next is not None
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, DownloadQueue))
        await until(pilot, lambda: "%" in texts(app, "OptionList"))
        assert NAME in texts(app, "OptionList")
        await pilot.press("space")
        await until(pilot, lambda: "paused" in texts(app, "OptionList"))
        await until(pilot, lambda: services.downloads.status is None)
        assert queue_file(home).read().items[0].paused
        hub.bytes_per_second = 0
        await pilot.press("space")
        await until(pilot, lambda: not services.downloads.queue.items)
        await until(pilot, lambda: "Nothing is being downloaded" in texts(app, ".detail"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Chat))
        assert "↓" not in texts(app, "#status")
        assert chat_of(app).local == demo
    found = [path.read_bytes() for path in home.directories.models.rglob("*.gguf")]
    assert found == [DEMO_PATH.read_bytes()]


async def test_what_rests_takes_no_room_from_what_goes_to_the_background(
    hub: LoopbackHub,
) -> None:
    hub.bytes_per_second = 150_000
    home, advice = small_model_home(hub)
    huge = replace(home.catalogue.models[0].variants[0], quantization="Q8_0", size_bytes=1 << 60)
    models = tuple(
        replace(one, variants=(*one.variants, huge)) if one.id == "r1-small" else one
        for one in home.catalogue.models
    )
    home = replace(home, catalogue=replace(home.catalogue, models=models))
    item = Item("r1-small:Q8_0", huge.size_bytes)
    queue_file(home).change(lambda now: now.add(item).pause(item.name))
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await in_background(pilot, app)
        ready = app.services.downloads.queue.next
        assert ready is not None
        assert ready.name == NAME
        await pilot.press("f3")
        await pilot.press("down")
        await pilot.press("space")  # now both would go on, and there is no room for both
        await until(pilot, lambda: all(one.ready for one in app.services.downloads.queue.items))
        await pilot.press("space")
        await pilot.press("escape")


async def test_the_next_start_goes_on_by_itself(hub: LoopbackHub) -> None:
    hub.bytes_per_second = 150_000
    home, advice = small_model_home(hub)
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await in_background(pilot, app)
        await until(pilot, lambda: app.services.downloads.status is not None)
    assert queue_file(home).read().next is not None
    hub.bytes_per_second = 0
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: list(home.directories.models.rglob("*.gguf")))
        await until(pilot, lambda: not app.services.downloads.queue.items)


async def test_what_is_watched_leaves_the_queue(hub: LoopbackHub) -> None:
    hub.inject(Fault("stall", after_bytes=1000, seconds=60, times=1))
    home, advice = small_model_home(hub)
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await in_background(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))
        assert not app.services.downloads.queue.items
        assert chat_of(app).local.model.id == "r1-small"


async def test_what_is_watched_when_the_app_ends_rests_in_the_queue(hub: LoopbackHub) -> None:
    hub.bytes_per_second = 150_000
    home, advice = small_model_home(hub)
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: "%" in texts(app, ".figures"))
    assert [(item.name, item.paused) for item in queue_file(home).read().items] == [(NAME, True)]
    hub.bytes_per_second = 0
    app = LocalR1App(home, services=FrozenServices(home, advice=advice, idle=True))
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("f3")
        await until(pilot, lambda: "paused" in texts(app, "OptionList"))
        await pilot.press("space")
        await until(pilot, lambda: list(home.directories.models.rglob("*.gguf")))
        await until(pilot, lambda: not app.services.downloads.queue.items)


async def test_what_another_process_queues_is_shown_in_its_full_width() -> None:
    app = await a_chat()
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await pilot.press("f3")
        await until(pilot, lambda: "Nothing is being" in texts(app, ".detail"))
        queue_file(app.services.home).change(lambda now: now.add(Item(NAME, 5 << 30)))
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 1)
        rows = app.screen.query_one(OptionList)
        first = str(rows.get_option_at_index(0).prompt)
        await pilot.pause()
        assert first.startswith(NAME)
        assert first.endswith("waits its turn")
        assert len(first) == rows.scrollable_content_region.width


async def test_order_limit_and_removal_by_keys() -> None:
    app = await a_chat()
    async with app.run_test(size=(110, 30)) as pilot:
        await until(pilot, lambda: in_chat(app))
        downloads = app.services.downloads
        items = tuple(Item(f"m{n}:Q4_K_M", n << 30, paused=True) for n in (1, 2, 3))
        await downloads.change(lambda _: Queue(items))
        await pilot.press("f3")
        await until(pilot, lambda: "m3" in texts(app, "OptionList"))

        def order() -> str:
            return "".join(item.name[1] for item in downloads.queue.items)

        await pilot.press("shift+down")
        await until(pilot, lambda: order() == "213")
        assert app.screen.query_one(OptionList).highlighted == 1
        await pilot.press("shift+down")
        await until(pilot, lambda: order() == "231")
        await pilot.press("shift+up")
        await until(pilot, lambda: order() == "213")
        await pilot.press("l")
        await until(pilot, lambda: downloads.queue.limit_bytes_per_second == 1_000_000)
        await pilot.press("x")
        await until(pilot, lambda: order() == "23")
        assert "Offline" in texts(app, ".detail")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Chat))


async def test_a_list_of_models_that_cannot_be_used_is_told_once() -> None:
    home = open_home()
    path = home.directories.settings / REFRESHED_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[[model\x1b[31m")
    app = LocalR1App(open_home(offline=True), services=FrozenServices(home))
    async with app.run_test(size=(110, 30), notifications=True) as pilot:
        await until(pilot, lambda: len(app._notifications) > 0)
        (told,) = app._notifications
        assert path.name in told.message
        assert "--refresh" in told.message
        assert "\x1b" not in told.message


def test_states_in_words() -> None:
    item = Item(NAME, 100 << 20)
    assert state_text(item, RUNNING) == "45% · 2.0 MiB/s · 3 min left"
    assert state_text(item, None) == "waits its turn"
    assert state_text(item, replace(RUNNING, name="other")) == "waits its turn"
    assert state_text(item, replace(RUNNING, verifying="file")) == "verifying"
    assert state_text(item, replace(RUNNING, waiting="no connection")) == "waits"
    assert state_text(replace(item, paused=True), None) == "paused"
    assert state_text(replace(item, problem="gated"), None) == "stopped"
    assert brief(None) == ""
    assert brief(RUNNING) == "↓ 45% · 3 min"
    assert brief(replace(RUNNING, waiting=str(HubUnreachable("no")))) == "↓ waiting"
    assert brief(replace(RUNNING, verifying="file")) == "↓ verifying"


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_a_row_never_is_wider_than_its_place(width: int) -> None:
    name = "r1-distill-" + "very-" * 30 + "long:Q4_K_M"
    line = row_content(Item(name, 5 << 30), None, width)
    assert line.cell_length <= max(width, 10 + len("   5.0 GiB  waits its turn"))


def test_the_limits_go_round() -> None:
    at, seen = 0, []
    for _ in LIMITS:
        at = next_limit(at)
        seen.append(at)
    assert seen == [*LIMITS[1:], 0]
    assert next_limit(3_000_000) == 5_000_000
    assert limit_text(0) == "no speed limit"
    assert limit_text(5_000_000) == "at most 5 MB/s"


@pytest.mark.parametrize("width", [30, 60, 100])
def test_the_status_line_has_room_for_a_download_last(width: int) -> None:
    status = LineStatus("DeepSeek-R1", "Q4_K_M", "thinking", 38, 400, 16384, 32768)
    line = status_content(status, width, "↓ 45%")
    assert line.cell_length <= width
    assert ("↓ 45%" in line.plain) == (width > 30)
