"""What a server does where nobody says otherwise; importing this loads nothing else."""

from __future__ import annotations

from typing import Final

PORT: Final = 8017
AT_ONCE: Final = 4
"""Replies that may be written at once."""
MOST_AT_ONCE: Final = 64
MOST_WAITING: Final = 256
"""Requests that may wait."""
LONGEST_SECONDS: Final = 3600
"""A longer reply is cut."""
EXTRA: Final = 'Install them: pip install "localr1[server]"'
"""What to do where the server's parts are not installed."""
