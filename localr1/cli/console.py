"""The console that commands print with."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from localr1.printable import printable


class PrintableConsole(Console):
    """Prints text without anything a terminal would obey, wherever the text came from."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  # passed on
        """Every string that is printed, or stands in a table, comes through here."""
        return super().render_str(printable(text), **options)
