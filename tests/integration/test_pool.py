"""`localr1 lend` and `--pool`: memory of another computer, on loopback and between namespaces."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import lender
import psutil
import pytest
from commands import MAIN, Run, localr1
from talking import demo_model

from localr1 import workflow
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import Failed, ThinkingDelta
from localr1.engine import peers
from localr1.errors import EngineDied, UsageError
from localr1.machine import memory
from localr1.machine.types import Memory

SMALL = Memory(8 << 30, 70 << 20)
"""The demo alone has no room in it, but has without what another computer holds."""
SMALL_CODE = f"""
from localr1.machine import memory
from localr1.machine.types import Memory
memory.probe = lambda _host: {SMALL!r}
{MAIN}"""
FOLDER = lender.library_folder()
needs_rpc = pytest.mark.skipif(
    FOLDER is None, reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it"
)
needs_namespaces = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))),
    reason="NOT TESTED: two computers and a cable need Linux, root, ip and tc",
)


@contextmanager
def lending(*options: str, before: tuple[str, ...] = ()) -> Iterator[tuple[str, psutil.Process]]:
    """Lend, and stop it as Ctrl+C does; yields the address and the process."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", MAIN, "lend", *options],
        env={**os.environ, "LLAMA_CPP_LIB_PATH": str(FOLDER)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"at (\S+:\d+) ", said)
        assert found is not None, said + process.stderr.read()
        yield found[1], psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else ():
            child.kill()
        process.kill()
        process.communicate()


@needs_rpc
async def test_the_lent_memory_is_planned_used_and_lost(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(FOLDER))
    monkeypatch.setattr(memory, "probe", lambda _host: SMALL)
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


@needs_rpc
@needs_namespaces
def test_two_computers_and_a_cable(tmp_path: Path) -> None:
    here, there = f"lr1a{os.getpid()}", f"lr1b{os.getpid()}"

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    try:
        for name in (here, there):
            run("ip", "netns", "add", name)
        run(
            "ip",
            "link",
            "add",
            "veth0",
            "netns",
            here,
            "type",
            "veth",
            "peer",
            "veth0",
            "netns",
            there,
        )
        for name, address in ((here, "10.77.0.1/24"), (there, "10.77.0.2/24")):
            for words in (("addr", "add", address, "dev", "veth0"), ("link", "set", "veth0", "up")):
                run("ip", "-n", name, *words)
            run("ip", "-n", name, "link", "set", "lo", "up")
            # Not every kernel has it; a fast cable is a cable too.
            subprocess.run(
                [
                    *("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "veth0", "root"),
                    *("netem", "delay", "1ms", "rate", "1gbit"),
                ],
                check=False,
                capture_output=True,
            )
        with lending("--host", "10.77.0.2", before=("ip", "netns", "exec", there)) as (address, _):
            done = localr1(
                *("ask", "--model", "demo", "--pool", address, "What is 347 + 589?"),
                before=("ip", "netns", "exec", here),
                code=SMALL_CODE,
                environment={"LLAMA_CPP_LIB_PATH": str(FOLDER), "LOCALR1_HOME": str(tmp_path)},
            )
        assert done.stdout == "347 + 589 = 936\n", done.stderr
        assert "unencrypted" in done.stderr
        assert "the network takes" in done.stderr
    finally:
        for name in (here, there):
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


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
