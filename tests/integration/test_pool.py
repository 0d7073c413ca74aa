"""`localr1 lend` and `--pool`: memory of another computer, on loopback and between namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cable as cable_module
import fit_machines
import lender
import pytest
from cable import cable
from commands import MAIN, Run
from lender import lending
from talking import demo_model

from localr1 import workflow
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import Failed, ThinkingDelta
from localr1.engine import peers
from localr1.errors import EngineDied, UsageError
from localr1.machine import memory
from localr1.machine.types import Memory

CODE = f"""
import os
from localr1.engine import lent
from localr1.machine import memory
from localr1.machine.types import Memory
probed = memory.probe
memory.probe = lambda host: eval(open(os.environ["MEMORY"]).read())
lent.BEAT_SECONDS, lent.LOST_SECONDS, lent._PATIENCE_SECONDS = 0.2, 1.0, 1.0
{MAIN}"""
"""With as much memory as a file says, and quick to call a computer lost."""
DELAY_SECONDS = 0.01
LINE = cable_module.__file__
GIB = 1 << 30
THIRD_BYTES = 8 << 20
PATIENCE_SECONDS = 60
FOLDER = lender.library_folder()
needs_rpc = pytest.mark.skipif(
    FOLDER is None, reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it"
)
needs_namespaces = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))),
    reason="NOT TESTED: two computers and a cable need Linux, root, ip and tc",
)


@needs_rpc
async def test_the_lent_memory_is_planned_used_and_lost(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(FOLDER))
    monkeypatch.setattr(
        memory, "probe", lambda _host: Memory(8 * GIB, fit_machines.memory_for_demo(8 * GIB))
    )
    with lending("--port", str(unused_tcp_port)) as (address, process):
        home = replace(workflow.open_home(), pool=peers.parse(address))
        machine = await workflow.examine(home)
        (lent,) = [device for device in machine.devices if device.backend == "RPC"]
        assert lent.usable_by_engine
        local = workflow.local_models(home)[-1]
        plan = workflow.plan_for(home, machine, local)
        assert "RPC0" in plan.settings.device_names
        assert any(address in words and "there and back" in words for words in plan.pool)
        engine = await workflow.start_engine(home, local, plan)
        try:
            there = {b.device: b.weights_bytes for b in engine.buffers}
            assert there["RPC0"] > 0
            session = ChatSession(engine, None, demo_model(), look_ahead=False)
            error = None
            options = ReplyOptions(temperature=0.0)
            async with aclosing(session.send("What is 347 + 589?", options)) as events:
                async for event in events:
                    if isinstance(event, ThinkingDelta):
                        for child in process.children():
                            child.kill()
                    error = event.error if isinstance(event, Failed) else error
        finally:
            await engine.close()
    assert isinstance(error, EngineDied)
    assert session.messages[-1].thinking


def has_memory(tmp_path: Path, available_bytes: int) -> None:
    """From now on so much is free where a question is asked."""
    (tmp_path / "memory.new").write_text(f"Memory({8 * GIB}, {available_bytes})")
    (tmp_path / "memory.new").replace(tmp_path / "memory")


@contextmanager
def asking(
    tmp_path: Path, pool: str, before: tuple[str, ...] = (), available_bytes: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """A sum asked of the demo, a part of which others hold; yields when it begins to think."""
    has_memory(tmp_path, available_bytes or fit_machines.memory_for_demo(8 * GIB))
    process = subprocess.Popen(
        [
            *before,
            *(sys.executable, "-c", CODE),
            *("ask", "--model", "demo", "--pool", pool, "What is 47 + 58?"),
        ],
        env={
            **os.environ,
            "LLAMA_CPP_LIB_PATH": str(FOLDER),
            "LOCALR1_HOME": str(tmp_path),
            "MEMORY": str(tmp_path / "memory"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "I add" not in said:
            word = process.stderr.read(1)
            assert word, said
            said += word
        assert said.count("there and back") == len(pool.split(","))
        yield process
    finally:
        process.kill()
        process.communicate()


@needs_rpc
@pytest.mark.parametrize("room", [True, False])
def test_a_lender_that_ends_in_the_middle_of_an_answer(
    *, room: bool, tmp_path: Path, unused_tcp_port: int
) -> None:
    with (
        lending("--port", str(unused_tcp_port)) as (address, lender_process),
        cable(address, DELAY_SECONDS) as laid,
        asking(tmp_path, laid.endpoint) as process,
    ):
        has_memory(tmp_path, 4 * GIB if room else 1 << 20)
        (child,) = lender_process.children()
        child.kill()
        out, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert f"{laid.endpoint} is lost: planned again without." in said
    if room:
        assert (process.returncode, out) == (0, "47 + 58 = 105\n"), said
        assert said.count("7 + 8 + 0 = 15") <= 1  # nothing is thought twice
    else:
        assert (process.returncode, out) == (3, ""), said
        assert "does not fit in memory" in said


@dataclass(frozen=True)
class Network:
    """One computer that asks, and others that each have a cable to it, with a long line behind."""

    here: str
    others: tuple[str, ...]

    def inside(self, name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", name)

    def pull(self, number: int) -> None:
        """Pull a cable."""
        run("ip", "-n", self.here, "link", "set", f"veth{number}", "down")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def network(others: int) -> Iterator[Network]:
    """Computers, as far as their network goes; one megabyte takes a hundredth of a second."""
    names = tuple(f"lr1{os.getpid()}n{number}" for number in range(others + 1))
    laid = Network(names[0], names[1:])
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for number, name in enumerate(laid.others):
            one, other = f"veth{number}", "veth0"
            run(
                *("ip", "link", "add", one, "netns", laid.here),
                *("type", "veth", "peer", "name", other, "netns", name),
            )
            for place, end, last in ((laid.here, one, 1), (name, other, 2)):
                address = f"10.77.{number}.{last}/24"
                run("ip", "-n", place, "addr", "add", address, "dev", end)
                run("ip", "-n", place, "link", "set", end, "up")
                # Not every kernel can delay packets (netem), but all can hold them back.
                run(
                    *("ip", "netns", "exec", place, "tc", "qdisc", "add", "dev", end, "root"),
                    *("tbf", "rate", "800mbit", "burst", "128kb", "latency", "50ms"),
                )
        yield laid
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


@contextmanager
def far_lender(laid: Network, number: int, environment: Mapping[str, str]) -> Iterator[str]:
    """A lender in a network, behind a long line; yields the line's address."""
    inside = laid.inside(laid.others[number])
    host = f"10.77.{number}.2"
    with lending("--host", host, before=inside, environment=environment) as (address, _):
        line = subprocess.Popen(
            [*inside, sys.executable, LINE, address, str(DELAY_SECONDS), host],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert line.stdout is not None
            yield line.stdout.readline().strip()
        finally:
            line.kill()
            line.communicate()


@needs_rpc
@needs_namespaces
def test_two_computers_and_a_cable_that_is_pulled(tmp_path: Path) -> None:
    with network(1) as laid, far_lender(laid, 0, {}) as address:
        inside = laid.inside(laid.here)
        near = f"{address.partition(':')[0]}:50052"  # without the long line
        with asking(tmp_path, near, inside) as process:
            out, said = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (0, "47 + 58 = 105\n"), said
        with asking(tmp_path, address, inside) as process:
            has_memory(tmp_path, 4 * GIB)
            laid.pull(0)
            out, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (0, "47 + 58 = 105\n"), said
    assert f"{address} is lost: planned again without." in said


@needs_rpc
@needs_namespaces
def test_three_computers_one_of_which_is_lost(tmp_path: Path) -> None:
    # Each of the others has room for a part of the demo only.
    small = tmp_path / "small"
    small.mkdir()
    available = GIB + THIRD_BYTES
    (small / "sitecustomize.py").write_text(
        "from localr1.machine import memory\nfrom localr1.machine.types import Memory\n"
        f"memory.probe = lambda host: Memory({8 * GIB}, {available})\n"
    )
    paths = os.pathsep.join((str(small), os.environ.get("PYTHONPATH", "")))
    with (
        network(2) as laid,
        far_lender(laid, 0, {"PYTHONPATH": paths}) as one,
        far_lender(laid, 1, {"PYTHONPATH": paths}) as other,
        asking(
            tmp_path,
            f"{one},{other}",
            laid.inside(laid.here),
            fit_machines.memory_for_demo(available, available),
        ) as process,
    ):
        has_memory(tmp_path, 4 * GIB)
        laid.pull(1)
        out, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (0, "47 + 58 = 105\n"), said
    assert f"{other} is lost: planned again without." in said
    assert f"{one} is lost" not in said


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:4860:4860::8888", "0.0.0.0", "::", "224.0.0.1"])
def test_addresses_that_anyone_may_reach_are_refused(host: str) -> None:
    with pytest.raises(UsageError):
        peers.check_private(host)
    with pytest.raises(UsageError):
        peers.parse(f"127.0.0.1:1,[{host}]:1" if ":" in host else f"{host}:1")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "192.168.1.5", "10.0.0.1", "fe80::1", "fd00::1"]
)
def test_private_addresses_may_be_used(host: str) -> None:
    assert peers.check_private(host)


@pytest.mark.parametrize("text", ["", ",", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", ":1"])
def test_pools_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        peers.parse(text)


def test_a_build_without_rpc_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH", raising=False)
    for words in (("lend",), ("ask", "--model", "demo", "--pool", "127.0.0.1:1", "1 + 1")):
        code, out, said = run(*words)
        assert (code, out) == (1, "")
        assert "doctor --fix rpc" in said
    code, _, said = run("ask", "--offline", "--pool", "127.0.0.1:1", "1 + 1")
    assert (code, "offline" in said) == (4, True)
