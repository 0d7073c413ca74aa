"""The app on a server's model: it is always said where the words go, and faults keep the text."""

from __future__ import annotations

from endpoint import Handler, endpoint, models, says
from tui_scene import ask, chat_of, greedy_home, in_chat, texts, until

from localr1.models.library import DEMO_PATH
from localr1.remote.address import parse
from localr1.remote.client import find
from localr1.tui.app import LocalR1App
from localr1.tui.elsewhere import RemoteServices
from localr1.tui.widgets.leaving import Leaving


async def app_at(address: str) -> LocalR1App:
    home = greedy_home()
    return LocalR1App(home, services=RemoteServices(home, await find(parse(address), "", None), ""))


async def test_it_is_said_where_words_go_until_the_model_is_here_again() -> None:
    with endpoint(says({"reasoning_content": "hm"}, {"content": "**Two**."})) as told:
        app = await app_at(told.address)
        async with app.run_test(size=(100, 40)) as pilot:
            await until(pilot, lambda: in_chat(app) and chat_of(app)._talk.ready)
            assert "goes to 127.0.0.1:" in texts(app, "Leaving")
            assert "nothing leaves it" not in texts(app, "Blank")
            assert not chat_of(app).check_action("answer_now", ())
            reply = await ask(app, pilot, "1 + 1")
            assert (reply.answer_text, chat_of(app)._talk.messages[-1].thinking) == (
                "**Two**.",
                "hm",
            )
            local = app.services.home.library.at(DEMO_PATH, app.services.home.catalogue)
            assert local is not None
            chat_of(app).use(local, chat_of(app).asked)
            await until(pilot, lambda: chat_of(app).local == local and in_chat(app))
            assert not app.screen.query_one(Leaving).display
            await ask(app, pilot, "What is 12 + 30?")
            assert chat_of(app)._talk.messages[-1].text == "12 + 30 = 42"
    assert len(told.asked) == 1


async def test_a_fault_keeps_the_text_and_the_app_goes_on() -> None:
    def cut(handler: Handler) -> None:
        handler.begin()
        handler.piece(content="Tw")

    with endpoint(cut, models("a-model", max_model_len=8192)) as told:
        app = await app_at(told.address)
        async with app.run_test(size=(100, 40)) as pilot:
            await until(pilot, lambda: in_chat(app) and chat_of(app)._talk.ready)
            reply = await ask(app, pilot, "1 + 1")
            assert reply.answer_text == "Tw"
            assert "in the middle of the reply" in texts(app, "Note")
            assert chat_of(app)._talk.ready
            assert chat_of(app).status.status.context_window == 8192
