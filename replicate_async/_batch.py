"""Many inputs, line by line, in a job that survives its process: nothing is lost that was paid for, nor paid for twice.

A journal beside the output, an SQLite database, tells of each input whether its prediction was about to be created,
its id as soon as that is known, and whether its result is in the output. A database rather than a file of our own,
because it can't be torn, and because the lock that it holds ends with its process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import time
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from msgspec import UNSET

from replicate_async import _clock
from replicate_async._arguments import model_path
from replicate_async._creates import find
from replicate_async._jobs import look
from replicate_async._map import Outcome, Outcomes
from replicate_async._run import Job
from replicate_async._wire import Request
from replicate_async.errors import (
    BadRequestError,
    CreateOutcomeUnknown,
    ModelError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from replicate_async._arguments import ModelRef
    from replicate_async._transport import Transport

# Creates under way. What they make would have to be looked for if the process was killed.
_CREATES = 8


class Line(msgspec.Struct, frozen=True):
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


def read_lines(file: Iterable[bytes], name: str) -> Generator[Line, None, None]:
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
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"{name}, line {number}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"{name}, line {number}: not a JSON object with a model's inputs by name")  # noqa: TRY004
        yield Line(index, hashlib.blake2b(text, digest_size=16).digest(), cast("dict[str, Any]", value))
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
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
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

    def begin(self, line: Line, sent_at: float) -> None:
        """Note that a prediction is about to be created."""
        self._db.execute(
            "INSERT OR REPLACE INTO line VALUES (?, ?, ?, NULL, NULL, NULL)", (line.index, line.digest, sent_at)
        )

    def took_back(self, index: int) -> None:
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

    def __init__(self, file: IO[bytes], size: int = 0) -> None:
        self.size = size
        self._file = file

    def write(self, result: Result) -> None:
        """Append a result."""
        data = memoryview(msgspec.json.encode(result) + b"\n")
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            self._file.flush()
        except OSError:
            if self._file.seekable():
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


class Batch:
    """A job of many inputs."""

    def __init__(self, transport: Transport, model: ModelRef, journal: Journal | None) -> None:
        self.transport = transport
        self.journal = journal
        self.creates = asyncio.Semaphore(_CREATES)
        self.failure: BaseException | None = None
        self._model = model
        self._ahead = 0.0

    def server_time(self) -> float:
        """Return the time by the server's clock, which stamps predictions: other machines may go on with this job."""
        return _clock.current.monotonic() + self._ahead

    async def run(
        self, lines: Iterator[Line], output: Output, *, concurrency: int, tell: Callable[[Result], None]
    ) -> None:
        """Run the model on all inputs that have no result yet.

        Raises:
            ValueError: the inputs are not those that the job began with.
            APIError: a call failed, for reasons that aren't an input's own; what was under way has been carried
                through before.
        """
        await self._look_at_the_clock()
        unfinished = await self._unfinished(lines)
        outcomes = Outcomes(
            self.transport.pool,
            chain(unfinished, ((line, None) for line in lines)),
            lambda _, item: self._job(*item),
            concurrency=concurrency,
            use_file_output=False,
        )
        async with aclosing(outcomes.read(ordered=False)) as each:
            async for outcome in each:
                result = result_of(outcome)
                if result is None:
                    outcomes.stop()
                    self.failure = self.failure or outcome.error
                    continue
                output.write(result)
                if self.journal is not None:
                    self.journal.ended(result, output.size)
                tell(result)
        if failure := self.failure or outcomes.failure:
            raise failure

    async def _look_at_the_clock(self) -> None:
        """Ask for something, which shows as well whether the token and the model are right."""
        owner, name = self._model.owner, self._model.name
        at = model_path(owner, name) if owner and name else "/account"
        answer = await self.transport.send(Request[Any]("GET", at, Any, {}))
        date = answer.headers.get("Date")
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        self._ahead = now - _clock.current.monotonic()

    async def _unfinished(self, lines: Iterator[Line]) -> list[tuple[Line, str | Exception | None]]:
        """Return the inputs that were taken before and have no result, each with what is known of its prediction."""
        if self.journal is None:
            return []
        for prediction_id in self.journal.ids():
            self.transport.shared.ledger.own(prediction_id)
        taken = len(self.journal)
        unfinished: list[tuple[Line, Entry | None]] = []
        index = -1
        for line in islice(lines, taken):
            index, entry = line.index, self.journal[line.index]
            if entry is not None and entry.digest != line.digest:
                raise ValueError(f"input {index} (counted from 0) has changed since the job was begun with it")
            if entry is None or entry.failed is None:
                unfinished.append((line, entry))
        if index + 1 < taken:
            raise ValueError(f"there are {index + 1} inputs, and the job was begun with more")
        # At once, because equal ones have to be told apart.
        known = await asyncio.gather(*[self._known(line, entry) for line, entry in unfinished])
        return [(line, one) for (line, _), one in zip(unfinished, known, strict=True)]

    async def _known(self, line: Line, entry: Entry | None) -> str | Exception | None:
        """Return the id of what was created for an input, None if nothing was, or why that can't be told."""
        if entry is None or entry.id is not None or entry.sent_at is None:
            return entry.id if entry else None
        job = self._job(line, None)
        request = job.describe(UNSET)
        request.sent_at = _clock.current.monotonic() - (self.server_time() - entry.sent_at)
        try:
            found = await find(self.transport, request, ReplicateError("the job was interrupted"))
        except CreateOutcomeUnknown as error:
            if not error.candidates:
                raise
            return error
        if found is not None and self.journal is not None:
            self.journal.created(line.index, found)
        return found

    def _job(self, line: Line, known: str | Exception | None) -> LineJob:
        # Not held: the sooner an id is known, the less has to be looked for.
        return LineJob(
            self.transport,
            self._model,
            line.input,
            {},
            cancel_on_abort=self.journal is None,
            batch=self,
            line=line,
            known=known,
        )


