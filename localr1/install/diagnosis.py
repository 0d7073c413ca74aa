"""What is wrong with the engine on a computer, and which build would mend it. Pure functions.

What a broken build says of itself is matched by its words: those of the dynamic loaders of glibc,
musl, macOS and Windows, of Python's import, and of the worker's end (`engine.last_words`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from localr1.install.types import TESTED_ENGINE, Backend, Kind, Place, Tools, Trouble
from localr1.machine.reconcile import OUT_OF_REACH, drives, gpu_backends
from localr1.machine.types import Device, EngineInfo, Machine

# CUDA releases below this compute capability are in no prebuilt engine (llama-cpp-python's README).
OLDEST_CAPABILITY: Final = (6, 0)
# Cards of one size report a little less or more.
_AS_MUCH_SHARE: Final = 0.9
_INSTALL_DRIVER: Final = {
    "nvidia": "Install or repair NVIDIA's driver, and restart the computer.",
    "amd": "Install the amdgpu driver (it is in the kernel and in linux-firmware), and restart.",
    "intel": "Install Intel's graphics driver, and restart.",
}
# The build's runtime is newer than the driver, or has no code for the card (CUDA errors 35, 209).
_TOO_NEW: Final = re.compile(r"driver version is insufficient|no kernel image is available")
_OF_BACKEND: Final[dict[str, Backend]] = {
    "CUDA": "cuda",
    "ROCm": "rocm",
    "HIP": "rocm",
    "Vulkan": "vulkan",
    "Metal": "metal",
}

_Make = Callable[[re.Match[str], EngineInfo, Machine, Tools], Trouble]


def diagnose(machine: Machine, place: Place, tools: Tools) -> tuple[Trouble, ...]:
    """Return what is wrong, the gravest first; empty where nothing is.

    Args:
        machine: What the computer has and what the engine says.
        place: Where the engine is installed.
        tools: What is there to build with; it decides between ROCm and Vulkan.
    """
    info = machine.engine
    if info.problem or not info.version:
        return (_broken(machine, place, tools),)
    found = []
    if emulated(machine, place):
        found.append(_emulated())
    if info.version.partition("+")[0] != TESTED_ENGINE:  # `0.3.36+cu124` is one of others' wheels
        found.append(_release(machine, tools))
    if "AVX2" in machine.cpu.features and "AVX2 = 1" not in info.system_info:
        found.append(
            Trouble(
                "no_avx",
                "The engine does not use this CPU's AVX2 instructions; it is several times slower.",
                "It was built without them.",
                current(info),
            )
        )
    idle = [device for device in machine.devices if is_idle(device, machine)]
    wanted = best(machine, tools)
    if not emulated(machine, place):  # no build mends that
        found += [_beside(_idle(one, machine, place, tools), wanted) for one in idle]
    return tuple(found)


def current(info: EngineInfo) -> Backend:
    """Return what a build computes on."""
    for name in gpu_backends(info):
        if name in _OF_BACKEND:
            return _OF_BACKEND[name]
    return "rpc" if "RPC" in info.compiled else "cpu"


def best(machine: Machine, tools: Tools) -> Backend:
    """Return the build that makes the most of a computer's GPUs; `cpu` where it has none.

    The largest GPU that works decides: one build drives one maker's cards well.
    """
    gpu = best_gpu(machine)
    return "cpu" if gpu is None else backend_for(gpu, tools)


def best_gpu(machine: Machine) -> Device | None:
    """Return the largest GPU that works, cards before graphics of processors; None for none."""
    gpus = [one for one in machine.devices if one.kind != "cpu" and not driver_fails(one)]
    return max(gpus, key=lambda one: (not one.unified, one.total_bytes), default=None)


def emulated(machine: Machine, place: Place) -> bool:
    """Whether an Apple chip runs a Python for Intel processors."""
    apple = machine.cpu.name.startswith("Apple")
    return place.system == "Darwin" and apple and place.architecture == "x86_64"


def backend_for(device: Device, tools: Tools) -> Backend:
    """Return the build that drives a GPU best."""
    if device.vendor == "apple":
        return "metal"
    if device.vendor == "nvidia":
        return "cuda" if capability(device) >= OLDEST_CAPABILITY else "vulkan"
    # Graphics of a processor are no faster with ROCm, and many of them are in no release of it.
    if device.vendor == "amd" and not device.unified and tools.rocm and device.capability:
        return "rocm"
    return "vulkan"


def capability(device: Device) -> tuple[int, int]:
    """Return a card's compute capability; that of a recent one where nobody says."""
    major, _, minor = device.capability.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (8, 0)


