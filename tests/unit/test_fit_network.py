"""Other computers in the fit: what crosses the network, where layers go, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import fit_machines
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.fit import placement
from localr1.fit.memory import CPU, shares
from localr1.fit.network import alone, crossings, names_lent
from localr1.fit.search import speed_of
from localr1.fit.types import Plan, Settings
from localr1.machine.types import Device, Link, Machine
from localr1.models import catalog

GIB = 1 << 30
CATALOGUE = catalog.load()


def lent(  # noqa: PLR0913 - a device's figures
    number: int = 0,
    gib: float = 24,
    *,
    bandwidth: float = 1e12,
    seconds: float = 0.0005,
    rate: float = 117e6,
    endpoint: str = "192.168.1.5:50052",
) -> Device:
    return Device(
        name=f"RPC{number}",
        description=f"RTX 4090 at {endpoint}",
        kind="gpu",
        vendor="nvidia",
        backend="RPC",
        total_bytes=int(gib * GIB),
        free_bytes=int(gib * GIB),
        unified=False,
        bandwidth_bytes_per_second=bandwidth,
        usable_by_engine=True,
        reason="lent",
        link=Link(endpoint, seconds, rate, rate),
    )


def with_lent(machine: Machine, *devices: Device) -> Machine:
    return replace(machine, devices=(*machine.devices, *devices))


def plan(machine: Machine, name: str) -> Plan:
    choice = CATALOGUE.resolve(name)
    assert choice.variant is not None
    return placement.place(choice.model, choice.variant, machine)


# --- how fast -----------------------------------------------------------------------------------


def test_a_token_takes_what_its_computers_take_and_the_network() -> None:
    machine = with_lent(fit_machines.LAPTOP_16, lent())
    found = plan(machine, "32b:Q4_K_M")
    assert found.settings.device_names == ("RPC0",)
    speed = speed_of(found, machine)
    (crossing,) = speed.crossings
    near = with_lent(fit_machines.LAPTOP_16, replace(lent(), link=None))
    without = speed_of(found, near).token_seconds(1000).expected
    assert speed.token_seconds(1000).expected == pytest.approx(
        without + crossing.token_seconds(1000)
    )
    assert crossing.token_seconds(1000) > crossing.round_trips * 0.0005
    assert crossing.round_trips == 2  # the best logits, and their tokens


@given(
    seconds=st.floats(1e-5, 0.2),
    rate=st.floats(1e5, 1e10),
    depth=st.integers(0, 16000),
    layers=st.integers(1, 65),
)
def test_a_worse_link_never_makes_it_faster(
    seconds: float, rate: float, depth: int, layers: int
) -> None:
    model = CATALOGUE.model("r1-distill-qwen-32b")
    settings = Settings(8192, gpu_layers=layers, device_names=("RPC0",))
    placed = shares(model.architecture.layers, settings)

    def takes(seconds: float, rate: float) -> tuple[float, float]:
        device = lent(seconds=seconds, rate=rate)
        (crossing,) = crossings(model.architecture, settings, placed, {"RPC0": device})
        low, expected, high = (
            crossing.token_seconds(depth, case) for case in ("high", "expected", "low")
        )
        assert 0 < low < expected < high
        return expected, crossing.prompt_token_seconds(512, depth)

    here = takes(seconds, rate)
    for worse in (takes(seconds * 2, rate), takes(seconds, rate / 2)):
        assert all(a < b for a, b in zip(here, worse, strict=True))


def test_logits_cross_where_the_computer_does_not_choose() -> None:
    a = CATALOGUE.model("r1-distill-qwen-32b").architecture
    whole = Settings(8192, gpu_layers=a.layers + 1, device_names=("RPC0",))
    part = replace(whole, gpu_layers=10)
    guessing = replace(whole, draft_tokens=8)
    (chosen,), (all_of_them,), (also) = (
        crossings(a, settings, shares(a.layers, settings), {"RPC0": lent()})
        for settings in (whole, part, guessing)
    )
    assert chosen.last_down_bytes < 1000
    assert all_of_them.last_down_bytes == also[0].last_down_bytes == 4 * a.vocabulary_size
    # Two rows come from layers that stand before.
    assert all_of_them.up_bytes - chosen.up_bytes == 4 * a.embedding_length


def test_two_cards_of_one_computer_send_nothing_between_them_over_the_network() -> None:
    a = CATALOGUE.model("r1-distill-qwen-32b").architecture
    settings = Settings(8192, gpu_layers=a.layers + 1, device_names=("RPC0", "RPC1"))
    placed = shares(a.layers, settings)
    apart = crossings(a, settings, placed, {"RPC0": lent(), "RPC1": lent(1, endpoint="b:1")})
    beside = crossings(a, settings, placed, {"RPC0": lent(), "RPC1": lent(1)})
    assert apart[0].down_bytes == 8 * a.embedding_length
    assert beside[0].down_bytes == 0
    assert beside[1].up_bytes < apart[1].up_bytes


def test_nothing_crosses_on_one_computer() -> None:
    assert (
        speed_of(plan(fit_machines.RTX_4090, "32b:Q4_K_M"), fit_machines.RTX_4090).crossings == ()
    )


# --- where layers go ----------------------------------------------------------------------------


def test_the_card_here_is_filled_first_and_has_the_last_layers() -> None:
    machine = with_lent(fit_machines.RTX_3060, lent(gib=12), lent(1, 12, endpoint="b:1"))
    found = plan(machine, "32b:Q4_K_M")
    assert found.fits
    names, split = found.settings.device_names, found.settings.tensor_split
    assert names[-1] == "CUDA0"
    assert names[0].startswith("RPC")
    room = {device.name: device.free_bytes for device in machine.gpus}
    here = next(device for device in found.devices if device.name == "CUDA0")
    assert here.total_bytes > 0.75 * room["CUDA0"]
    assert sum(split) == found.settings.gpu_layers


def test_what_is_no_slower_alone_stays_alone() -> None:
    slow = with_lent(fit_machines.RTX_4090, lent(bandwidth=40e9))
    found = plan(slow, "7b:Q4_K_M")
    assert not names_lent(found.settings)
    assert found.generation_tps == plan(alone(slow), "7b:Q4_K_M").generation_tps
    far = with_lent(fit_machines.LAPTOP_16, lent(seconds=0.5))
    found = plan(far, "7b:Q4_K_M")
    assert not names_lent(found.settings)
    assert found.devices[0].name == CPU
    assert any("no slower than with what other" in words for words in found.reasons)


def test_a_lender_that_is_worth_it_is_used() -> None:
    machine = with_lent(fit_machines.LAPTOP_16, lent())
    found = plan(machine, "7b:Q4_K_M")
    assert found.settings.device_names == ("RPC0",)
    here = plan(fit_machines.LAPTOP_16, "7b:Q4_K_M")
    assert found.generation_tps.expected > 2 * here.generation_tps.expected


def test_what_fits_nowhere_says_what_is_lacking_with_all_of_it() -> None:
    machine = with_lent(fit_machines.LAPTOP_8, lent(gib=4))
    found = plan(machine, "70b:Q4_K_M")
    assert not found.fits
    assert "lacks" in found.reasons[0]


# --- what is said -------------------------------------------------------------------------------


def test_the_network_is_said_with_its_figures() -> None:
    machine = with_lent(fit_machines.LAPTOP_16, lent(seconds=0.012, rate=11.7e6))
    words = plan(machine, "32b:Q4_K_M").reasons
    (line,) = [one for one in words if "192.168.1.5:50052" in one]
    assert "12 ms there and back, 12 MB/s" in line
    assert "for each token" in line


def test_a_network_that_takes_most_of_the_time_is_what_limits() -> None:
    slow = with_lent(fit_machines.LAPTOP_8, lent(seconds=0.05, rate=1e6))
    (line,) = [one for one in plan(slow, "32b:Q4_K_M").reasons if one.startswith("Limited")]
    assert "by the network" in line
    fast = with_lent(fit_machines.LAPTOP_8, lent(seconds=0.0001, rate=1e9))
    (line,) = [one for one in plan(fast, "32b:Q4_K_M").reasons if one.startswith("Limited")]
    assert "RPC0's memory speed" in line
