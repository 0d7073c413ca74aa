"""The commands that put a build of the engine in the place of another. Pure functions.

Sources: the README of llama-cpp-python 0.3.36 and its `generate-index-from-release.yaml` and
`build-wheels-cuda.yaml` for the prebuilt engines and what they need; llama.cpp's docs/build.md for
the flags; the command-line references of pip and uv.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from localr1.install.diagnosis import OLDEST_CAPABILITY, capability
from localr1.install.types import TESTED_ENGINE, Backend, Build, Command, Place, Tools
from localr1.machine.types import Device, Machine

PACKAGE: Final = "llama-cpp-python"
INDEX: Final = "https://abetlen.github.io/llama-cpp-python/whl"
WHEEL: Final = ".whl"

# CUDA release -> name of its index, the lowest and highest compute capability of its engines.
_CUDA: Final = {
    (11, 8): ("cu118", OLDEST_CAPABILITY, (8, 9)),
    (12, 1): ("cu121", OLDEST_CAPABILITY, (99, 0)),
    (12, 2): ("cu122", OLDEST_CAPABILITY, (99, 0)),
    (12, 3): ("cu123", OLDEST_CAPABILITY, (99, 0)),
    (12, 4): ("cu124", OLDEST_CAPABILITY, (99, 0)),
    (12, 5): ("cu125", OLDEST_CAPABILITY, (99, 0)),
    (13, 0): ("cu130", (7, 5), (99, 0)),
    (13, 2): ("cu132", (7, 5), (99, 0)),
}
_CUDA_OF_WINDOWS: Final = ((11, 8), (12, 4), (12, 5), (13, 0), (13, 2))
_FLAGS: Final[dict[Backend, tuple[str, ...]]] = {
    # An engine for this very processor, whatever the environment says.
    "cpu": ("-DGGML_NATIVE=on",),
    "cuda": ("-DGGML_CUDA=on", "-DCMAKE_CUDA_ARCHITECTURES=native"),
    "rocm": ("-DGGML_HIP=on",),
    "vulkan": ("-DGGML_VULKAN=on",),
    "metal": ("-DGGML_METAL=on",),
    "rpc": ("-DGGML_RPC=on",),
}
_WITHOUT: Final = "-DLLAVA_BUILD=OFF"
"""What localr1 has no use for, and would take a third of the time."""
_OLDEST_VULKAN: Final = (1, 3, 275)
"""vk::LayerSettingEXT, which llama.cpp's Vulkan code names, is not in Debian 12's 1.3.239."""
_NAMES: Final[dict[Backend, str]] = {
    "cpu": "for this processor",
    "cuda": "for CUDA",
    "rocm": "for ROCm",
    "vulkan": "for Vulkan",
    "metal": "for Metal",
    "rpc": "that can use other computers' memory (RPC)",
}
_COMPILERS: Final = {
    "apt": "sudo apt install g++",
    "dnf": "sudo dnf install gcc-c++",
    "pacman": "sudo pacman -S --needed gcc",
    "zypper": "sudo zypper install gcc-c++",
    "apk": "sudo apk add g++ linux-headers",
    "brew": "xcode-select --install",
    "winget": (
        "winget install Microsoft.VisualStudio.2022.BuildTools --override "
        '"--passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"'
    ),
}
_VULKAN_TOOLS: Final = {
    "apt": "sudo apt install libvulkan-dev glslc",
    "dnf": "sudo dnf install vulkan-loader-devel glslc",
    "pacman": "sudo pacman -S --needed vulkan-headers vulkan-icd-loader shaderc",
    "zypper": "sudo zypper install vulkan-devel shaderc",
    "apk": "sudo apk add vulkan-loader-dev vulkan-headers shaderc",
    "winget": "winget install KhronosGroup.VulkanSDK",
}
_VULKAN_LOADERS: Final = {
    "apt": "sudo apt install libvulkan1 mesa-vulkan-drivers",
    "dnf": "sudo dnf install vulkan-loader mesa-vulkan-drivers",
    "pacman": "sudo pacman -S --needed vulkan-icd-loader",
    "zypper": "sudo zypper install libvulkan1",
    "apk": "sudo apk add vulkan-loader mesa-vulkan-ati mesa-vulkan-intel",
}
_CUDA_TOOLKIT: Final = "the CUDA toolkit: https://developer.nvidia.com/cuda-downloads"
_VULKAN_SDK: Final = "the Vulkan SDK: https://vulkan.lunarg.com/sdk/home"


def builds(  # noqa: PLR0913 - each by keyword
    backend: Backend,
    machine: Machine,
    place: Place,
    tools: Tools,
    *,
    source: str = "",
    offline: bool = False,
) -> tuple[Build, ...]:
    """Return the ways to a build, the likeliest to work first.

    Args:
        backend: What it is to compute on.
        machine: Its GPUs decide which prebuilt engine is for them.
        place: Where it is to be installed.
        tools: What there is to build with; what is missing is in `Build.first`.
        source: An archive, a folder or a wheel of llama-cpp-python on this disk; nothing else of
            it is fetched.
        offline: What the build itself needs has to be here as well: installed, or as wheels
            beside the source.
    """
    gpus = [device for device in machine.devices if device.kind != "cpu"]
    if source.endswith(WHEEL):
        command = _command(place, [*_offline(source, offline=True), source])
        return (Build(backend, command, from_source=False, about=f"the engine in {source}"),)
    made = _from_source(backend, gpus, machine, place, tools, source=source, offline=offline)
    if source:
        return (made,)
    ready = _prebuilt(backend, gpus, machine, place, tools)
    if ready is None:
        return (made,)
    # A build for this very processor uses all of its instructions; the prebuilt one stops at AVX2.
    return (made, ready) if backend == "cpu" and tools.compiler else (ready, made)


def runtimes(major: int, place: Place) -> Build:
    """Return the command that installs the CUDA runtime libraries which an engine misses."""
    return Build(
        "cuda",
        _command(place, [*_runtime_packages(major)]),
        from_source=False,
        about=f"the libraries of CUDA {major}",
    )


def best_cuda(gpus: Sequence[Device], place: Place) -> tuple[tuple[int, int], str] | None:
    """Return the newest prebuilt CUDA that all NVIDIA cards and their driver can run.

    A driver runs every release up to the one that it names. Newer ones of the same major number
    run only where no code has to be translated (CUDA's guide to compatibility).
    """
    cards = [device for device in gpus if device.vendor == "nvidia"]
    # An old card beside one that CUDA's engines are for is left out, and keeps none from it.
    cards = [one for one in cards if capability(one) >= OLDEST_CAPABILITY] or cards
    driver = min((version for one in cards if (version := _version(one.runtime))), default=None)
    offered = _CUDA_OF_WINDOWS if place.system == "Windows" else tuple(_CUDA)
    fitting = [
        release
        for release in offered
        if driver is not None
        and release <= driver
        and all(_CUDA[release][1] <= capability(one) <= _CUDA[release][2] for one in cards)
    ]
    return (max(fitting), _CUDA[max(fitting)][0]) if fitting else None


def _prebuilt(
    backend: Backend, gpus: Sequence[Device], machine: Machine, place: Place, tools: Tools
) -> Build | None:
    """Return the way without a compiler; None where nobody makes such an engine."""
    if place.musl:
        return None
    intel = place.architecture == "x86_64"
    extra: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    about = _NAMES[backend]
    if backend == "cuda" and intel and place.system in ("Linux", "Windows"):
        found = best_cuda(gpus, place)
        if found is None:
            return None
        (major, minor), index = found
        about = f"for CUDA {major}.{minor}"
        if major not in tools.cuda_runtimes:
            extra = _runtime_packages(major)
    elif backend == "vulkan" and intel and place.system in ("Linux", "Windows"):
        index = "vulkan"
        if place.system == "Linux" and not tools.vulkan_loader:
            first = (_VULKAN_LOADERS.get(tools.packages, "the Vulkan loader (libvulkan)"),)
    elif backend == "metal" and place.system == "Darwin":
        index = "metal"
    elif backend == "cpu" and (not intel or "AVX2" in machine.cpu.features):
        # These are built for AVX2 and what came with it (Intel since 2013, AMD since 2015).
        index = "cpu"
    else:
        return None
    # uv looks into the named index first, and takes a package from the first that has it.
    named = "--index" if place.manager == "uv" else "--extra-index-url"
    options = [named, f"{INDEX}/{index}", "--only-binary", PACKAGE]
    command = _command(place, [*options, _wanted(), *extra])
    return Build(
        backend, command, from_source=False, about=f"the prebuilt engine {about}", first=first
    )


def _from_source(  # noqa: PLR0913 - each by keyword
    backend: Backend,
    gpus: Sequence[Device],
    machine: Machine,
    place: Place,
    tools: Tools,
    *,
    source: str,
    offline: bool,
) -> Build:
    flags = [*_FLAGS[backend]]
    environment: list[tuple[str, str | None]] = []
    if backend == "rpc":
        flags = [*_kept_flags(machine), *flags]
    if "-DGGML_HIP=on" in flags:
        targets = sorted({one.capability for one in gpus if one.capability.startswith("gfx")})
        if targets:
            flags.append(f"-DGPU_TARGETS={';'.join(targets)}")
        if tools.rocm_folder:
            environment += [
                ("HIPCXX", f"{tools.rocm_folder}/lib/llvm/bin/clang"),
                ("HIP_PATH", tools.rocm_folder),
            ]
    if place.system == "Darwin" and place.architecture == "arm64":
        flags.append("-DCMAKE_OSX_ARCHITECTURES=arm64")
    environment.append(("CMAKE_ARGS", " ".join([*flags, _WITHOUT])))
    if place.dated:
        environment.append(("SOURCE_DATE_EPOCH", None))
    options = _offline(source, offline=offline) if source else ["--no-binary", PACKAGE]
    if place.has_backend and offline:
        options.append("--no-build-isolation")
    command = _command(place, [*options, source or _wanted()], tuple(environment))
    wanted = f"the engine {_NAMES[backend]}"
    return Build(
        backend,
        command,
        from_source=True,
        about=f"{wanted}, built from {source or 'its sources'}",
        first=_first(flags, tools),
    )


def _kept_flags(machine: Machine) -> list[str]:
    """Return the flags for the GPU backend that there is: RPC comes on top of it."""
    compiled = {name.upper() for name in machine.engine.compiled}
    for name, backend in (("CUDA", "cuda"), ("ROCM", "rocm"), ("VULKAN", "vulkan")):
        if name in compiled:
            return [*_FLAGS[backend]]  # type: ignore[index]  # the names stand in the line above
    return ["-DGGML_NATIVE=on"]


def _first(flags: Sequence[str], tools: Tools) -> tuple[str, ...]:
    """Return what a build from source still lacks."""
    first = []
    if not tools.compiler:
        first.append(_COMPILERS.get(tools.packages, "a C++ compiler"))
    if "-DGGML_CUDA=on" in flags and tools.cuda is None:
        first.append(_CUDA_TOOLKIT)
    if "-DGGML_HIP=on" in flags and tools.rocm is None:
        first.append("ROCm: https://rocm.docs.amd.com")
    if "-DGGML_VULKAN=on" in flags:
        headers = tools.vulkan_headers
        if headers is not None and headers < _OLDEST_VULKAN:
            first.append(_VULKAN_SDK)
        elif headers is None or not tools.glslc:
            first.append(_VULKAN_TOOLS.get(tools.packages, _VULKAN_SDK))
    return tuple(first)


def _runtime_packages(major: int) -> tuple[str, ...]:
    """Return NVIDIA's packages of CUDA's runtime; from 13 on they have no suffix."""
    suffix = f"-cu{major}" if major < 13 else ""
    return (f"nvidia-cuda-runtime{suffix}", f"nvidia-cublas{suffix}")


def _wanted() -> str:
    return f"{PACKAGE}=={TESTED_ENGINE}"


def _offline(source: str, *, offline: bool) -> list[str]:
    """Return the options that keep an installer off the network."""
    if not offline:
        return []
    folder = str(PurePath(source).parent)
    return ["--no-index", "--find-links", folder]


def _command(
    place: Place, arguments: list[str], environment: tuple[tuple[str, str | None], ...] = ()
) -> Command:
    if place.manager == "uv":
        head = ["uv", "pip", "install", "--python", place.executable]
        head += ["--reinstall", "--no-cache", "--no-deps"]
        if place.managed:
            head.append("--break-system-packages")
    else:
        if place.manager == "pipx":
            head = ["pipx", "runpip", place.environment_name or "localr1", "install"]
        else:
            head = [place.executable, "-m", "pip", "install"]
        head += ["--force-reinstall", "--no-cache-dir", "--no-deps"]
        if place.managed:
            head.append("--break-system-packages")
    return Command((*head, *arguments), environment)


def _version(runtime: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"CUDA (\d+)\.(\d+)", runtime)
    return None if match is None else (int(match.group(1)), int(match.group(2)))
