"""Folders of other programs, as those programs lay them out, for tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import synthetic

from localr1.models import catalog
from localr1.models.types import Model


def seven_b() -> Model:
    return catalog.load().model("r1-distill-qwen-7b")


def write_7b(
    path: Path, quantization: str = "Q4_K_M", name: str = "DeepSeek R1 Distill Qwen 7B"
) -> Path:
    """A sparse file with the header and the length of R1-Distill-Qwen-7B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    synthetic.write_header_only(path, seven_b().architecture, quantization, name=name)
    return path


def write_merge(path: Path, name: str = "Some R1 Merge", **choices: int) -> Path:
    """A small runnable model with R1's template and a shape that no catalogue has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    synthetic.write_tiny(path, name=name, **choices)
    return path


def into_hub_cache(cache: Path, repository: str, file: Path) -> Path:
    """Put a file where huggingface_hub would; gives the path in its snapshot."""
    digest = hashlib.sha256(f"{repository}{file.name}".encode()).hexdigest()
    root = cache / f"models--{repository.replace('/', '--')}"
    blob = root / "blobs" / digest
    snapshot = root / "snapshots" / ("c" * 40)
    blob.parent.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True, exist_ok=True)
    shutil.move(file, blob)
    link = snapshot / file.name
    link.symlink_to(os.path.relpath(blob, snapshot))
    return link


def into_ollama(models: Path, name: str, tag: str, file: Path) -> Path:
    """Put a file where Ollama would; gives the path of its blob."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    blob = models / "blobs" / f"sha256-{digest}"
    manifest = models / "manifests" / "registry.ollama.ai" / "library" / name / tag
    for folder in (blob.parent, manifest.parent):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.move(file, blob)
    kinds = {"model": digest, "template": "a" * 64, "license": "b" * 64}
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{value}"}
        for kind, value in kinds.items()
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def damage(path: Path) -> None:
    """Change bytes that a quick look does not see: between the last two of its eight samples."""
    content = bytearray(path.read_bytes())
    at = (len(content) - 4096) * 6 // 7 + 4200
    assert at + 200 < len(content) - 4096
    content[at : at + 100] = bytes(byte ^ 0xFF for byte in content[at : at + 100])
    path.write_bytes(content)
