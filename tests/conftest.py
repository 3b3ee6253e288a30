"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from replicate_async._http import clock as sdk_clock

# In the background of a shell SIGINT is ignored, also by the programs that tests start: unless it is handled here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _real_time() -> Iterator[None]:
    """Put the real clock back after a test that had another."""
    real = sdk_clock.current
    yield
    sdk_clock.current = real


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
