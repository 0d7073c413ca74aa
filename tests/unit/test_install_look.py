"""Who made an environment, and what there is to build with, by what lies on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from recorded_host import RecordedHost

from localr1.engine.cuda_runtime import needed_major
from localr1.install import look


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer whose path holds nothing."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    for name in ("ROCM_PATH", "CUDA_PATH", "VULKAN_SDK", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("file", "text", "has_pip", "manager"),
    [
        ("pipx_metadata.json", "{}", True, "pipx"),
        ("conda-meta/history", "", True, "conda"),
        ("conda-meta/history", "", False, "uv"),
        ("pyvenv.cfg", "home = /usr/bin\nuv = 0.9.4\n", False, "uv"),
        ("uv-receipt.toml", "", False, "uv"),
        ("pyvenv.cfg", "home = /usr/bin\n", True, "pip"),
        # Made by uv, with pip in it, and uv itself is gone.
        ("pyvenv.cfg", "uv = 0.9.4\n", True, "pip"),
    ],
)
def test_manager(tmp_path: Path, file: str, text: str, has_pip: bool, manager: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert look.manager(tmp_path, has_pip=has_pip) == manager


def test_uv_is_used_where_it_made_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyvenv.cfg").write_text("uv = 0.9.4\n", encoding="utf-8")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert look.manager(tmp_path, has_pip=True) == "uv"


def host(system: str = "Linux", **recording: object) -> RecordedHost:
    base = {"system": system, "architecture": "x86_64", "cpu_counts": [4, 4]}
    return RecordedHost({**base, "memory": [1, 1], **recording})


def test_bare_computer_has_nothing() -> None:
    found = look.tools(host())
    assert (found.compiler, found.cuda, found.rocm, found.vulkan_headers) == (
        False,
        None,
        None,
        None,
    )
    assert not found.vulkan_loader
    assert found.cuda_runtimes == frozenset()


def test_toolkits_are_read_with_their_releases() -> None:
    # nvcc's own words, and the headers of Debian 12.
    nvcc = "Cuda compilation tools, release 12.8, V12.8.93\n"
    header = (
        "#define VK_HEADER_VERSION 239\n"
        "#define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)\n"
    )
    found = look.tools(
        host(
            commands={"/usr/local/cuda/bin/nvcc --version": nvcc},
            files={
                "/opt/rocm/.info/version": "7.2.1-43\n",
                "/usr/include/vulkan/vulkan_core.h": header,
            },
            directories={
                "/usr/lib/x86_64-linux-gnu": [
                    *("libvulkan.so.1", "libcudart.so.12", "libcublas.so.12", "libcudart.so.11.0")
                ]
            },
        )
    )
    assert found.cuda == (12, 8)
    assert (found.rocm, found.rocm_folder) == ((7, 2), "/opt/rocm")
    assert found.vulkan_headers == (1, 3, 239)
    assert found.vulkan_loader
    # Of 11 the library of matrices is missing.
    assert found.cuda_runtimes == {12}


def test_windows_and_mac_have_their_own_package_managers() -> None:
    assert look.tools(host("Windows")).packages == "winget"
    assert look.tools(host("Darwin")).packages == "brew"
    studio: dict[str, dict[str, str]] = {r"SOFTWARE\Microsoft\VisualStudio\Setup\Instances": {}}
    assert look.tools(host("Windows", registry=studio)).compiler


def test_this_computer_is_looked_at_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    place = look.place()
    assert place.system in ("Linux", "Darwin", "Windows")
    assert place.architecture in ("x86_64", "arm64")
    assert Path(place.executable).is_file()
    assert place.manager in ("pip", "uv", "pipx", "conda")


def test_the_needed_cuda_runtime_is_read_from_the_library(tmp_path: Path) -> None:
    library = tmp_path / "libggml-cuda.so"
    assert needed_major(library) is None
    library.write_bytes(b"")
    assert needed_major(library) is None
    library.write_bytes(b"\x7fELF" + bytes(5000) + b"\0libcudart.so.12\0libcublas.so.12\0")
    assert needed_major(library) == 12
    library.write_bytes(b"\x7fELF" + bytes(5000))
    assert needed_major(library) is None
