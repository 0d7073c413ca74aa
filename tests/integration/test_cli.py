"""The command line as its users meet it: real processes, real pipes, a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import synthetic
from commands import begun, localr1

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo_task

SOAK = os.environ.get("LOCALR1_SOAK") == "1"


def test_ask_prints_the_answer_on_stdout_and_the_thinking_on_stderr() -> None:
    done = localr1("ask", "What is 347 + 589?", "--model", "demo")
    assert done.returncode == 0
    assert done.stdout == "347 + 589 = 936\n"
    assert "carry" in done.stderr
    assert "Traceback" not in done.stderr


def test_ask_reads_a_pipe() -> None:
    done = localr1("ask", "--model", "demo", text="12 + 30\n")
    assert (done.returncode, done.stdout) == (0, "12 + 30 = 42\n")


def test_ask_appends_the_pipe_to_the_question() -> None:
    done = localr1("ask", "--model", "demo", "Solve this:", text="7 - 12\n")
    assert done.stdout == "7 - 12 = -5\n"


def test_ask_json_has_every_key() -> None:
    done = localr1("ask", "--json", "--model", "demo", "--seed", "5", "5 - 9")
    value = json.loads(done.stdout)
    assert value["answer"] == "5 - 9 = -4"
    assert value["model"] == "demo"
    assert value["seed"] == 5
    assert value["finish_reason"] == "stop"
    assert set(value) >= {
        "schema", "model", "variant", "answer", "thinking", "finish_reason", "seed",
        "prompt_tokens", "cached_tokens", "thinking_tokens", "answer_tokens", "prompt_tps",
        "generation_tps", "time_to_first_token_seconds", "total_seconds",
    }  # fmt: skip
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [("hide", "8 + 9 = 17"), ("none", "I stopped thinking before I had the result of 8 + 9.")],
)
def test_ask_thinking(thinking: str, expected: str) -> None:
    done = localr1("ask", "--model", "demo", "--temperature", "0", "--thinking", thinking, "8 + 9")
    assert done.stdout.strip() == expected
    assert "column" not in done.stderr


def test_ask_thinking_budgets() -> None:
    for budget in ("500", "60s"):
        done = localr1("ask", "--model", "demo", "--thinking", budget, "8 + 9")
        assert done.stdout == "8 + 9 = 17\n"
    done = localr1("ask", "--model", "demo", "--thinking", "3 apples", "8 + 9")
    assert done.returncode == 2
    assert "seconds" in done.stderr


def test_a_reply_cut_by_length_is_no_failure() -> None:
    done = localr1("ask", "--model", "demo", "--max-tokens", "5", "--json", "8 + 9")
    assert done.returncode == 0
    assert json.loads(done.stdout)["finish_reason"] == "length"
    assert "longest" in done.stderr


def test_attached_files_and_their_mistakes(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("hello")
    done = localr1("ask", "--model", "demo", f"@{note}", "What is this?")
    assert done.returncode == 0
    assert "demo" in done.stdout
    missing = localr1("ask", "--model", "demo", f"@{tmp_path / 'missing.txt'}", "hm")
    assert missing.returncode == 1
    assert "missing.txt" in missing.stderr
    binary = tmp_path / "binary"
    binary.write_bytes(b"\0\1\2")
    assert localr1("ask", "--model", "demo", f"@{binary}").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ask", "--model", "no-such-model", "hi"), 2, "localr1 models"),
        (("ask", "--model", "demo"), 2, "no question"),
        (("ask", "--model", "7b", "hi"), 1, "localr1 pull"),
        (("--offline", "ask", "--model", "7b", "hi"), 4, "without --offline"),
        (("ask", "--offline", "--model", "7b", "hi"), 4, "without --offline"),
        (("--offline", "pull", "7b"), 4, "offline"),
        (("pull", "nothing-like-this"), 2, "localr1 models"),
        (("advise", "--ram", "lots"), 2, "lots"),
        (("advise", "--gpu", "Imaginary 9000"), 2, "--gpu-memory"),
        (("advise", "--profile", "/no/such/profile.json"), 2, "profile.json"),
        (("advise", "--profile", ""), 2, "profile"),
        (("advise", "--context", "nan"), 2, "'nan' is not a whole number"),
        (("estimate", "7b", "--gpu-layers", "-1"), 2, "'-1' is not a whole number"),
        (("frobnicate",), 2, "invalid choice"),
        (("ask", "--temperature", "hot", "hi"), 2, "temperature"),
        (("history", "show", "99"), 1, "99"),
        (("rm", "demo"), 1, "demo"),
        (("rm", "7b"), 1, "localr1 models"),
        (("ask", "--model", ".", "hi"), 2, "localr1 models"),
        (("advise", "--ram", "0"), 2, "16G"),
        (("advise", "--ram", "16"), 2, "16G"),
        (("models", "extra"), 2, "unrecognized"),
        ((), 2, "terminal"),
        (("chat", "demo"), 2, "terminal"),
    ],
)
def test_mistakes_have_their_exit_code_and_a_next_step(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = localr1(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_files_are_clear_errors(tmp_path: Path, demo_path: Path) -> None:
    data = demo_path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[: len(data) // 2])
    empty = tmp_path / "empty.gguf"
    empty.write_bytes(b"")
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(b"qwen2", b"gpt2x"))
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    for path in (cut, empty, other, folder, tmp_path / "absent.gguf"):
        done = localr1("ask", "--model", str(path), "1 + 1")
        assert done.returncode in {1, 2}
        assert path.name in done.stderr
        assert len(done.stderr.splitlines()) >= 2
        assert "Traceback" not in done.stderr
    assert "gpt2x" in localr1("ask", "--model", str(other), "hi").stderr


def test_a_plain_file_is_used_where_it_lies(tmp_path: Path, demo_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.write_bytes(demo_path.read_bytes())
    done = localr1("ask", "--model", str(path), "--temperature", "0", "20 + 22")
    assert (done.returncode, done.stdout) == (0, "20 + 22 = 42\n")


def web_packet(kind: bytes, content: bytes) -> bytes:
    """As `textual serve` sends to the app that it runs."""
    return kind + len(content).to_bytes(4, "big") + content


@pytest.mark.skipif(sys.platform == "win32", reason="Textual's web driver there is another")
def test_the_app_runs_in_a_browser() -> None:
    environment = {
        **os.environ,
        "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver",
        "COLUMNS": "100",
        "ROWS": "30",
    }
    app = subprocess.Popen(
        [sys.executable, "-m", "localr1", "chat", "demo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert app.stdin is not None
    assert app.stdout is not None
    with app:
        seen = b""
        while b"Ask anything" not in seen:
            some = os.read(app.stdout.fileno(), 1 << 16)
            assert some, seen[-2000:]
            seen += some
        app.stdin.write(web_packet(b"M", b'{"type": "quit"}'))
        app.stdin.flush()
        assert app.wait(timeout=60) == 0


def test_a_random_model_never_breaks_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "noise.gguf"
    synthetic.write_tiny(path)
    done = localr1("ask", "--model", str(path), "--max-tokens", "200", "--temperature", "2", "hi")
    assert done.returncode == 0
    for stream in (done.stdout, done.stderr):
        assert not set(stream) & set(map(chr, [*range(9), *range(11, 32), 127]))


@pytest.mark.skipif(os.name == "nt", reason="permissions are another thing on Windows")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    done = localr1(
        "ask", "--model", "demo", "1 + 1", environment={"LOCALR1_HOME": str(in_the_way / "home")}
    )
    assert done.returncode == 1
    assert "LOCALR1_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "settings.toml").write_text("goal = 'best'\nthinkng = 'open'\n")
    done = localr1("models", environment={"LOCALR1_HOME": str(tmp_path)})
    assert done.returncode == 0
    assert "line 2" in done.stderr
    assert "thinkng" in done.stderr
    doctor = localr1("--offline", "doctor", environment={"LOCALR1_HOME": str(tmp_path)})
    assert doctor.returncode == 1
    assert "thinkng" in doctor.stdout


def test_words_and_files_may_stand_between_options(tmp_path: Path) -> None:
    done = localr1("ask", "What is", "--model", "demo", "5 + 6?", "--temperature", "0")
    assert done.stdout == "5 + 6 = 11\n"
    note = tmp_path / "note.txt"
    note.write_text("hello")
    assert localr1("ask", "hm", "--model", "demo", f"@{note}").returncode == 0


@pytest.mark.parametrize("context", ["1", "8", "300"])
def test_a_small_context_is_no_crash(context: str) -> None:
    done = localr1("ask", "--model", "demo", "--context", context, "2 + 2")
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_a_clear_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "localr1", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unforeseen_mistake_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from localr1.cli import library, main

    def stumble(_arguments: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setenv("LOCALR1_HOME", str(tmp_path))
    monkeypatch.setattr(library, "run_models", stumble)
    assert main.main(["models"]) == 1
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "Traceback" not in shown
    (log,) = (tmp_path / "logs").glob("crash-*.log")
    assert "Traceback" in log.read_text()


def test_machine_is_its_own_profile(tmp_path: Path) -> None:
    done = localr1("machine", "--json")
    machine = json.loads(done.stdout)
    assert machine["schema"] == 1
    assert {"cpu", "memory", "devices", "engine", "power"} <= set(machine)
    profile = tmp_path / "desk.json"
    profile.write_text(done.stdout)
    again = json.loads(localr1("machine", "--json", "--profile", str(profile)).stdout)
    # These are of the place where it runs, not of the machine.
    assert machine.pop("disk")["free_bytes"] > 0
    assert machine.pop("terminal")["columns"] > 0
    assert again == machine
    text = localr1("machine").stdout
    assert machine["cpu"]["name"] in text
    assert "llama-cpp-python 0.3.36" in text


def test_advise_ranks_every_model_and_explains() -> None:
    done = localr1("advise", "--json", "--ram", "64G", "--gpu", "RTX 4090")
    assert done.returncode == 0
    advice = json.loads(done.stdout)
    assert advice["schema"] == 1
    plans = advice["plans"]
    models = {plan["model"] for plan in plans}
    assert {
        "r1-distill-qwen-1.5b",
        "r1-distill-llama-70b",
        "r1-0528-qwen3-8b",
        "r1-671b",
        "demo",
    } <= models
    assert [plan["rank"] for plan in plans] == list(range(1, len(plans) + 1))
    assert plans[0]["fits"]
    assert all(plan["reasons"] for plan in plans)
    table = localr1("advise", "--ram", "64G", "--gpu", "RTX 4090").stdout
    assert "R1-Distill-Qwen-32B" in table
    assert "localr1 pull" in table


def test_advise_exits_3_when_nothing_fits_and_says_why() -> None:
    done = localr1("advise", "--json", "--ram", "512M", "--gpu", "none")
    assert done.returncode == 3
    plans = json.loads(done.stdout)["plans"]
    assert not any(plan["fits"] for plan in plans if plan["model"] != "demo")
    assert all(plan["reasons"] for plan in plans)
    assert "demo" in localr1("advise", "--ram", "512M", "--gpu", "none").stdout


def test_models_lists_what_is_here() -> None:
    models = json.loads(localr1("models", "--json").stdout)["models"]
    here = [m["model"] for m in models for v in m["variants"] if v["here"]]
    assert here == ["demo"]
    assert "r1-distill-qwen-7b" in localr1("models").stdout


def test_doctor() -> None:
    done = localr1("--offline", "doctor", "--json")
    report = json.loads(done.stdout)
    # A slow disk is a reason to say so, here as well.
    assert done.returncode == (0 if report["status"] == "ok" else 1)
    names = {check["name"] for check in report["checks"]}
    assert {"engine", "gpu", "disk", "settings", "cache", "terminal", "clock"} <= names
    # The hub is asked only when the user asks for it.
    assert "hub" not in names
    for check in report["checks"]:
        assert check["what"]
        assert check["status"] == "ok" or check["todo"]


@pytest.mark.parametrize(
    "command", ["", "advise", "machine", "models", "pull", "chat", "ask", "doctor", "history", "rm"]
)
def test_help_is_worth_reading(command: str) -> None:
    done = localr1(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 6
    assert "--offline" in done.stdout


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "localr1", "models", "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    process.wait(30)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_exits_130_and_leaves_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "noise.gguf"
    synthetic.write_tiny(path, layers=12, context_length=16384)
    process = begun("ask", "--model", str(path), "--context", "16384", "hi " * 3000)
    import psutil

    deadline = time.monotonic() + 60
    while not (children := psutil.Process(process.pid).children()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.parametrize("operation", ["+", "-", "?"])
def test_unseen_problems_are_answered_right(operation: str) -> None:
    count = 100 if SOAK else 5
    rng = random.Random(f"cli {operation}")
    right = asked = 0
    while asked < count:
        problem = demo_task.draw_problem(rng, held_out=True)
        if problem.operation == operation:
            asked += 1
            question = demo_task.ask(problem, rng)
            done = localr1("ask", "--model", "demo", "--temperature", "0", question)
            right += done.stdout.strip() == demo_task.answer_of(problem)
    assert right >= 0.98 * count
