"""The monotonic clock, which tests that freeze the time leave alone."""

from __future__ import annotations

import sys
import time


def monotonic() -> float:
    """Return the seconds since some fixed point, whether or not a test has frozen the time."""
    # freezegun replaces time.monotonic in all modules. Windows has no other.
    if sys.platform == "win32":
        return time.monotonic()
    return time.clock_gettime(time.CLOCK_MONOTONIC)
