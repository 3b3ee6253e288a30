"""The predictions of ``replicate-async map``: a batch survives its process, and pays for nothing twice."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from replicate_async._http.request import Request
from replicate_async._predictions.claims import Entries, server_time
from replicate_async._predictions.journal import JournaledRun, digest_of, index_key
from replicate_async._predictions.map import MapResult, MapRunner
from replicate_async._predictions.requests import ModelRef
from replicate_async._predictions.run import PredictionRun
from replicate_async.cli._files import InputRow, Result, ResultWriter
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
    from replicate_async._stores import SQLiteStore

# The key of the batch's description in the store.
_BATCH = "batch"


class Batch:
    """The predictions for many inputs. If the store is None, the batch cannot be resumed."""

    def __init__(self, transport: Transport, model: ModelRef, store: SQLiteStore | None) -> None:
        self.failure: BaseException | None = None
        self._transport = transport
        self._model = model
        self._entries = Entries(store) if store is not None else None
        # The indices of the inputs, by the order in which they are started.
        self._indices: dict[int, int] = {}

    async def run(
        self,
        rows: Iterator[InputRow],
        writer: ResultWriter,
        on_result: Callable[[], None],
        *,
        concurrency: int,
    ) -> None:
        """Run the model on all inputs that have no result yet, and write each result as soon as it is ready.

        Raises:
            ValueError: The inputs differ from the inputs that the batch was started with.
            APIError: A call failed for a reason that isn't specific to an input. Running predictions are awaited
                and written first.
        """
        unfinished = await self._unfinished(rows, writer) if self._entries is not None else []
        # This checks the token and the model before there are many calls.
        await server_time(self._transport, self._model)
        inputs = chain(unfinished, rows)
        runner = MapRunner(self._transport.pool, inputs, self._run_for, concurrency=concurrency, use_file_output=False)
        async with runner:
            while (map_result := await runner.next(ordered=False)) is not None:
                result = _to_result(self._indices.pop(map_result.index), map_result)
                if result is not None:
                    writer.write(result)
                    on_result()
                else:
                    runner.stop()
                    self.failure = self.failure or map_result.error
        if failure := self.failure or runner.failure:
            raise failure

    async def _unfinished(self, rows: Iterator[InputRow], writer: ResultWriter) -> list[InputRow]:
        """Return the inputs that were started and have no line in the output."""
        assert self._entries is not None  # noqa: S101
        digests: dict[int, str] = {}
        after = ""
        while entries := await self._entries.page(after):
            digests.update((int(key), entry.digest) for key, _, entry in entries)
            after = entries[-1][0]
        await self._check_batch(is_started=bool(digests), has_results=bool(writer.written))
        started = 1 + max([*digests, *writer.written], default=-1)
        unfinished: list[InputRow] = []
        count = 0
        for row in islice(rows, started):
            count += 1
            digest = digest_of(row.input)
            if digests.get(row.index, digest) != digest:
                raise ValueError(f"input {row.index} (counted from 0) has changed since the batch was started")
            if row.index not in writer.written:
                unfinished.append(row)
        if count < started:
            raise ValueError(f"there are {count} inputs, but the batch was started with more")
        return unfinished

    async def _check_batch(self, *, is_started: bool, has_results: bool) -> None:
        """Record what the batch is, or raise ValueError if another one is recorded."""
        assert self._entries is not None  # noqa: S101
        store, batch = self._entries.store, f"{self._model} at {self._transport.settings.base_url}".encode()
        recorded = await store.get(_BATCH)
        if has_results and recorded is None:
            raise ValueError("the output has results that are missing in its journal: move both away")
        if recorded != batch:
            if (is_started or has_results) and recorded is not None:
                raise ValueError(f"this is the journal of another batch: {recorded.decode()}")
            await store.swap(_BATCH, recorded, batch)

    def _run_for(self, index: int, row: InputRow) -> PredictionRun:
        self._indices[index] = row.index
        if self._entries is None:
            return PredictionRun(self._transport, self._model, row.arguments, {})
        return _BatchRun(
            self._transport,
            self._model,
            row.arguments,
            {},
            key=index_key(row.index),
            entries=self._entries,
            ref=self._model,
            digest=digest_of(row.input),
            batch=self,
        )


class _BatchRun(JournaledRun, kw_only=True):
    """A prediction of a batch."""

    batch: Batch

    async def _claim_and_create(self, request: Request[Prediction]) -> Prediction | None:
        if self.batch.failure is not None:
            raise ReplicateError("not started, because another call failed")
        return await super()._claim_and_create(request)


def _to_result(index: int, map_result: MapResult) -> Result | None:
    """Return the result for an input, or None if the call failed for a reason that isn't specific to the input."""
    error, prediction = map_result.error, map_result.run.prediction
    specific = (ModelError, UnprocessableEntityError, BadRequestError, TypeError, ValueError)
    removed = type(error) is ReplicateError and prediction is not None and prediction.data_removed
    ambiguous = isinstance(error, CreateOutcomeUnknown) and error.candidates
    if not (error is None or isinstance(error, specific) or removed or ambiguous):
        return None
    return Result(
        index,
        prediction.id if prediction else None,
        prediction.status if prediction else None,
        map_result.output,
        str(error) if error else None,
        prediction.metrics if prediction else None,
    )
