"""Where the electricity comes from: a laptop on its battery is slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine.host import read_int
from localr1.machine.types import Power

if TYPE_CHECKING:
    from localr1.machine.host import Host


_SUPPLIES = "/sys/class/power_supply"


def probe(host: Host) -> Power:
    """Return the state of the battery.

    Where psutil sees no battery, a Linux system that lists no power supplies at all (a
    container, a virtual machine) cannot tell; any other is a desktop on the mains.
    """
    state = host.battery()
    if state is None:
        blind = host.system == "Linux" and not host.list_directory(_SUPPLIES)
        return Power(on_battery=None if blind else False, percent=None)
    plugged, percent = state
    on_battery = None if plugged is None else not plugged
    return Power(on_battery, percent, _drawn_watts(host) if on_battery else None)


def _drawn_watts(host: Host) -> float | None:
    """Return what is drawn from all batteries; None where the system does not say (Linux does).

    `power_now` is in microwatts; batteries that count charge have `current_now` and `voltage_now`
    in microamperes and microvolts (the kernel's Documentation/ABI/testing/sysfs-class-power).
    """
    total = 0.0
    for name in host.list_directory(_SUPPLIES):
        folder = f"{_SUPPLIES}/{name}"
        if (host.read_text(f"{folder}/type") or "").strip() != "Battery":
            continue
        power = read_int(host, f"{folder}/power_now")
        current = read_int(host, f"{folder}/current_now")
        voltage = read_int(host, f"{folder}/voltage_now")
        if power is not None:
            total += abs(power) / 1e6
        elif current is not None and voltage is not None:
            total += abs(current) / 1e6 * voltage / 1e6
    return total or None
