"""What a server does where nobody says otherwise; importing this loads no server."""

from __future__ import annotations

from typing import Final

from localr1.errors import UsageError

PORT: Final = 8017
AT_ONCE: Final = 4
"""Replies that may be written at once."""
MOST_AT_ONCE: Final = 64
MOST_WAITING: Final = 256
"""Requests that may wait."""
LONGEST_SECONDS: Final = 3600
"""A longer reply is cut."""


def not_installed(error: ModuleNotFoundError) -> UsageError:
    """The error where the server's parts, an extra, are not installed."""
    return UsageError(
        "The server's parts are not installed.",
        f"There is no {error.name}.",
        'Install them: pip install "localr1[server]"',
    )
