"""A llama.cpp lent over loopback as a stand-in for a GPU: where a model goes, and that it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fit_machines
import lender
import pytest
import synthetic
from cable import cable
from talking import loaded, question

from localr1.engine import protocol, rpc
from localr1.engine.client import Engine, measure, probe
from localr1.engine.types import DeviceBuffers
from localr1.errors import EngineDied, RpcUnavailable
from localr1.fit.memory import memory_of, shares
from localr1.fit.network import crossings
from localr1.fit.placement import place
from localr1.fit.pool import GPU_HEADROOM_BYTES
from localr1.fit.types import DeviceMemory, Settings
from localr1.fit.weights import from_tensors
from localr1.gguf import header
from localr1.gguf.file import recognise
from localr1.machine.reconcile import reconcile
from localr1.machine.types import Device, EngineInfo, Link, Machine, System
from localr1.models import catalog
from localr1.models.choice import from_file
from localr1.models.library import DEMO_PATH

MIB = 1 << 20
LOG_BYTES = 5300
"""What llama.cpp's log leaves out of a figure: it prints MiB with two decimals."""
PATIENCE_SECONDS = 60
FOLDER = lender.library_folder()
needs_rpc = pytest.mark.skipif(
    FOLDER is None, reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it"
)


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with room for everything here."""
    assert FOLDER is not None
    log = tmp_path_factory.mktemp("lender") / "lender.log"
    with lender.lent(FOLDER, 4096 * MIB, log) as server:
        yield server.endpoint


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers use the build with RPC."""
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(FOLDER))


def asked(text: str, **changes: Any) -> protocol.Generate:
    return question(text, on_loop="ignore", **changes)


async def answer(engine: Engine, text: str) -> str:
    """The whole reply, thinking and all."""
    said = ""
    async for event in engine.generate(asked(text)):
        if isinstance(event, protocol.Text):
            said += event.text
    return said


async def tokens(engine: Engine, count: int) -> tuple[int, ...]:
    """What a random model says: most of it is no text, so the tokens themselves."""
    request = asked(
        "Hello", thinking_open=False, continues_answer=True, max_tokens=count, ignore_end=True
    )
    async for event in engine.generate(request):
        if isinstance(event, protocol.Generated):
            assert event.thinking_tokens == 0
            assert event.answer_tokens == count
            assert len(set(event.answer_token_ids)) > 2, "too dull to tell anything"
            return event.answer_token_ids
    raise AssertionError("no end")


def planned(path: Path, settings: Settings, machine: Machine) -> tuple[DeviceMemory, ...]:
    """What the plan says, from the tensors that the header lists."""
    architecture = recognise(path).architecture
    weights = from_tensors(header.read(path).tensors, architecture.layers)
    return memory_of(architecture, weights, settings, machine)


def with_rpc(engine: EngineInfo) -> Machine:
    computer = fit_machines.LAPTOP_16
    system = System("Linux", computer.cpu, computer.memory, (), computer.power)
    return reconcile(system, engine)


def check_against_plan(found: tuple[DeviceBuffers, ...], plan: tuple[DeviceMemory, ...]) -> None:
    assert [b.device for b in found] == [d.name for d in plan]
    for buffers, device in zip(found, plan, strict=True):
        assert buffers.weights_bytes == pytest.approx(device.weights_bytes, abs=2 * LOG_BYTES)
        assert buffers.kv_cache_bytes == pytest.approx(device.kv_cache_bytes, abs=LOG_BYTES)
        assert buffers.output_bytes == pytest.approx(device.output_bytes, abs=LOG_BYTES)
        assert buffers.compute_buffer_bytes == pytest.approx(
            device.compute_buffer_bytes, abs=LOG_BYTES
        )


# --- without a build that has RPC ---------------------------------------------------------------


async def test_a_build_without_rpc_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH", raising=False)
    with pytest.raises(RpcUnavailable) as caught:
        await probe(tmp_path, rpc_endpoints=["127.0.0.1:9"])
    assert "built without RPC" in caught.value.why
    assert "doctor --fix rpc" in caught.value.todo
    with pytest.raises(RpcUnavailable):
        await measure(
            DEMO_PATH, Settings(512), log_directory=tmp_path, rpc_endpoints=["127.0.0.1:9"]
        )


