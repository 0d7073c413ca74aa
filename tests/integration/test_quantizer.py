"""Our recipes against llama.cpp's own quantizer, which says what it would do without doing it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localr1.gguf import recipe, writer
from localr1.gguf.quantization import FILE_TYPES
from localr1.gguf.types import Architecture
from localr1.models import catalog

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
# Of one, llama.cpp knows the number, but its quantizer makes no such files; it refuses the other
# for rows that are no whole blocks.
MIXES = {name: number for number, name in FILE_TYPES.items() if name not in ("NVFP4", "Q1_0")}
SHAPES = {m.id: m.architecture for m in catalog.load().models}
TIED = replace(SHAPES["r1-distill-qwen-1.5b"], tied_embeddings=True)
ODD = replace(SHAPES["r1-distill-qwen-1.5b"], feed_forward_length=8960 + 32, layers=5)

_ASK = """
import ctypes, json, re, sys
from llama_cpp import llama_cpp as api

lines = []

@api.llama_log_callback
def listen(_level, text, _data):
    lines.append(text.decode("utf-8", "replace"))

api.llama_log_set(listen, None)

class Entry(ctypes.Structure):  # llama_model_imatrix_data in llama.h
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]

# That there is an importance matrix is enough to know.
number = (ctypes.c_float * 1)(1.0)
matrix = (Entry * 2)(Entry(b"any", ctypes.addressof(number), 1), Entry(None, None, 0))
found = {}
for mix in json.loads(sys.argv[2]):
    parameters = api.llama_model_quantize_default_params()
    parameters.ftype, parameters.dry_run, parameters.nthread = mix, True, 1
    parameters.imatrix = ctypes.cast(matrix, type(parameters.imatrix))
    lines.clear()
    code = api.llama_model_quantize(sys.argv[1].encode(), b"none.gguf", ctypes.byref(parameters))
    assert code == 0, "".join(lines)
    entry = re.compile(r"\\\\] (\\\\S+) +- \\\\[.*?\\\\], type = +(\\\\S+), size = .*?(?:\\\\((\\\\w+)\\\\))?\\\\n")
    found[mix] = [[m[1], (m[3] or m[2]).upper()] for m in entry.finditer("".join(lines))]
print(json.dumps(found))
""".replace("\\\\", "\\")


def asked(architecture: Architecture, mixes: list[int], path: Path) -> dict[str, list[list[str]]]:
    """Name and type of every tensor, by number of the mix, as the quantizer would write them."""
    writer.write_header(path, architecture, recipe.tensors(architecture, "F16"))
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(path), json.dumps(mixes)],
        capture_output=True,
        text=True,
        check=False,
    )
    path.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, list[list[str]]] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    "architecture", [*SHAPES.values(), TIED, ODD], ids=[*SHAPES, "tied", "odd rows"]
)
def test_every_tensor_gets_the_type_that_the_quantizer_gives_it(
    architecture: Architecture, tmp_path: Path
) -> None:
    names = list(MIXES) if SOAK else random.Random(architecture.layers).sample(list(MIXES), 12)
    found = asked(architecture, [MIXES[name] for name in names], tmp_path / "model.gguf")
    for name in names:
        ours = [[t.name, t.quantization] for t in recipe.tensors(architecture, name)]
        assert found[str(MIXES[name])] == ours, name
