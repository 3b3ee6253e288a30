"""Locks by key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from replicate_async._threads import running_loop


class _Entry(msgspec.Struct):
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    users: int = 0


class KeyedLock:
    """A lock for each key and event loop, so that tasks that need the same thing fetch it once."""

    def __init__(self) -> None:
        self._entries: dict[tuple[object, ...], _Entry] = {}

    @asynccontextmanager
    async def hold(self, *key: object) -> AsyncGenerator[None, None]:
        """Hold the lock of a key."""
        loop_key = (running_loop(), *key)
        entry = self._entries.setdefault(loop_key, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                self._entries.pop(loop_key, None)