def _broken(machine: Machine, place: Place, tools: Tools) -> Trouble:
    """Explain an engine that does not start."""
    info = machine.engine
    if emulated(machine, place):
        return _emulated()
    for pattern, make in _BROKEN:
        if match := pattern.search(info.problem):
            return make(match, info, machine, tools)
    if not info.problem:
        return _missing(machine, tools)
    return _damaged(info.problem, machine, tools)


def _missing(machine: Machine, tools: Tools) -> Trouble:
    return Trouble(
        "missing",
        "There is no engine: llama-cpp-python is not installed.",
        machine.engine.problem,
        best(machine, tools),
        grave=True,
    )


def _damaged(words: str, machine: Machine, tools: Tools) -> Trouble:
    return Trouble("damaged", "llama.cpp does not start.", words, best(machine, tools), grave=True)


def _other_cpu(words: str, machine: Machine, tools: Tools) -> Trouble:
    return Trouble(
        "other_cpu",
        "This build of llama.cpp is for another processor.",
        words,
        best(machine, tools),
        grave=True,
    )


def _library(
    words: str, backend: Backend | None, *, runtimes: int = 0, advice: str = ""
) -> Trouble:
    return Trouble(
        "library",
        "llama.cpp does not start: a library that it needs is missing.",
        words,
        backend,
        runtimes,
        advice,
        grave=True,
    )


def _cuda_runtime(
    match: re.Match[str], info: EngineInfo, machine: Machine, tools: Tools
) -> Trouble:
    wanted = best(machine, tools)
    if wanted == "cuda":
        return _library(info.problem, "cuda", runtimes=int(match.group(1)))
    # The libraries alone would be of no use: the build asks for NVIDIA's driver next.
    cards = [one for one in machine.devices if one.vendor == "nvidia"]
    failing = any(driver_fails(one) for one in cards)
    ours = "It is a build for NVIDIA cards, and this computer has none that it can use."
    why = f"{_sentence(info.problem)} {ours}"
    return _library(why, wanted, advice=_INSTALL_DRIVER["nvidia"] if failing else "")


def _no_cuda_driver(
    _match: re.Match[str], info: EngineInfo, machine: Machine, tools: Tools
) -> Trouble:
    return _library(
        f"{_sentence(info.problem)} The driver of NVIDIA brings it.",
        best(machine, tools),
        advice=_INSTALL_DRIVER["nvidia"],
    )


def _sentence(words: str) -> str:
    return words if words.rstrip().endswith((".", "!")) else f"{words.rstrip()}."


def _other(_match: re.Match[str], info: EngineInfo, machine: Machine, tools: Tools) -> Trouble:
    return _library(info.problem, best(machine, tools))


def _plain(kind: Kind) -> _Make:
    def make(_match: re.Match[str], info: EngineInfo, machine: Machine, tools: Tools) -> Trouble:
        if kind == "other_cpu":
            return _other_cpu(info.problem, machine, tools)
        if kind == "missing":
            return _missing(machine, tools)
        return _damaged(info.problem, machine, tools)

    return make


