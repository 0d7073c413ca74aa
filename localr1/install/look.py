"""Looking at what a build would be installed into, and what there is to build it with."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Final

from localr1.install.types import Bench, Manager, Place, Tools
from localr1.machine.host import Host, ProbeError
from localr1.machine.types import Machine

_COMPILERS: Final = ("c++", "g++", "clang++", "cl")
_PACKAGE_MANAGERS: Final = ("apt", "dnf", "pacman", "zypper", "apk")
_USUAL_PACKAGES: Final = {"Linux": "", "Darwin": "brew", "Windows": "winget"}
_LIBRARY_FOLDERS: Final = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/cuda/lib64"),
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib/wsl/lib"),
)
_VULKAN_HEADER: Final = "vulkan/vulkan_core.h"
_VISUAL_STUDIO: Final = r"SOFTWARE\Microsoft\VisualStudio\Setup"
# Of CUDA, ROCm (twice), and llama.cpp's Vulkan.
_HIDING: Final = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    *("ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"),
)
_VERSION_SECONDS: Final = 5.0


def bench(source: str = "", *, offline: bool = False) -> Bench:
    """Return what a build of the engine would be made on.

    Args:
        source: As in `Bench`.
        offline: As in `Bench`.
    """
    return Bench(place(), tools(), source, offline)


def bench_of(machine: Machine) -> Bench:
    """Return what a build would be made on in the computer of a profile; pure.

    A profile says neither how its Python is installed nor what there is to build with: pip, and
    nothing else, are taken for granted.

    Args:
        machine: Of the profile; without the name of its system it is taken for one like this.
    """
    words = [word for word in machine.operating_system.split() if not word.startswith("(")]
    known = len(words) > 1 and words[0] in _USUAL_PACKAGES
    here = Host()
    system, architecture = (words[0], words[-1]) if known else (here.system, here.architecture)
    python = (sys.version_info.major, sys.version_info.minor)
    place = Place(system, _architecture(architecture), python, "python", "pip")
    return Bench(place, Tools(packages=_USUAL_PACKAGES[system], vulkan_loader=system != "Linux"))


def place() -> Place:
    """Return the Python that runs, and how it was made."""
    host = Host()
    prefix = Path(sys.prefix)
    standard = Path(sysconfig.get_path("stdlib"))
    in_environment = sys.prefix != sys.base_prefix
    return Place(
        system=host.system,
        architecture=_architecture(host.architecture),
        python=(sys.version_info.major, sys.version_info.minor),
        executable=sys.executable,
        manager=manager(prefix, has_pip=importlib.util.find_spec("pip") is not None),
        environment_name=prefix.name,
        musl=host.system == "Linux" and "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""),
        managed=not in_environment and (standard / "EXTERNALLY-MANAGED").is_file(),
        hiding=tuple(name for name in _HIDING if name in os.environ),
        dated="SOURCE_DATE_EPOCH" in os.environ,
        has_backend=importlib.util.find_spec("scikit_build_core") is not None,
    )


def manager(prefix: Path, *, has_pip: bool) -> Manager:
    """Return who installs packages into an environment, by what its maker left there.

    Args:
        prefix: The environment's folder.
        has_pip: Whether its Python can import pip; uv makes environments without it.
    """
    if (prefix / "pipx_metadata.json").is_file():
        return "pipx"
    if (prefix / "conda-meta").is_dir() and has_pip:
        return "conda"
    made_by_uv = (prefix / "uv-receipt.toml").is_file() or _configured_by_uv(prefix)
    return "uv" if not has_pip or (made_by_uv and shutil.which("uv")) else "pip"


def tools(host: Host | None = None) -> Tools:
    """Return what is there to build with."""
    host = host or Host()
    rocm_folder = os.environ.get("ROCM_PATH") or "/opt/rocm"
    rocm = _numbers(host.read_text(f"{rocm_folder}/.info/version") or "")
    return Tools(
        compiler=_has_compiler(host),
        cuda=_cuda(host),
        cuda_runtimes=_cuda_runtimes(host),
        rocm=rocm,
        rocm_folder=rocm_folder if rocm else "",
        vulkan_headers=_vulkan_headers(host),
        glslc=shutil.which("glslc") is not None,
        vulkan_loader=host.system != "Linux" or bool(_libraries(host, "libvulkan.so.1")),
        packages=_packages(host),
    )


def _architecture(name: str) -> str:
    return {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(name.lower(), name.lower())


def _configured_by_uv(prefix: Path) -> bool:
    try:
        text = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^uv\s*=", text, re.MULTILINE) is not None


def _has_compiler(host: Host) -> bool:
    if any(map(shutil.which, _COMPILERS)):
        return True
    # Visual Studio's compiler is not in the PATH; CMake finds it by itself.
    return host.system == "Windows" and bool(host.registry_keys(_VISUAL_STUDIO))


def _cuda(host: Host) -> tuple[int, int] | None:
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    try:
        text = host.run(nvcc, "--version", limit_seconds=_VERSION_SECONDS)
    except ProbeError:
        return None
    match = re.search(r"release (\d+)\.(\d+)", text)
    return None if match is None else (int(match.group(1)), int(match.group(2)))


def _cuda_runtimes(host: Host) -> frozenset[int]:
    names = _libraries(host, "libcudart.so.") & _trimmed(_libraries(host, "libcublas.so."))
    if host.system == "Windows":
        folder = os.environ.get("CUDA_PATH", "")
        names = (
            {Path(name).stem for name in host.list_directory(f"{folder}/bin")} if folder else set()
        )
        return frozenset(int(m.group(1)) for n in names if (m := re.match(r"cudart64_(\d+)$", n)))
    return frozenset(int(m.group(1)) for n in names if (m := re.match(r"libcudart\.so\.(\d+)", n)))


def _trimmed(names: set[str]) -> set[str]:
    """The runtime's names that go with those of cuBLAS: both have to be there."""
    majors = {m.group(1) for name in names if (m := re.match(r"libcublas\.so\.(\d+)", name))}
    return {f"libcudart.so.{major}" for major in majors}


def _libraries(host: Host, beginning: str) -> set[str]:
    folders = (*os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep), *_LIBRARY_FOLDERS)
    return {
        name
        for folder in folders
        if folder
        for name in host.list_directory(folder)
        if name.startswith(beginning)
    }


def _vulkan_headers(host: Host) -> tuple[int, int, int] | None:
    folders = ["/usr/include", "/usr/local/include"]
    if sdk := os.environ.get("VULKAN_SDK"):
        folders = [f"{sdk}/include", f"{sdk}/Include", *folders]
    for folder in folders:
        text = host.read_text(f"{folder}/{_VULKAN_HEADER}")
        if text is None:
            continue
        patch = re.search(r"#define VK_HEADER_VERSION (\d+)", text)
        minor = re.search(r"VK_MAKE_API_VERSION\(0, (\d+), (\d+), VK_HEADER_VERSION\)", text)
        if patch and minor:
            return int(minor.group(1)), int(minor.group(2)), int(patch.group(1))
    return None


def _packages(host: Host) -> str:
    if host.system == "Windows":
        return "winget"
    if host.system == "Darwin":
        return "brew"
    return next((name for name in _PACKAGE_MANAGERS if shutil.which(name)), "")


def _numbers(text: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", text.strip())
    return None if match is None else (int(match.group(1)), int(match.group(2)))
