"""The functions of ggml, the library that llama.cpp computes with, through ctypes. Worker side."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from localr1.engine.native import InitParameters, library

_P, _I, _L, _Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t
_F, _S = ctypes.c_float, ctypes.c_char_p
_CPU: Final = 0  # enum ggml_backend_dev_type
_F32: Final = 0  # enum ggml_type
# Results and arguments, from ggml.h, ggml-alloc.h and ggml-backend.h.
_FUNCTIONS: Final[dict[str, tuple[Any, list[Any]]]] = {
    "ggml_init": (_P, [InitParameters]),
    "ggml_free": (None, [_P]),
    "ggml_nbytes": (_Z, [_P]),
    "ggml_new_tensor_2d": (_P, [_P, _I, _L, _L]),
    "ggml_new_tensor_3d": (_P, [_P, _I, _L, _L, _L]),
    "ggml_permute": (_P, [_P, _P, _I, _I, _I, _I]),
    "ggml_mul_mat": (_P, [_P, _P, _P]),
    "ggml_rms_norm": (_P, [_P, _P, _F]),
    "ggml_flash_attn_ext": (_P, [_P, _P, _P, _P, _P, _F, _F, _F]),
    "ggml_new_graph": (_P, [_P]),
    "ggml_build_forward_expand": (None, [_P, _P]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_P, [_P, _P]),
    "ggml_backend_tensor_alloc": (_I, [_P, _P, _P]),
    "ggml_backend_tensor_memset": (None, [_P, ctypes.c_uint8, _Z, _Z]),
    "ggml_backend_buft_alloc_buffer": (_P, [_P, _Z]),
    "ggml_backend_buffer_get_base": (_P, [_P]),
    "ggml_backend_buffer_free": (None, [_P]),
    "ggml_backend_dev_by_type": (_P, [_I]),
    "ggml_backend_dev_init": (_P, [_P, _S]),
    "ggml_backend_dev_buffer_type": (_P, [_P]),
    "ggml_backend_dev_backend_reg": (_P, [_P]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_P, _P]),
    "ggml_backend_reg_get_proc_address": (_P, [_P, _S]),
    "ggml_backend_graph_compute": (_I, [_P, _P]),
    "ggml_backend_free": (None, [_P]),
}


class Ggml:
    """ggml's functions as methods of their own names; pointers are integers."""

    def __init__(self) -> None:
        libraries = [library("ggml"), library("ggml-base")]
        for name, (result, arguments) in _FUNCTIONS.items():
            function = next(
                (found for lib in libraries if (found := getattr(lib, name, None)) is not None),
                None,
            )
            if function is None:
                raise AttributeError(f"llama.cpp has no {name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(name)  # tells a type checker that functions are found at run time

    def cpu_device(self) -> int:
        """The processor."""
        return int(self.ggml_backend_dev_by_type(_CPU))

    def procedure(
        self,
        device: int,
        name: str,
        result: Any,  # noqa: ANN401 - a ctypes type, or None
        arguments: list[Any],
    ) -> Callable[..., Any]:
        """A function that only a device's backend has.

        Raises:
            AttributeError: It has none of this name.
        """
        registry = self.ggml_backend_dev_backend_reg(device)
        address = self.ggml_backend_reg_get_proc_address(registry, name.encode())
        if not address:
            raise AttributeError(f"llama.cpp has no {name}")
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    def extra_buffer_types(self, device: int) -> list[int]:
        """Buffers in which a device wants some matrices in a layout of its own, best first."""
        name = "ggml_backend_dev_get_extra_bufts"
        listed = self.procedure(device, name, ctypes.POINTER(_P), [_P])(device)
        found = []
        for pointer in listed or ():
            if not pointer:
                break
            found.append(int(pointer))
        return found

    def context(self, size_bytes: int) -> int:
        """Room for the descriptions of tensors and graphs, not for their data."""
        return int(self.ggml_init(InitParameters(size_bytes, None, True)))

    def floats(self, context: int, length: int, columns: int) -> int:
        """A new matrix of 32-bit floats."""
        return int(self.ggml_new_tensor_2d(context, _F32, length, columns))
