"""Memory that other programs got wrong, by the numbers of their issues; each with its figures."""

from __future__ import annotations

import json
from typing import Any

import fit_machines
import pytest
from recorded_host import MACHINES, RecordedHost

from localr1.cli.machine import describe
from localr1.fit import placement
from localr1.fit.advisor import advise
from localr1.machine.gpu_windows import CLASS_KEY
from localr1.machine.reconcile import distinct_memory_bytes, reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineDevice, EngineInfo, Machine
from localr1.machine.what_if import what_if

MIB, GIB = 1 << 20, 1 << 30
BIG = ("r1-671b", "r1-0528-671b")


def recorded(name: str, **changes: Any) -> RecordedHost:
    recording = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
    return RecordedHost({**recording, **changes})


# --- Strix Halo with 96 of 128 GiB for its graphics (AlexsJones/llmfit 194, 89, 964)


def windows_strix_halo() -> RecordedHost:
    # 194: 31.65 GiB of main memory were left, 20.46 of them free; the graphics were said to have
    # 31.65 GiB as well.
    return recorded(
        "windows-arc-140v",
        registry={
            f"{CLASS_KEY}\\0000": {
                "DriverDesc": "AMD Radeon(TM) 8060S Graphics",
                "HardwareInformation.qwMemorySize": 96 * GIB,
            }
        },
        memory=[int(31.65 * GIB), int(20.46 * GIB)],
    )


def linux_strix_halo() -> RecordedHost:
    host = recorded("strix-halo-gtt", memory=[int(31.1 * GIB), int(27 * GIB)])
    for path in host._r["files"]:
        if path.endswith("/mem_info_vram_total"):
            host._r["files"][path] = "103079215104\n"
        elif path.endswith("/mem_info_gtt_total"):
            host._r["files"][path] = "16649293824\n"
    return host


@pytest.mark.parametrize("host", [windows_strix_halo(), linux_strix_halo()], ids=["194", "89"])
def test_memory_carved_out_for_the_graphics_is_theirs(host: RecordedHost) -> None:
    (gpu,) = detect(host).gpus
    assert (gpu.total_bytes, gpu.unified) == (96 * GIB, False)
    assert gpu.bandwidth_bytes_per_second == 256e9


@pytest.mark.parametrize("host", [windows_strix_halo(), linux_strix_halo()], ids=["194", "964"])
def test_a_70b_runs_in_the_memory_carved_out(host: RecordedHost) -> None:
    listed = EngineDevice("Vulkan0", "AMD Radeon 8060S Graphics", "igpu", 96 * GIB, 95 * GIB)
    engine = EngineInfo("0.3.36", ("Vulkan", "CPU"), (listed,), compiled=("Vulkan", "CPU"))
    machine = reconcile(detect(host), engine)
    # Beside main memory, not part of it: both together are the 128 GiB.
    assert distinct_memory_bytes(machine) == machine.memory.total_bytes + 96 * GIB
    model = fit_machines.model("r1-distill-llama-70b")
    plan = placement.place(model, fit_machines.variant(model.id, "Q4_K_M"), machine)
    assert plan.fits
    assert plan.on_gpus_alone


# --- what macOS lends to the graphics (llmfit 570 and 754, lmstudio-bug-tracker 651)


def mac(name: str, ram_gib: int, free_gib: float, wired_mib: int = 0) -> Machine:
    host = recorded("mac-m2-max", memory=[ram_gib * GIB, int(free_gib * GIB)])
    commands = {key: text.replace("M2 Max", name) for key, text in host._r["commands"].items()}
    if wired_mib:
        commands["sysctl -n iogpu.wired_limit_mb"] = f"{wired_mib}\n"
    host._r["commands"] = commands
    lent = detect(host).gpus[0].total_bytes or 0
    listed = EngineDevice("MTL0", f"Apple {name}", "gpu", lent, lent)
    engine = EngineInfo("0.3.36", ("Metal", "CPU"), (listed,), compiled=("Metal", "CPU"))
    return reconcile(detect(host), engine)


