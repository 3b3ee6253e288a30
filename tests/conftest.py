"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replicate_async import _clock


@pytest.fixture(autouse=True)
def _real_time() -> Iterator[None]:
    """Put the real clock back after a test that had another."""
    real = _clock.current
    yield
    _clock.current = real


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
