"""What llama.cpp said of itself at an earlier start, where that cannot have changed.

Only builds for the CPU alone are remembered, by the files of the build and the processor: what a
GPU has free changes, and a driver may come. A file that is damaged or cannot be written is as good
as none.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from localr1.engine.experience import digest, read_entries, write_entries
from localr1.machine.types import EngineDevice, EngineInfo, System

PROBE_NAME: Final = "probe.json"
_FORMAT: Final = 3
# Libraries of ggml that drive no graphics processor of this computer.
_CPU_ONLY: Final = re.compile(r"(lib)?ggml(-base|-cpu[\w-]*|-blas|-rpc)?\.(so|dylib|dll)[\d.]*")


@dataclass(frozen=True)
class Known:
    """What the engine said on a computer with this processor."""

    processor: Any
    info: EngineInfo

    def here(self, system: System) -> EngineInfo | None:
        """The same of this computer now, whose main memory is that of the engine's CPU device.

        None where it has another processor: a folder may be shared by several computers.
        """
        if self.processor != _processor(system):
            return None
        memory = system.memory
        devices = tuple(
            replace(d, total_bytes=memory.total_bytes, free_bytes=memory.available_bytes)
            for d in self.info.devices
        )
        return replace(self.info, devices=devices)


def recall(cache: Path) -> Known | None:
    """What the engine said; None where it has to be asked."""
    key = _key()
    if key is None:
        return None
    entry: Any = read_entries(cache / PROBE_NAME).get(key)
    try:
        info = EngineInfo(
            version=str(entry["version"]),
            backends=tuple(map(str, entry["backends"])),
            devices=tuple(EngineDevice(**device) for device in entry["devices"]),
            system_info=str(entry["system_info"]),
            compiled=tuple(map(str, entry["compiled"])),
            build=str(entry["build"]),
        )
        return Known(entry["processor"], info)
    except (TypeError, KeyError):
        return None


def remember(cache: Path, system: System, info: EngineInfo) -> None:
    """Keep what a probe said, where it may be kept."""
    key = _key()
    if key is None or info.problem or any(device.kind != "cpu" for device in info.devices):
        return
    entry = {
        "processor": _processor(system),
        "version": info.version,
        "backends": list(info.backends),
        "devices": [asdict(device) for device in info.devices],
        "system_info": info.system_info,
        "compiled": list(info.compiled),
        "build": info.build,
    }
    write_entries(cache / PROBE_NAME, {key: entry})


def _processor(system: System) -> list[object]:
    return [system.cpu.name, list(system.cpu.features)]


def _key() -> str | None:
    """What the answer depends on; None where it depends on more than can be seen here."""
    named = os.environ.get("LLAMA_CPP_LIB_PATH")
    try:
        package = importlib.util.find_spec("llama_cpp")
        if package is None or package.origin is None:
            return None
        folder = Path(named) if named else Path(package.origin).parent / "lib"
        paths = [*sorted(folder.iterdir()), Path(package.origin)]
        files = [(path.name, path.stat()) for path in paths]
    except (OSError, ValueError):
        return None
    libraries = [name for name, _ in files if "ggml" in name]
    if not libraries or not all(_CPU_ONLY.fullmatch(name) for name in libraries):
        return None
    facts = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return digest([_FORMAT, facts, str(folder), sys.version])
