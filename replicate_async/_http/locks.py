"""Locks by key: of the tasks of one event loop that need the same thing, the first one gets it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class _Turn(msgspec.Struct):
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    waiting: int = 0


class KeyedLock:
    """Lets those of one event loop that need the same thing come one after the other: the first one gets it."""

    def __init__(self) -> None:
        self._locks: dict[tuple[object, ...], _Turn] = {}

    @asynccontextmanager
    async def of(self, *thing: object) -> AsyncGenerator[None, None]:
        """Wait until it is one's turn."""
        here = (asyncio.get_running_loop(), *thing)
        turn = self._locks.setdefault(here, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._locks.pop(here, None)
