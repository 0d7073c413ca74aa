"""The line that says that what is written leaves this computer, and where it goes."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.remote.model import RemoteModel, where_it_goes


class Leaving(Static):
    """Shown as long as the model is a server's."""

    DEFAULT_CSS = """
    Leaving { height: auto; padding: 0 2; color: $warning; display: none; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="leaving")

    def show(self, local: LocalModel) -> None:
        """Say it of a model, or nothing where the model is here."""
        address = local.address if isinstance(local, RemoteModel) else None
        self.display = address is not None
        if address is not None:
            self.update(Content(printable(where_it_goes(address))))