@contextmanager
def pretender(reply: bytes | None) -> Iterator[str]:
    """Something that takes a connection and answers this; None: nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                if reply is not None:
                    connection.sendall(reply)
                    return
                connection.recv(64)  # until the other side gives up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(PATIENCE_SECONDS)


def test_only_a_server_of_this_version_is_shown_to_llama_cpp() -> None:
    good = struct.pack("<Q3Bx24x", 28, rpc.PROTOCOL_MAJOR, 0, 0)
    with pretender(good) as endpoint:
        rpc.check(endpoint)
    for reply, what in (
        (struct.pack("<Q3Bx24x", 28, 6, 1, 0), "another version"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "no RPC server"),
        (b"", "no RPC server"),
        (None, "does not answer"),
    ):
        with pretender(reply) as endpoint, pytest.raises(rpc.RpcProblem, match=what):
            rpc.check(endpoint, timeout_seconds=0.3)


def test_addresses_that_lead_nowhere_are_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(rpc.RpcProblem, match="cannot be reached"):
        rpc.check(f"127.0.0.1:{port}")
    for wrong in ("here", "here:", ":50052", "here:http", "here:70000", "here:0"):
        with pytest.raises(rpc.RpcProblem, match="no address"):
            rpc.check(wrong)


# --- with one -----------------------------------------------------------------------------------


@needs_rpc
@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("gpu_layers", [0, 2, 4, 7])
async def test_layers_go_where_they_are_planned(gpu_layers: int, lent: str, tmp_path: Path) -> None:
    model = tmp_path / "dense.gguf"
    synthetic.write_random(model, synthetic.SMALL_DENSE)
    settings = Settings(2048, gpu_layers=gpu_layers, device_names=("RPC0",), threads=1, ubatch=256)
    machine = with_rpc(await probe(tmp_path, rpc_endpoints=[lent]))
    plan = planned(model, settings, machine)
    dry = await measure(model, settings, log_directory=tmp_path, rpc_endpoints=[lent])
    async with loaded(model, settings, tmp_path, lent) as engine:
        found = engine.buffers
        there = await tokens(engine, 48)
    if not gpu_layers:
        # No layer there: the plan does not list the device at all.
        assert found[1].total_bytes == 0
        plan += (DeviceMemory("RPC0", 0, 0, 0, 0, 0, 0, 0),)
    check_against_plan(found, plan)
    check_against_plan(dry.buffers, plan)
    for real, said in zip(found, dry.buffers, strict=True):
        assert replace(real, weights_bytes=0) == replace(said, weights_bytes=0)
    share = found[1].weights_bytes / sum(b.weights_bytes for b in found)
    assert share == pytest.approx(0 if not gpu_layers else gpu_layers / 7, abs=0.12)
    on_cpu = replace(settings, gpu_layers=0, device_names=())
    async with loaded(model, on_cpu, tmp_path) as engine:
        assert [b.device for b in engine.buffers] == ["CPU"]
        assert await tokens(engine, 48) == there
    assert len(there) == 48


@needs_rpc
@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(("gpu_layers", "on_cpu"), [(5, 0), (5, 2), (5, 4), (3, 4)])
async def test_experts_stay_on_the_cpu(
    gpu_layers: int, on_cpu: int, lent: str, tmp_path: Path
) -> None:
    model = tmp_path / "moe.gguf"
    synthetic.write_random(model, synthetic.SMALL_MOE)
    settings = Settings(
        2048,
        gpu_layers=gpu_layers,
        cpu_expert_layers=on_cpu,
        device_names=("RPC0",),
        threads=1,
        ubatch=256,
    )
    machine = with_rpc(await probe(tmp_path, rpc_endpoints=[lent]))
    dry = await measure(model, settings, log_directory=tmp_path, rpc_endpoints=[lent])
    async with loaded(model, settings, tmp_path, lent) as engine:
        found = engine.buffers
        there = await tokens(engine, 24)
    check_against_plan(found, planned(model, settings, machine))
    check_against_plan(dry.buffers, planned(model, settings, machine))
    # The experts of the layers below `on_cpu`, of which the first layer has none.
    experts = sum(
        t.size_bytes
        for t in header.read(model).tensors
        if "_exps" in t.name and 4 - (gpu_layers - 1) <= int(t.name.split(".")[1]) < on_cpu
    )
    elsewhere = replace(settings, cpu_expert_layers=0)
    all_there = planned(model, elsewhere, machine)[1].weights_bytes
    assert found[1].weights_bytes == pytest.approx(all_there - experts, abs=2 * LOG_BYTES)
    assert (experts > 0) == (on_cpu > 1)
    async with loaded(model, Settings(2048, threads=1, ubatch=256), tmp_path) as engine:
        assert await tokens(engine, 24) == there


async def drawn(engine: Engine, top_k: int, temperature: float) -> tuple[int, ...]:
    """What is drawn from the whole spread of a random model's logits, with a seed."""
    request = asked(
        "Hello",
        thinking_open=False,
        continues_answer=True,
        max_tokens=32,
        ignore_end=True,
        top_p=1.0,
        top_k=top_k,
        temperature=temperature,
    )
    async for event in engine.generate(request):
        if isinstance(event, protocol.Generated):
            return event.answer_token_ids
    raise AssertionError("no end")


