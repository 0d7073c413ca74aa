"""A model on a server, as `ask` and `chat` use it with `--endpoint`."""

from __future__ import annotations

from localr1.config import network_allowed
from localr1.errors import OfflineError
from localr1.home import Home
from localr1.remote import address
from localr1.remote.client import RemoteEngine, Served, find
from localr1.remote.model import RemoteModel, remote_model


def allowed(home: Home, url: str) -> address.Address:
    """The address, if it may be used.

    Raises:
        OfflineError: The user asked to stay offline.
        UsageError: It is no address.
    """
    place = address.parse(url)
    if not network_allowed(home.offline):
        raise OfflineError(
            f"{place.host} is not asked: localr1 is offline.",
            "--offline or HF_HUB_OFFLINE is set.",
            "Run it again without them, or use a model on this computer.",
        )
    return place


async def found(place: address.Address, wanted: str | None) -> tuple[Served, str]:
    """A server's model, and the key for it.

    Raises:
        EndpointError: The server cannot be used.
        UnknownModel: It has no such model.
    """
    key = address.key_for(place)
    return await find(place, key, wanted), key


async def connect(
    home: Home, place: address.Address, wanted: str | None, schema: object = None
) -> tuple[RemoteModel, RemoteEngine]:
    """Find the model, and an engine that asks it.

    Args:
        home: For the list of models.
        place: Where the server is.
        wanted: The model's name there.
        schema: The JSON schema of its answers; None for none.

    Raises:
        EndpointError: The server cannot be used.
        UnknownModel: It has no such model.
    """
    served, key = await found(place, wanted)
    model = remote_model(served, home.catalogue.models)
    return model, RemoteEngine(served, key, open_thinking=model.model.force_think, schema=schema)
