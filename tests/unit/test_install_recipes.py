"""The command that mends an engine, for every system, manager and maker of graphics: a table.

Each expectation is read off the sources that `recipes` names, not off its code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localr1.install import recipes
from localr1.install.diagnosis import best
from localr1.install.types import Build, Command, Place, Tools
from localr1.machine.types import (
    Cpu,
    Device,
    EngineInfo,
    Machine,
    Memory,
    Power,
)

GIB = 1 << 30
WHL = "https://abetlen.github.io/llama-cpp-python/whl"
RELEASE = "llama-cpp-python==0.3.36"
PIP = "/v/bin/python -m pip install --force-reinstall --no-cache-dir --no-deps"
READY = f"--only-binary llama-cpp-python {RELEASE}"
SOURCE = f"--no-binary llama-cpp-python {RELEASE}"
NATIVE = "-DGGML_NATIVE=on -DLLAVA_BUILD=OFF"
LINUX = Place("Linux", "x86_64", (3, 12), "/v/bin/python", "pip")
ARM = replace(LINUX, architecture="arm64")
MAC = replace(ARM, system="Darwin")
WINDOWS = replace(LINUX, system="Windows", executable=r"C:\v\Scripts\python.exe")
ALL = Tools(
    compiler=True,
    cuda=(12, 8),
    cuda_runtimes=frozenset({12, 13}),
    rocm=(7, 2),
    rocm_folder="/opt/rocm",
    vulkan_headers=(1, 4, 300),
    glslc=True,
    vulkan_loader=True,
    packages="apt",
)
BARE = Tools(packages="apt")


def machine(*gpus: Device, compiled: tuple[str, ...] = ("CPU",), avx2: bool = True) -> Machine:
    cpu = Device("CPU", "cpu", "cpu", "", "CPU", 64 * GIB, 60 * GIB, False, None, True, "")
    return Machine(
        "Linux",
        Cpu("cpu", 8, 16, 8, ("AVX", "AVX2") if avx2 else ("AVX",)),
        Memory(64 * GIB, 60 * GIB),
        (cpu, *gpus),
        EngineInfo("0.3.36", ("CPU",), (), "CPU : AVX2 = 1 | ", compiled=compiled),
        Power(None, None),
    )


def gpu(vendor: str, capability: str = "", runtime: str = "", **changes: Any) -> Device:
    device = Device(
        f"{vendor} card",
        f"{vendor} card",
        "gpu",
        vendor,
        "",
        12 * GIB,
        11 * GIB,
        False,
        None,
        False,
        "llama.cpp was built without GPU support",
        capability=capability,
        runtime=runtime,
    )
    return replace(device, **changes)


RTX = gpu("nvidia", "8.9", "CUDA 12.4")
RTX_50 = gpu("nvidia", "12.0", "CUDA 13.1")
PASCAL = gpu("nvidia", "6.1", "CUDA 13.0")
OLD_DRIVER = gpu("nvidia", "8.6", "CUDA 11.8")
MAXWELL = gpu("nvidia", "5.2", "CUDA 12.8")
RADEON = gpu("amd", "gfx1100")
ARC = gpu("intel")
APPLE = gpu("apple", unified=True)
CU12 = "nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"
CU13 = "nvidia-cuda-runtime nvidia-cublas"

TABLE = [
    # NVIDIA: the newest prebuilt engine that the driver and the card can run.
    ("cuda", LINUX, ALL, RTX, f"{PIP} --extra-index-url {WHL}/cu124 {READY}"),
    ("cuda", LINUX, BARE, RTX, f"{PIP} --extra-index-url {WHL}/cu124 {READY} {CU12}"),
    ("cuda", LINUX, BARE, RTX_50, f"{PIP} --extra-index-url {WHL}/cu130 {READY} {CU13}"),
    # CUDA 13 has left Pascal behind; 12.5 is the newest for it.
    ("cuda", LINUX, BARE, PASCAL, f"{PIP} --extra-index-url {WHL}/cu125 {READY} {CU12}"),
    (
        *("cuda", LINUX, BARE, OLD_DRIVER),
        f"{PIP} --extra-index-url {WHL}/cu118 {READY} nvidia-cuda-runtime-cu11 nvidia-cublas-cu11",
    ),
    # Nobody makes CUDA engines for Arm: Jetson, GB10.
    (
        *("cuda", ARM, ALL, gpu("nvidia", "12.1", "CUDA 13.0", unified=True)),
        'CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native -DLLAVA_BUILD=OFF"'
        f" {PIP} {SOURCE}",
    ),
    (
        *("cuda", replace(LINUX, musl=True), ALL, RTX),
        'CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native -DLLAVA_BUILD=OFF"'
        f" {PIP} {SOURCE}",
    ),
    (
        *("cuda", WINDOWS, BARE, RTX),
        r"& 'C:\v\Scripts\python.exe' -m pip install --force-reinstall --no-cache-dir --no-deps"
        f" --extra-index-url {WHL}/cu124 {READY} {CU12}",
    ),
    # Windows has no engine for 12.1 to 12.3: a driver of 12.2 gets that for 11.8.
    (
        *("cuda", WINDOWS, ALL, replace(RTX, runtime="CUDA 12.2")),
        r"& 'C:\v\Scripts\python.exe' -m pip install --force-reinstall --no-cache-dir --no-deps"
        f" --extra-index-url {WHL}/cu118 {READY} nvidia-cuda-runtime-cu11 nvidia-cublas-cu11",
    ),
    # The other managers.
    (
        *("cuda", replace(LINUX, manager="uv"), BARE, RTX),
        "uv pip install --python /v/bin/python --reinstall --no-cache --no-deps"
        f" --index {WHL}/cu124 {READY} {CU12}",
    ),
    (
        *("cuda", replace(LINUX, manager="pipx", environment_name="localr1"), BARE, RTX),
        "pipx runpip localr1 install --force-reinstall --no-cache-dir --no-deps"
        f" --extra-index-url {WHL}/cu124 {READY} {CU12}",
    ),
    (
        *("cuda", replace(LINUX, manager="conda", executable="/c/envs/r1/bin/python"), ALL, RTX),
        "/c/envs/r1/bin/python -m pip install --force-reinstall --no-cache-dir --no-deps"
        f" --extra-index-url {WHL}/cu124 {READY}",
    ),
    (
        *("cuda", replace(LINUX, managed=True), ALL, RTX),
        f"{PIP} --break-system-packages --extra-index-url {WHL}/cu124 {READY}",
    ),
    # AMD, Intel, old NVIDIA cards.
    ("vulkan", LINUX, ALL, MAXWELL, f"{PIP} --extra-index-url {WHL}/vulkan {READY}"),
    ("vulkan", LINUX, ALL, ARC, f"{PIP} --extra-index-url {WHL}/vulkan {READY}"),
    (
        *("vulkan", WINDOWS, ALL, RADEON),
        r"& 'C:\v\Scripts\python.exe' -m pip install --force-reinstall --no-cache-dir --no-deps"
        f" --extra-index-url {WHL}/vulkan {READY}",
    ),
    (
        *("vulkan", ARM, ALL, ARC),
        f'CMAKE_ARGS="-DGGML_VULKAN=on -DLLAVA_BUILD=OFF" {PIP} {SOURCE}',
    ),
    (
        *("rocm", LINUX, ALL, RADEON),
        'HIPCXX="/opt/rocm/lib/llvm/bin/clang" HIP_PATH="/opt/rocm"'
        ' CMAKE_ARGS="-DGGML_HIP=on -DGPU_TARGETS=gfx1100 -DLLAVA_BUILD=OFF"'
        f" {PIP} {SOURCE}",
    ),
    # Apple.
    ("metal", MAC, ALL, APPLE, f"{PIP} --extra-index-url {WHL}/metal {READY}"),
    # The processor alone.
    ("cpu", LINUX, ALL, None, f'CMAKE_ARGS="{NATIVE}" {PIP} {SOURCE}'),
    ("cpu", LINUX, BARE, None, f"{PIP} --extra-index-url {WHL}/cpu {READY}"),
    (
        *("cpu", replace(LINUX, musl=True, dated=True), ALL, None),
        f'env -u SOURCE_DATE_EPOCH CMAKE_ARGS="{NATIVE}" {PIP} {SOURCE}',
    ),
    # Other computers' memory: always from source, on top of what there is.
    (
        *("rpc", LINUX, ALL, None),
        f'CMAKE_ARGS="-DGGML_NATIVE=on -DGGML_RPC=on -DLLAVA_BUILD=OFF" {PIP} {SOURCE}',
    ),
    (
        *("rpc", WINDOWS, ALL, None),
        "$env:CMAKE_ARGS='-DGGML_NATIVE=on -DGGML_RPC=on -DLLAVA_BUILD=OFF';"
        r" & 'C:\v\Scripts\python.exe' -m pip install --force-reinstall --no-cache-dir --no-deps"
        f" {SOURCE}",
    ),
]


def first(backend: Any, place: Place, tools: Tools, card: Device | None, **how: Any) -> Build:
    here = machine(*([card] if card else []))
    return recipes.builds(backend, here, place, tools, **how)[0]


@pytest.mark.parametrize(
    ("backend", "place", "tools", "card", "command"),
    TABLE,
    ids=[f"{r[0]}-{r[1].system}-{r[1].manager}-{n}" for n, r in enumerate(TABLE)],
)
def test_command(
    backend: Any, place: Place, tools: Tools, card: Device | None, command: str
) -> None:
    assert first(backend, place, tools, card).command.text(place.system) == command


def test_rpc_comes_on_top_of_the_gpu_that_is_used() -> None:
    (build,) = recipes.builds("rpc", machine(RTX, compiled=("CUDA", "CPU")), LINUX, ALL)
    (flags,) = [value for name, value in build.command.environment if name == "CMAKE_ARGS"]
    assert flags is not None
    assert flags.split()[:2] == ["-DGGML_CUDA=on", "-DCMAKE_CUDA_ARCHITECTURES=native"]
    assert "-DGGML_RPC=on" in flags


def test_one_engine_serves_all_cards() -> None:
    old, new = replace(PASCAL, runtime="CUDA 13.2"), replace(RTX_50, runtime="CUDA 13.2")
    assert recipes.best_cuda([new], LINUX) == ((13, 2), "cu132")
    assert recipes.best_cuda([old, new], LINUX) == ((12, 5), "cu125")
    # 11.8 ends at 8.9, and this driver knows nothing newer.
    assert recipes.best_cuda([replace(RTX_50, runtime="CUDA 11.8")], LINUX) is None
    assert recipes.best_cuda([replace(RTX, runtime="")], LINUX) is None


def test_what_is_prebuilt_is_tried_first_and_a_build_from_source_after_it() -> None:
    ready, made = recipes.builds("cuda", machine(RTX), LINUX, ALL)
    assert (ready.from_source, made.from_source) == (False, True)
    assert not made.first
    # Without a toolkit the second way says what it lacks.
    _, lacking = recipes.builds("cuda", machine(RTX), LINUX, BARE)
    assert lacking.first[0] == "sudo apt install g++"
    assert "developer.nvidia.com" in lacking.first[1]


@pytest.mark.parametrize(
    ("tools", "lacks"),
    [
        (replace(ALL, vulkan_headers=(1, 3, 239)), "vulkan.lunarg.com"),
        (replace(ALL, vulkan_headers=None), "apt install libvulkan-dev glslc"),
        (replace(ALL, glslc=False, packages="dnf"), "dnf install vulkan-loader-devel"),
        (replace(ALL, compiler=False, packages="winget"), "Microsoft.VisualStudio"),
    ],
)
def test_vulkan_from_source_names_what_it_lacks(tools: Tools, lacks: str) -> None:
    (build,) = recipes.builds("vulkan", machine(ARC), ARM, tools)
    assert len(build.first) == 1
    assert lacks in build.first[0]


def test_prebuilt_vulkan_needs_the_systems_loader() -> None:
    build = first("vulkan", LINUX, replace(BARE, packages="pacman"), ARC)
    assert build.first == ("sudo pacman -S --needed vulkan-icd-loader",)


def test_no_prebuilt_engine_for_a_processor_without_avx2() -> None:
    (build,) = recipes.builds("cpu", machine(avx2=False), LINUX, ALL)
    assert build.from_source


@pytest.mark.parametrize("backend", [True, False])
def test_source_on_this_disk_and_nothing_from_the_network(backend: bool) -> None:
    place = replace(LINUX, has_backend=backend)
    archive = "/usb/my files/llama_cpp_python-0.3.36.tar.gz"
    (build,) = recipes.builds("cpu", machine(), place, ALL, source=archive, offline=True)
    isolation = "--no-build-isolation " if backend else ""
    assert build.command.text("Linux") == (
        f"CMAKE_ARGS=\"{NATIVE}\" {PIP} --no-index --find-links '/usb/my files' {isolation}"
        f"'{archive}'"
    )
    (online,) = recipes.builds("cpu", machine(), place, ALL, source=archive)
    assert "--no-index" not in online.command.arguments


def test_a_wheel_needs_no_compiler_and_no_network() -> None:
    (build,) = recipes.builds("rpc", machine(), LINUX, BARE, source="/usb/x.whl")
    assert not build.first
    assert not build.from_source
    assert build.command.arguments[-4:] == ("--no-index", "--find-links", "/usb", "/usb/x.whl")


def test_missing_runtime_is_installed_alone() -> None:
    build = recipes.runtimes(12, LINUX)
    assert build.command.text("Linux") == f"{PIP} {CU12}"
    assert recipes.runtimes(13, LINUX).command.arguments[-2:] == tuple(CU13.split())


@pytest.mark.parametrize(
    ("cards", "tools", "backend"),
    [
        ([], ALL, "cpu"),
        ([RTX], ALL, "cuda"),
        ([MAXWELL], ALL, "vulkan"),
        ([RADEON], ALL, "rocm"),
        ([RADEON], BARE, "vulkan"),
        ([replace(RADEON, unified=True)], ALL, "vulkan"),
        ([ARC], ALL, "vulkan"),
        ([APPLE], ALL, "metal"),
        # The card decides, not the processor's graphics beside it, whatever that may borrow.
        ([replace(ARC, unified=True, total_bytes=32 * GIB), RTX], ALL, "cuda"),
        # A card without a working driver has no say.
        ([replace(RTX, reason="the driver does not work: Driver Not Loaded."), ARC], ALL, "vulkan"),
    ],
)
def test_best_build(cards: list[Device], tools: Tools, backend: str) -> None:
    assert best(machine(*cards), tools) == backend


def test_commands_are_quoted_for_their_shell() -> None:
    command = Command(("/my env/python", "x;y", "it's"), (("A", "1 $HOME"), ("B", None)))
    assert command.text("Linux") == "env -u B A='1 $HOME' '/my env/python' 'x;y' 'it'\"'\"'s'"
    assert command.text("Windows") == (
        "$env:A='1 $HOME'; Remove-Item Env:B; & '/my env/python' 'x;y' 'it''s'"
    )