@needs_rpc
@pytest.mark.usefixtures("workers")
async def test_the_device_itself_finds_the_best_logits(lent: str, tmp_path: Path) -> None:
    model = tmp_path / "dense.gguf"
    synthetic.write_random(model, synthetic.SMALL_DENSE)
    found = Settings(1024, gpu_layers=99, device_names=("RPC0",), threads=1)
    # With rows for guesses the logits come here, all of them.
    sent = replace(found, draft_tokens=1)
    kinds = ((64, 0.0), (64, 1.5), (3, 1.5), (100, 1.5), (64, 1.5))
    async with loaded(model, found, tmp_path, lent) as engine:
        there = [await drawn(engine, *kind) for kind in kinds]
        on_device = engine.buffers[1].compute_buffer_bytes
    async with loaded(model, sent, tmp_path, lent) as engine:
        assert [await drawn(engine, *kind) for kind in kinds] == there
    assert len(set(there)) == 4
    assert there[1] == there[4]
    dry = await measure(model, found, log_directory=tmp_path, rpc_endpoints=[lent])
    assert dry.buffers[1].compute_buffer_bytes == on_device


@needs_rpc
@pytest.mark.usefixtures("workers")
async def test_the_demo_is_right_from_there_too(lent: str, tmp_path: Path) -> None:
    settings = Settings(1024, gpu_layers=99, device_names=("RPC0",), threads=1)
    async with loaded(DEMO_PATH, settings, tmp_path, lent) as engine:
        cpu, there = engine.buffers
        assert there.weights_bytes > cpu.weights_bytes
        assert cpu.kv_cache_bytes == 0 < there.kv_cache_bytes
        for question, result in (("What is 347 + 589?", "936"), ("7 - 9", "-2")):
            assert (await answer(engine, question)).endswith(f"= {result}")


@needs_rpc
@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("room_mib", [2, 45, 120])
async def test_a_plan_takes_what_the_device_has_and_loads_so(room_mib: int, tmp_path: Path) -> None:
    model = tmp_path / "dense.gguf"
    synthetic.write_random(model, synthetic.SMALL_DENSE)
    memory_bytes = GPU_HEADROOM_BYTES + room_mib * MIB
    assert FOLDER is not None
    with lender.lent(FOLDER, memory_bytes, tmp_path / "lender.log") as server:
        info = await probe(tmp_path, rpc_endpoints=[server.endpoint])
        machine = with_rpc(info)
        (gpu,) = machine.gpus
        assert (gpu.name, gpu.backend, gpu.free_bytes) == ("RPC0", "RPC", memory_bytes)
        choice = from_file(recognise(model), catalog.load().models, ())
        assert choice.variant is not None
        plan = place(choice.model, choice.variant, machine, context_window=2048)
        assert plan.fits
        layers = plan.settings.gpu_layers
        assert {2: layers == 0, 45: 0 < layers < 7, 120: layers == 7}[room_mib]
        # One thread, as two that wait for each other are slow while other tests run.
        settings = replace(plan.settings, threads=1)
        async with loaded(model, settings, tmp_path, server.endpoint) as engine:
            found = engine.buffers
            assert len(await tokens(engine, 8)) == 8
    assert [b.device for b in found] == ["CPU", *plan.settings.device_names]
    for buffers, device in zip(found, plan.devices, strict=True):
        # The plan spreads a file's size by its quantization's recipe.
        assert buffers.weights_bytes == pytest.approx(device.weights_bytes, rel=0.05)
        assert buffers.kv_cache_bytes == pytest.approx(device.kv_cache_bytes, abs=LOG_BYTES)
        assert buffers.total_bytes <= device.total_bytes + 2 * LOG_BYTES
    if layers:
        assert found[1].total_bytes <= room_mib * MIB


