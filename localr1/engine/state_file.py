"""The KV cache of a sequence as a file. Worker side only.

llama.cpp trusts what it is given, so the file carries a checksum of all of it and says which
model and settings it belongs to; nothing else is ever handed on. The cache is copied between
llama.cpp and the file's pages directly, without a second copy in memory.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import mmap
import os
import shutil
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from localr1.engine.sequence import CachedSequence

_MAGIC: Final = b"localr1 KV 1\n"
_LENGTHS: Final = struct.Struct("<II")
_DIGEST_BYTES: Final = 32
_LARGEST_HEADER_BYTES: Final = 64 << 20
# What tells one model file from another without reading all of it.
_SAMPLE_BYTES: Final = 1 << 16
_SPARE_BYTES: Final = 1 << 30


class Unusable(Exception):
    """The file is damaged or of another model; the message says which."""


@dataclass(frozen=True)
class Fingerprint:
    """What a saved cache depends on."""

    model: str
    """Digest of the model file's size, beginning and end."""
    kv_cache_type: str
    flash_attention: bool
    engine: str
    """Version of llama-cpp-python."""


def model_digest(path: Path) -> str:
    """A digest of a file's size, beginning and end.

    Raises:
        OSError: When it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        for position in (0, max(0, size - _SAMPLE_BYTES)):
            file.seek(position)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def save(model: CachedSequence, fingerprint: Fingerprint, path: Path) -> int:
    """Write the cache to a file, in one step.

    Returns:
        The file's size in bytes; 0 where there is nothing to save.

    Raises:
        OSError: When it cannot be written.
    """
    model.forget_guesses()
    tokens = struct.pack(f"<{len(model.cached)}i", *model.cached)
    size = model.state_bytes()
    if not model.cached or not size:
        return 0
    about = json.dumps(asdict(fingerprint)).encode()
    header = _MAGIC + _LENGTHS.pack(len(about), len(tokens)) + about + tokens
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w+b") as file:
            total = len(header) + size + _DIGEST_BYTES
            _claim(file.fileno(), path.parent, total)
            with mmap.mmap(file.fileno(), total) as pages:
                pages[: len(header)] = header
                _copy_out(model, pages, len(header), size)
                digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
                with memoryview(pages) as view:
                    digest.update(view[: len(header) + size])
                pages[len(header) + size :] = digest.digest()
                pages.flush()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return total


def restore(model: CachedSequence, fingerprint: Fingerprint, path: Path) -> int:
    """Read the cache from a file, in the place of what is cached.

    Returns:
        The number of tokens that are cached now.

    Raises:
        Unusable: When the file is damaged, cut short, too long for the window or of another
            model; the cache is as before, or empty.
        OSError: When it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise Unusable("it is no file")  # opening a pipe would wait for ever
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < len(_MAGIC) + _LENGTHS.size + _DIGEST_BYTES:
            raise Unusable("it is cut short")
        # A private copy of the pages: llama.cpp's type wants them writable.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
            return _restore(model, fingerprint, pages)


def _restore(model: CachedSequence, fingerprint: Fingerprint, pages: mmap.mmap) -> int:
    start = len(_MAGIC) + _LENGTHS.size
    if pages[: len(_MAGIC)] != _MAGIC:
        raise Unusable("it is no saved KV cache")
    about_bytes, token_bytes = _LENGTHS.unpack_from(pages, len(_MAGIC))
    body, end = start + about_bytes + token_bytes, len(pages) - _DIGEST_BYTES
    if about_bytes + token_bytes > _LARGEST_HEADER_BYTES or body >= end or token_bytes % 4:
        raise Unusable("it is damaged")
    with memoryview(pages) as view:
        digest = hashlib.blake2b(view[:end], digest_size=_DIGEST_BYTES).digest()
    if digest != pages[end:]:
        raise Unusable("it is damaged")
    if pages[start : start + about_bytes] != json.dumps(asdict(fingerprint)).encode():
        raise Unusable("it is of another model, setting or engine")
    tokens = struct.unpack_from(f"<{token_bytes // 4}i", pages, start + about_bytes)
    if len(tokens) >= model.context_window:
        raise Unusable("it is longer than the context window")
    _copy_in(model, pages, body, end - body, tokens)
    return len(tokens)


def _claim(descriptor: int, folder: Path, size_bytes: int) -> None:
    """Give a new file its length, with the disk's promise: a page without room kills."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    if shutil.disk_usage(folder).free < size_bytes + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.truncate(descriptor, size_bytes)


def _copy_out(model: CachedSequence, pages: mmap.mmap, offset: int, size: int) -> None:
    buffer = (ctypes.c_uint8 * size).from_buffer(pages, offset)
    try:
        written = model.read_state(buffer, size)
    finally:
        del buffer  # a mapping with a view on it cannot be closed
    if written != size:
        raise OSError(f"llama.cpp wrote {written} of {size} bytes")


def _copy_in(
    model: CachedSequence, pages: mmap.mmap, offset: int, size: int, tokens: tuple[int, ...]
) -> None:
    buffer = (ctypes.c_uint8 * size).from_buffer(pages, offset)
    try:
        accepted = model.write_state(buffer, size, tokens)
    finally:
        del buffer
    if not accepted:
        raise Unusable("llama.cpp does not accept it")
