"""GPUs without a kernel for a model's attention are not planned with."""

from __future__ import annotations

import pytest
from fit_machines import catalogue
from hypothesis import given
from hypothesis import strategies as st

from localr1.fit.attention import has_flash_attention


@pytest.mark.parametrize("model_id", ["r1-distill-qwen-7b", "r1-distill-llama-70b", "r1-0528-671b"])
def test_most_of_the_family_has_it_everywhere(model_id: str) -> None:
    architecture = catalogue().model(model_id).architecture
    assert all(has_flash_attention(architecture, b) for b in ("CUDA", "ROCm", "Metal", "Vulkan"))


def test_old_671b_files_have_none_on_cuda() -> None:
    architecture = catalogue().model("r1-671b").architecture
    assert not has_flash_attention(architecture, "CUDA")
    assert has_flash_attention(architecture, "Metal")


@given(st.sampled_from(["Metal", "Vulkan", "SYCL", "RPC"]))
def test_other_backends_are_not_judged(backend: str) -> None:
    assert has_flash_attention(catalogue().model("r1-671b").architecture, backend)
