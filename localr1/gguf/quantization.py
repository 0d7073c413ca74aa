"""GGML's element types: how many bytes a row of each takes, and what a file's mix is called.

Source of the type ids: `enum ggml_type` in llama.cpp's `ggml.h`; of the block sizes:
`ggml_blck_size()` and `ggml_type_size()` of the pinned llama.cpp, which a test asks again;
of the file types: `enum llama_ftype` in `llama.h`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class BlockSize:
    """How one GGML type packs its elements."""

    type_id: int
    """The number that stands for the type in a GGUF header."""
    elements: int
    """Elements per block; a row holds whole blocks only."""
    size_bytes: int
    """Bytes per block, scales included."""

    @property
    def bits_per_element(self) -> float:
        """Bits that one element takes, scales included."""
        return self.size_bytes * 8 / self.elements


BLOCK_SIZES: Mapping[str, BlockSize] = MappingProxyType(
    {
        "F32": BlockSize(0, 1, 4),
        "F16": BlockSize(1, 1, 2),
        "Q4_0": BlockSize(2, 32, 18),
        "Q4_1": BlockSize(3, 32, 20),
        "Q5_0": BlockSize(6, 32, 22),
        "Q5_1": BlockSize(7, 32, 24),
        "Q8_0": BlockSize(8, 32, 34),
        "Q8_1": BlockSize(9, 32, 36),
        "Q2_K": BlockSize(10, 256, 84),
        "Q3_K": BlockSize(11, 256, 110),
        "Q4_K": BlockSize(12, 256, 144),
        "Q5_K": BlockSize(13, 256, 176),
        "Q6_K": BlockSize(14, 256, 210),
        "Q8_K": BlockSize(15, 256, 292),
        "IQ2_XXS": BlockSize(16, 256, 66),
        "IQ2_XS": BlockSize(17, 256, 74),
        "IQ3_XXS": BlockSize(18, 256, 98),
        "IQ1_S": BlockSize(19, 256, 50),
        "IQ4_NL": BlockSize(20, 32, 18),
        "IQ3_S": BlockSize(21, 256, 110),
        "IQ2_S": BlockSize(22, 256, 82),
        "IQ4_XS": BlockSize(23, 256, 136),
        "I8": BlockSize(24, 1, 1),
        "I16": BlockSize(25, 1, 2),
        "I32": BlockSize(26, 1, 4),
        "I64": BlockSize(27, 1, 8),
        "F64": BlockSize(28, 1, 8),
        "IQ1_M": BlockSize(29, 256, 56),
        "BF16": BlockSize(30, 1, 2),
        "TQ1_0": BlockSize(34, 256, 54),
        "TQ2_0": BlockSize(35, 256, 66),
        "MXFP4": BlockSize(39, 32, 17),
        "NVFP4": BlockSize(40, 64, 36),
        "Q1_0": BlockSize(41, 128, 18),
        "Q2_0": BlockSize(42, 64, 18),
    }
)
"""Every GGML type that a current GGUF file may hold, by its name."""

TYPE_NAMES: Mapping[int, str] = MappingProxyType(
    {block.type_id: name for name, block in BLOCK_SIZES.items()}
)
"""GGML type name by the number in the header."""

FILE_TYPES: Mapping[int, str] = MappingProxyType(
    {
        0: "F32",
        1: "F16",
        2: "Q4_0",
        3: "Q4_1",
        7: "Q8_0",
        8: "Q5_0",
        9: "Q5_1",
        10: "Q2_K",
        11: "Q3_K_S",
        12: "Q3_K_M",
        13: "Q3_K_L",
        14: "Q4_K_S",
        15: "Q4_K_M",
        16: "Q5_K_S",
        17: "Q5_K_M",
        18: "Q6_K",
        19: "IQ2_XXS",
        20: "IQ2_XS",
        21: "Q2_K_S",
        22: "IQ3_XS",
        23: "IQ3_XXS",
        24: "IQ1_S",
        25: "IQ4_NL",
        26: "IQ3_S",
        27: "IQ3_M",
        28: "IQ2_S",
        29: "IQ2_M",
        30: "IQ4_XS",
        31: "IQ1_M",
        32: "BF16",
        36: "TQ1_0",
        37: "TQ2_0",
        38: "MXFP4_MOE",
        39: "NVFP4",
        40: "Q1_0",
        41: "Q2_0",
    }
)
"""Name of a file's mix of types by its `general.file_type`."""


def row_bytes(type_name: str, elements: int) -> int:
    """Bytes that a row of `elements` takes.

    Args:
        type_name: GGML type name in any case: `F16`, `q8_0`, `Q4_K`.
        elements: Elements in the row; whole blocks only.

    Raises:
        ValueError: For an unknown type, a negative count, or a part of a block.
    """
    block = BLOCK_SIZES.get(type_name.upper())
    if block is None:
        raise ValueError(f"unknown GGML type {type_name!r}")
    blocks, rest = divmod(elements, block.elements)
    if elements < 0 or rest:
        raise ValueError(f"{elements} elements are not whole blocks of {type_name}")
    return blocks * block.size_bytes


def file_type_name(file_type: int) -> str | None:
    """Name of `general.file_type` (15 is `Q4_K_M`), or None for a number nobody has named."""
    # Bit 10 marks a type that the converter guessed (LLAMA_FTYPE_GUESSED = 1024).
    return FILE_TYPES.get(file_type & ~1024)
