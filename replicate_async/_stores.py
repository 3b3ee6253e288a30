"""Where journals and shared rate limits are kept: small values by key, which several processes change.

Every change is a swap: it takes place only if the value is what the caller has read. This is all that processes need to
agree with each other, and databases of all kinds have it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

from replicate_async._fork import after_fork_in_child, make_immortal
from replicate_async._threads import run_in_thread
from replicate_async._typing import UncheckedType

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

_PAGE_SIZE = 100
# In seconds: how long a process waits while another one writes.
_BUSY_SECONDS = 60.0


class JournalStore(Protocol):
    """Keeps values by key, for any number of processes. Implement it to use a database of your own.

    Errors that its methods raise reach the callers of a journal as they are, not as ``APIError``.
    """

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if it has none."""
        ...

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace the value of a key in one atomic step, and return whether that was done.

        Args:
            key: The key.
            old: The value that the key must have, or None if it must have none. Otherwise, nothing is changed.
            new: The new value, or None to delete the key.

        Returns:
            Whether the value was replaced.
        """
        ...

    async def page(self, after: str) -> list[tuple[str, bytes]]:
        """Return the next keys after a key, in the order of their UTF-8 bytes, with their values.

        Args:
            after: The key, which need not exist.

        Returns:
            Some of the entries; an empty list if there are no more.
        """
        ...

    async def close(self) -> None:
        """Close connections. A store that is used again opens new ones."""
        ...


# A store, the path of an SQLite database, or the URL of a PostgreSQL database.
StoreLike: TypeAlias = Annotated[JournalStore, UncheckedType()] | str | os.PathLike[str]


def open_store(store: StoreLike) -> JournalStore:
    """Return a store for what users pass for one."""
    if not isinstance(store, (str, os.PathLike)):
        if not callable(getattr(store, "swap", None)):
            raise TypeError(f"a store is a path, a postgresql:// URL or a JournalStore, not {type(store).__name__}")
        return store
    if str(store).startswith(("postgresql://", "postgres://")):
        from replicate_async._postgres import PostgresStore

        return PostgresStore(str(store))
    scheme, separator, _ = str(store).partition("://")
    if separator:
        # The rest may have a password.
        raise ValueError(f"a store is a path or a postgresql:// URL, not a URL that begins with {scheme}://")
    return SQLiteStore(store)


class SQLiteStore:
    """A store in a file, for the processes of one machine. It is created when it is first used.

    A process that is killed loses nothing that it has written. After a power failure, the last moments may be missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Describe the store.

        Args:
            path: The file, which must not be on a network share.
        """
        # Absolute, because a copy may be used in another process.
        self.path: str = os.path.abspath(path)  # noqa: PTH100
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._finalizer: Any = None
        _sqlite_stores.add(self)

    def open(self, *, exclusive: bool = False) -> None:
        """Open the file now, and not when it is first used.

        Args:
            exclusive: Whether to lock other processes out.

        Raises:
            OSError: the file can't be opened or created.
            ValueError: the file is not a journal, can't be written, or stays locked by another process: for 60 seconds,
                or at all with ``exclusive``.
        """
        import sqlite3  # keeps the import of this module light

        seconds = 0.0 if exclusive else _BUSY_SECONDS
        try:
            # Used by one thread at a time.
            db = sqlite3.connect(self.path, timeout=seconds, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise OSError(f"cannot create the journal {self.path}: {error}") from error
        end = time.monotonic() + seconds
        while True:
            try:
                if exclusive:
                    db.execute("PRAGMA locking_mode = EXCLUSIVE")
                # With these two, a kill at any moment leaves the file intact, and no write waits for the disk.
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'line'").fetchone():
                    raise sqlite3.DatabaseError("it was written by an older version, which has to complete it")
                db.execute("CREATE TABLE IF NOT EXISTS journal (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
                break
            except sqlite3.Error as error:
                # SQLite does not wait by itself while another process changes the mode.
                is_locked = "locked" in str(error)
                if is_locked and time.monotonic() < end:
                    time.sleep(0.01)
                    continue
                db.close()
                problem = "is used by another process" if is_locked else f"is not a readable journal: {error}"
                raise ValueError(f"{self.path} {problem}") from error
        self._db = db
        self._finalizer = weakref.finalize(self, db.close)

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if it has none.

        Raises:
            OSError: the file can't be opened or created, when it is first used.
            ValueError: the file is not a journal, or stays locked by another process, when it is first used.
            sqlite3.OperationalError: the database stays locked for 60 seconds, or can't be written.
        """
        rows, _ = await self._run("SELECT value FROM journal WHERE key = ?", key)
        return rows[0][0] if rows else None

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace the value of a key in one atomic step; see ``JournalStore``.

        Raises:
            OSError: the file can't be opened or created, when it is first used.
            ValueError: the file is not a journal, or stays locked by another process, when it is first used.
            sqlite3.OperationalError: the database stays locked for 60 seconds, or can't be written.
        """
        if old is None:
            _, count = await self._run("INSERT OR IGNORE INTO journal VALUES (?, ?)", key, new)
        elif new is None:
            _, count = await self._run("DELETE FROM journal WHERE key = ? AND value = ?", key, old)
        else:
            _, count = await self._run("UPDATE journal SET value = ? WHERE key = ? AND value = ?", new, key, old)
        return count > 0

    async def page(self, after: str) -> list[tuple[str, bytes]]:
        """Return the next keys after a key, with their values; see ``JournalStore``.

        Raises:
            OSError: the file can't be opened or created, when it is first used.
            ValueError: the file is not a journal, or stays locked by another process, when it is first used.
            sqlite3.OperationalError: the database stays locked for 60 seconds, or can't be written.
        """
        query = "SELECT key, value FROM journal WHERE key > ? ORDER BY key LIMIT ?"
        return (await self._run(query, after, _PAGE_SIZE))[0]

    async def close(self) -> None:
        """Close the file. A store that is used again opens it again."""
        # It waits for a call in progress, which may wait for another process.
        await run_in_thread(self.close_now)

    def close_now(self) -> None:
        """Close the file, as ``close`` does."""
        with self._lock:
            if self._db is not None:
                self._finalizer()
                self._db = None

    async def _run(self, query: str, *values: object) -> tuple[list[Any], int]:
        return await run_in_thread(self._execute, query, values)

    def _execute(self, query: str, values: tuple[object, ...]) -> tuple[list[Any], int]:
        with self._lock:
            if self._db is None:
                self.open()
            assert self._db is not None  # noqa: S101
            cursor = self._db.execute(query, values)
            return cursor.fetchall(), cursor.rowcount

    def __reduce__(self) -> tuple[Callable[[str], SQLiteStore], tuple[str]]:
        return SQLiteStore, (self.path,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"


_sqlite_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()


@after_fork_in_child
def _forget_connections() -> None:
    """Leave the parent's connections alone: SQLite's locks belong to its process."""
    for store in list(_sqlite_stores):
        if store._db is not None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            make_immortal(store._db)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            store._finalizer.detach()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        store._db, store._lock = None, threading.Lock()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
