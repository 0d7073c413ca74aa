"""Which model on this disk a user means by MODEL[:VARIANT]."""

from __future__ import annotations

import shlex

from localr1 import workflow
from localr1.config import expanded
from localr1.errors import FileError, LocalR1Error, OfflineError, UnknownModel, UsageError
from localr1.models.library import Partial
from localr1.models.types import Choice, LocalModel


def local_model(home: workflow.Home, wanted: str, *, offline: bool = False) -> LocalModel:
    """The one complete model that a name or path means.

    Args:
        home: Where things are.
        wanted: MODEL[:VARIANT], or a path.
        offline: Whether the user asked to stay offline.

    Raises:
        OfflineError: It is not here, and the user asked to stay offline.
        UnknownModel: Nothing answers to the name.
        UsageError: Several are here.
        FileError: It is not here.
    """
    here = workflow.local_models(home)  # also what is found on other programs' shelves
    at = expanded(wanted).absolute()
    found = [local for local in here if local.path == at]
    if not found and at.is_file():
        named = home.library.at(at, home.catalogue)
        found = [named] if named is not None else []
    if not found:
        choice = resolve(home, wanted)
        quantization = choice.variant.quantization.upper() if choice.variant else None
        found = [
            local
            for local in here
            if local.model.id == choice.model.id
            and quantization in {None, local.variant.quantization.upper()}
        ]
        if not found:  # a copy of another file is not listed, but has a name
            named = home.library.find(choice)
            found = [named] if named is not None else []
    if len(found) > 1:
        names = ", ".join(f"{local.model.id}:{local.variant.quantization}" for local in found)
        raise UsageError("Several variants are here.", names, "Name one of them.")
    if not found:
        raise missing(wanted, home.library.absence, offline=offline)
    return found[0]


def resolve(home: workflow.Home, wanted: str) -> Choice:
    """What a name means; where it means nothing, a disk that is not connected is named.

    Raises:
        UnknownModel: Nothing answers to the name.
    """
    try:
        return home.catalogue.resolve(wanted)
    except UnknownModel as error:
        if not (absence := home.library.absence):
            raise
        raise UnknownModel(error.what, f"{error.why} {absence}".strip(), error.todo) from error


def unlisted(home: workflow.Home, stopped: Partial) -> tuple[str, ...]:
    """What can be done with a stopped download that `pull` does not know; nothing if it does."""
    if workflow.listed_variant(home, stopped) is not None:
        return ()
    again = shlex.quote(f"hf:{stopped.name}") if stopped.from_hub else "ADDRESS"
    return (
        f"  Go on with it: localr1 import {again}",
        f"  Delete it: localr1 rm --stopped {shlex.quote(stopped.name)}",
    )


def missing(wanted: str, absence: str = "", *, offline: bool = False) -> LocalR1Error:
    """The error for a model that is not on this disk."""
    if offline:
        return OfflineError(
            f"{wanted} is not on this computer.",
            "The network may not be used.",
            "`localr1 models` shows what is here.",
        )
    return FileError(
        f"{wanted} is not on this computer.", absence, "`localr1 models` shows what is."
    )
