"""The README's picture: the running app with the real engine and the real demo model.

`LOCALR1_WRITE_DOCS=1 pytest tests/tui/test_screenshot.py` draws it anew.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from tui_scene import ask, first_run, hold_still, until

PICTURE = Path(__file__).parents[2] / "docs" / "screenshot.svg"


def words(svg: str) -> str:
    """What a picture says, without the figures that differ from run to run."""
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return " ".join(html.unescape("".join(lines)).replace("\xa0", " ").split())


async def test_the_picture_in_the_readme_is_the_app_as_it_is() -> None:
    async with first_run(size=(96, 30)) as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        reply = await ask(app, pilot, "Which is larger, 908 or 980?")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: reply.thinking.is_open)
        await hold_still(pilot)
        picture = app.export_screenshot(title="localr1")
    if os.environ.get("LOCALR1_WRITE_DOCS") == "1":
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(picture, encoding="utf-8")
    kept = words(PICTURE.read_text(encoding="utf-8"))
    for part in ("What is 347 + 589?", "347 + 589 = 936", "980", "Thought for", "tok/s", "^p"):
        assert part in words(picture), part
        assert part in kept, part
