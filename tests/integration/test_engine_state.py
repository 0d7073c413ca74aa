"""A saved KV cache goes on as if it had never left; a damaged one is ignored."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from talking import demo_engine, question
from test_engine_idle import ANSWER, NEXT, SPEECH

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import EngineError

HISTORY = (*SPEECH, *ANSWER)


async def reply(engine: Engine) -> tuple[int, str]:
    """Tokens found in the cache, and what is said."""
    events = [e async for e in engine.generate(question(segments=(*HISTORY, *NEXT)))]
    last = events[-1]
    assert isinstance(last, protocol.Generated)
    return last.cached_tokens, "".join(e.text for e in events if isinstance(e, protocol.Text))


async def test_a_restored_cache_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "1.kv"
    async with demo_engine(tmp_path) as engine:
        done = await engine.prefill(HISTORY)
        saved = await engine.save_state(path)
        assert saved.tokens == done.total_tokens
        assert saved.size_bytes == path.stat().st_size > 0
        said = await reply(engine)
    async with demo_engine(tmp_path) as engine:
        restored = await engine.restore_state(path)
        assert (restored.tokens, restored.reason) == (saved.tokens, "")
        assert await reply(engine) == said
        assert said[0] == saved.tokens
        assert "17" in said[1]


async def test_any_damage_is_noticed(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.kv", tmp_path / "1.kv"
    chance = random.Random(3)
    async with demo_engine(tmp_path) as engine:
        await engine.prefill(HISTORY)
        await engine.save_state(whole)
        said = await reply(engine)
        data = whole.read_bytes()
        places = [*range(40), *(chance.randrange(len(data)) for _ in range(60)), len(data) - 1]
        for place in places:
            flipped = data[place] ^ (1 << chance.randrange(8))
            path.write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
            assert (await engine.restore_state(path)).tokens == 0, place
        for length in (0, 1, 20, 21, 60, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            restored = await engine.restore_state(path)
            assert restored.tokens == 0
            assert restored.reason
        path.write_bytes(data + b"x")
        assert (await engine.restore_state(path)).tokens == 0
        assert (await engine.restore_state(tmp_path / "none.kv")).reason
        path.unlink()
        path.mkdir()
        assert (await engine.restore_state(path)).tokens == 0
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.kv")
            assert (await engine.restore_state(tmp_path / "pipe.kv")).reason == "it is no file"
        assert (await engine.restore_state(whole)).tokens > 0
        assert (await reply(engine))[1] == said[1]


@pytest.mark.parametrize("change", [{"kv_cache_type": "q8_0"}, {"flash_attention": False}])
async def test_a_state_of_other_settings_is_ignored(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "1.kv"
    async with demo_engine(tmp_path) as engine:
        await engine.prefill(HISTORY)
        await engine.save_state(path)
    async with demo_engine(tmp_path, **change) as engine:
        restored = await engine.restore_state(path)
        assert restored.tokens == 0
        assert "of another model" in restored.reason


async def test_a_state_longer_than_the_window_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "1.kv"
    long = (*SPEECH, protocol.Segment("7 + 9 + 0 = 16, write 6, carry 1\n" * 40))
    async with demo_engine(tmp_path, 2048) as engine:
        assert (await engine.prefill(long)).done_tokens > 300
        await engine.save_state(path)
    async with demo_engine(tmp_path, 256) as engine:
        restored = await engine.restore_state(path)
        assert restored.tokens == 0
        assert "longer than the context window" in restored.reason


async def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        await engine.prefill(HISTORY)
        with pytest.raises(EngineError, match="cannot be saved"):
            await engine.save_state(tmp_path / "no" / "1.kv")
        assert (await reply(engine))[0] > 0


async def test_nothing_is_left_beside_a_saved_state(tmp_path: Path) -> None:
    folder = tmp_path / "kv"
    folder.mkdir()
    async with demo_engine(tmp_path) as engine:
        assert (await engine.save_state(folder / "1.kv")).size_bytes == 0
        assert list(folder.iterdir()) == []
        await engine.prefill(HISTORY)
        await engine.save_state(folder / "1.kv")
        await engine.save_state(folder / "1.kv")
        assert [p.name for p in folder.iterdir()] == ["1.kv"]