def test_the_limit_of_a_mac_is_shown_not_all_of_its_memory() -> None:
    # 570: llama-server listed `MTL0: Apple M1 Max (26000 MiB, 25999 MiB free)` of 32 GiB.
    machine = mac("M1 Max", 32, 28.5, wired_mib=26000)
    assert machine.gpus[0].total_bytes == 26000 * MIB
    (line,) = [text for label, text in describe(machine) if label == "GPU"]
    assert line == "Apple M1 Max: 25.4 GiB free of 25.4 GiB (shared with the CPU)"
    # 754: without a limit of its owner's an M3 with 16 GiB does not lend all of it.
    assert mac("M3", 16, 12).gpus[0].total_bytes < 16 * GIB


def test_a_raised_limit_of_a_mac_is_used() -> None:
    # 651: with a limit of 126976 MiB of 128 GiB, files over 70 GB were called too large, and ran
    # on the processor.
    model = fit_machines.model("r1-distill-llama-70b")
    large = next(one for one in model.variants if one.size_bytes > 70e9)
    raised = mac("M3 Max", 128, 122, wired_mib=126976)
    assert raised.gpus[0].total_bytes == 126976 * MIB
    plan = placement.place(model, large, raised)
    assert plan.fits
    assert plan.on_gpus_alone


# --- mixtures of experts need all of their experts (llmfit 230, 497, 622)


@pytest.mark.parametrize("ram_gib", [48, 128], ids=["230", "497"])
@pytest.mark.parametrize("model_id", BIG)
def test_all_experts_need_memory_not_those_of_one_token(model_id: str, ram_gib: int) -> None:
    # 230: 33 GB for 70 on a Mac with 48 GB. 497: 22 GB for the 671B, on one with 128.
    machine = what_if(fit_machines.M3_MAX_64, ram_bytes=ram_gib * GIB)
    model = fit_machines.model(model_id)
    for variant in model.variants:
        plan = placement.place(model, variant, machine)
        assert sum(one.weights_bytes for one in plan.devices) >= 0.98 * variant.size_bytes
        assert plan.resident_bytes > 130 * GIB
        assert not plan.fits, variant.quantization


@pytest.mark.parametrize("model_id", BIG)
def test_the_full_r1_is_no_model_of_29_billion(model_id: str) -> None:
    # 622: R1-0528's files in parts were shown as 29.6B with 15 GB, a context of 6,553,600, and
    # 116.7 tokens/s on 24 GB.
    model = fit_machines.model(model_id)
    for variant in model.variants:
        bits = variant.size_bytes * 8 / 671e9
        assert 1.4 < bits < 17, variant.quantization
    machine = what_if(fit_machines.RTX_4090, ram_bytes=64 * GIB)
    plans = advise(
        machine, (model,), quantization_loss=fit_machines.catalogue().quantization_loss
    ).plans
    assert len(plans) == len(model.variants)
    for plan in plans:
        assert plan.settings.context_window <= model.architecture.context_length == 163_840
        assert not plan.fits


# --- who fixes one thing still gets the rest fitted (ggml-org/llama.cpp 27872)


CARD = fit_machines.cuda(0, "RTX 3090", 24, 22341 / 1024, 936)
"""27872: so much was free; with the experts on the processor 24840 MiB were projected, the fitting
gave up because the user had placed something, and the loading ran out of memory."""


@pytest.mark.parametrize("gpu_layers", [None, 10, 62])
@pytest.mark.parametrize("context", [None, 131_072])
def test_experts_in_main_memory_do_not_switch_fitting_off(
    gpu_layers: int | None, context: int | None
) -> None:
    model = fit_machines.model("r1-0528-671b")
    plan = placement.place(
        model,
        fit_machines.variant(model.id, "UD-Q2_K_XL"),
        fit_machines.machine(503, 490, CARD, cores=32),
        gpu_layers=gpu_layers,
        context_window=context,
    )
    assert plan.fits
    assert plan.settings.gpu_layers == (62 if gpu_layers is None else gpu_layers)
    assert plan.settings.cpu_expert_layers > 50
    (on_card,) = [one for one in plan.devices if one.name == "CUDA0"]
    assert on_card.total_bytes < 22341 * MIB
    if context is not None:
        assert plan.settings.context_window == context <= model.architecture.context_length


def test_what_was_asked_for_and_has_no_room_is_refused_not_loaded() -> None:
    machine = fit_machines.machine(64, 60, CARD)
    model = fit_machines.model("r1-distill-llama-70b")
    variant = fit_machines.variant(model.id, "Q4_K_M")
    plan = placement.place(model, variant, machine, gpu_layers=81)
    assert not plan.fits
    assert "CUDA0" in plan.reasons[0]
    assert plan.would_fit_if
