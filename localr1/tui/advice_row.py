"""The lines of the advice list: plans joined with what is on this disk. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localr1.fit.types import Advice, Plan
from localr1.models.types import Choice, LocalModel, Model, Variant


@dataclass(frozen=True)
class AdviceRow:
    """A model variant that can be chosen."""

    plan: Plan
    local: LocalModel | None
    """Where it lies, if it is here."""

    @property
    def model(self) -> Model:
        """The model."""
        return self.plan.model

    @property
    def variant(self) -> Variant:
        """The quantized file set."""
        return self.plan.variant

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells rows apart, also between two lists."""
        return _key(self.model, self.variant)


def advice_rows(
    advice: Advice, local_plans: Sequence[tuple[LocalModel, Plan]], *, all_variants: bool
) -> tuple[AdviceRow, ...]:
    """What the list shows, best first; the demo is always the last.

    Args:
        advice: Ranked plans.
        local_plans: Models on this disk, each with its plan.
        all_variants: Every quantization, not only the best of each model and what is here.
    """
    here = {_key(local.model, local.variant): (local, plan) for local, plan in local_plans}
    rows: list[AdviceRow] = []
    models: set[str] = set()
    for plan in advice.plans:
        if plan.model.demo:
            continue
        local, _ = here.pop(_key(plan.model, plan.variant), (None, plan))
        if all_variants or local is not None or plan.model.id not in models:
            rows.append(AdviceRow(plan, local))
        models.add(plan.model.id)
    others = [AdviceRow(plan, local) for local, plan in here.values()]
    return (*rows, *sorted(others, key=lambda row: row.model.demo))


def first_choice(rows: Sequence[AdviceRow], *, online: bool) -> AdviceRow | None:
    """The row to begin at: the best that fits and can be had; without any, the demo.

    Args:
        rows: The list.
        online: Whether downloads are allowed.
    """
    possible = [r for r in rows if r.plan.fits and (online or r.local is not None)]
    return next(iter(possible), None) or (rows[-1] if rows else None)


def wanted_row(rows: Sequence[AdviceRow], wanted: Choice | None) -> AdviceRow | None:
    """The row that a user named: the variant, or else the first of its model; None for none."""
    if wanted is None:
        return None
    variant = wanted.variant
    same = [row for row in rows if row.model.id == wanted.model.id]
    exact = [r for r in same if variant and r.variant.quantization == variant.quantization]
    return next(iter(exact or same), None)


def _key(model: Model, variant: Variant) -> tuple[str, str, str]:
    return (model.id, variant.quantization, variant.repository)
