"""How far a batch of predictions has come, on disk, so that a process that resumes it pays for nothing twice.

The journal is an SQLite database. For each input it records that a create was about to be sent, the prediction's id as
soon as the API returns it, and whether its result has been written. A database cannot be left half written, and its
lock ends with its process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """The record of an input.

    Attributes:
        digest: The digest of the input.
        sent_at: When its create was about to be sent, by the server's clock. None if the API refused it.
        id: The id of its prediction, if known.
        failed: Whether its result is an error. None if its result hasn't been written.
    """

    digest: bytes
    sent_at: float | None
    id: str | None
    failed: bool | None


class Journal:
    """The records of a batch, open in one process at a time.

    Args:
        path: The database. It is created if it doesn't exist.
        batch: Describes the batch; one that is resumed must have the same description.

    Raises:
        OSError: The file cannot be created.
        ValueError: The file is not a journal of this batch, or another process has it open.
    """

    def __init__(self, path: Path, batch: str) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"cannot create the journal {path}: {error}") from error
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # With these two, a kill at any moment leaves it intact, and no write waits for the disk.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS job (what TEXT)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS line"
                " (number INTEGER PRIMARY KEY, digest BLOB, sent_at REAL, id TEXT, failed INTEGER, size INTEGER)"
            )
            if not len(self):
                self._db.execute("DELETE FROM job")
                self._db.execute("INSERT INTO job VALUES (?)", (batch,))
            (recorded,) = self._row("SELECT what FROM job")
        except sqlite3.Error as error:
            self._db.close()
            raise ValueError(
                "another process is writing this output"
                if "locked" in str(error)
                else f"{path} is not a readable journal: {error}"
            ) from error
        if recorded != batch:
            self._db.close()
            raise ValueError(f"{path} is the journal of another batch: {recorded}")

    def _row(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()

    def __len__(self) -> int:
        """Return the number of inputs that have been started."""
        return int(self._row("SELECT coalesce(max(number) + 1, 0) FROM line")[0])

    def __getitem__(self, index: int) -> Entry | None:
        row = self._row("SELECT digest, sent_at, id, failed FROM line WHERE number = ?", index)
        return row and Entry(*row)

    def ids(self) -> Iterator[str]:
        """Return the ids of all predictions, in the order of their inputs."""
        return (row[0] for row in self._db.execute("SELECT id FROM line WHERE id IS NOT NULL ORDER BY number"))

    def counts(self) -> tuple[int, int]:
        """Return how many inputs have a result, and how many of these failed."""
        row: tuple[int, int] = self._row("SELECT count(failed), coalesce(sum(failed), 0) FROM line")
        return row

    def size(self) -> int:
        """Return the length of the output after the last result."""
        return int(self._row("SELECT coalesce(max(size), 0) FROM line")[0])

    def record_start(self, index: int, digest: bytes, sent_at: float) -> None:
        """Record that a create is about to be sent."""
        self._db.execute("INSERT OR REPLACE INTO line VALUES (?, ?, ?, NULL, NULL, NULL)", (index, digest, sent_at))

    def undo_start(self, index: int) -> None:
        """Record that nothing was created after all."""
        self._db.execute("UPDATE line SET sent_at = NULL WHERE number = ?", (index,))

    def record_created(self, index: int, prediction_id: str) -> None:
        """Record the id of a prediction."""
        self._db.execute("UPDATE line SET id = ? WHERE number = ?", (prediction_id, index))

    def record_result(self, index: int, size: int, *, failed: bool) -> None:
        """Record that a result has been written, and the length of the output after it."""
        self._db.execute("UPDATE line SET failed = ?, size = ? WHERE number = ?", (failed, size, index))

    def close(self) -> None:
        """Close the file; the batch can be resumed."""
        self._db.close()

    def remove(self) -> None:
        """Close and delete the file: the batch is done."""
        self._db.close()
        self._path.unlink(missing_ok=True)
