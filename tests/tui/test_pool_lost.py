"""The app with another computer's memory: what is said of it, and what happens when it is lost."""

from __future__ import annotations

from dataclasses import replace

import fit_machines
import lender
import pytest
from cable import cable
from tui_scene import chat_of, greedy_home, in_chat, texts, until

from localr1.engine import lent
from localr1.machine import memory
from localr1.machine.types import Memory
from localr1.tui.app import LocalR1App
from localr1.tui.widgets.leaving import Leaving
from localr1.tui.widgets.reply import Reply

GIB = 1 << 30
FOLDER = lender.library_folder()


@pytest.mark.skipif(
    FOLDER is None, reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it"
)
async def test_a_lost_lender_keeps_the_text_and_the_app_goes_on_without_it(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    available = [fit_machines.memory_for_demo(8 * GIB)]  # not enough for it alone
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(FOLDER))
    monkeypatch.setattr(memory, "probe", lambda _host: Memory(8 * GIB, available[0]))
    monkeypatch.setattr(lent, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lent, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(lent, "_PATIENCE_SECONDS", 1.0)
    with (
        lender.lending("--port", str(unused_tcp_port)) as (address, _),
        cable(address, delay_seconds=0.01) as laid,
    ):
        home = replace(greedy_home(), pool=(laid.endpoint,))
        app = LocalR1App(home, choice=home.catalogue.resolve("demo"))
        async with app.run_test(size=(100, 40)) as pilot:
            await until(pilot, lambda: in_chat(app) and chat_of(app)._talk.ready)
            chat = chat_of(app)
            assert f"go to {laid.endpoint}, unencrypted" in texts(app, "Leaving")
            assert "there and back" in texts(app, "StepNote")
            chat.composer.load("What is 47 + 58?")
            await pilot.press("enter")
            await until(pilot, lambda: chat._talk.session and chat._talk.session.busy)
            await until(pilot, lambda: chat.query(Reply) and chat.query(Reply).last().thinking.text)
            available[0] = 4 * GIB
            laid.pull()
            await until(pilot, lambda: not chat._talk.ready)
            await until(pilot, lambda: chat._talk.ready and not chat._loading.running)
            assert f"The connection to {laid.endpoint} is lost." in texts(app, "Note")
            assert f"{laid.endpoint} is lost: planned again without." in texts(app, "StepNote")
            assert not app.screen.query_one(Leaving).display
            assert app.services.home.pool == ()
            kept = chat._talk.messages[-1].thinking
            assert kept
            chat.query(Reply).last().action_go_on()
            await until(pilot, lambda: chat._talk.messages[-1].text)
            await until(pilot, chat._idle.is_set)
            assert chat._talk.messages[-1].text == "47 + 58 = 105"
            assert chat._talk.messages[-1].thinking.startswith(kept)
