"""Where the electricity comes from: a laptop on its battery is slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine.host import read_int
from localr1.machine.types import Power

if TYPE_CHECKING:
    from localr1.machine.host import Host


_SUPPLIES = "/sys/class/power_supply"


def probe(host: Host) -> Power:
    """Return the state of the computer's batteries, all of them together.

    Linux lists its power supplies, among them the batteries of mice and headsets (scope `Device`),
    which are left out. A Linux system that lists no power supplies at all (a container, a virtual
    machine) cannot tell; any other without a battery is a desktop on the mains.
    """
    batteries = _batteries(host)
    listed = host.system == "Linux" and bool(host.list_directory(_SUPPLIES))
    foreign = not batteries and bool(_supplies(host, "Battery"))
    state = None if foreign else host.battery()
    if state is None and not batteries:
        blind = host.system == "Linux" and not listed
        return Power(on_battery=None if blind else False, percent=None)
    plugged, percent = state or (None, None)
    on_battery = None if plugged is None else not plugged
    if batteries:
        own = _on_battery(host, batteries)
        on_battery = on_battery if own is None else own
        own_percent = _percent(host, batteries)
        percent = percent if own_percent is None else own_percent
    return Power(on_battery, percent, _drawn_watts(host, batteries) if on_battery else None)


def _word(host: Host, folder: str, name: str) -> str:
    return (host.read_text(f"{folder}/{name}") or "").strip()


def _supplies(host: Host, kind: str) -> list[str]:
    folders = [f"{_SUPPLIES}/{name}" for name in host.list_directory(_SUPPLIES)]
    return [one for one in folders if _word(host, one, "type") == kind]


def _batteries(host: Host) -> list[str]:
    """Return the folders of the computer's own batteries."""
    return [one for one in _supplies(host, "Battery") if _word(host, one, "scope") != "Device"]


def _on_battery(host: Host, batteries: list[str]) -> bool | None:
    """Return where the electricity comes from, by Linux' words for the supplies; None for unknown.

    A battery that rests at a limit (`Not charging`) is one on the mains.
    """
    mains = [read_int(host, f"{one}/online") for one in _supplies(host, "Mains")]
    states = {_word(host, one, "status") for one in batteries}
    if 1 in mains:
        return False
    if "Discharging" in states:
        return True
    if states & {"Charging", "Full", "Not charging"}:
        return False
    return True if 0 in mains else None


def _percent(host: Host, batteries: list[str]) -> float | None:
    """Return how full all batteries together are."""
    for kind in ("energy", "charge"):
        read = [
            (read_int(host, f"{one}/{kind}_now"), read_int(host, f"{one}/{kind}_full"))
            for one in batteries
        ]
        told = [(now, full) for now, full in read if now is not None and full]
        if len(told) == len(batteries):
            return round(100 * sum(now for now, _ in told) / sum(full for _, full in told), 2)
    shares = [read_int(host, f"{one}/capacity") for one in batteries]
    known = [share for share in shares if share is not None]
    return round(sum(known) / len(known), 2) if known else None


def _drawn_watts(host: Host, batteries: list[str]) -> float | None:
    """Return what is drawn from all batteries; None where the system does not say (Linux does).

    `power_now` is in microwatts; batteries that count charge have `current_now` and `voltage_now`
    in microamperes and microvolts (the kernel's Documentation/ABI/testing/sysfs-class-power).
    """
    total = 0.0
    for folder in batteries:
        power = read_int(host, f"{folder}/power_now")
        current = read_int(host, f"{folder}/current_now")
        voltage = read_int(host, f"{folder}/voltage_now")
        if power is not None:
            total += abs(power) / 1e6
        elif current is not None and voltage is not None:
            total += abs(current) / 1e6 * voltage / 1e6
    return total or None
