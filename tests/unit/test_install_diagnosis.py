"""What is wrong with an engine, from what it and its system say: a table of real words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_install_recipes import ALL, APPLE, ARC, BARE, LINUX, MAC, RADEON, RTX, machine

from localr1 import doctor
from localr1.install.diagnosis import diagnose
from localr1.install.prospect import prospect
from localr1.install.types import Bench, Place, Tools, Trouble
from localr1.machine.types import Device, EngineInfo, Machine

BENCH = Bench(LINUX, ALL)


def troubles(here: Machine, place: Place = LINUX, tools: Tools = ALL) -> tuple[Trouble, ...]:
    return diagnose(here, place, tools)


def with_engine(here: Machine, **changes: Any) -> Machine:
    return replace(here, engine=replace(here.engine, **changes))


def broken(words: str, *cards: Device) -> Machine:
    return replace(machine(*cards), engine=EngineInfo("", (), (), problem=words))


def test_what_could_not_be_looked_at_is_no_clean_bill() -> None:
    here = replace(machine(), problems=("Driver/library version mismatch",))
    unseen = doctor.unseen(here)
    assert [(one.what, one.status) for one in unseen] == [(here.problems[0], "warning")]
    assert not any("No GPU was found" in one.what for one in doctor.engine(here, BENCH))
    assert doctor.unseen(machine()) == []


def test_a_sound_engine_without_a_gpu_has_no_trouble() -> None:
    assert troubles(machine()) == ()
    findings = doctor.engine(machine(), BENCH)
    assert {one.status for one in findings} == {"ok"}
    assert doctor.ways(machine(), BENCH) == ()


def test_a_used_gpu_is_no_trouble() -> None:
    used = replace(RTX, usable_by_engine=True, backend="CUDA", name="CUDA0", reason="CUDA")
    here = machine(used, compiled=("CUDA", "CPU"))
    assert troubles(here) == ()
    assert "11.0 GiB free of 12.0 GiB" in doctor.engine(here, BENCH)[-1].what


# The words are those of ld.so, dyld, Windows' loader and Python; of the worker's end: last_words.
@pytest.mark.parametrize(
    ("words", "kind", "backend"),
    [
        ("ModuleNotFoundError: No module named 'llama_cpp'", "missing", "cuda"),
        ("", "missing", "cuda"),
        ("illegal instruction: this build is for another CPU (SIGILL)", "other_cpu", "cuda"),
        ("illegal instruction: this build is for another CPU (0xc000001d)", "other_cpu", "cuda"),
        (
            "Failed to load shared library 'libllama.dylib': dlopen(...): (mach-o file, but is an "
            "incompatible architecture (have 'x86_64', need 'arm64'))",
            *("other_cpu", "cuda"),
        ),
        (
            "OSError: libcudart.so.12: cannot open shared object file: No such file or directory",
            *("library", "cuda"),
        ),
        (
            "libcublas.so.11: cannot open shared object file: No such file or directory",
            *("library", "cuda"),
        ),
        (
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            *("library", "cuda"),
        ),
        (
            "libamdhip64.so.7: cannot open shared object file: No such file or directory",
            *("library", "cuda"),
        ),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found", "library", "cuda"),
        ("Could not find module 'ggml-cuda.dll' (or one of its dependencies)", "library", "cuda"),
        ("libllama.so: file too short", "damaged", "cuda"),
        ("Shared library with base name 'llama' not found", "damaged", "cuda"),
    ],
)
def test_an_engine_that_does_not_start(words: str, kind: str, backend: str) -> None:
    (trouble,) = troubles(broken(words, RTX))
    assert (trouble.kind, trouble.backend, trouble.grave) == (kind, backend, True)
    assert words in trouble.why
    (finding, *_) = doctor.engine(broken(words, RTX), BENCH)
    assert finding.status == "failed"
    assert finding.command


def test_the_missing_cuda_runtime_is_all_that_is_installed() -> None:
    here = broken("libcudart.so.12: cannot open shared object file", RTX)
    ways = doctor.ways(here, BENCH)
    assert ways[0].command.arguments[-2:] == ("nvidia-cuda-runtime-cu12", "nvidia-cublas-cu12")
    assert ways[1].backend == "cuda"


@pytest.mark.parametrize(
    ("cards", "backend"),
    [((), "cpu"), ((RADEON,), "rocm"), ((ARC,), "vulkan"), ((APPLE,), "metal")],
)
def test_cuda_libraries_are_not_for_a_computer_without_nvidias_cards(
    cards: tuple[Device, ...], backend: str
) -> None:
    here = broken("libcudart.so.12: cannot open shared object file", *cards)
    assert {way.backend for way in doctor.ways(here, BENCH)} == {backend}
    (finding, *_) = doctor.engine(here, BENCH)
    assert "nvidia-cuda-runtime" not in finding.command
    assert "file. It is a build for NVIDIA cards, and this computer has none" in finding.why


def test_cuda_libraries_are_of_no_use_while_the_driver_fails() -> None:
    reason = "the driver does not work: Driver Not Loaded."
    here = broken("libcudart.so.12: cannot open shared object", replace(RTX, reason=reason))
    (finding, *_) = doctor.engine(here, BENCH)
    assert finding.todo.startswith("Install or repair NVIDIA's driver")
    assert doctor.ways(here, BENCH)[0].backend == "cpu"


def test_without_nvidias_driver_the_driver_comes_first() -> None:
    (finding, *_) = doctor.engine(broken("libcuda.so.1: cannot open shared object file"), BENCH)
    assert finding.todo.startswith("Install or repair NVIDIA's driver")
    assert doctor.ways(broken("libcuda.so.1: cannot open"), BENCH)[0].backend == "cpu"


@pytest.mark.parametrize(
    ("card", "tools", "backend"),
    [(RTX, ALL, "cuda"), (RADEON, ALL, "rocm"), (RADEON, BARE, "vulkan"), (ARC, ALL, "vulkan")],
)
def test_a_gpu_beside_a_cpu_build(card: Device, tools: Tools, backend: str) -> None:
    (trouble,) = troubles(machine(card), tools=tools)
    assert (trouble.kind, trouble.backend, trouble.grave) == ("cpu_build", backend, False)
    assert trouble.why == "The engine is a CPU build."
    assert trouble.device == card.description


def test_a_build_for_another_makers_gpus() -> None:
    (trouble,) = troubles(machine(ARC, compiled=("CUDA", "CPU")))
    assert (trouble.kind, trouble.backend) == ("other_build", "vulkan")
    assert "built for CUDA" not in trouble.what
    assert trouble.why == "The engine is a build for CUDA."


def test_a_gpu_build_whose_runtime_fails_says_it_in_the_engines_words() -> None:
    words = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"
    here = with_engine(machine(RTX), compiled=("CUDA", "CPU"), words=words)
    (trouble,) = troubles(here)
    assert (trouble.kind, trouble.backend) == ("driver", None)
    assert words in trouble.why
    (finding,) = [one for one in doctor.engine(here, BENCH) if one.name == "gpu"]
    assert "NVIDIA's driver" in finding.todo
    assert not finding.command


def test_an_engine_newer_than_the_driver_gets_the_one_for_it() -> None:
    # The words of ollama/ollama issue 7666.
    words = (
        "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA"
        " runtime version"
    )
    card = replace(RTX, runtime="CUDA 11.8")
    here = with_engine(machine(card), compiled=("CUDA", "CPU"), words=words)
    (finding,) = [one for one in doctor.engine(here, BENCH) if one.name == "gpu"]
    assert finding.todo.startswith("Update the card's driver. Or, where that cannot be: ")
    assert "whl/cu118" in finding.command
    assert doctor.ways(here, BENCH)[0].backend == "cuda"


def test_a_variable_that_hides_the_card_is_named() -> None:
    hiding = replace(LINUX, hiding=("CUDA_VISIBLE_DEVICES",))
    words = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"
    here = with_engine(machine(RTX), compiled=("CUDA", "CPU"), words=words)
    (trouble,) = troubles(here, hiding)
    assert trouble.advice == "Start localr1 without CUDA_VISIBLE_DEVICES."
    assert trouble.backend is None
    # With an engine for the processor alone it has nothing to do with it.
    assert troubles(machine(RTX), hiding)[0].kind == "cpu_build"


def test_a_card_whose_driver_does_not_work() -> None:
    reason = "the driver does not work: Driver Not Loaded."
    (trouble,) = troubles(machine(replace(RTX, reason=reason)))
    assert (trouble.kind, trouble.backend, trouble.why) == ("driver", None, reason)


def test_an_engine_without_avx() -> None:
    here = with_engine(machine(), system_info="CPU : SSE3 = 1 | ")
    (trouble,) = troubles(here)
    assert (trouble.kind, trouble.backend) == ("no_avx", "cpu")
    on_gpu = with_engine(here, compiled=("Vulkan", "CPU"))
    assert troubles(on_gpu)[0].backend == "vulkan"


@pytest.mark.parametrize(
    ("version", "word"), [("0.3.9", "older"), ("0.3.37", "newer"), ("0.4.0", "newer")]
)
def test_another_release(version: str, word: str) -> None:
    (trouble,) = troubles(with_engine(machine(), version=version))
    assert trouble.kind == "release"
    assert word in trouble.what
    # A release that works with a card is not exchanged for one that does not.
    kept = with_engine(machine(), version=version, compiled=("RPC", "CPU"))
    assert troubles(kept)[0].backend == "rpc"


def test_an_apple_chip_under_emulation_needs_another_python() -> None:
    place = replace(MAC, architecture="x86_64")
    cpu = replace(machine().cpu, name="Apple M2", features=())
    here = replace(machine(APPLE), cpu=cpu)
    trouble = troubles(here, place)[0]
    assert (trouble.kind, trouble.backend) == ("emulated", None)
    assert troubles(replace(broken("dlopen"), cpu=cpu), place)[0].kind == "emulated"
    assert "emulated" not in {one.kind for one in troubles(here, MAC)}


def test_graphics_of_a_processor_beside_a_card_that_works_may_rest() -> None:
    used = replace(RTX, usable_by_engine=True, backend="CUDA", name="CUDA0", reason="CUDA")
    beside = replace(ARC, unified=True, kind="igpu")
    assert troubles(machine(used, beside, compiled=("CUDA", "CPU"))) == ()
    assert [one.kind for one in troubles(machine(beside))] == ["cpu_build"]
    twin = replace(RTX, name="Vulkan0", reason="the same card as CUDA0, through another backend")
    assert troubles(machine(used, twin, compiled=("CUDA", "Vulkan", "CPU"))) == ()


def test_a_build_that_the_user_names_is_made_whatever_there_is() -> None:
    assert [way.backend for way in doctor.ways(machine(), BENCH, "rpc")] == ["rpc"]
    with_source = replace(BENCH, source="/x/llama_cpp_python-0.3.36.tar.gz")
    (way,) = doctor.ways(machine(), with_source)
    assert way.backend == "cpu"
    assert way.command.arguments[-1] == with_source.source


def test_what_a_mended_engine_would_make_of_an_idle_card() -> None:
    here = machine(RTX, replace(ARC, unified=True))
    found = prospect(here, BENCH)
    assert found is not None
    assert found.words == "nvidia card 12.0 GiB is not used: the engine is a CPU build."
    assert found.machine is not None
    (used,) = found.machine.gpus
    assert (used.name, used.backend, used.total_bytes) == ("CUDA0", "CUDA", RTX.total_bytes)
    # Once it is used there is nothing to say.
    assert prospect(found.machine, BENCH) is None
    assert prospect(machine(), BENCH) is None


def test_two_equal_cards_get_names_of_their_own() -> None:
    found = prospect(machine(RTX, replace(RTX, name="nvidia card #2")), BENCH)
    assert found is not None
    assert found.machine is not None
    assert [gpu.name for gpu in found.machine.gpus] == ["CUDA0", "CUDA1"]


def test_a_failing_driver_promises_nothing() -> None:
    failing = replace(RTX, reason="the driver does not work: Driver Not Loaded.")
    found = prospect(machine(failing), BENCH)
    assert found is not None
    assert found.machine is None
    assert "its driver fails" in found.words
