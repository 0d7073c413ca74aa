"""Which model, which quantization: plans ranked for one machine and one goal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from localr1.config import Goal
from localr1.fit.comparison import passed_over, place
from localr1.fit.counterfactual import would_fit_if
from localr1.fit.explain import Ranking, reasons
from localr1.fit.full_r1 import full_r1
from localr1.fit.limits import limits
from localr1.fit.pool import shortages
from localr1.fit.score import hardly_usable, score, score_within, worth
from localr1.fit.search import find
from localr1.fit.types import Advice, Asked, Plan
from localr1.machine.types import Machine
from localr1.models.types import Model

QuantizationLoss = Callable[[str, int], float]
"""Points of quality that a quantization costs a model of so many parameters."""


def advise(  # noqa: PLR0913 - independent choices, each by keyword
    machine: Machine,
    models: Iterable[Model],
    goal: Goal = "best",
    context_window: int | None = None,
    *,
    kv_cache_type: str | None = None,
    quantization_loss: QuantizationLoss,
    every_variant: bool = True,
) -> Advice:
    """Rank every variant of every model, each in the placement that suits the goal best.

    The best variant of each model comes first, best model first; then the other variants
    that fit; then the demo, which never outranks a real model that fits; then what does not
    fit, the smallest shortage first, again the nearest variant of each model before others.

    Args:
        machine: What is to run the model.
        models: The catalogue's models.
        goal: `best` answers that come within about ten minutes, `balanced` within about
            three, `fast` at about 20 tokens per second or as near to it as it goes.
        context_window: A context that must be had; chosen by plan where left out.
        kv_cache_type: The same for the type of the KV cache.
        quantization_loss: `Catalogue.quantization_loss`.
        every_variant: Whether all plans get their reasons, not only the first of each model.
    """
    asked = Asked(context_window=context_window, kv_cache_type=kv_cache_type)
    fitting: list[Plan] = []
    others: list[tuple[int, Plan]] = []
    for model in models:
        for variant in model.variants:
            loss = quantization_loss(variant.quantization, model.architecture.parameters)
            plan = replace(find(model, variant, machine, asked, goal), points_lost=loss)
            if plan.fits:
                fitting.append(replace(plan, score=score(plan, goal, loss, asked)))
            else:
                lack = sum(s.bytes_short for s in shortages(plan.devices, machine))
                others.append((lack, plan))
    fitting.sort(key=lambda p: (p.model.demo, -p.score))
    sound = (plan for plan in fitting if not hardly_usable(plan))
    best = _one_of_each(
        sorted(sound, key=lambda p: -score_within(p, goal, p.points_lost or 0.0, asked))
    )
    fitting.sort(key=lambda p: (p.model.demo, id(p) not in best, -p.score))
    others.sort(key=lambda pair: (hardly_usable(pair[1]), pair[0]))
    missing = [plan for _, plan in others]
    advised = {plan.model.id for plan in fitting if id(plan) in best}
    nearest = _one_of_each([plan for plan in missing if plan.model.id not in advised])
    missing.sort(key=lambda p: id(p) not in nearest)
    told = _Teller(machine, goal, asked, tuple(fitting), frozenset(best | nearest))
    plans = (*fitting, *missing)
    words = None if every_variant else _one_of_each(plans)
    return Advice(
        goal,
        tuple(told.with_words(p) if words is None or id(p) in words else p for p in plans),
        full_r1(plans, machine),
    )


@dataclass(frozen=True)
class _Teller:
    """Gives plans their words."""

    machine: Machine
    goal: Goal
    asked: Asked
    fitting: tuple[Plan, ...]
    """Best first."""
    firsts: frozenset[int]
    """Identities of the one plan of each model that is advised, or nearest."""

    def with_words(self, plan: Plan) -> Plan:
        """The plan with its reasons, and what would make it fit."""
        advised = id(plan) in self.firsts
        ranking = Ranking(
            place(plan, self._first, self.goal, self._worth, advised=advised),
            self._beside(plan),
        )
        return replace(
            plan,
            reasons=(
                *reasons(plan, self.machine, self.asked, ranking),
                *limits(plan, self.machine, thorough=advised),
            ),
            would_fit_if=would_fit_if(
                plan,
                self.machine,
                self.asked,
                _best_smaller(plan, self.fitting),
                thorough=advised,
            ),
        )

    @property
    def _first(self) -> Plan | None:
        return next((plan for plan in self.fitting if not plan.model.demo), None)

    def _worth(self, plan: Plan) -> float:
        return worth(plan, plan.points_lost or 0.0, self.asked)

    def _beside(self, plan: Plan) -> tuple[str, ...]:
        """What the first choice was preferred to, or may give way to."""
        if plan is not self._first:
            return ()
        others = [p for p in self.fitting if p.model.id != plan.model.id and not p.model.demo]
        advised = [p for p in others if id(p) in self.firsts]
        return tuple(passed_over(plan, others, advised, self._worth))


def _one_of_each(plans: Sequence[Plan]) -> set[int]:
    """The identities of the first plan of each model."""
    seen: dict[str, Plan] = {}
    for plan in plans:
        seen.setdefault(plan.model.id, plan)
    return {id(plan) for plan in seen.values()}


def _best_smaller(plan: Plan, fitting: Sequence[Plan]) -> Plan | None:
    """The plan of the model's best smaller variant that fits."""
    return next(
        (
            other
            for other in fitting
            if other.model.id == plan.model.id
            and not hardly_usable(other)
            and other.variant.size_bytes < plan.variant.size_bytes
        ),
        None,
    )
