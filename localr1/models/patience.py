"""How long to wait for a network, and how often to try again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Time limits and retries of everything that talks to the hub."""

    connect_seconds: float = 10.0
    """For a connection to open."""
    stall_seconds: float = 20.0
    """Without a single byte before a connection counts as dead."""
    attempts: int = 10
    """Tries in a row without any progress before giving up; with the waits below, two to
    three minutes."""
    backoff_seconds: float = 0.5
    """Wait after the first failure; doubled after each further one."""
    backoff_limit_seconds: float = 30.0
    """The longest wait between two tries."""
    retry_after_limit_seconds: float = 300.0
    """The longest wait that a server may ask for with `Retry-After`."""

    def wait_seconds(self, failures: int, asked_seconds: float | None = None) -> float:
        """How long to wait before the next try.

        Args:
            failures: Failures in a row so far, from 1.
            asked_seconds: What the server asked for, if it did.
        """
        doubled: float = self.backoff_seconds * 2 ** min(failures - 1, 30)
        usual = min(doubled, self.backoff_limit_seconds)
        # A server that says "in 0 s" again and again is still not asked all the time.
        return max(usual, min(asked_seconds or 0.0, self.retry_after_limit_seconds))
