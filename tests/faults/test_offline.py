"""Once a model is here nothing needs the network, nothing waits for it, and nothing is sent."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import commands
import elsewhere
import pytest
from loopback_hub import LoopbackHub
from socket_guard import Guard, Network, guard

from localr1.machine import network

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
HANG_SECONDS = 60.0
"""The spoiled network keeps whoever asks it for two minutes."""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
terminal_only = pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")


def localr1(
    environment: dict[str, str], *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return commands.localr1(
        *arguments, environment=environment, before=before, most_seconds=HANG_SECONDS
    )


@pytest.fixture
def merge(tmp_path: Path) -> Path:
    return elsewhere.write_merge(tmp_path / "some-r1.gguf")


def session(merge: Path, folder: Path) -> list[tuple[str, ...]]:
    """A user's commands, in order; none of them downloads."""
    return [
        ("import", str(merge)),
        ("models",),
        ("advise",),
        ("estimate", "7b:Q4_K_M"),
        ("ask", "--model", "demo", "--temperature", "0", "What is 347 + 589?"),
        ("models", "--unused"),
        ("verify", "--all"),
        ("machine", "--json"),
        ("estimate", "some-r1:F16"),
        ("--offline", "estimate", "7b:Q4_K_M"),
        ("history", "list"),
        ("pull", "demo"),
        ("bundle", "export", str(folder / "usb")),
        ("bundle", "import", str(folder / "usb")),
        ("rm", "some-r1:F16"),
        ("doctor",),
    ]


SHORT = ("advise", "ask")


@pytest.mark.parametrize("spoiled", ["dropped", "refused", "slow"])
def test_a_session_never_asks_the_network(merge: Path, tmp_path: Path, spoiled: Network) -> None:
    guarded = guard(tmp_path / "guard", spoiled)
    commands = session(merge, tmp_path)
    if spoiled != "dropped" and not SOAK:
        commands = [command for command in commands if command[0] in SHORT]
    said = {}
    for command in commands:
        done = localr1(guarded.environment(), *command)
        assert done.returncode == 0 or command == ("doctor",), (command, done.stderr)
        said[command[0]] = done.stdout
        if "estimate" in command:
            assert "It fits." in done.stdout or "Needs " in done.stdout
    assert "936" in said["ask"]
    assert guarded.attempts == []
    # The app each time, the worker of `ask` and another that asks llama.cpp what it is: all of them
    # ran under the guard.
    assert guarded.programs >= len(commands) + 2


def test_the_guard_guards(tmp_path: Path, merge: Path) -> None:
    guarded = guard(tmp_path / "guard", "refused")
    done = localr1(guarded.environment(), "import", "hf:owner/name")
    assert done.returncode == 4
    assert any("huggingface.co" in attempt for attempt in guarded.attempts)
    count = len(guarded.attempts)
    for offline in (("--offline",), ()):
        environment = guarded.environment(**({} if offline else {"HF_HUB_OFFLINE": "1"}))
        for command in (
            ("pull", "7b:Q4_K_M"),
            ("import", "hf:owner/name"),
            ("import", "https://example.org/x.gguf"),
            ("models", "--refresh", "--yes"),
        ):
            done = localr1(environment, *offline, *command)
            assert done.returncode == 4, (command, done.stderr)
        done = localr1(environment, *offline, "import", str(merge))
        assert done.returncode == 0
    assert len(guarded.attempts) == count, "offline is absolute"


