"""The monotonic clock, which tests that freeze the time leave alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

# Seconds since some fixed point. freezegun replaces time.monotonic in all modules; Windows has nothing else.
monotonic: Callable[[], float] = (
    time.monotonic if sys.platform == "win32" else partial(time.clock_gettime, time.CLOCK_MONOTONIC)
)
