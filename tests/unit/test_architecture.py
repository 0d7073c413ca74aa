"""The layers: imports point one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import localr1

PACKAGE = Path(localr1.__file__).parent
# From the top down; a part may import itself and what stands below it.
LAYERS = (
    ("tui", "cli", "__main__"),
    ("workflow", "doctor", "server", "remote"),
    ("install",),
    ("home",),
    ("track_record",),
    ("exact",),
    ("chat",),
    ("engine",),
    ("fit",),
    ("settings", "state"),
    ("models",),
    ("gguf",),
    ("machine",),
    ("config",),
    ("crash",),
    ("amount",),
    ("markdown",),
    ("mathematics",),
    ("errors", "printable", "__init__"),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
# The one exception: opening the app is a command.
ALLOWED = {("cli", "tui"), ("__main__", "cli")}
OWNERS = {
    "textual": ("tui/",),
    "llama_cpp": (
        *("engine/native.py", "engine/loading.py", "engine/dry_run.py"),
        *("engine/model.py", "engine/sampler.py", "engine/tokenizer.py", "engine/worker.py"),
        *("engine/batch.py", "engine/parallel.py", "engine/sequence.py"),
    ),
    "huggingface_hub": ("models/hub.py", "models/refusal.py"),
    "psutil": ("machine/",),
    "pynvml": ("machine/",),
    "rich": ("cli/", "tui/"),
    "starlette": ("server/",),
    "uvicorn": ("server/",),
    "jinja2": ("chat/sandbox.py", "chat/metering.py", "chat/file_template.py"),
    "sqlite3": (*("chat/database.py", "chat/ollama_chats.py", "chat/shelf.py", "chat/store.py"),),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"relative import in {path}"
    return names


def test_every_part_has_a_layer() -> None:
    assert {part_of(path) for path in MODULES} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_and_libraries_stay_home(path: Path) -> None:
    here = part_of(path)
    name = path.relative_to(PACKAGE).as_posix()
    for imported in imports_of(path):
        top, *rest = imported.split(".")
        if top == "localr1" and rest and rest[0] in RANK:
            there = rest[0]
            fine = here == there or RANK[here] < RANK[there] or (here, there) in ALLOWED
            assert fine, f"{name} imports {imported}"
        if top in OWNERS:
            assert name.startswith(OWNERS[top]), f"{name} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_do_one_job(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from localr1.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'llama_cpp', 'huggingface_hub', 'textual', 'rich', 'httpx2', 'psutil', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_only_the_worker_loads_llama_cpp() -> None:
    code = (
        "import sys, localr1.workflow, localr1.tui.app\n"
        "print([m for m in ('llama_cpp', 'huggingface_hub', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
