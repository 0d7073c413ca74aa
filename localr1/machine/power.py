"""Where the electricity comes from: a laptop on its battery is slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine.types import Power

if TYPE_CHECKING:
    from localr1.machine.host import Host


def probe(host: Host) -> Power:
    """Return the state of the battery.

    Where psutil sees no battery, a Linux system that lists no power supplies at all (a
    container, a virtual machine) cannot tell; any other is a desktop on the mains.
    """
    state = host.battery()
    if state is None:
        blind = host.system == "Linux" and not host.list_directory("/sys/class/power_supply")
        return Power(on_battery=None if blind else False, percent=None)
    plugged, percent = state
    return Power(on_battery=None if plugged is None else not plugged, percent=percent)
