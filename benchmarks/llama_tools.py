"""llama.cpp's own programs, as the benchmark runs them: llama-bench and llama-server."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import psutil

_START_SECONDS: Final = 300.0
_REQUEST_SECONDS: Final = 1800.0


class ToolError(Exception):
    """A program of llama.cpp did not do its work; the message has its last words."""


@dataclass(frozen=True)
class RunSettings:
    """How every program of a comparison runs the model."""

    model: Path
    threads: int
    gpu_layers: int
    ubatch: int = 512
    kv_cache_type: str = "f16"

    def arguments(self) -> list[str]:
        """The flags that llama-bench and llama-server share."""
        flags = {
            "-m": str(self.model),
            "-t": str(self.threads),
            "-ngl": str(self.gpu_layers),
            "-ub": str(self.ubatch),
            "-ctk": self.kv_cache_type,
            "-ctv": self.kv_cache_type,
            "-fa": "auto",
        }
        if self.gpu_layers == 0:
            flags["-dev"] = "none"
        return [part for pair in flags.items() for part in pair]


class LlamaBench:
    """A llama-bench that runs one measurement at a time and stands still in between.

    Its tests are the same one many times over: it computes the context below the measured tokens
    once, keeps it, and prints a line after each. Suspending it between the lines lets its
    measurements alternate with ours, each on a computer that does nothing else.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes], per_test: int) -> None:
        self._process = process
        self._log = log
        self._per_test = per_test
        self._waiting = False
        self.build = ""
        """llama.cpp's commit as llama-bench names it, after the first test."""
        self.seconds_per_token = 0.0
        """Of the last test."""

    @classmethod
    async def start(  # noqa: PLR0913 - what is measured, and how
        cls,
        program: Path,
        settings: RunSettings,
        log_path: Path,
        *,
        prompt: int = 0,
        generate: int = 0,
        depth: int = 0,
        tests: int,
    ) -> Self:
        """Start it; it runs at once, to the end of the first test.

        Args:
            program: llama-bench.
            settings: How to run the model.
            log_path: Where its complaints go.
            prompt: Prompt tokens of one test; 0 where it generates.
            generate: Generated tokens of one test; 0 where it processes a prompt.
            depth: Tokens in the context before.
            tests: How often `next` will be called at most.
        """
        log = log_path.open("wb")
        count = prompt or generate
        process = await asyncio.create_subprocess_exec(
            program,
            *settings.arguments(),
            *("-p" if prompt else "-n", ",".join([str(count)] * tests)),
            *("-n" if prompt else "-p", "0"),
            *("-d", str(depth), "-r", "1", "-o", "jsonl"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        return cls(process, log, count)

    async def next(self) -> float:
        """Let it run one test.

        Returns:
            Seconds per token.

        Raises:
            ToolError: When it ended.
        """
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - we asked for a pipe
        if self._waiting:
            psutil.Process(self._process.pid).resume()
        line = await stdout.readline()
        if not line:
            raise ToolError(f"llama-bench ended early: {_tail(self._log)}")
        with suppress(psutil.NoSuchProcess):  # it was the last test
            psutil.Process(self._process.pid).suspend()
        self._waiting = True
        result = json.loads(line)
        self.build = f"{result['build_commit']} (build {result['build_number']})"
        self.seconds_per_token = float(result["avg_ns"]) / 1e9 / self._per_test
        return self.seconds_per_token

    async def close(self) -> None:
        """End it."""
        await _kill(self._process)
        self._log.close()


class LlamaServer:
    """A llama-server on loopback, asked for completions of token ids."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes], port: int) -> None:
        self._process = process
        self._log = log
        self._port = port
        # Never through a proxy: it is on this computer.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    async def start(
        cls, program: Path, settings: RunSettings, log_path: Path, context_window: int
    ) -> Self:
        """Start it and wait until the model is loaded.

        Raises:
            ToolError: When it does not come up.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        log = log_path.open("wb")
        process = await asyncio.create_subprocess_exec(
            program,
            *settings.arguments(),
            *("-c", str(context_window), "-np", "1", "--host", "127.0.0.1", "--port", str(port)),
            *("--no-webui", "--offline"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        server = cls(process, log, port)
        deadline = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(server._healthy):
            if process.returncode is not None or time.monotonic() > deadline:
                words = _tail(log)
                await server.close()
                raise ToolError(f"llama-server did not start: {words}")
            await asyncio.sleep(0.2)
        return server

    async def complete(self, tokens: Sequence[int], generate: int) -> tuple[dict[str, Any], float]:
        """Generate so many tokens after a prompt, with the sampling that R1 gets.

        Returns:
            llama-server's `timings`, and the seconds until the whole answer was here.

        Raises:
            ToolError: When it refuses or died.
        """
        body = {
            "prompt": list(tokens),
            "n_predict": generate,
            "ignore_eos": True,
            "cache_prompt": True,
            "samplers": ["top_k", "top_p", "temperature"],
            "top_k": 64,
            "top_p": 0.95,
            "temperature": 0.6,
            "return_tokens": True,
        }
        started = time.perf_counter()
        answer = await asyncio.to_thread(self._post, "/completion", body)
        seconds = time.perf_counter() - started
        return {**answer["timings"], "tokens": answer.get("tokens", [])}, seconds

    async def close(self) -> None:
        """End it."""
        await _kill(self._process)
        self._log.close()

    def _healthy(self) -> bool:
        try:
            with self._opener.open(f"http://127.0.0.1:{self._port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=_REQUEST_SECONDS) as answer:
                result: dict[str, Any] = json.load(answer)
        except urllib.error.URLError as error:
            raise ToolError(f"llama-server: {error.reason}; {_tail(self._log)}") from error
        return result


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()  # ends a suspended one too
    await process.wait()


def _tail(log: IO[bytes]) -> str:
    log.flush()
    return Path(log.name).read_text("utf-8", "replace").strip()[-800:] or "it said nothing"
