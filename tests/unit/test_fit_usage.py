"""What a plan makes of each memory agrees with the plan, and with whether it fits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from fit_machines import ALL, M3_MAX_64, RTX_3060, TWO_3090, model, variant

from localr1.fit.placement import place
from localr1.fit.pool import pool_needs
from localr1.fit.types import Plan
from localr1.fit.usage import pool_uses, without
from localr1.machine.types import GpuUser, Machine

SOME = (
    ("r1-distill-qwen-1.5b", "Q4_K_M"),
    ("r1-distill-qwen-14b", "Q8_0"),
    ("r1-distill-llama-70b", "Q4_K_M"),
)


@cache
def a_place(machine: Machine, which: tuple[str, str]) -> Plan:
    return place(model(which[0]), variant(*which), machine)


@pytest.mark.parametrize("which", SOME)
@pytest.mark.parametrize("name", ALL)
def test_parts_add_up_to_the_plan_and_nothing_counts_twice(
    name: str, which: tuple[str, str]
) -> None:
    machine = ALL[name]
    plan = a_place(machine, which)
    uses = pool_uses(plan, machine)
    assert {use.name: use.need_bytes for use in uses} == {
        pool: need for pool, need in pool_needs(plan.devices, machine).items() if need
    }
    assert sum(use.need_bytes for use in uses) == plan.total_bytes
    for use in uses:
        if not use.short_bytes:
            assert use.used_bytes + use.need_bytes + use.left_bytes == use.total_bytes
    # A unified GPU may lend less than main memory has; every other plan fits where none is short.
    if not any(gpu.unified for gpu in machine.gpus):
        assert plan.fits is not any(use.short_bytes for use in uses)


def test_a_gpu_that_shares_main_memory_has_no_bar_of_its_own() -> None:
    uses = pool_uses(a_place(M3_MAX_64, SOME[1]), M3_MAX_64)
    assert [use.name for use in uses] == ["CPU"]


def test_gpus_come_first_and_say_who_holds_them() -> None:
    users = (GpuUser("firefox", 1 << 30),)
    machine = replace(
        TWO_3090,
        devices=tuple(
            replace(device, users=users) if device.name == "CUDA1" else device
            for device in TWO_3090.devices
        ),
    )
    uses = pool_uses(a_place(machine, SOME[2]), machine)
    assert [use.name for use in uses] == ["CUDA0", "CUDA1", "CPU"]
    assert [use.users for use in uses] == [(), users, ()]


@pytest.mark.parametrize("which", SOME)
@pytest.mark.parametrize("name", ALL)
def test_what_a_plan_held_is_free_again(name: str, which: tuple[str, str]) -> None:
    machine = ALL[name]
    plan = a_place(machine, which)
    freed = without(machine, plan.devices)
    before = {device.name: device.free_bytes for device in machine.devices}
    for device in freed.devices:
        assert before[device.name] <= device.free_bytes
        assert device.free_bytes <= max(device.total_bytes, before[device.name])
    assert machine.memory.available_bytes <= freed.memory.available_bytes
    assert freed.memory.available_bytes <= freed.memory.total_bytes
    assert replace(freed, memory=machine.memory, devices=machine.devices) == machine


def test_a_running_model_is_advised_again() -> None:
    plan = a_place(RTX_3060, ("r1-distill-qwen-14b", "Q4_K_M"))
    assert plan.on_gpus_alone
    held = {device.name: device.total_bytes for device in plan.devices}
    busy = replace(
        RTX_3060,
        devices=tuple(
            replace(device, free_bytes=device.free_bytes - held[device.name])
            if device.kind == "gpu"
            else device
            for device in RTX_3060.devices
        ),
    )
    assert not a_place(busy, ("r1-distill-qwen-14b", "Q4_K_M")).on_gpus_alone
    again = a_place(without(busy, plan.devices), ("r1-distill-qwen-14b", "Q4_K_M"))
    assert again.settings.gpu_layers == plan.settings.gpu_layers
