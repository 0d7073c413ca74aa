"""Reading a GGUF header: everything before the tensor data, and nothing else.

The file is untrusted: every count, length and offset is checked against the true length of
the file before anything is allocated or skipped, so a hostile header costs an error message.

Source of the format: the comment at the top of llama.cpp's `gguf.h`, and the GGUF page of
the ggml repository (docs/gguf.md).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from localr1.errors import FileError, GgufError
from localr1.gguf.quantization import TYPE_NAMES, row_bytes
from localr1.gguf.reader import LENGTH, MAX_KEPT_ELEMENTS, ByteSource, Reader
from localr1.gguf.types import Header, TensorInfo

MetadataValue = int | float | bool | str

KEPT_ELEMENTS = 1024
"""Arrays up to this length are kept as a tuple; longer ones as `ArrayLength`."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_KEY_BYTES = 65_535  # docs/gguf.md
_MAX_NAME_BYTES = 64  # GGML_MAX_NAME
_MAX_COUNT = 2**63 - 1  # ggml counts elements in an int64_t
# Far more than any model has: the largest have some 100 entries and 3,000 tensors.
_MAX_PAIRS = 2**14
MAX_TENSORS = 2**15
"""More tensors than any model has."""

_SCALARS: dict[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_UINT32 = 4
_STRING = 8
_ARRAY = 9

# The least that an entry can take: key length, type, one byte / name length, dimensions,
# type, offset.
_MIN_PAIR_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8


@dataclass(frozen=True)
class ArrayLength:
    """Stands in the metadata for an array too long to keep."""

    length: int


def read(path: Path, *, keep: Collection[str] = (), header_only: bool = False) -> Header:
    """Read the header of a GGUF file (version 2 or 3, little endian).

    Args:
        path: The file.
        keep: Keys of long arrays to keep whole, such as `tokenizer.ggml.tokens`.
        header_only: Accept a file whose tensor data is missing or cut short.

    Returns:
        The header; arrays of more than `KEPT_ELEMENTS` elements are `ArrayLength`.

    Raises:
        FileError: The file is missing, not a file, or may not be read.
        GgufError: The file is not GGUF, damaged, or cut short.
    """
    try:
        # Opening a pipe or a device would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(
                f"{path} is not a file.", "It is a folder, pipe or device.", "Name a .gguf file."
            )
        with path.open("rb", buffering=0) as stream:
            file_bytes = os.fstat(stream.fileno()).st_size
            return read_stream(
                stream, file_bytes, label=str(path), keep=keep, header_only=header_only
            )
    except FileNotFoundError as error:
        raise FileError(
            f"{path} does not exist.", error.strerror or "", "Check the path."
        ) from error
    except PermissionError as error:
        raise FileError(
            f"{path} may not be read.", error.strerror or "", "Give yourself read permission on it."
        ) from error
    except (OSError, ValueError) as error:
        # ValueError: a path that no system accepts, such as one with a zero character.
        raise FileError(
            f"{path} cannot be read.", str(error), "Check the path and the disk."
        ) from error