@needs_rpc
@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("gpu_layers", [4, 7])
async def test_what_crosses_the_network_is_what_the_estimate_counts(
    gpu_layers: int, lent: str, tmp_path: Path
) -> None:
    model = tmp_path / "dense.gguf"
    synthetic.write_random(model, synthetic.SMALL_DENSE)
    settings = Settings(2048, gpu_layers=gpu_layers, device_names=("RPC0",), threads=1)
    architecture = recognise(model).architecture
    link = Link(lent, 0.001, 1e8, 1e8)
    device = Device("RPC0", "", "gpu", "", "RPC", 1, 1, False, None, True, "", link=link)
    placed = shares(architecture.layers, settings)
    (crossing,) = crossings(architecture, settings, placed, {"RPC0": device})
    with cable(lent) as laid:
        async with loaded(model, settings, tmp_path, laid.endpoint) as engine:
            passed = []
            await tokens(engine, 8)  # so that the prompt is known
            for count in (8, 72):
                before = tuple(laid.passed_bytes)
                await tokens(engine, count)
                passed.append([a - b for a, b in zip(laid.passed_bytes, before, strict=True)])
    up, down = ((many - few) / 64 for few, many in zip(*passed, strict=True))
    # The mask covers the used part of the KV cache, in steps of 256 tokens.
    mask_bytes = 2 * 256
    counted = crossing.up_bytes + crossing.step_up_bytes + mask_bytes
    assert up == pytest.approx(counted, rel=0.1)
    assert down == pytest.approx(crossing.down_bytes + crossing.last_down_bytes, rel=0.1)


@needs_rpc
@pytest.mark.usefixtures("workers")
async def test_a_server_that_serves_somebody_else_is_not_waited_for(
    lent: str, tmp_path: Path
) -> None:
    settings = Settings(512, gpu_layers=99, device_names=("RPC0",), threads=1)
    async with loaded(DEMO_PATH, settings, tmp_path, lent):
        with pytest.raises(RpcUnavailable, match="another one may be using it"):
            await asyncio.wait_for(probe(tmp_path, rpc_endpoints=[lent]), PATIENCE_SECONDS)
    info = await probe(tmp_path, rpc_endpoints=[lent])
    assert "RPC0" in {device.name for device in info.devices}


@needs_rpc
@pytest.mark.usefixtures("workers")
async def test_a_server_that_dies_takes_only_the_worker_along(tmp_path: Path) -> None:
    model = tmp_path / "dense.gguf"
    synthetic.write_random(model, synthetic.SMALL_DENSE)
    settings = Settings(8192, gpu_layers=7, device_names=("RPC0",), threads=1)
    said = ""
    assert FOLDER is not None
    with lender.lent(FOLDER, 4096 * MIB, tmp_path / "lender.log") as server:
        async with loaded(model, settings, tmp_path, server.endpoint) as engine:
            request = asked("Hello", max_tokens=6000, ignore_end=True)
            with pytest.raises(EngineDied) as caught:
                async for event in engine.generate(request):
                    if isinstance(event, protocol.Text):
                        said += event.text
                        server.process.kill()
            assert said
            assert not engine.alive
            assert "RPC" in caught.value.why or "rpc" in caught.value.why
    async with loaded(DEMO_PATH, Settings(1024, threads=1), tmp_path) as engine:
        assert (await answer(engine, "1 + 1")).endswith("= 2")


@pytest.mark.skipif(FOLDER is not None, reason="there is a build with RPC")
def test_the_missing_build_is_nobodys_mistake() -> None:
    named = os.environ.get("LOCALR1_RPC_LIB")
    assert not named, f"LOCALR1_RPC_LIB={named} holds no llama.cpp with RPC"
