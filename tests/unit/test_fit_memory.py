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
    compute_is_upper_bound,
    estimate_memory,
    padded_context,
    shares,
    variant_memory,
)
from localr1.fit.mix import repacked_types
from localr1.fit.types import Settings
from localr1.fit.weights import (
    HEADER_BYTES_PER_TOKEN,
    LONGEST_HEADER_BYTES,
    LONGEST_HEADER_BYTES_PER_TOKEN,
    follows_recipe,
    from_tensors,
    spread,
)
from localr1.gguf import recipe
from localr1.gguf.types import TensorInfo
from localr1.machine.types import Machine
from localr1.models.types import Model, Variant

MIB = 1 << 20
DENSE = tuple(m for m in catalogue().models if not m.architecture.expert_count and not m.demo)
EVERY = [(m, v) for m in catalogue().models for v in m.variants]


def test_recipes_give_the_published_sizes_of_all_dense_models() -> None:
    for dense in DENSE:
        for file in dense.variants:
            listed = recipe.tensors(dense.architecture, file.quantization)
            header = file.size_bytes - sum(tensor.size_bytes for tensor in listed)
            # Only the header is missing: 39 to 62 bytes for each token of the vocabulary.
            per_token = header / dense.architecture.vocabulary_size
            assert 30 < per_token < 70, (dense.id, file.quantization)
            assert follows_recipe(dense.architecture, file.quantization, file.size_bytes)


@pytest.mark.parametrize(
    ("model_id", "gigabytes"),
    [
        ("r1-distill-qwen-1.5b", 1.12),
        ("r1-distill-qwen-7b", 4.68),
        ("r1-distill-llama-8b", 4.92),
        ("r1-distill-qwen-14b", 8.99),
        ("r1-distill-llama-70b", 42.52),
    ],
)
def test_the_published_sizes_of_q4_k_m(model_id: str, gigabytes: float) -> None:
    architecture = model(model_id).architecture
    header = 61 if architecture.name == "llama" else 39
    size = header * architecture.vocabulary_size
    size += sum(tensor.size_bytes for tensor in recipe.tensors(architecture, "Q4_K_M"))
    assert round(size / 1e9, 2) == gigabytes


def compute(model_id: str, context: int, ubatch: int, *, flash_attention: bool = True) -> int:
    one = model(model_id)
    file = one.variants[0]
    settings = Settings(context, ubatch=ubatch, flash_attention=flash_attention)
    (cpu,) = estimate_memory(
        one.architecture, file.size_bytes, file.quantization, settings, LAPTOP_16
    )
    return cpu.compute_buffer_bytes


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
    assert compute(model_id, context, ubatch) / MIB == pytest.approx(mib, abs=0.6)


def test_compute_buffer_without_flash_attention() -> None:
    with_it = compute("r1-distill-qwen-7b", 32768, 512)
    without = compute("r1-distill-qwen-7b", 32768, 512, flash_attention=False)
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


@pytest.mark.parametrize(
    ("info", "repacks"),
    [
        ("", True),
        ("CPU : SSE3 = 1 | AVX2 = 1 | REPACK = 1 | ", True),
        ("Metal : EMBED_LIBRARY = 1 | CPU : AVX2 = 1 | REPACK = 1 | ", True),
        ("CPU : AVX2 = 1 | LLAMAFILE = 1 | ", False),
        ("CPU : SSE3 = 1 | REPACK = 1 | ", False),
    ],
)
def test_only_what_llama_cpp_was_built_for_is_repacked(info: str, repacks: bool) -> None:
    one = machine(16, 12, features=AVX2)
    one = replace(one, engine=replace(one.engine, system_info=info))
    file = variant("r1-distill-qwen-7b", "Q4_K_M")
    (cpu,) = variant_memory(model("r1-distill-qwen-7b").architecture, file, Settings(4096), one)
    assert (cpu.repack_bytes > 0) == repacks
    assert cpu.mapped_bytes == cpu.weights_bytes - cpu.repack_bytes


