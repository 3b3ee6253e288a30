"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from replicate_async._http import clock as sdk_clock

# A shell lets background processes, and the programs that they start, ignore SIGINT unless it is handled here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _real_time() -> Iterator[None]:
    """Restore the real clock after each test."""
    real = sdk_clock.current
    yield
    sdk_clock.current = real


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