class LineJob(Job, kw_only=True):
    """A prediction of a batch: what becomes of its create is noted."""

    batch: Batch
    line: Line
    known: str | Exception | None

    async def create(self) -> Prediction:
        """Create the prediction, unless it is there already."""
        if isinstance(self.known, Exception):
            raise self.known
        if self.known is not None:
            self.prediction = await look(self.transport, self.known, Prediction, self.options)
            return self.prediction
        journal = self.batch.journal
        if journal is None:
            return await super().create()
        async with self.batch.creates:
            if self.batch.failure is not None:
                raise ReplicateError("not begun, because others failed")
            journal.begin(self.line, self.batch.server_time())
            try:
                prediction = await super().create()
            except Exception:
                if self.request is None or not self.request.sent:
                    journal.took_back(self.line.index)
                raise
            journal.created(self.line.index, prediction.id)
        return prediction


def result_of(outcome: Outcome) -> Result | None:
    """Return what became of an input; None: nothing yet, for what failed would have failed for any other."""
    assert isinstance(outcome.job, LineJob)  # noqa: S101
    error, prediction = outcome.error, outcome.job.prediction
    own = (ModelError, UnprocessableEntityError, BadRequestError, TypeError, ValueError)
    removed = type(error) is ReplicateError and prediction is not None and prediction.data_removed
    ambiguous = isinstance(error, CreateOutcomeUnknown) and error.candidates
    if not (error is None or isinstance(error, own) or removed or ambiguous):
        return None
    return Result(
        outcome.job.line.index,
        prediction.id if prediction else None,
        prediction.status if prediction else None,
        outcome.output,
        None if error is None else str(error),
        _metrics(prediction),
    )


def _metrics(prediction: Prediction | None) -> dict[str, Any] | None:
    if prediction is None or prediction.metrics is None:
        return None
    return {name: value for name, value in prediction.metrics.to_dict().items() if value is not None}
