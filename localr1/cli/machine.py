"""`localr1 machine`: what this computer has."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from localr1.amount import parse_size
from localr1.cli import opening, output
from localr1.errors import FileError, UsageError
from localr1.fit.explain import gib, room
from localr1.home import Home, examine_machine, examined
from localr1.machine import terminal
from localr1.machine.types import EngineDevice, Machine
from localr1.models.place import free_bytes

_SMALLEST_BYTES = 64 << 20


def machine_for(arguments: argparse.Namespace, home: Home) -> Machine:
    """The computer that a command is about: this one, or the one the what-if options describe.

    Raises:
        ProfileError: An option cannot be understood.
        UsageError: A size cannot be understood.
    """
    base = home.profile or _this(home)
    sizes = {
        name: parse_size(text) if text is not None else None
        for name, text in (("ram", arguments.ram), ("gpu_memory", arguments.gpu_memory))
    }
    for name, size in sizes.items():
        if size is not None and size < _SMALLEST_BYTES:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(arguments, name)} is less than any computer has.",
                "A number without a unit counts bytes.",
                "Write 16G or 16GiB.",
            )
    if arguments.gpu is None and all(size is None for size in sizes.values()):
        return base
    from localr1.machine.what_if import what_if  # noqa: PLC0415 - most commands ask of this one

    return what_if(
        base, ram_bytes=sizes["ram"], gpu=arguments.gpu, gpu_memory_bytes=sizes["gpu_memory"]
    )


def _this(home: Home) -> Machine:
    known = None if home.pool else examined(home.directories)
    if known is not None:
        return known
    import asyncio  # noqa: PLC0415 - it takes longer to import than everything else here takes

    return asyncio.run(examine_machine(home.directories, home.pool))


def run(arguments: argparse.Namespace) -> int:
    """Print the machine."""
    home = opening.home(arguments)
    machine = machine_for(arguments, home)
    if arguments.json:
        from localr1.machine.profile import to_json  # noqa: PLC0415 - as above

        here = {"disk": {"free_bytes": _free(home)}, "terminal": asdict(terminal.look())}
        output.print_json({**to_json(machine), **({} if _elsewhere(arguments) else here)})
        return 0
    console = output.console()
    rows = describe(machine)
    if not _elsewhere(arguments) and (free := _free(home)) is not None:
        rows.append(("Disk", f"{gib(free)} free where downloads go"))
    for label, value in rows:
        console.print(f"{label:<10} {value}")
    return 0


def _elsewhere(arguments: argparse.Namespace) -> bool:
    asked = (arguments.profile, arguments.ram, arguments.gpu, arguments.gpu_memory)
    return any(one is not None for one in asked)


def _free(home: Home) -> int | None:
    try:
        return free_bytes(home.directories.models)
    except FileError:
        return None  # doctor tells why


def _listed_room(device: EngineDevice) -> str:
    if not device.total_bytes:
        return "and not its memory"
    if device.kind == "cpu":  # of main memory it says what there is; what is free is said above
        return gib(device.total_bytes)
    return f"{gib(device.free_bytes)} free of {gib(device.total_bytes)}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe(machine: Machine) -> list[tuple[str, str]]:
    """The machine as labelled lines for people."""
    cpu, memory = machine.cpu, machine.memory
    bandwidth = memory.bandwidth_bytes_per_second
    rows = [
        ("System", machine.operating_system),
        (
            "CPU",
            f"{cpu.name}, {_plural(cpu.physical_cores, 'core')} ({cpu.performance_cores} fast,"
            f" {_plural(cpu.logical_cores, 'thread')})"
            + (f", {cpu.numa_nodes} NUMA nodes" if cpu.numa_nodes > 1 else ""),
        ),
        ("", "llama.cpp uses: " + (", ".join(cpu.features) or "no special instructions")),
        (
            "Memory",
            (
                f"{gib(memory.available_bytes)} free of {gib(memory.total_bytes)}"
                if memory.total_bytes
                else "not known"
            )
            + (f", reads {bandwidth / 1e9:.0f} GB/s" if bandwidth else "")
            + (f"; {gib(memory.swap_bytes)} swap" if memory.swap_bytes else ""),
        ),
    ]
    gpus = [device for device in machine.devices if device.kind != "cpu"]
    for device in gpus:
        usable = "" if device.usable_by_engine else ", not usable"
        rows.append(("GPU", f"{device.description}: {room(device)}{usable}"))
        runs = ", ".join(filter(None, (device.capability, device.runtime)))
        rows += [("", text) for text in (device.reason, runs and f"runs {runs}") if text]
    if not gpus:
        rows.append(("GPU", "none found"))
    engine = machine.engine
    if engine.problem:
        rows.append(("llama.cpp", f"does not start: {engine.problem}"))
    else:
        rows.append(
            (
                "llama.cpp",
                f"llama-cpp-python {engine.version}, built for {', '.join(engine.backends)}",
            )
        )
        rows.extend(
            (
                "",
                f"lists {device.name}: {device.description}, " + _listed_room(device),
            )
            for device in engine.devices
        )
    if machine.power.on_battery is not None:
        percent = f", {machine.power.percent:.0f} %" if machine.power.percent is not None else ""
        watts = f", drawing {machine.power.watts:.0f} W" if machine.power.watts else ""
        source = "battery" if machine.power.on_battery else "mains"
        rows.append(("Power", source + percent + watts))
    rows += [("Note", problem) for problem in machine.problems]
    return rows
