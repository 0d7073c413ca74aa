"""Memory by device: closed forms against measured figures, and rules for all inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fit_machines import (
    ARM,
    AVX2,
    AVX512,
    GIB,
    LAPTOP_16,
    M2_16,
    RTX_3060,
    RTX_4090,
    TWO_3090,
    catalogue,
    cuda,
    machine,
    model,
    variant,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.fit.memory import (
    compute_buffer_bytes,
    compute_is_upper_bound,
    estimate_memory,
    padded_context,
    shares,
)
from localr1.fit.mix import repacked_types
from localr1.fit.types import Settings
from localr1.fit.weights import HEADER_BYTES_PER_TOKEN, from_tensors, recipe_bytes, spread
from localr1.gguf.types import TensorInfo
from localr1.machine.types import Machine
from localr1.models.types import Model, Variant

MIB = 1 << 20
DENSE = tuple(m for m in catalogue().models if not m.architecture.expert_count and not m.demo)
EVERY = [(m, v) for m in catalogue().models for v in m.variants]


def test_recipes_give_the_published_sizes_of_all_dense_models() -> None:
    for dense in DENSE:
        for file in dense.variants:
            recipe = recipe_bytes(dense.architecture, file.quantization)
            header = file.size_bytes - recipe
            # Only the header is missing: 39 to 62 bytes for each token of the vocabulary.
            per_token = header / dense.architecture.vocabulary_size
            assert 30 < per_token < 70, (dense.id, file.quantization)


@pytest.mark.parametrize(
    ("model_id", "context", "ubatch", "mib"),
    [
        # Dry runs of llama.cpp with one output per batch.
        ("r1-distill-qwen-7b", 8192, 512, 147),
        ("r1-distill-qwen-7b", 8192, 2048, 588),
        ("r1-distill-qwen-1.5b", 8192, 512, 73),
        ("r1-distill-qwen-32b", 8192, 512, 210),
        ("r1-distill-qwen-7b", 32768, 512, 171),
    ],
)
def test_compute_buffer_is_what_llama_cpp_reserves(
    model_id: str, context: int, ubatch: int, mib: float
) -> None:
    size = compute_buffer_bytes(model(model_id).architecture, context, ubatch)
    assert size / MIB == pytest.approx(mib, abs=0.6)


def test_compute_buffer_without_flash_attention() -> None:
    architecture = model("r1-distill-qwen-7b").architecture
    with_it = compute_buffer_bytes(architecture, 32768, 512)
    without = compute_buffer_bytes(architecture, 32768, 512, flash_attention=False)
    # llama.cpp's dry run: 1,893 MiB instead of 171.
    assert (without - with_it) / MIB == pytest.approx(1722, abs=1)


def test_repacked_share_is_what_llama_cpp_reports() -> None:
    # The synthetic 7B of the dry run: Q4_K, with Q6_K for the output and, in odd layers,
    # values and FFN-down. On a CPU with AVX2 it gave 2,976 MiB CPU_REPACK of 4,460 MiB.
    width, ffn, kv, vocabulary, layers = 3584, 18944, 512, 152064, 28
    shapes = {
        "attn_q": (width, width),
        "attn_k": (width, kv),
        "attn_v": (width, kv),
        "attn_output": (width, width),
        "ffn_gate": (width, ffn),
        "ffn_up": (width, ffn),
        "ffn_down": (ffn, width),
    }
    bits = {"Q4_K": 4.5, "Q6_K": 6.5625}

    def tensor(name: str, shape: tuple[int, int], kind: str) -> TensorInfo:
        return TensorInfo(name, shape, kind, 0, int(shape[0] * shape[1] * bits[kind] / 8))

    tensors = [
        tensor("token_embd.weight", (width, vocabulary), "Q4_K"),
        tensor("output.weight", (width, vocabulary), "Q6_K"),
    ]
    for layer in range(layers):
        for name, shape in shapes.items():
            fine = name in ("attn_v", "ffn_down") and layer % 2
            tensors.append(tensor(f"blk.{layer}.{name}.weight", shape, "Q6_K" if fine else "Q4_K"))
    weights = from_tensors(tensors, layers, repacked_types(AVX2))
    repacked = weights.between(0, layers).repack_bytes + weights.output_repack_bytes
    assert repacked / MIB == pytest.approx(2976, abs=1)
    assert weights.total_bytes / MIB == pytest.approx(4460, abs=2)
    assert from_tensors(tensors, layers).between(0, layers).repack_bytes == 0


@pytest.mark.parametrize(
    ("features", "repacked", "kept"),
    [
        (AVX2, {"Q4_K", "Q4_0", "IQ4_NL"}, {"Q6_K", "Q8_0", "Q2_K", "IQ4_XS", "F16"}),
        (AVX512, {"Q4_K", "Q2_K"}, {"Q6_K", "Q8_0", "Q5_K", "Q3_K"}),
        (ARM, {"Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL"}, {"Q2_K", "Q3_K", "F16"}),
        (("NEON",), {"IQ4_NL"}, {"Q4_K", "Q8_0"}),
        (("SSE3",), set(), {"Q4_K"}),
    ],
)
def test_which_types_are_repacked(
    features: tuple[str, ...], repacked: set[str], kept: set[str]
) -> None:
    types = repacked_types(features)
    assert repacked <= types
    assert not kept & types


@pytest.mark.parametrize(("known", "file"), EVERY)
def test_spread_leaves_nothing_out(known: Model, file: Variant) -> None:
    architecture, size = known.architecture, file.size_bytes
    weights = spread(architecture, size, file.quantization)
    header = HEADER_BYTES_PER_TOKEN * architecture.vocabulary_size
    assert weights.total_bytes == size - header
    assert weights.embedding_bytes > 0
    assert all(layer.dense_bytes > 0 and layer.expert_bytes >= 0 for layer in weights.layers)
    sparse = sum(layer.expert_bytes > 0 for layer in weights.layers)
    expected = architecture.layers - architecture.leading_dense_layers
    assert sparse == (expected if architecture.expert_count else 0)


@settings(deadline=None)
@given(size=st.integers(1, 10**13), name=st.text("IQUDK_-.SMLX0123456789", max_size=10))
def test_spread_takes_any_size_and_name(size: int, name: str) -> None:
    for model_id in ("r1-distill-qwen-7b", "r1-671b", "demo"):
        architecture = model(model_id).architecture
        weights = spread(architecture, size, name)
        header = HEADER_BYTES_PER_TOKEN * architecture.vocabulary_size
        assert weights.total_bytes == max(1, size - header)


models = st.sampled_from([m for m in catalogue().models if not m.demo])


@settings(deadline=None)
@given(
    known=models,
    context=st.integers(1, 131072),
    more=st.integers(0, 65536),
    index=st.integers(0, 99),
)
def test_memory_grows_with_the_context(known: Model, context: int, more: int, index: int) -> None:
    architecture = known.architecture
    file = known.variants[index % len(known.variants)]

    def total(tokens: int) -> int:
        settings = Settings(context_window=tokens)
        devices = estimate_memory(
            architecture, file.size_bytes, file.quantization, settings, LAPTOP_16
        )
        return sum(d.total_bytes for d in devices)

    assert total(context) <= total(context + more)
    assert total(context) == total(padded_context(context))


@settings(deadline=None)
@given(known=models, gpu_layers=st.integers(0, 99), kept=st.integers(0, 99), two=st.booleans())
def test_every_tensor_is_somewhere_wherever_layers_go(
    known: Model, gpu_layers: int, kept: int, two: bool
) -> None:
    architecture = known.architecture
    file = known.variants[0]
    where = TWO_3090 if two else RTX_4090
    names = tuple(gpu.name for gpu in where.gpus)
    settings = Settings(
        context_window=4096, gpu_layers=gpu_layers, cpu_expert_layers=kept, device_names=names
    )
    devices = estimate_memory(architecture, file.size_bytes, file.quantization, settings, where)
    alone = estimate_memory(
        architecture, file.size_bytes, file.quantization, Settings(context_window=4096), where
    )
    assert sum(d.weights_bytes for d in devices) == alone[0].weights_bytes
    assert sum(d.kv_cache_bytes for d in devices) == alone[0].kv_cache_bytes
    for device in devices:
        assert min(device.weights_bytes, device.kv_cache_bytes, device.compute_buffer_bytes) >= 0
        assert 0 <= device.repack_bytes + device.mapped_bytes <= device.weights_bytes
        assert device.resident_bytes == device.total_bytes - device.mapped_bytes


@settings(deadline=None)
@given(
    layers=st.integers(1, 80),
    gpu_layers=st.integers(0, 100),
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
)
def test_shares_are_llama_cpps(layers: int, gpu_layers: int, counts: list[int]) -> None:
    if not sum(counts):
        counts = [1]
    names = tuple(f"CUDA{i}" for i in range(len(counts)))
    settings = Settings(
        context_window=4096,
        gpu_layers=gpu_layers,
        device_names=names,
        tensor_split=tuple(float(c) for c in counts),
    )
    # llama.cpp: layer i goes to the first device whose running share exceeds its own.
    on_gpu = min(gpu_layers, layers + 1)
    first = layers + 1 - on_gpu
    expected = {"CPU": list(range(min(first, layers)))} | {name: [] for name in names}
    outputs = "CPU"
    for layer in range(first, layers + 1):
        running = [sum(counts[: i + 1]) / sum(counts) for i in range(len(counts))]
        place = next(i for i, share in enumerate(running) if share > (layer - first) / on_gpu)
        if layer == layers:
            outputs = names[place]
        else:
            expected[names[place]].append(layer)
    placed = {share.device: share for share in shares(layers, settings)}
    for name, share in placed.items():
        assert list(range(share.start, share.stop)) == expected[name]
    assert [share.device for share in placed.values() if share.output] == [outputs]


def test_kv_cache_of_the_family() -> None:
    # Bytes per token, cross-checked with log lines of llama.cpp and Ollama.
    known = {
        "r1-distill-qwen-1.5b": 28_672,
        "r1-distill-qwen-7b": 57_344,
        "r1-distill-llama-8b": 131_072,
        "r1-distill-qwen-32b": 262_144,
        "r1-671b": 4_997_120,
        "r1-0528-671b": 70_272,
    }
    for model_id, per_token in known.items():
        one = model(model_id)
        file = one.variants[-1]
        settings = Settings(context_window=8000)
        (cpu,) = estimate_memory(
            one.architecture, file.size_bytes, file.quantization, settings, LAPTOP_16
        )
        assert cpu.kv_cache_bytes == 8192 * per_token


def test_a_whole_model_on_the_gpu_leaves_the_embedding_on_the_cpu() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    settings = Settings(context_window=8192, gpu_layers=29, device_names=("CUDA0",))
    cpu, gpu = estimate_memory(
        one.architecture, file.size_bytes, file.quantization, settings, RTX_3060
    )
    # Q4_K: 152,064 x 3,584 elements at 4.5 bits.
    assert cpu.weights_bytes == pytest.approx(152_064 * 3_584 * 4.5 / 8, rel=0.01)
    assert cpu.kv_cache_bytes == 0
    assert gpu.kv_cache_bytes == 8192 * 57_344
    assert gpu.mapped_bytes == 0
    assert gpu.compute_buffer_bytes / MIB == pytest.approx(147, abs=1)


def test_cpu_layers_are_repacked_only_without_a_host_buffer() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")

    def repack(names: tuple[str, ...], where: Machine) -> int:
        settings = Settings(context_window=4096, gpu_layers=10, device_names=names)
        return estimate_memory(
            one.architecture,
            file.size_bytes,
            file.quantization,
            settings,
            where,
        )[0].repack_bytes

    assert repack((), RTX_3060) > 2 * GIB
    assert repack(("CUDA0",), RTX_3060) == 0
    assert repack(("Metal",), M2_16) > GIB


def test_where_the_compute_buffer_is_only_an_upper_bound() -> None:
    qwen = model("r1-distill-qwen-7b").architecture
    cpu = Settings(context_window=4096)
    whole = replace(cpu, gpu_layers=29, device_names=("CUDA0",))
    assert not compute_is_upper_bound(qwen, cpu)
    assert not compute_is_upper_bound(qwen, whole)
    assert not compute_is_upper_bound(model("r1-distill-llama-70b").architecture, cpu)
    assert compute_is_upper_bound(qwen, replace(whole, gpu_layers=28))
    assert compute_is_upper_bound(qwen, replace(whole, device_names=("CUDA0", "CUDA1")))
    assert compute_is_upper_bound(qwen, replace(cpu, flash_attention=False))
    for other in ("r1-0528-qwen3-8b", "r1-671b", "r1-0528-671b"):
        assert compute_is_upper_bound(model(other).architecture, cpu)


def test_experts_kept_on_the_cpu_are_read_not_mapped() -> None:
    one, file = model("r1-0528-671b"), variant("r1-0528-671b", "UD-Q2_K_XL")
    where = machine(300, 290, cuda(0, "RTX 4090", 24, 23, 1008))
    settings = Settings(
        context_window=4096, gpu_layers=62, cpu_expert_layers=61, device_names=("CUDA0",)
    )
    cpu, gpu = estimate_memory(
        one.architecture, file.size_bytes, file.quantization, settings, where
    )
    assert cpu.mapped_bytes == 0
    assert cpu.weights_bytes > 200 * GIB
    # What every token uses, about 17 billion parameters, is on the card.
    assert 8 * GIB < gpu.weights_bytes < 16 * GIB
