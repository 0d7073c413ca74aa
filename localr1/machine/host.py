"""The operating system, behind one object, so that probes can be fed recordings.

A probe never opens a file or starts a program itself: it asks a `Host`. Tests hand it
a host that replays what a real computer answered.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

COMMAND_LIMIT_SECONDS = 2.5
"""How long a helper program (lspci, system_profiler) may take."""

# CM_GETIDLIST_FILTER_PRESENT and CM_GETIDLIST_FILTER_CLASS of cfgmgr32.h.
_PRESENT_OF_CLASS = 0x100 | 0x200


class ProbeError(Exception):
    """A probe could not find something out; the text is one sentence for the user."""


class SlowProgramError(ProbeError):
    """A program did not answer in its time, and will hardly do so when it is asked again."""


class Host:
    """The computer we run on.

    Attributes:
        system: `Linux`, `Darwin` or `Windows`.
        release: Release of the kernel or system, for people.
        architecture: `x86_64`, `arm64`, `AMD64`, ...
    """

    def __init__(self) -> None:
        self.system = platform.system()
        self.release = platform.release()
        self.architecture = platform.machine()

    def read_text(self, path: str) -> str | None:
        """Return a text file's content, or None where it is absent or may not be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            return None

    def list_directory(self, path: str) -> tuple[str, ...]:
        """Return a directory's names, sorted; empty where it is absent."""
        try:
            return tuple(sorted(entry.name for entry in Path(path).iterdir()))
        except OSError:
            return ()

    def run(self, *command: str, limit_seconds: float = COMMAND_LIMIT_SECONDS) -> str:
        """Return what a program prints.

        Raises:
            SlowProgramError: It takes longer than its limit.
            ProbeError: It is not installed, or fails.
        """
        import subprocess  # noqa: PLC0415  # most computers need no helper program
        import threading  # noqa: PLC0415  # as above

        name = command[0]
        try:
            process = subprocess.Popen(  # noqa: S603  # fixed programs, arguments from the kernel
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise ProbeError(f"{name} is not installed.") from error
        except OSError as error:
            raise ProbeError(f"{name} does not start: {error.strerror}.") from error
        try:
            output, errors = process.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            # One that hangs in a driver does not die before the driver lets go of it.
            threading.Thread(target=process.communicate, name=name, daemon=True).start()
            raise SlowProgramError(f"{name} did not answer in {limit_seconds:g} s.") from error
        if process.returncode != 0:
            words = errors.decode(errors="replace").strip() or f"exit {process.returncode}"
            raise ProbeError(f"{name} failed: {words}")
        return output.decode(errors="replace")

    def cpu_affinity(self) -> frozenset[int] | None:
        """Return the logical CPUs this process may use; None where there is no such limit."""
        affinity = getattr(os, "sched_getaffinity", None)
        return None if affinity is None else frozenset(affinity(0))

    def cpu_count(self, *, logical: bool) -> int | None:
        """Return the number of logical or physical cores, as psutil counts them."""
        import psutil  # noqa: PLC0415  # only commands that look at the machine pay for it

        return psutil.cpu_count(logical=logical)

    def virtual_memory(self) -> tuple[int, int]:
        """Return total and available main memory, in bytes, as psutil counts them."""
        import psutil  # noqa: PLC0415

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)

    def swap_bytes(self) -> int:
        """Return the size of the swap space, as psutil counts it."""
        import psutil  # noqa: PLC0415

        return int(psutil.swap_memory().total)

    def battery(self) -> tuple[bool | None, float] | None:
        """Return (plugged in, percent) of the battery; None where psutil sees none."""
        import psutil  # noqa: PLC0415

        probe = getattr(psutil, "sensors_battery", None)
        state = probe() if probe is not None else None
        return None if state is None else (state.power_plugged, float(state.percent))

    def cpu_share(self) -> float:
        """Return the share of all cores' time that was used since this was asked last, 0 to 1."""
        import psutil  # noqa: PLC0415

        return psutil.cpu_percent(interval=None) / 100

    def resident_bytes(self, number: int) -> int | None:
        """Return what a process holds of main memory; None for one that is gone or hidden."""
        import psutil  # noqa: PLC0415

        try:
            return int(psutil.Process(number).memory_info().rss)
        except psutil.Error:
            return None

    def process_name(self, number: int) -> str | None:
        """Return the name of a process; None for one that is gone, hidden, or our own child."""
        import psutil  # noqa: PLC0415

        try:
            process = psutil.Process(number)
            own = number == os.getpid() or process.ppid() == os.getpid()
            return None if own else str(process.name())
        except psutil.Error:
            return None

    def nvml(self) -> Any:  # noqa: ANN401  # the module has no types
        """Return NVIDIA's management library, as the module `pynvml`.

        Raises:
            ProbeError: nvidia-ml-py is not installed.
        """
        try:
            import pynvml  # noqa: PLC0415
        except ImportError as error:
            raise ProbeError(f"nvidia-ml-py cannot be imported: {error}.") from error
        return pynvml

    def registry_keys(self, path: str) -> tuple[str, ...]:
        """Return the names of the keys under a key of `HKEY_LOCAL_MACHINE` (Windows)."""
        if sys.platform == "win32":
            import winreg  # noqa: PLC0415

            with (
                contextlib.suppress(OSError),
                winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key,
            ):
                return tuple(winreg.EnumKey(key, i) for i in range(winreg.QueryInfoKey(key)[0]))
        return ()

    def registry_value(self, path: str, name: str) -> str | int | bytes | None:
        """Return a value under a key of `HKEY_LOCAL_MACHINE`; None where it is absent."""
        if sys.platform == "win32":
            import winreg  # noqa: PLC0415

            with (
                contextlib.suppress(OSError),
                winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key,
            ):
                value = winreg.QueryValueEx(key, name)[0]
                return value if isinstance(value, (str, int, bytes)) else None
        return None

    def present_devices(self, class_id: str) -> tuple[str, ...] | None:
        """Return the instance ids of a setup class' devices that are there now (Windows).

        None where Windows does not say, and on other systems.
        """
        if sys.platform == "win32":
            import ctypes  # noqa: PLC0415

            library, size = ctypes.windll.cfgmgr32, ctypes.c_ulong(0)
            if library.CM_Get_Device_ID_List_SizeW(ctypes.byref(size), class_id, _PRESENT_OF_CLASS):
                return None
            buffer = ctypes.create_unicode_buffer(size.value)
            if library.CM_Get_Device_ID_ListW(class_id, buffer, size, _PRESENT_OF_CLASS):
                return None
            listed = ctypes.wstring_at(buffer, size.value)
            return tuple(filter(None, listed.split("\0"))) or None
        return None

    def processor_feature(self, number: int) -> bool:
        """Ask Windows for one processor feature (`IsProcessorFeaturePresent`)."""
        if sys.platform == "win32":
            import ctypes  # noqa: PLC0415

            return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))
        return False

    def processor_relations(self) -> bytes:
        """Return Windows' list of cores (`GetLogicalProcessorInformationEx`); empty elsewhere."""
        if sys.platform == "win32":
            import ctypes  # noqa: PLC0415

            call = ctypes.windll.kernel32.GetLogicalProcessorInformationEx
            size = ctypes.c_ulong(0)
            call(0, None, ctypes.byref(size))
            buffer = ctypes.create_string_buffer(size.value)
            if call(0, buffer, ctypes.byref(size)):
                return buffer.raw[: size.value]
        return b""


def read_int(host: Host, path: str) -> int | None:
    """Return a file's content as a whole number; None where it is absent or another thing."""
    text = host.read_text(path)
    try:
        return None if text is None else int(text.strip(), 0)
    except ValueError:
        return None


def parse_cpu_list(text: str) -> frozenset[int]:
    """Return the numbers of a kernel CPU list: `0-3,8` is 0, 1, 2, 3, 8."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