def answered(database: Path) -> str:
    """The last answer that a conversation database holds."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection,
    ):
        rows = connection.execute(
            "SELECT text FROM message WHERE role = 'assistant' AND stats <> '' ORDER BY id"
        ).fetchall()
        return rows[-1][0] if rows else ""
    return ""


def talk(guarded: Guard, database: Path, *arguments: str) -> str:
    """Chat in the app in a terminal of its own, once; gives the answer."""
    import pty

    environment = guarded.environment(TERM="xterm-256color", COLUMNS="100", LINES="30")
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "localr1", *arguments], environment)
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + HANG_SECONDS
    answer, asked, ended = "", False, False
    shown = b""
    try:
        while time.monotonic() < deadline and not ended:
            with contextlib.suppress(BlockingIOError, OSError):
                shown += os.read(terminal, 1 << 16)
            if shown and not asked:
                time.sleep(2.0)  # what is typed while the model loads waits for it
                os.write(terminal, b"What is 347 + 589?\r")
                asked = True
            answer = answer or answered(database)
            if answer:
                os.write(terminal, b"\x11")
                ended = os.waitpid(child, os.WNOHANG) != (0, 0)
            time.sleep(0.05)
    finally:
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            os.waitpid(child, 0)
        os.close(terminal)
    assert ended, shown[-2000:]
    return answer


@terminal_only
def test_the_app_never_asks_the_network(tmp_path: Path) -> None:
    guarded = guard(tmp_path / "guard", "dropped")
    database = Path(os.environ["LOCALR1_HOME"]) / "data" / "conversations.db"
    assert "936" in talk(guarded, database, "chat", "demo")
    assert guarded.programs >= 2
    assert guarded.attempts == []


# A network of its own, in which packets go nowhere: every route leads back to the loopback
# device, where the kernel throws away what is for others.
_VANISHING = (
    "ip link set lo up && ip addr add 10.9.9.2/24 dev lo && ip route add default dev lo"
    ' && exec "$@"'
)


def _namespace(script: str) -> tuple[str, ...]:
    return ("unshare", "--map-root-user", "--net", "sh", "-c", script, "sh")


def _namespaces_work() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    done = subprocess.run([*_namespace(_VANISHING), "true"], capture_output=True, check=False)
    return done.returncode == 0


@linux_only
@pytest.mark.parametrize("script", ['exec "$@"', _VANISHING], ids=["no network", "packets vanish"])
def test_commands_work_in_a_network_that_leads_nowhere(script: str) -> None:
    if not _namespaces_work():
        pytest.skip("this system lets nobody make a network namespace")
    inside = _namespace(script)
    environment = dict(os.environ)
    question = ("ask", "--model", "demo", "--temperature", "0", "What is 347 + 589?")
    done = localr1(environment, *question, before=inside)
    assert (done.returncode, "936" in done.stdout) == (0, True), done.stderr
    code = "from localr1.machine import network; print(network.connected())"
    done = subprocess.run(
        [*inside, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(script == _VANISHING)


@linux_only
def test_llama_cpp_opens_no_socket_either(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    log = tmp_path / "calls"
    trace = ("strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,bind", "-o", str(log))
    done = localr1(
        dict(os.environ), "ask", "--model", "demo", "--temperature", "0", "2 + 3", before=trace
    )
    if "PTRACE" in done.stderr or not log.exists():
        pytest.skip("this system lets nobody trace")
    assert done.returncode == 0, done.stderr
    calls = [line for line in log.read_text().splitlines() if "AF_INET" in line]
    assert calls == []


def test_a_black_hole_for_a_proxy_delays_nothing() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as hole:
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        proxies = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
        environment = {**os.environ, **dict.fromkeys(proxies, address)}
        assert localr1(environment, "ask", "--model", "demo", "2 + 3").returncode == 0
        hole.settimeout(0.1)
        with pytest.raises(TimeoutError):
            hole.accept()


def test_a_download_asks_the_named_hub_and_nobody_else(merge: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        hub.add("owner/name", {"some-r1.gguf": merge.read_bytes()})
        guarded = guard(tmp_path / "guard", "refused")
        code = (guarded.folder / "sitecustomize.py").read_text()
        # This once, what is for this computer passes.
        code = code.replace(
            "    raise Connection",
            '    if "127.0.0.1" in repr(arguments):\n        return\n    raise Connection',
        )
        (guarded.folder / "sitecustomize.py").write_text(code)
        environment = guarded.environment(HF_ENDPOINT=hub.endpoint)
        done = localr1(environment, "import", "hf:owner/name")
        assert done.returncode == 0, done.stderr
        assert guarded.attempts
        assert all("127.0.0.1" in attempt for attempt in guarded.attempts)


def test_an_interface_address_says_whether_there_is_a_network() -> None:
    for text, leads in (
        ("127.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("169.254.3.4", False),
        ("00:11:22:33:44:55", False),
        ("192.168.1.7", True),
        ("2001:db8::5", True),
    ):
        assert network._leads_out(text) is leads, text
