"""The line that says that what is written leaves this computer, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from localr1.engine.peers import leaves_to
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.remote.model import RemoteModel, where_it_goes


class Leaving(Static):
    """Shown as long as the model is a server's, or other computers hold parts of it."""

    DEFAULT_CSS = """
    Leaving { height: auto; padding: 0 2; color: $warning; display: none; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="leaving")

    def show(self, local: LocalModel, pool: Sequence[str] = ()) -> None:
        """Say it of a model, or nothing where all of it is here.

        Args:
            local: The model.
            pool: Other computers that may hold parts of it.
        """
        words = ""
        address = local.address if isinstance(local, RemoteModel) else None
        if address is not None:
            words = where_it_goes(address)
        elif pool:
            words = leaves_to(pool)
        self.display = bool(words)
        self.update(Content(printable(words)))
