"""Which of several files stands for a variant, and in which order models are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from localr1.models.types import LocalModel, Model


def preferred(found: Iterable[LocalModel], models: Sequence[Model]) -> tuple[LocalModel, ...]:
    """One file for each variant, the first that is not known to be altered; models in the catalogue's order, best variant first."""
    unique: dict[tuple[str, str], LocalModel] = {}
    for local in sorted(found, key=lambda one: one.altered):
        unique.setdefault((local.model.id, local.variant.quantization.upper()), local)
    order = {model.id: at for at, model in enumerate(models)}
    variants = {
        (model.id, variant.quantization.upper()): at
        for model in models
        for at, variant in enumerate(model.variants)
    }

    def rank(local: LocalModel) -> tuple[int, int, int]:
        key = (local.model.id, local.variant.quantization.upper())
        return order.get(key[0], len(order)), variants.get(key, len(variants)), -local.size_bytes

    return tuple(sorted(unique.values(), key=rank))
