"""A machine as JSON and back: the form of `machine --json` and `--profile`.

The object holds no serial numbers, no host name and no user's name: `owner` takes them out of
what drivers and the engine said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from localr1.errors import ProfileError
from localr1.machine.owner import Owner, anonymous, here
from localr1.machine.sense import nonsense
from localr1.machine.types import (
    Correction,
    Cpu,
    Device,
    DeviceKind,
    EngineDevice,
    EngineInfo,
    Kernel,
    Machine,
    Memory,
    Power,
)
from localr1.machine.what_if import what_if

__all__ = ["SCHEMA", "from_json", "load_profile", "to_json", "what_if"]

SCHEMA = 1
_KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)


def to_json(machine: Machine, owner: Owner | None = None) -> dict[str, Any]:
    """Return a machine as an object for `json.dumps`; see the contract in the documentation.

    Args:
        machine: What to write.
        owner: Who must not be found in it; None for whoever runs this here.
    """
    hidden = here() if owner is None else owner

    def told(text: str) -> str:
        return anonymous(text, hidden)

    return {
        "schema": SCHEMA,
        "operating_system": machine.operating_system,
        "cpu": {
            "name": machine.cpu.name,
            "physical_cores": machine.cpu.physical_cores,
            "logical_cores": machine.cpu.logical_cores,
            "performance_cores": machine.cpu.performance_cores,
            "features": list(machine.cpu.features),
            "numa_nodes": machine.cpu.numa_nodes,
        },
        "memory": {
            "total_bytes": machine.memory.total_bytes,
            "available_bytes": machine.memory.available_bytes,
            "bandwidth_bytes_per_second": machine.memory.bandwidth_bytes_per_second,
            "swap_bytes": machine.memory.swap_bytes,
        },
        "devices": [
            {
                "name": device.name,
                "description": device.description,
                "kind": device.kind,
                "vendor": device.vendor,
                "backend": device.backend,
                "total_bytes": device.total_bytes,
                "free_bytes": device.free_bytes,
                "unified": device.unified,
                "bandwidth_bytes_per_second": device.bandwidth_bytes_per_second,
                "usable_by_engine": device.usable_by_engine,
                "reason": told(device.reason),
                "capability": device.capability,
                "runtime": device.runtime,
            }
            for device in machine.devices
        ],
        "engine": {
            "version": machine.engine.version,
            "backends": list(machine.engine.backends),
            "devices": [
                {
                    "name": device.name,
                    "description": device.description,
                    "kind": device.kind,
                    "total_bytes": device.total_bytes,
                    "free_bytes": device.free_bytes,
                }
                for device in machine.engine.devices
            ],
            "system_info": machine.engine.system_info,
            "problem": told(machine.engine.problem),
            "kernels": [asdict(kernel) for kernel in machine.engine.kernels],
            "compiled": list(machine.engine.compiled),
            "words": told(machine.engine.words),
        },
        "power": {
            "on_battery": machine.power.on_battery,
            "percent": machine.power.percent,
            "watts": machine.power.watts,
        },
        "problems": [told(problem) for problem in machine.problems],
        "corrections": [asdict(one) for one in machine.corrections],
    }


def from_json(obj: object) -> Machine:
    """Return the machine that an object of `to_json` describes.

    Unknown keys are ignored. Needed are `schema`, `cpu` (`name`, `physical_cores`),
    `memory.total_bytes`, and of each device `name`, `kind` and `total_bytes`; the rest has
    plain defaults, so that a profile can be written by hand.

    Raises:
        ProfileError: A key is missing, holds the wrong thing, or what cannot be; `why` names it.
    """
    top = _Reader(obj, "")
    if top.whole("schema") != SCHEMA:
        raise _wrong("schema", f"is {top.whole('schema')}, and this localr1 reads {SCHEMA}")
    cpu = _cpu(top.inside("cpu"))
    memory = _memory(top.inside("memory"))
    devices = tuple(_device(reader) for reader in top.each("devices", needed=True))
    power = top.inside("power", needed=False)
    machine = Machine(
        operating_system=top.text("operating_system", ""),
        cpu=cpu,
        memory=memory,
        devices=devices,
        engine=_engine(top.inside("engine", needed=False)),
        power=Power(power.flag("on_battery"), power.number("percent"), power.number("watts")),
        problems=top.texts("problems"),
        corrections=tuple(_correction(reader) for reader in top.each("corrections")),
    )
    if (found := nonsense(machine)) is not None:
        raise _wrong(*found)
    if any(device.kind == "cpu" for device in devices):
        return machine
    return replace(machine, devices=(_main_memory(cpu, memory), *devices))


def load_profile(path: Path) -> Machine:
    """Return the machine in a file that `localr1 machine --json` wrote, by way of any shell.

    Raises:
        ProfileError: The file cannot be read, is not JSON, or is no profile.
    """
    todo = "Write one with: localr1 machine --json > machine.json"
    try:
        # As bytes: json tells UTF-8 from the UTF-16 that PowerShell's `>` writes.
        obj = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProfileError(f"The profile {path} cannot be read.", f"{reason}.", todo) from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"The profile {path} is not JSON.", f"{error}.", todo) from error
    try:
        return from_json(obj)
    except ProfileError as error:
        raise ProfileError(f"The profile {path} cannot be used.", error.why, todo) from error


def _wrong(key: str, what: str) -> ProfileError:
    return ProfileError("The machine profile cannot be used.", f"`{key}` {what}.")


class _Reader:
    """Typed look-ups in one JSON object; every error names the whole key."""

    def __init__(self, obj: object, path: str) -> None:
        if not isinstance(obj, Mapping):
            raise _wrong(path or "profile", "is not an object")
        self._obj = obj
        self._path = path

    def _key(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str, default: str | None = None) -> str:
        value = self._obj.get(name, default)
        if value is None:
            raise _wrong(self._key(name), "is missing")
        if not isinstance(value, str):
            raise _wrong(self._key(name), "is not text")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        value = self._obj.get(name, default)
        if value is None:
            raise _wrong(self._key(name), "is missing")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _wrong(self._key(name), "is not a whole number of 0 or more")
        return value

    def number(self, name: str) -> float | None:
        value = self._obj.get(name)
        if value is None:
            return None
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or value < 0:
            raise _wrong(self._key(name), "is not a number of 0 or more")
        return float(value)

    def speed(self, name: str) -> float:
        value = self.number(name)
        if not value:
            raise _wrong(self._key(name), "is not a number above 0")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        value = self._obj.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(self._key(name), "is not true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._list(name)
        if not all(isinstance(item, str) for item in value):
            raise _wrong(self._key(name), "is not a list of texts")
        return tuple(value)

    def inside(self, name: str, *, needed: bool = True) -> _Reader:
        value = self._obj.get(name)
        if value is None:
            if needed:
                raise _wrong(self._key(name), "is missing")
            value = {}
        return _Reader(value, self._key(name))

    def each(self, name: str, *, needed: bool = False) -> list[_Reader]:
        if needed and name not in self._obj:
            raise _wrong(self._key(name), "is missing")
        return [
            _Reader(item, f"{self._key(name)}[{index}]")
            for index, item in enumerate(self._list(name))
        ]

    def kind(self) -> DeviceKind:
        value = self.text("kind")
        for kind in _KINDS:
            if value == kind:
                return kind
        raise _wrong(self._key("kind"), f"is none of {', '.join(_KINDS)}")

    def _list(self, name: str) -> Sequence[Any]:
        value = self._obj.get(name, ())
        if not isinstance(value, (list, tuple)):
            raise _wrong(self._key(name), "is not a list")
        return value


def _cpu(reader: _Reader) -> Cpu:
    physical = reader.whole("physical_cores")
    return Cpu(
        reader.text("name"),
        physical,
        reader.whole("logical_cores", physical),
        reader.whole("performance_cores", physical),
        reader.texts("features"),
        reader.whole("numa_nodes", 1),
    )


def _memory(reader: _Reader) -> Memory:
    total_bytes = reader.whole("total_bytes")
    return Memory(
        total_bytes,
        reader.whole("available_bytes", total_bytes),
        reader.number("bandwidth_bytes_per_second"),
        reader.whole("swap_bytes", 0),
    )


def _device(reader: _Reader) -> Device:
    name, total_bytes = reader.text("name"), reader.whole("total_bytes")
    return Device(
        name=name,
        description=reader.text("description", name),
        kind=reader.kind(),
        vendor=reader.text("vendor", ""),
        backend=reader.text("backend", ""),
        total_bytes=total_bytes,
        free_bytes=reader.whole("free_bytes", total_bytes),
        unified=bool(reader.flag("unified", default=False)),
        bandwidth_bytes_per_second=reader.number("bandwidth_bytes_per_second"),
        usable_by_engine=bool(reader.flag("usable_by_engine", default=True)),
        reason=reader.text("reason", ""),
        capability=reader.text("capability", ""),
        runtime=reader.text("runtime", ""),
    )


def _main_memory(cpu: Cpu, memory: Memory) -> Device:
    return Device(
        name="CPU",
        description=cpu.name,
        kind="cpu",
        vendor="",
        backend="CPU",
        total_bytes=memory.total_bytes,
        free_bytes=memory.available_bytes,
        unified=False,
        bandwidth_bytes_per_second=memory.bandwidth_bytes_per_second,
        usable_by_engine=True,
        reason="main memory",
    )


def _engine(reader: _Reader) -> EngineInfo:
    return EngineInfo(
        version=reader.text("version", ""),
        backends=reader.texts("backends"),
        devices=tuple(
            EngineDevice(
                device.text("name"),
                device.text("description", ""),
                device.kind(),
                device.whole("total_bytes", 0),
                device.whole("free_bytes", 0),
            )
            for device in reader.each("devices")
        ),
        system_info=reader.text("system_info", ""),
        problem=reader.text("problem", ""),
        kernels=tuple(
            Kernel(one.text("kind"), one.speed("one"), one.speed("many"))
            for one in reader.each("kernels")
        ),
        compiled=reader.texts("compiled"),
        words=reader.text("words", ""),
    )


def _correction(reader: _Reader) -> Correction:
    what = reader.text("what")
    if what not in ("generation", "prompt"):
        raise _wrong("corrections.what", "is neither generation nor prompt")
    return Correction(
        devices=reader.text("devices"),
        family=reader.text("family"),
        what="prompt" if what == "prompt" else "generation",
        low=reader.speed("low"),
        expected=reader.speed("expected"),
        high=reader.speed("high"),
        runs=reader.whole("runs"),
    )
