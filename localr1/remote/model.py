"""A server's model, as the rest of localr1 knows models. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from localr1.fit.types import Interval, Plan, Settings, TimeToAnswer
from localr1.gguf.types import Architecture
from localr1.models.types import LocalModel, Model, Sampling, ThinkingTokens, Variant
from localr1.remote.address import Address
from localr1.remote.client import Served

_NOTHING_HERE: Final = Architecture(
    name="",
    layers=0,
    embedding_length=0,
    feed_forward_length=0,
    head_count=0,
    head_count_kv=0,
    key_length=0,
    value_length=0,
    vocabulary_size=0,
    context_length=0,
    parameters=0,
)
_UNKNOWN: Final = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class RemoteModel(LocalModel):
    """A model that a server has; no file of it is here."""

    address: Address = field(kw_only=True)


def remote_model(served: Served, catalogue: Iterable[Model]) -> RemoteModel:
    """What a server's model is to the app.

    Where the catalogue has a model of that name, its makers' recommendations hold.

    Args:
        served: As it was found.
        catalogue: The known models.
    """
    name = served.name.rpartition("/")[2].lower()
    known = next((m for m in catalogue if name in {m.name.lower(), m.id.lower()}), None)
    if known is not None:
        model = replace(known, id=served.name, own_format=None)
    else:
        model = Model(
            id=served.name,
            name=served.name,
            architecture=_NOTHING_HERE,
            variants=(),
            license="",
            base_license="",
            released="",
            source="",
            force_think=False,
            system_prompt=True,
            sampling=Sampling(),
            kv_cache_types=(),
            thinking_tokens=ThinkingTokens(0, 0, assumed=True, source=""),
        )
    variant = Variant(f"at {served.address.host}", "", (), 0, size_is_exact=True)
    return RemoteModel(model, variant, Path(), 0, served.address.host, address=served.address)


def plan(local: RemoteModel, context_window: int) -> Plan:
    """How it is run: not here, so that nothing is taken and no speed is known."""
    return Plan(
        local.model,
        local.variant,
        Settings(context_window),
        devices=(),
        fits=True,
        upper_bound=True,
        prompt_tps=_UNKNOWN,
        generation_tps=_UNKNOWN,
        time_to_answer=TimeToAnswer(_UNKNOWN, _UNKNOWN, _UNKNOWN, assumed=True),
        reasons=(),
    )


def where_it_goes(address: Address) -> str:
    """What a user is always told."""
    if address.loopback:
        return f"What you write goes to {address.host}, a server on this computer."
    open_line = "" if address.encrypted else ", unencrypted"
    return f"What you write leaves this computer: it goes to {address.host}{open_line}."
