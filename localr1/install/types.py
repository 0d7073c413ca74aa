"""What the parts of mending pass between them: plain values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Final, Literal

TESTED_ENGINE: Final = "0.3.36"
"""The release of llama-cpp-python that pyproject.toml pins."""

Backend = Literal["cpu", "cuda", "rocm", "vulkan", "metal", "rpc"]
"""What a build computes on besides the CPU; `rpc` is what there is now, and other computers."""

Manager = Literal["pip", "uv", "pipx", "conda"]


@dataclass(frozen=True)
class Place:
    """The Python that runs localr1, and how packages come into it."""

    system: str
    """`Linux`, `Darwin` or `Windows`."""
    architecture: str
    """`x86_64` or `arm64`, whatever the system calls them."""
    python: tuple[int, int]
    executable: str
    manager: Manager
    environment_name: str = ""
    """Of pipx: which of its environments."""
    musl: bool = False
    """A Linux without glibc, for which nobody makes wheels."""
    managed: bool = False
    """The system's own Python, which pip leaves alone unless told otherwise (PEP 668)."""
    dated: bool = False
    """SOURCE_DATE_EPOCH is set: llama.cpp then leaves every newer instruction out."""
    hiding: tuple[str, ...] = ()
    """Variables that are set and can hide GPUs from programs: `CUDA_VISIBLE_DEVICES`."""
    has_backend: bool = False
    """scikit-build-core, which builds the engine, is installed here."""


@dataclass(frozen=True)
class Tools:
    """What this computer has to build with, and what a finished build needs of it."""

    compiler: bool = False
    cuda: tuple[int, int] | None = None
    """Release of the CUDA toolkit, of `nvcc`."""
    cuda_runtimes: frozenset[int] = frozenset()
    """Major releases of the CUDA runtime that the system's loader finds."""
    rocm: tuple[int, int] | None = None
    rocm_folder: str = ""
    vulkan_headers: tuple[int, int, int] | None = None
    glslc: bool = False
    vulkan_loader: bool = False
    packages: str = ""
    """The system's package manager: `apt`, `dnf`, `pacman`, `zypper`, `apk`, `brew`, `winget`."""


@dataclass(frozen=True)
class Bench:
    """What a build of the engine would be made on."""

    place: Place
    tools: Tools
    source: str = ""
    """An archive, a folder or a wheel on this disk to build from; empty for none."""
    offline: bool = False


@dataclass(frozen=True)
class Command:
    """A command, the same for people and for programs."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str | None], ...] = ()
    """Variables that it needs; None for one that must not be set."""

    def text(self, system: str) -> str:
        """As it is typed: into a POSIX shell, or into PowerShell on Windows."""
        if system == "Windows":
            return self._powershell()
        unset = [f"-u {name}" for name, value in self.environment if value is None]
        given = [f"{name}={_quoted(value)}" for name, value in self.environment if value]
        env = [*(["env", *unset] if unset else []), *given]
        return " ".join([*env, *(shlex.quote(one) for one in self.arguments)])

    def _powershell(self) -> str:
        lines = [
            f"$env:{name}={_single(value)};" if value else f"Remove-Item Env:{name};"
            for name, value in self.environment
        ]
        first, *rest = self.arguments
        words = [f"& {_single(first)}" if set(first) & set(" ()\\:") else first]
        words += [one if _plain(one) else _single(one) for one in rest]
        return " ".join([*lines, *words])


def _quoted(value: str) -> str:
    return f'"{value}"' if not set(value) & set('"$`\\!') else shlex.quote(value)


def _single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _plain(value: str) -> bool:
    return not set(value) & set(" ;'\"()&|<>@{}$`,")


@dataclass(frozen=True)
class Build:
    """One way to a build of the engine."""

    backend: Backend
    command: Command
    """Puts it in the place of the one that is there."""
    from_source: bool
    about: str
    """For people: `the prebuilt engine for CUDA 12.4`."""
    first: tuple[str, ...] = ()
    """What has to be installed before, each a command or an address; empty where nothing is."""

    @property
    def minutes(self) -> str:
        """How long it takes, roughly, for people."""
        if not self.from_source:
            return "a minute or two"
        return "10 to 40 minutes" if self.backend in ("cuda", "rocm", "vulkan") else "5 minutes"


Kind = Literal[
    "missing",
    "damaged",
    "other_cpu",
    "no_avx",
    "release",
    "library",
    "driver",
    "cpu_build",
    "other_build",
    "emulated",
]


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with the engine, or keeps it from a GPU."""

    kind: Kind
    what: str
    why: str
    backend: Backend | None = None
    """The build that mends it; None where no build does."""
    runtimes: int = 0
    """Major release of the CUDA runtime that is missing; 0 for none."""
    advice: str = ""
    """What to do where no build mends it."""
    grave: bool = False
    """Nothing runs until it is mended."""
    device: str = ""
    """The GPU it is about; empty where it is about the engine as a whole."""
    idle_bytes: int = field(default=0)
    """Memory of that GPU."""
