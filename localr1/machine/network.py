"""Whether this computer is connected to any network at all: nothing is sent to find out."""

from __future__ import annotations

import ipaddress

import psutil


def connected() -> bool:
    """Whether a network interface is up and has an address that leads beyond this computer.

    A yes says nothing of what can be reached through it; a no is certain. Where the system does
    not tell, the answer is yes.
    """
    try:
        states = psutil.net_if_stats()
        addresses = psutil.net_if_addrs()
    except OSError:
        return True
    return any(
        states[name].isup and any(_leads_out(item.address) for item in items)
        for name, items in addresses.items()
        if name in states
    )


def _leads_out(text: str) -> bool:
    """Whether an interface's address is one of a network, not of this computer or cable alone."""
    try:
        # Link-local addresses come with the name of their interface: fe80::1%eth0.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False  # a hardware address
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)
