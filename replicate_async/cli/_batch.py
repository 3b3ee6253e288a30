"""The predictions of ``replicate-async map``: a batch survives its process, and pays for nothing twice."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from replicate_async._http import clock
from replicate_async._http.request import Request
from replicate_async._predictions.creates import CreateLedger, reconcile
from replicate_async._predictions.jobs import fetch_job
from replicate_async._predictions.map import MapResult, MapRunner
from replicate_async._predictions.requests import ModelRef
from replicate_async._predictions.run import PredictionRun
from replicate_async.cli._files import InputRow, Result
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
    from replicate_async.cli._journal import Entry, Journal

# After a kill, the predictions of creates in flight have to be found in the list of predictions.
_MAX_CONCURRENT_CREATES = 8


class Batch:
    """The predictions for many inputs."""

    def __init__(self, transport: Transport, model: ModelRef, journal: Journal | None) -> None:
        self.transport = transport
        self.journal = journal
        self.creates = asyncio.Semaphore(_MAX_CONCURRENT_CREATES)
        self.failure: BaseException | None = None
        self._model = model
        self._clock_offset = 0.0

    def server_time(self) -> float:
        """Return the time by the server's clock, which stamps predictions. Another machine may resume the batch."""
        return clock.current.monotonic() + self._clock_offset

    async def run(self, rows: Iterator[InputRow], write: Callable[[Result], None], *, concurrency: int) -> None:
        """Run the model on all inputs that have no result yet, and write each result as soon as it is ready.

        Raises:
            ValueError: The inputs differ from the inputs that the batch was started with.
            APIError: A call failed for a reason that isn't specific to an input. Running predictions are awaited
                and written first.
        """
        await self._sync_clock()
        unfinished = await self._unfinished(rows)
        runner = MapRunner(
            self.transport.pool,
            chain(unfinished, ((row, None) for row in rows)),
            lambda _, item: self._run_for(*item),
            concurrency=concurrency,
            use_file_output=False,
        )
        async with runner:
            while (map_result := await runner.next(ordered=False)) is not None:
                if (result := _to_result(map_result)) is not None:
                    write(result)
                else:
                    runner.stop()
                    self.failure = self.failure or map_result.error
        if failure := self.failure or runner.failure:
            raise failure

    async def _sync_clock(self) -> None:
        """Read the server's clock from a response, and with it check the token and the model."""
        path = self._model.path() if self._model.owner else "/account"
        response = await self.transport.send(Request[Any]("GET", path, Any, {}))
        date = response.headers.get("Date")
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        self._clock_offset = now - clock.current.monotonic()

    async def _unfinished(self, rows: Iterator[InputRow]) -> list[tuple[InputRow, str | Exception | None]]:
        """Return the inputs that were started and have no result, each with what ``_recover`` returns."""
        if self.journal is None:
            return []
        for prediction_id in self.journal.ids():
            self.transport.account.state(CreateLedger).claim(prediction_id)
        started = len(self.journal)
        unfinished: list[tuple[InputRow, Entry | None]] = []
        index = -1
        for row in islice(rows, started):
            index, entry = row.index, self.journal[row.index]
            if entry is not None and entry.digest != row.digest:
                raise ValueError(f"input {index} (counted from 0) has changed since the batch was started")
            if entry is None or entry.failed is None:
                unfinished.append((row, entry))
        if index + 1 < started:
            raise ValueError(f"there are {index + 1} inputs, but the batch was started with more")
        # Concurrently, because identical inputs must each get a prediction of their own.
        recovered = await asyncio.gather(*[self._recover(row, entry) for row, entry in unfinished])
        return [(row, state) for (row, _), state in zip(unfinished, recovered, strict=True)]

    async def _recover(self, row: InputRow, entry: Entry | None) -> str | Exception | None:
        """Return the id of the input's prediction, None if none was created, or the error if that is uncertain."""
        if entry is None or entry.id is not None or entry.sent_at is None:
            return entry.id if entry else None
        call = self.transport.prepare(PredictionRun(self.transport, self._model, row.input, {}).describe())
        call.sent_at = clock.current.monotonic() - (self.server_time() - entry.sent_at)
        try:
            prediction_id = await reconcile(self.transport, call, ReplicateError("the batch was interrupted"))
        except CreateOutcomeUnknown as error:
            if not error.candidates:
                raise
            return error
        if prediction_id is not None and self.journal is not None:
            self.journal.record_created(row.index, prediction_id)
        return prediction_id

    def _run_for(self, row: InputRow, recovered: str | Exception | None) -> BatchRun:
        # The create doesn't wait for the output: the sooner its id is in the journal, the less has to be recovered.
        return BatchRun(
            self.transport,
            self._model,
            row.input,
            {},
            cancel_on_abort=self.journal is None,
            batch=self,
            row=row,
            recovered=recovered,
        )


class BatchRun(PredictionRun, kw_only=True):
    """A prediction of a batch, which records its create in the journal."""

    batch: Batch
    row: InputRow
    recovered: str | Exception | None

    async def create(self) -> Prediction:
        """Create the prediction, or fetch the one that was recovered."""
        if isinstance(self.recovered, Exception):
            raise self.recovered
        if self.recovered is not None:
            self.prediction = await fetch_job(self.transport, self.recovered, Prediction, {})
            return self.prediction
        journal = self.batch.journal
        if journal is None:
            return await super().create()
        async with self.batch.creates:
            if self.batch.failure is not None:
                raise ReplicateError("not started, because another call failed")
            journal.record_start(self.row.index, self.row.digest, self.batch.server_time())
            try:
                prediction = await super().create()
            except Exception:
                if self.call is None or not self.call.may_exist:
                    journal.undo_start(self.row.index)
                raise
            journal.record_created(self.row.index, prediction.id)
        return prediction


def _to_result(map_result: MapResult) -> Result | None:
    """Return the result for an input, or None if the call failed for a reason that isn't specific to the input."""
    assert isinstance(map_result.run, BatchRun)  # noqa: S101
    error, prediction = map_result.error, map_result.run.prediction
    specific = (ModelError, UnprocessableEntityError, BadRequestError, TypeError, ValueError)
    removed = type(error) is ReplicateError and prediction is not None and prediction.data_removed
    ambiguous = isinstance(error, CreateOutcomeUnknown) and error.candidates
    if not (error is None or isinstance(error, specific) or removed or ambiguous):
        return None
    metrics = prediction.metrics.to_dict() if prediction and prediction.metrics else None
    return Result(
        map_result.run.row.index,
        prediction.id if prediction else None,
        prediction.status if prediction else None,
        map_result.output,
        str(error) if error else None,
        None if metrics is None else {name: value for name, value in metrics.items() if value is not None},
    )
