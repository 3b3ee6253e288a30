"""Running a model on many inputs in a job that survives its process: nothing is lost or paid for twice."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from replicate_async._http import clock
from replicate_async._http.request import Request
from replicate_async._predictions.creates import CreateLedger, reconcile
from replicate_async._predictions.jobs import fetch_job
from replicate_async._predictions.journal import Entry, InputRow, Journal, Output, Result
from replicate_async._predictions.map import MapResult, MapRunner
from replicate_async._predictions.requests import model_path
from replicate_async._predictions.run import PredictionRun
from replicate_async.errors import (
    BadRequestError,
    CreateOutcomeUnknown,
    ModelError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicate_async._http.transport import Transport
    from replicate_async._predictions.requests import ModelRef

# Creates under way. What they make would have to be looked for if the process was killed.
_CREATES = 8


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
        return clock.current.monotonic() + self._ahead

    async def run(
        self, lines: Iterator[InputRow], output: Output, *, concurrency: int, tell: Callable[[Result], None]
    ) -> None:
        """Run the model on all inputs that have no result yet.

        Raises:
            ValueError: the inputs are not those that the job began with.
            APIError: a call failed, for reasons that aren't an input's own; what was under way has been carried
                through before.
        """
        await self._look_at_the_clock()
        unfinished = await self._unfinished(lines)
        outcomes = MapRunner(
            self.transport.pool,
            chain(unfinished, ((line, None) for line in lines)),
            lambda _, item: self._job(*item),
            concurrency=concurrency,
            use_file_output=False,
        )
        async with aclosing(outcomes.results(ordered=False)) as each:
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
        self._ahead = now - clock.current.monotonic()

    async def _unfinished(self, lines: Iterator[InputRow]) -> list[tuple[InputRow, str | Exception | None]]:
        """Return the inputs that were taken before and have no result, each with what is known of its prediction."""
        if self.journal is None:
            return []
        for prediction_id in self.journal.ids():
            self.transport.account.state(CreateLedger).claim(prediction_id)
        taken = len(self.journal)
        unfinished: list[tuple[InputRow, Entry | None]] = []
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

    async def _known(self, line: InputRow, entry: Entry | None) -> str | Exception | None:
        """Return the id of what was created for an input, None if nothing was, or why that can't be told."""
        if entry is None or entry.id is not None or entry.sent_at is None:
            return entry.id if entry else None
        call = self.transport.prepare(PredictionRun(self.transport, self._model, line.input, {}).describe())
        call.sent_at = clock.current.monotonic() - (self.server_time() - entry.sent_at)
        try:
            found = await reconcile(self.transport, call, ReplicateError("the job was interrupted"))
        except CreateOutcomeUnknown as error:
            if not error.candidates:
                raise
            return error
        if found is not None and self.journal is not None:
            self.journal.created(line.index, found)
        return found

    def _job(self, line: InputRow, known: str | Exception | None) -> BatchRun:
        # Not held: the sooner an id is known, the less has to be looked for.
        return BatchRun(
            self.transport,
            self._model,
            line.input,
            {},
            cancel_on_abort=self.journal is None,
            batch=self,
            line=line,
            known=known,
        )


class BatchRun(PredictionRun, kw_only=True):
    """A prediction of a batch: what becomes of its create is noted."""

    batch: Batch
    line: InputRow
    known: str | Exception | None

    async def create(self) -> Prediction:
        """Create the prediction, unless it is there already."""
        if isinstance(self.known, Exception):
            raise self.known
        if self.known is not None:
            self.prediction = await fetch_job(self.transport, self.known, Prediction, self.options)
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
                if self.call is None or not self.call.may_exist:
                    journal.undo_start(self.line.index)
                raise
            journal.created(self.line.index, prediction.id)
        return prediction


def result_of(outcome: MapResult) -> Result | None:
    """Return what became of an input; None: nothing yet, for what failed would have failed for any other."""
    assert isinstance(outcome.run, BatchRun)  # noqa: S101
    error, prediction = outcome.error, outcome.run.prediction
    own = (ModelError, UnprocessableEntityError, BadRequestError, TypeError, ValueError)
    removed = type(error) is ReplicateError and prediction is not None and prediction.data_removed
    ambiguous = isinstance(error, CreateOutcomeUnknown) and error.candidates
    if not (error is None or isinstance(error, own) or removed or ambiguous):
        return None
    return Result(
        outcome.run.line.index,
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
