"""Buffers from llama.cpp's log, for devices that this machine does not have."""

from __future__ import annotations

from localr1.engine.buffers import read
from localr1.engine.types import DeviceBuffers
from localr1.gguf.types import TensorInfo

MIB = 1 << 20


def tensor(name: str, mib: int) -> TensorInfo:
    return TensorInfo(name, (mib * MIB,), "I8", 0, mib * MIB)


# Two layers, the second with experts.
TENSORS = (
    tensor("token_embd.weight", 10),
    tensor("blk.0.ffn_up.weight", 20),
    tensor("blk.1.ffn_up_exps.weight", 100),
    tensor("blk.1.attn_q.weight", 7),
    tensor("output.weight", 30),
    tensor("output_norm.weight", 1),
)
OWNERS = {"CUDA0": "CUDA0"}


def test_a_partly_offloaded_load_on_cuda() -> None:
    lines = [
        "load_tensors: layer   0 assigned to device CPU, is_swa = 0\n",
        "load_tensors: layer   1 assigned to device CUDA0, is_swa = 0\n",
        "load_tensors: layer   2 assigned to device CUDA0, is_swa = 0\n",
        # The mapping spans the whole file, although two tensors of it are used.
        "load_tensors:   CPU_Mapped model buffer size =   168.00 MiB\n",
        "load_tensors:        CUDA0 model buffer size =   138.00 MiB\n",
        "llama_context:  CUDA_Host  output buffer size =     0.50 MiB\n",
        "llama_kv_cache:        CPU KV buffer size =    12.00 MiB\n",
        "llama_kv_cache:      CUDA0 KV buffer size =    14.00 MiB\n",
        "llama_kv_cache: size =   26.00 MiB (  1024 cells,   2 layers,  1/1 seqs), K (f16): ...\n",
        "sched_reserve:      CUDA0 compute buffer size =   99.00 MiB\n",
        # Reserved once more: the last word counts.
        "sched_reserve:      CUDA0 compute buffer size =    40.25 MiB\n",
        "sched_reserve:  CUDA_Host compute buffer size =     3.00 MiB\n",
        "~llama_context:      CUDA0 compute buffer size is 40.2500 MiB, matches expectation\n",
    ]
    assert read(lines, TENSORS, OWNERS, measured=False) == (
        DeviceBuffers("CPU", 30 * MIB, 12 * MIB, 3 * MIB, MIB // 2),
        DeviceBuffers("CUDA0", 138 * MIB, 14 * MIB, 40 * MIB + MIB // 4),
    )


def test_a_dry_run_with_experts_on_the_cpu() -> None:
    lines = [
        "load_tensors: layer   0 assigned to device CUDA0, is_swa = 0\n",
        "load_tensors: layer   1 assigned to device CUDA0, is_swa = 0\n",
        "load_tensors: layer   2 assigned to device CUDA0, is_swa = 0\n",
        "tensor blk.1.ffn_up_exps.weight (100 MiB i8) buffer type overridden to CUDA_Host\n",
        "load_tensors:    CUDA_Host model buffer size =     0.00 MiB\n",
        "load_tensors:        CUDA0 model buffer size =     0.00 MiB\n",
        "llama_kv_cache: layer   0: dev = CUDA0\n",
        "llama_kv_cache: layer   1: dev = CUDA0\n",
        "llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB\n",
        "llama_kv_cache: size =   26.00 MiB (  1024 cells,   2 layers,  1/1 seqs), K (f16): ...\n",
        "sched_reserve:      CUDA0 compute buffer size =    40.00 MiB\n",
    ]
    assert read(lines, TENSORS, OWNERS, measured=True) == (
        DeviceBuffers("CPU", 110 * MIB, 0, 0),
        DeviceBuffers("CUDA0", 58 * MIB, 26 * MIB, 40 * MIB),
    )


def test_devices_of_two_servers_are_told_apart() -> None:
    # Both call their device number 0; llama.cpp's list calls them RPC0 and RPC1.
    owners = {"RPC0[one:50052]": "RPC0", "RPC0[two:50052]": "RPC1"}
    lines = [
        "load_tensors: RPC0[one:50052] model buffer size =     5.00 MiB\n",
        "load_tensors: RPC0[two:50052] model buffer size =     6.00 MiB\n",
    ]
    found = read(lines, (), owners, measured=False)
    assert [(b.device, b.weights_bytes // MIB) for b in found] == [
        ("CPU", 0),
        ("RPC0", 5),
        ("RPC1", 6),
    ]


def test_metal_maps_and_an_output_that_is_the_embedding_is_copied() -> None:
    lines = [
        "load_tensors: layer   0 assigned to device MTL0, is_swa = 0\n",
        "load_tensors: layer   1 assigned to device MTL0, is_swa = 0\n",
        "load_tensors:   CPU_Mapped model buffer size =    10.00 MiB\n",
        "load_tensors:  MTL0_Mapped model buffer size =   500.00 MiB\n",
        "sched_reserve: MTL0_Private compute buffer size =     8.00 MiB\n",
    ]
    tensors = (tensor("token_embd.weight", 10), tensor("blk.0.attn_q.weight", 7))
    for own in ("MTL0", "MTL0_Private"):  # shared memory, or an AMD card in an old Mac
        assert read(lines, tensors, {own: "MTL0"}, measured=False) == (
            DeviceBuffers("CPU", 10 * MIB, 0, 0),
            DeviceBuffers("MTL0", 17 * MIB, 0, 8 * MIB),
        )