@pytest.mark.parametrize(("known", "file"), EVERY)
def test_spread_leaves_nothing_out(known: Model, file: Variant) -> None:
    architecture, size = known.architecture, file.size_bytes
    weights = spread(architecture, size, file.quantization)
    header = size - weights.total_bytes
    # Sizes of the full models are rounded to whole gigabytes.
    least = -0.002 * size if architecture.expert_count else 30 * architecture.vocabulary_size
    most = 0.002 * size if architecture.expert_count else 70 * architecture.vocabulary_size
    assert (0 if known.demo else least) <= header < LONGEST_HEADER_BYTES + most
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
        tokens = architecture.vocabulary_size
        exact = max(1, size - HEADER_BYTES_PER_TOKEN * tokens)
        near = LONGEST_HEADER_BYTES + LONGEST_HEADER_BYTES_PER_TOKEN * tokens
        # What a quantization's recipe gives counts, where the size is near it.
        assert abs(weights.total_bytes - exact) <= max(near, 0.0021 * size)
        assert min(layer.dense_bytes for layer in weights.layers) >= 0


@pytest.mark.parametrize("quantization", ["UD-Q2_K_XL", "UD-IQ1_S", "unheard-of_3"])
def test_mixes_of_others_are_told_from_llama_cpps(quantization: str) -> None:
    architecture = model("r1-671b").architecture
    assert not follows_recipe(architecture, quantization, 200 * GIB)
    assert not follows_recipe(architecture, "Q4_K_M", 200 * GIB)
    assert follows_recipe(architecture, "Q4_K_M", 404_400_000_000)


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
    # A short context is computed at once, so that less than the padding makes a difference.
    assert context < 512 or total(context) == total(padded_context(context))


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
    # The hidden states and the mask come from the CPU's buffer.
    assert gpu.compute_buffer_bytes / MIB == pytest.approx(140, abs=1)


@pytest.mark.parametrize(
    ("size", "context", "kv_cache_type", "gpu_layers", "mib"),
    [
        # llama.cpp's dry runs on an H100 with CUDA 13: docs/benchmarks.md.
        ("1.5b", 16_384, "f16", 29, 1460.2),
        ("1.5b", 131_072, "f16", 29, 4708.2),
        ("7b", 16_384, "f16", 29, 5212.1),
        ("7b", 16_384, "q8_0", 29, 4792.2),
        ("7b", 8192, "f16", 15, 2736.7),
        ("32b", 16_384, "f16", 65, 22_812.4),
        ("32b", 32_768, "f16", 40, 16_791.2),
    ],
)
def test_a_cuda_device_needs_what_llama_cpps_dry_run_said(
    size: str, context: int, kv_cache_type: str, gpu_layers: int, mib: float
) -> None:
    one, file = model(f"r1-distill-qwen-{size}"), variant(f"r1-distill-qwen-{size}", "Q4_K_M")
    settings = Settings(context, kv_cache_type, gpu_layers, device_names=("CUDA0",))
    _, gpu = estimate_memory(
        one.architecture, file.size_bytes, file.quantization, settings, RTX_4090
    )
    assert (gpu.total_bytes - gpu.overhead_bytes) / MIB == pytest.approx(mib, abs=0.1)


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
    for known in catalogue().models:
        assert not compute_is_upper_bound(known.architecture)
    llama = model("r1-distill-llama-8b").architecture
    other = replace(llama, name="gemma3")
    assert compute_is_upper_bound(other)
    settings = Settings(context_window=4096)
    (as_llama,) = estimate_memory(llama, 5 * GIB, "Q4_K_M", settings, LAPTOP_16)
    (as_other,) = estimate_memory(other, 5 * GIB, "Q4_K_M", settings, LAPTOP_16)
    assert as_other.compute_buffer_bytes > 1.4 * as_llama.compute_buffer_bytes


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
