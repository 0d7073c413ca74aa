"""What the advice says around its list. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.content import Content

from localr1.printable import printable
from localr1.tui.advice_row import AdviceRow
from localr1.tui.scenario import GOAL_WORDS, Field, Scenario

LOOKING: Final = "Looking at this machine and working out which R1 fits it…"
NOT_HERE: Final = (
    "This is what another machine could do; nothing can be loaded there. t goes back to this "
    "machine."
)
NOT_ON_DISK: Final = "Offline: this model is not on this disk. Choose one that is marked “here”."
HINTS: Final[dict[Field, str]] = {
    "context_window": "Tokens that a conversation can hold, such as 32768. Empty: localr1 chooses.",
    "ram_bytes": "Main memory, such as 64G. Empty: what this machine has.",
    "gpu": (
        "A name, such as RTX 4090, RTX 3090 x2, RTX 4070 Laptop or M3 Max; none; or any name with "
        "its memory: My Card 24G. Empty: what this machine has."
    ),
}


def ranking_line(scenario: Scenario, *, all_variants: bool, busy: bool) -> Content:
    """The line above the list: what it is ranked by, and for which machine.

    Args:
        scenario: What the list is for.
        all_variants: Whether the list has every variant.
        busy: Whether another list is being made.
    """
    title, what = ("Which R1 fits", "bold"), "the best variant of each model"
    if all_variants:
        what = "every variant"
    if scenario.elsewhere:
        title, what = ("Which R1 would fit", "bold $warning"), f"what if: {scenario.words()}"
    return Content.assemble(
        title,
        (f"  {GOAL_WORDS[scenario.goal]} · {printable(what)}", "dim"),
        (" · ranking…" if busy else "", "$accent"),
    )


def offer(rows: Sequence[AdviceRow], scenario: Scenario, *, connected: bool, online: bool) -> str:
    """What can be done where nothing can be downloaded or nothing fits; empty where all is well.

    Args:
        rows: The list.
        scenario: What it is for.
        connected: Whether there is a connection to download by.
        online: Whether downloads are allowed.
    """
    real = [row for row in rows if not row.model.demo]
    here = any(row.local is not None for row in real)
    if not connected and not here and not scenario.elsewhere:
        state = "No connection" if online else "Offline"
        return (
            f"{state}, and no R1 is on this disk. The demonstration is: it only adds, "
            "subtracts and compares numbers."
        )
    if real and not any(row.plan.fits for row in real):
        which = "that machine" if scenario.elsewhere else "this machine as it is"
        return f"No R1 fits {which}; the reasons below say what would help."
    return ""