_BROKEN: Final[tuple[tuple[re.Pattern[str], _Make], ...]] = (
    (re.compile(r"No module named '?llama_cpp|is not installed"), _plain("missing")),
    (re.compile(r"illegal instruction|SIGILL|0xc000001d", re.IGNORECASE), _plain("other_cpu")),
    (re.compile(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d+)"), _cuda_runtime),
    (re.compile(r"libcuda\.so|nvcuda\.dll"), _no_cuda_driver),
    (
        re.compile(
            r"incompatible architecture|wrong ELF class|not a valid Win32|Exec format error"
            r"|cannot open shared object file: invalid machine"
        ),
        _plain("other_cpu"),
    ),
    (
        re.compile(
            r"cannot open shared object file|Library not loaded|Could not find module"
            r"|GLIBC(XX)?_[\d.]+'? not found|symbol not found"
        ),
        _other,
    ),
)


def _release(machine: Machine, tools: Tools) -> Trouble:
    version = machine.engine.version
    numbers = [tuple(map(int, re.findall(r"\d+", text))) for text in (version, TESTED_ENGINE)]
    word = "older" if numbers[0] < numbers[1] else "newer"
    build = current(machine.engine)
    return Trouble(
        "release",
        f"llama-cpp-python {version} is {word} than the tested release.",
        f"localr1 was tested with {TESTED_ENGINE}; its structures change between releases.",
        best(machine, tools) if build == "cpu" else build,
    )


def _emulated() -> Trouble:
    return Trouble(
        "emulated",
        "This Python is for Intel processors, and this Mac has an Apple chip.",
        "Everything runs through an emulation, and the GPU cannot be used.",
        advice="Install a Python for arm64 (brew install python, or python.org), and localr1 in it.",
        grave=True,
    )


def driver_fails(device: Device) -> bool:
    """Whether a GPU cannot be used by any engine before something else is mended."""
    return "driver does not work" in device.reason or out_of_reach(device)


def out_of_reach(device: Device) -> bool:
    """Whether nothing can or should be done for a GPU: too old, or given to a virtual machine."""
    return device.reason.startswith(OUT_OF_REACH)


def is_idle(device: Device, machine: Machine) -> bool:
    """Whether the engine leaves a GPU that it could use; not one that it knows by another name."""
    return _unused(device) and not out_of_reach(device) and rests_beside(device, machine) is None


def rests_beside(device: Device, machine: Machine) -> Device | None:
    """Return the card beside which an unused GPU is left in peace; None where there is none.

    A processor's own graphics are hardly faster than the processor: the card is the one to mend or
    to use. A card of another maker than the engine's is not worth a build that drives both less
    well, as long as one in use has as much memory.
    """
    if not _unused(device) or out_of_reach(device):
        return None
    cards = [one for one in machine.devices if one.kind != "cpu" and not one.unified]
    if device.unified:
        cards = [one for one in cards if not out_of_reach(one)]
    elif driver_fails(device) or _able(device, machine.engine):
        return None
    else:
        least_bytes = _AS_MUCH_SHARE * device.total_bytes
        cards = [one for one in cards if one.usable_by_engine and one.total_bytes >= least_bytes]
    return max(cards, key=lambda one: (one.usable_by_engine, one.total_bytes), default=None)


def _able(device: Device, info: EngineInfo) -> list[str]:
    """Return the engine's backends that can use a GPU; CUDA's builds leave out old cards."""
    old = device.vendor == "nvidia" and capability(device) < OLDEST_CAPABILITY
    backends = [one for one in gpu_backends(info) if drives(one, device.vendor)]
    return [one for one in backends if not (old and one == "CUDA")]


def _unused(device: Device) -> bool:
    return not (device.kind == "cpu" or device.usable_by_engine or "same card as" in device.reason)


def _beside(trouble: Trouble, wanted: Backend) -> Trouble:
    """Return a trouble with no other build than `wanted`, the one for the best GPU."""
    if trouble.kind not in ("cpu_build", "other_build") or trouble.backend in (None, wanted):
        return trouble
    if wanted == "vulkan":  # it drives every maker's cards
        return replace(trouble, backend=wanted)
    name = next(name for name, backend in _OF_BACKEND.items() if backend == wanted)
    words = (
        f"The {name} build, which the best GPU here wants, cannot use it. One build for cards of"
        " several makers: localr1 doctor --fix vulkan."
    )
    return replace(trouble, backend=None, advice=words)


def _idle(device: Device, machine: Machine, place: Place, tools: Tools) -> Trouble:
    info, name = machine.engine, device.description or device.name
    what = f"{name} is not used."
    size = device.total_bytes
    if driver_fails(device):
        advice = _INSTALL_DRIVER.get(device.vendor, "Install its driver, and restart.")
        return Trouble("driver", what, device.reason, advice=advice, device=name, idle_bytes=size)
    wanted = backend_for(device, tools)
    if able := _able(device, info):
        why = f"The engine is built for {', '.join(able)}, but does not find the card."
        heard = info.words or "It gives no reason."
        advice = _INSTALL_DRIVER.get(device.vendor, "Install its driver, and restart.")
        backend = None
        if _TOO_NEW.search(info.words):
            advice, backend = "Update the card's driver.", wanted
        elif place.hiding:
            heard = f"{' and '.join(place.hiding)} may hide it. {heard}"
            advice = f"Start localr1 without {' and '.join(place.hiding)}."
        return Trouble(
            "driver", what, f"{why} {heard}", backend, advice=advice, device=name, idle_bytes=size
        )
    built = gpu_backends(info)
    kind: Kind = "other_build" if built else "cpu_build"
    why = (
        f"The engine is a build for {', '.join(built)}." if built else "The engine is a CPU build."
    )
    return Trouble(kind, what, why, wanted, device=name, idle_bytes=size)
