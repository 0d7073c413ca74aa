"""What is said to fit does, by llama.cpp's own figures, on machines where it only just may."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import dry_runs
import fit_machines
import lender
import pytest

from localr1.engine.confirm import judged, write_stand_in
from localr1.engine.types import DeviceBuffers, Measurement
from localr1.fit.memory import CPU
from localr1.fit.pool import GPU_HEADROOM_BYTES, GPU_HEADROOM_SHARE, pool_needs
from localr1.fit.search import CONTEXT_WINDOWS, find
from localr1.fit.types import Asked, Plan, Settings
from localr1.fit.weights import origin
from localr1.machine.types import Device, Machine
from localr1.models.types import Model, Variant

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
MACHINES = 500 if SOAK else 50
GIB = 1 << 30
PLENTY_GIB = 2000.0
LIBRARY = lender.library_folder()
CONTEXTS = (None, None, *CONTEXT_WINDOWS, 2048, 131072)
CACHE_TYPES = (None, None, None, "f16", "q8_0")
FILES = [(one, file) for one in fit_machines.catalogue().models for file in one.variants]


@dataclass(frozen=True)
class Case:
    """A file, what is asked of it, and a machine that has about as much memory as it needs."""

    model: Model
    variant: Variant
    asked: Asked
    machine: Machine


def card(number: int, total_gib: float) -> Device:
    """A device that is lent, with all of its memory free."""
    known = fit_machines.cuda(number, "lent", total_gib, total_gib, 400)
    return replace(known, name=f"RPC{number}", backend="RPC")


def near(dice: random.Random, need_bytes: float) -> float:
    """Within a tenth of a need."""
    return need_bytes * dice.uniform(0.9, 1.1)


def with_room(dice: random.Random, needs: dict[str, int], names: Sequence[str]) -> Machine:
    """A machine whose memories are near what is needed of each, headroom included."""
    # Headroom is a share of main memory, or what the plan itself takes where that is less.
    main = near(dice, needs[CPU])
    total = max(2 * main, main + 2 * GIB) * dice.uniform(1, 2)
    headroom = min(needs[CPU], max(GIB, int(total * 0.08)))
    cards = []
    for number, name in enumerate(names):
        size = near(dice, max(needs.get(name, 0), GIB / 4))
        room = max(GPU_HEADROOM_BYTES, size / (1 - GPU_HEADROOM_SHARE) - size)
        cards.append(card(number, (size + room) / GIB))
    features = dice.choice([(), fit_machines.AVX2, fit_machines.AVX512, fit_machines.ARM])
    return fit_machines.machine(
        total / GIB, (main + headroom) / GIB, *cards, features=features, bandwidth_gb=40
    )


def case(number: int, cards: int) -> Case:
    """The random case of this number."""
    dice = random.Random(f"{number}-{cards}")
    one, file = dice.choice(FILES)
    asked = Asked(dice.choice(CONTEXTS), dice.choice(CACHE_TYPES))
    plenty = [card(n, PLENTY_GIB if dice.random() < 0.5 else 8.0) for n in range(cards)]
    roomy = fit_machines.machine(PLENTY_GIB, PLENTY_GIB, *plenty, bandwidth_gb=40)
    needs = dict(pool_needs(find(one, file, roomy, asked).devices, roomy))
    if cards == 2:
        # A plan may use one of two: then the other's part is up to chance.
        half = sum(size for name, size in needs.items() if name != CPU) / 2
        needs |= {f"RPC{n}": int(needs.get(f"RPC{n}") or half) for n in range(2)}
    return Case(one, file, asked, with_room(dice, needs, [f"RPC{n}" for n in range(cards)]))


class Engine:
    """llama.cpp's dry runs of files that are all header, each asked for once.

    Args:
        folder: For the headers.
        ask: A process that answers.
    """

    def __init__(self, folder: Path, ask: dry_runs.Ask) -> None:
        self._folder = folder
        self._ask = ask
        self._known: dict[tuple[str, Settings], tuple[DeviceBuffers, ...]] = {}

    def says_it_fits(self, plan: Plan, where: Machine) -> bool:
        """Whether a plan fits by llama.cpp's figures."""
        name = f"{plan.model.id}-{plan.variant.quantization}.gguf"
        path = self._folder / name
        if not path.exists():
            write_stand_in(path, plan.model, plan.variant)
        key = (name, plan.settings)
        if key not in self._known:
            found = self._ask(path, replace(plan.settings, threads=1))
            assert not isinstance(found, str), (name, plan.settings, found)
            self._known[key] = found
        measured = Measurement(self._known[key], plan.settings.context_window, 0.0)
        # Of mixes that only their header knows, the stand-in has other tensors than the file.
        known = origin(plan.model.architecture, plan.variant) != "size"
        return judged(plan, measured, where, weights=known).plan.fits


def count(cards: int, machines: int, engine: Engine) -> None:
    """Go through the random machines."""
    said, wrong = 0, []
    for number in range(machines):
        one = case(number, cards)
        plan = find(one.model, one.variant, one.machine, one.asked)
        if not plan.fits:
            continue
        said += 1
        if not engine.says_it_fits(plan, one.machine):
            wrong.append((one.model.id, one.variant.quantization, plan.settings))
    assert not wrong, f"{len(wrong)} of {said}: {wrong[:3]}"
    # Near the edge a third to two thirds fit: with none or all, the test would say nothing.
    assert 0.1 * machines < said < 0.95 * machines, said


def test_nothing_that_is_said_to_fit_in_main_memory_does_not(tmp_path: Path) -> None:
    with dry_runs.asking() as ask:
        count(0, MACHINES // 2, Engine(tmp_path, ask))


@pytest.mark.skipif(LIBRARY is None, reason="NOT TESTED: GPUs, see `make rpc`")
@pytest.mark.parametrize("cards", [1, 2])
def test_nothing_that_is_said_to_fit_on_cards_does_not(cards: int, tmp_path: Path) -> None:
    assert LIBRARY is not None
    with ExitStack() as stack:
        lent = [
            stack.enter_context(lender.lent(LIBRARY, 1 << 42, tmp_path / f"lender{number}.log"))
            for number in range(cards)
        ]
        ask = stack.enter_context(dry_runs.asking([one.endpoint for one in lent], LIBRARY))
        count(cards, MACHINES // 2, Engine(tmp_path, ask))