def read_stream(
    stream: ByteSource,
    file_bytes: int,
    *,
    label: str,
    keep: Collection[str] = (),
    header_only: bool = False,
) -> Header:
    """Read a header from any seekable stream; `read` without the file system.

    Args:
        stream: Positioned anywhere.
        file_bytes: The true length of what the stream reads.
        label: How errors call the file.
        keep: As in `read`.
        header_only: As in `read`.

    Raises:
        GgufError: As in `read`.
    """
    reader = Reader(stream, file_bytes, label)
    version = _read_version(reader)
    tensor_count = reader.length("the number of tensors")
    pair_count = reader.length("the number of metadata entries")
    if tensor_count * _MIN_TENSOR_BYTES + pair_count * _MIN_PAIR_BYTES > reader.left:
        reader.fail(
            f"it announces {tensor_count} tensors and {pair_count} metadata entries, "
            f"more than its {file_bytes} bytes can hold"
        )
    if tensor_count > MAX_TENSORS or pair_count > _MAX_PAIRS:
        reader.fail(
            f"it announces {tensor_count} tensors and {pair_count} metadata entries, "
            "more than any model has"
        )
    metadata, alignment = _read_metadata(reader, pair_count, frozenset(keep))
    tensors = _read_tensors(reader, tensor_count)
    _check_order(reader, tensors, alignment)
    header = Header(
        version=version,
        metadata=metadata,
        tensors=tensors,
        alignment_bytes=alignment,
        data_offset_bytes=-(-reader.position // alignment) * alignment,
        file_bytes=file_bytes,
    )
    if not header_only:
        check_data(header, label)
    return header


def check_data(header: Header, label: str) -> None:
    """Check that all tensor data lies within the file.

    Args:
        header: Of the file.
        label: How the error calls the file.

    Raises:
        GgufError: The file is shorter than its header says.
    """
    needed = max(
        (header.data_offset_bytes + t.offset_bytes + t.size_bytes for t in header.tensors),
        default=0,
    )
    if needed > header.file_bytes:
        raise GgufError(
            f"{label} is cut short.",
            f"Its tensors need {needed} bytes, but the file has {header.file_bytes}.",
            "Download it again: localr1 pull goes on from what is here.",
        )


def array_length(header: Header, key: str) -> int | None:
    """Length of a metadata array, whether kept or not; None where there is no such array."""
    value = header.metadata.get(key)
    if isinstance(value, ArrayLength):
        return value.length
    return len(value) if isinstance(value, tuple) else None


def _read_version(reader: Reader) -> int:
    magic = reader.take(4, "the first four bytes")
    if magic != _MAGIC:
        reader.fail(f"it starts with {magic!r}, not with {_MAGIC!r}")
    raw = reader.take(4, "the version")
    version = int.from_bytes(raw, "little")
    if int.from_bytes(raw, "big") in _VERSIONS:
        reader.fail("it is big-endian, made for another kind of computer")
    if version not in _VERSIONS:
        reader.fail(f"its version is {version}; localr1 reads 2 and 3")
    return version


def _read_metadata(
    reader: Reader, count: int, keep: frozenset[str]
) -> tuple[dict[str, object], int]:
    """All key-value pairs, and the alignment that they ask for."""
    metadata: dict[str, object] = {}
    alignment = _DEFAULT_ALIGNMENT
    for index in range(count):
        key = reader.text(f"the key of metadata entry {index}", _MAX_KEY_BYTES)
        if not key or key in metadata:
            reader.fail(f"the key of metadata entry {index}, {key[:80]!r}, is empty or double")
        part = f"the value of {key[:80]!r}"
        kind = reader.number(part)
        metadata[key] = (
            _read_array(reader, part, whole=key in keep)
            if kind == _ARRAY
            else _read_value(reader, kind, part)
        )
        if key == "general.alignment":
            value = metadata[key]
            if kind != _UINT32 or not isinstance(value, int) or value.bit_count() != 1:
                reader.fail(f"its alignment {value!r:.80} is not a power of two")
            alignment = value
    return metadata, alignment


def _read_value(reader: Reader, kind: int, part: str) -> MetadataValue:
    if kind == _STRING:
        return reader.text(part)
    scalar = _SCALARS.get(kind)
    if scalar is None:
        reader.fail(f"{part} has the unknown type {kind}")
    value: MetadataValue = scalar.unpack(reader.take(scalar.size, part))[0]
    return value


def _read_array(
    reader: Reader, part: str, *, whole: bool
) -> ArrayLength | tuple[MetadataValue, ...]:
    kind = reader.number(part)
    count = reader.length(part)
    if kind == _ARRAY:
        # The format allows it; llama.cpp and every known writer do not.
        reader.fail(f"{part} is an array of arrays")
    longest = MAX_KEPT_ELEMENTS if whole else KEPT_ELEMENTS
    if kind == _STRING:
        if count * LENGTH.size > reader.left:
            reader.fail(f"{part} has {count} strings, more than the rest of the file can hold")
        reader.spend_strings(count, part)
        if count <= longest:
            reader.spend_elements(count, part)
            return tuple(reader.text(part) for _ in range(count))
        reader.skip_strings(count, part)
        return ArrayLength(count)
    scalar = _SCALARS.get(kind)
    if scalar is None:
        reader.fail(f"{part} has the unknown type {kind}")
    size = count * scalar.size
    if count <= longest:
        reader.spend_elements(count, part)
        return tuple(value for (value,) in scalar.iter_unpack(reader.take(size, part)))
    reader.skip(size, part)
    return ArrayLength(count)


def _read_tensors(reader: Reader, count: int) -> tuple[TensorInfo, ...]:
    tensors: dict[str, TensorInfo] = {}
    for index in range(count):
        name = reader.text(f"the name of tensor {index}", _MAX_NAME_BYTES)
        if not name or name in tensors:
            reader.fail(f"the name of tensor {index}, {name!r}, is empty or double")
        part = f"the entry of tensor {name!r}"
        dimensions = reader.number(part)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            reader.fail(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(reader.length(part) for _ in range(dimensions))
        type_id = reader.number(part)
        quantization = TYPE_NAMES.get(type_id)
        if quantization is None:
            reader.fail(
                f"tensor {name!r} has the unknown type {type_id}; a newer localr1 may know it"
            )
        tensors[name] = TensorInfo(
            name=name,
            shape=shape,
            quantization=quantization,
            offset_bytes=reader.length(part),
            size_bytes=_size_bytes(reader, name, shape, quantization),
        )
    return tuple(tensors.values())


def _size_bytes(reader: Reader, name: str, shape: tuple[int, ...], quantization: str) -> int:
    rows = 1
    for length in shape[1:]:
        rows *= length
    if shape[0] == 0 or rows == 0 or shape[0] * rows > _MAX_COUNT:
        reader.fail(f"tensor {name!r} has the impossible shape {shape}")
    try:
        return row_bytes(quantization, shape[0]) * rows
    except ValueError as error:
        reader.fail(f"tensor {name!r}: {error}")


def _check_order(reader: Reader, tensors: tuple[TensorInfo, ...], alignment: int) -> None:
    """Check that no two tensors share a byte and each starts at a multiple of the alignment."""
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda t: t.offset_bytes):
        if tensor.offset_bytes % alignment:
            reader.fail(f"tensor {tensor.name!r} starts at {tensor.offset_bytes}, not aligned")
        if tensor.offset_bytes < end:
            reader.fail(f"tensors {before!r} and {tensor.name!r} overlap")
        end, before = tensor.offset_bytes + tensor.size_bytes, tensor.name
