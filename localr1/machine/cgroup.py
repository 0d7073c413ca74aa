"""Limits of a Linux control group: what a container may use of the computer.

Both hierarchies are read: version 2 (`memory.max`, `cpu.max`) and version 1
(`memory.limit_in_bytes`, `cpu.cfs_quota_us`). A group's parents limit it too, so the
walk goes from our own group up to the root. Source: the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from localr1.machine.host import read_int

if TYPE_CHECKING:
    from localr1.machine.host import Host

ROOT = "/sys/fs/cgroup"
# Version 1 writes "no limit" as the largest page-aligned number it can count to.
_NO_LIMIT_BYTES = 1 << 60
# Groups that Kubernetes, containerd, LXC and Docker make for a container.
_CONTAINERS = re.compile(r"/kubepods|cri-containerd-|/lxc(/|\.payload)|/docker[-/][0-9a-f]{12}")


@dataclass(frozen=True)
class MemoryLimit:
    """The tightest memory limit of our group and its parents."""

    limit_bytes: int
    available_bytes: int
    """What is left under the limit; file pages that can be dropped count as left."""


def memory_limit(host: Host) -> MemoryLimit | None:
    """Return the memory limit this process runs under, or None where there is none."""
    limits: list[int] = []
    left: list[int] = []
    for folder in _folders(host, "memory"):
        limit = _smallest(
            read_int(host, f"{folder}/{name}")
            for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
        )
        if limit is None or limit >= _NO_LIMIT_BYTES:
            continue
        used = read_int(host, f"{folder}/memory.current")
        if used is None:
            used = read_int(host, f"{folder}/memory.usage_in_bytes") or 0
        droppable = _inactive_file_bytes(host.read_text(f"{folder}/memory.stat") or "")
        limits.append(limit)
        left.append(max(0, min(limit, limit - used + droppable)))
    return MemoryLimit(min(limits), min(left)) if limits else None


def swap_limit(host: Host) -> int | None:
    """Return how much this process may have swapped out; None where there is no limit.

    Version 1 limits memory and swap together (`memory.memsw.limit_in_bytes`).
    """
    limits: list[int] = []
    for folder in _folders(host, "memory"):
        own = read_int(host, f"{folder}/memory.swap.max")
        both = read_int(host, f"{folder}/memory.memsw.limit_in_bytes")
        memory = read_int(host, f"{folder}/memory.limit_in_bytes")
        if own is not None:
            limits.append(own)
        elif both is not None and memory is not None and both < _NO_LIMIT_BYTES:
            limits.append(max(0, both - memory))
    return min(limits, default=None)


def in_container(host: Host) -> bool:
    """Whether this is a container: Docker's, Podman's, containerd's, LXC's or Kubernetes'.

    Docker and Podman leave a file, systemd writes its kind into one (of Windows' Linux as well).
    The others show in the group's path, or in the limits that the group at the root has: a
    computer's own has none (cgroup-v2.rst).
    """
    if host.system != "Linux":
        return False
    if any(host.read_text(mark) is not None for mark in ("/.dockerenv", "/run/.containerenv")):
        return True
    kind = (host.read_text("/run/systemd/container") or "").strip()
    groups = host.read_text("/proc/self/cgroup") or ""
    at_root = "0::/" in groups.split() and host.read_text(f"{ROOT}/memory.max") is not None
    return kind not in ("", "wsl") or _CONTAINERS.search(groups) is not None or at_root


def cpu_quota(host: Host) -> float | None:
    """Return how many CPUs' worth of time this process may use; None for no limit."""
    quotas: list[float] = []
    for folder in _folders(host, "cpu"):
        words = (host.read_text(f"{folder}/cpu.max") or "").split()
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
        quota = read_int(host, f"{folder}/cpu.cfs_quota_us")
        period = read_int(host, f"{folder}/cpu.cfs_period_us")
        if quota and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _folders(host: Host, controller: str) -> list[str]:
    """Return our group's folder and its parents', in every hierarchy with the controller."""
    folders: list[str] = []
    for line in (host.read_text("/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mounts = [ROOT, f"{ROOT}/unified"]
        elif controller in controllers.split(","):
            mounts = [f"{ROOT}/{controller}", f"{ROOT}/{controllers}"]
        else:
            continue
        # In a container the path may name a group of the host that is not mounted here;
        # going up ends at the mount itself, which is then the container's own group.
        group = PurePosixPath("/" + path.strip().lstrip("/"))
        for part in (group, *group.parents):
            folders += [f"{mount}{part}".rstrip("/") for mount in mounts]
    return list(dict.fromkeys(folders))


def _inactive_file_bytes(stat: str) -> int:
    values = dict(line.split(maxsplit=1) for line in stat.splitlines() if len(line.split()) == 2)
    text = values.get("total_inactive_file", values.get("inactive_file", "0"))
    return int(text) if text.isdigit() else 0


def _smallest(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
