"""What is kept of a job of many inputs: its results, a line each, and a journal of how far it has come.

The journal is an SQLite database beside the output. It tells of each input whether its prediction was about to be
created, its id as soon as that is known, and whether its result is in the output. A database rather than a file of our
own, because it can't be torn, and because the lock that it holds ends with its process.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from contextlib import ExitStack
    from pathlib import Path


class InputRow(msgspec.Struct, frozen=True):
    """An input, and what tells it from others at its place."""

    index: int
    digest: bytes
    input: dict[str, Any]


class Result(msgspec.Struct):
    """What became of an input, as a line of the output."""

    index: int
    id: str | None
    status: str | None
    output: Any
    error: str | None
    metrics: dict[str, Any] | None


def read_lines(file: Iterable[bytes], name: str) -> Generator[InputRow, None, None]:
    """Read inputs, a JSON object a line.

    Raises:
        ValueError: a line is something else.
    """
    index = 0
    for number, whole in enumerate(file, 1):
        text = whole.removeprefix(b"\xef\xbb\xbf").strip()  # some editors begin a file with this mark
        if not text:
            continue
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"{name}, line {number}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"{name}, line {number}: not a JSON object with a model's inputs by name")  # noqa: TRY004
        yield InputRow(index, hashlib.blake2b(text, digest_size=16).digest(), cast("dict[str, Any]", value))
        index += 1


class Entry(NamedTuple):
    """What a journal knows of an input."""

    digest: bytes
    sent_at: float | None  # by the server's clock; None: its create was refused
    id: str | None
    failed: bool | None  # None: its result isn't in the output


class Journal:
    """How far a job has come, on disk, for one process at a time."""

    def __init__(self, path: Path, job: str) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"{path}, the journal, can't be made: {error}") from error
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Whole after a kill at any moment, without waiting for the disk each time.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS job (what TEXT)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS line"
                " (number INTEGER PRIMARY KEY, digest BLOB, sent_at REAL, id TEXT, failed INTEGER, size INTEGER)"
            )
            if not len(self):
                self._db.execute("DELETE FROM job")
                self._db.execute("INSERT INTO job VALUES (?)", (job,))
            begun = self._one("SELECT what FROM job")
        except sqlite3.Error as error:
            self._db.close()
            raise ValueError(
                "another process works on this output"
                if "locked" in str(error)
                else f"{path} is not a journal that can be read: {error}"
            ) from error
        if begun != job:
            self._db.close()
            raise ValueError(f"{path} is the journal of another job: {begun}")

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()[0]

    def __len__(self) -> int:
        """Return how many inputs have been taken."""
        return int(self._one("SELECT coalesce(max(number) + 1, 0) FROM line"))

    def __getitem__(self, number: int) -> Entry | None:
        row = self._db.execute("SELECT digest, sent_at, id, failed FROM line WHERE number = ?", (number,)).fetchone()
        return row and Entry(*row)

    def ids(self) -> Iterator[str]:
        """Return the ids of all predictions, in the order of their inputs."""
        return (row[0] for row in self._db.execute("SELECT id FROM line WHERE id IS NOT NULL ORDER BY number"))

    def ended_so_far(self) -> tuple[int, int]:
        """Return how many inputs have a result, and how many of them failed."""
        row: tuple[int, int] = self._db.execute("SELECT count(failed), coalesce(sum(failed), 0) FROM line").fetchone()
        return row

    def size(self) -> int:
        """Return how long the output was after the last result."""
        return int(self._one("SELECT coalesce(max(size), 0) FROM line"))

    def begin(self, line: InputRow, sent_at: float) -> None:
        """Note that a prediction is about to be created."""
        self._db.execute(
            "INSERT OR REPLACE INTO line VALUES (?, ?, ?, NULL, NULL, NULL)", (line.index, line.digest, sent_at)
        )

    def undo_start(self, index: int) -> None:
        """Note that it was not created after all."""
        self._db.execute("UPDATE line SET sent_at = NULL WHERE number = ?", (index,))

    def created(self, index: int, prediction_id: str) -> None:
        """Note what was created."""
        self._db.execute("UPDATE line SET id = ? WHERE number = ?", (prediction_id, index))

    def ended(self, result: Result, size: int) -> None:
        """Note that a result is in the output, which now has this size."""
        failed = result.error is not None
        self._db.execute("UPDATE line SET failed = ?, size = ? WHERE number = ?", (failed, size, result.index))

    def close(self) -> None:
        self._db.close()

    def remove(self) -> None:
        """Forget the job, which is done."""
        self._db.close()
        self._path.unlink(missing_ok=True)


class Output:
    """Where the results go, each in one piece."""

    def __init__(self, file: IO[bytes], size: int = 0, *, shared: bool = False) -> None:
        self.size = size
        self._file = file
        self._shared = shared  # with others who write to it, before or meanwhile

    def write(self, result: Result) -> None:
        """Append a result."""
        data = memoryview(msgspec.json.encode(result) + b"\n")
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            self._file.flush()
        except OSError:
            if not self._shared:
                self._file.truncate(self.size)  # the disk is full: half a line would spoil those after it
            raise
        self.size += len(data)

    @classmethod
    def resume(cls, file: IO[bytes], journal: Journal) -> Output:
        """Go on where a job was interrupted: a whole last line counts, a torn one doesn't.

        Raises:
            ValueError: the file is not what the job has written.
        """
        made = cls(file, journal.size())
        if file.seek(0, os.SEEK_END) < made.size:
            raise ValueError(f"{file.name} has been changed since the job was interrupted")
        file.seek(made.size)
        for data in file.readlines():
            if data.endswith(b"\n"):
                made.size += len(data)
                try:
                    result = msgspec.json.decode(data, type=Result)
                except msgspec.MsgspecError as error:
                    raise ValueError(f"{file.name} has been changed since the job was interrupted: {error}") from None
                if journal[result.index] is None:
                    raise ValueError(f"{file.name} has results that its journal doesn't know: move both away")
                journal.ended(result, made.size)
        file.seek(made.size)
        file.truncate()
        return made


def open_results(opened: ExitStack, output: Path, job: str | None) -> tuple[Journal | None, Output]:
    """Open the output of a job, and its journal where there can be one; None: the job can't be gone on with.

    Raises:
        ValueError: there is something else already, or another process at work.
    """
    if str(output) == "-":
        standard = sys.stdout.buffer
        # Not what is buffered: that would be tried again at the end, after a write that failed.
        return None, Output(getattr(standard, "raw", standard), shared=True)
    if output.exists() and not output.is_file():
        return None, Output(opened.enter_context(output.open("wb", buffering=0)), shared=True)
    kept = output.with_name(f"{output.name}.journal")
    if output.exists() and output.stat().st_size and (job is None or not kept.exists()):
        raise ValueError(f"{output} exists: move it away, or choose another name")
    journal = None
    if job is not None:
        journal = Journal(kept, job)
        opened.callback(journal.close)
    file = opened.enter_context(output.open("a+b", buffering=0))
    return journal, Output(file) if journal is None else Output.resume(file, journal)
