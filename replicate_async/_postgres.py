"""A store in a PostgreSQL database, for the processes of any number of machines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

_PAGE_SIZE = 100
_MAX_CONNECTIONS = 4


class PostgresStore:
    """A store in a table of a PostgreSQL database. The table is created when the store is first used.

    It needs ``asyncpg``: ``pip install 'replicate-async[postgres]'``.
    """

    def __init__(self, url: str, *, table: str = "replicate_journal") -> None:
        """Describe the store.

        Args:
            url: The database, such as ``postgresql://user:password@host/database``.
            table: The table. Its name has letters, digits and underscores; it may begin with a schema and a dot.

        Raises:
            ValueError: the name of the table is invalid.
        """
        if not re.fullmatch(r"(\w+\.)?\w+", table, re.ASCII):
            raise ValueError(f"table={table!r} is invalid: use letters, digits and underscores")
        self._url = url
        self._table = table
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[Any]] = WeakKeyDictionary()

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if it has none.

        Raises:
            ModuleNotFoundError: asyncpg is not installed.
            ValueError: the URL is malformed.
            OSError: the server can't be reached.
            TimeoutError: the server does not respond to a connection.
            asyncpg.PostgresError: the server refuses the connection or the query, or the connection broke.
            asyncpg.InterfaceError: the store was closed at the same time.
        """
        pool = await self._pool()
        value: bytes | None = await pool.fetchval(f"SELECT value FROM {self._table} WHERE key = $1", key)  # noqa: S608
        return value

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace the value of a key in one atomic step; see ``JournalStore``.

        It raises the errors of ``get``.
        """
        pool, table = await self._pool(), self._table
        if old is None:
            status = await pool.execute(f"INSERT INTO {table} VALUES ($1, $2) ON CONFLICT DO NOTHING", key, new)  # noqa: S608
        elif new is None:
            status = await pool.execute(f"DELETE FROM {table} WHERE key = $1 AND value = $2", key, old)  # noqa: S608
        else:
            query = f"UPDATE {table} SET value = $3 WHERE key = $1 AND value = $2"  # noqa: S608
            status = await pool.execute(query, key, old, new)
        return str(status).endswith(" 1")

    async def page(self, after: str) -> list[tuple[str, bytes]]:
        """Return the next keys after a key, with their values; see ``JournalStore``.

        It raises the errors of ``get``.
        """
        query = f"SELECT key, value FROM {self._table} WHERE key > $1 ORDER BY key LIMIT {_PAGE_SIZE}"  # noqa: S608
        return [(row["key"], row["value"]) for row in await (await self._pool()).fetch(query, after)]

    async def close(self) -> None:
        """Close the connections of the running event loop. A store that is used again opens new ones."""
        opening = self._pools.pop(asyncio.get_running_loop(), None)
        # If it could not be opened, the call that tried has raised the error.
        if opening is not None and not _has_failed(opening):
            await (await opening).close()

    async def _pool(self) -> Any:
        """Return the connections of the running event loop, opened once."""
        loop = asyncio.get_running_loop()
        opening = self._pools.get(loop)
        if opening is None or _has_failed(opening):
            opening = self._pools[loop] = asyncio.ensure_future(self._open())
        return await asyncio.shield(opening)

    async def _open(self) -> Any:
        try:
            asyncpg: Any = import_module("asyncpg")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("a PostgreSQL journal needs: pip install 'replicate-async[postgres]'") from error
        pool = await asyncpg.create_pool(self._url, min_size=1, max_size=_MAX_CONNECTIONS)
        # The order of keys must not depend on the language of the database.
        columns = 'key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL'
        try:
            async with pool.acquire() as connection, connection.transaction():
                # PostgreSQL may fail if several processes create the same table at the same time.
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self._table)
                await connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({columns})")
        except BaseException:
            pool.terminate()
            raise
        return pool

    def __reduce__(self) -> tuple[Callable[..., PostgresStore], tuple[str, str]]:
        return _restore, (self._url, self._table)

    def __repr__(self) -> str:
        # The URL may have a password.
        return f"<{type(self).__name__} {self._table}>"


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _restore(url: str, table: str) -> PostgresStore:
    return PostgresStore(url, table=table)
