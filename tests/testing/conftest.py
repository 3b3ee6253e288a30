"""Fixtures for the tests of the local server."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio: it is what aiohttp runs on."""
    return "asyncio"
