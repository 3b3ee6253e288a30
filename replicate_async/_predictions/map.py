"""Running a model on many inputs: a bounded number at once, lazily, and without losing an output that was paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec

from replicate_async._http.sessions import SessionPool
from replicate_async._predictions.requests import check_callback
from replicate_async._predictions.run import PredictionRun, run
from replicate_async._tasks import wait_shielded
from replicate_async._threads import ThreadIterator
from replicate_async.errors import ReplicateError
from replicate_async.types import Prediction

T = TypeVar("T")

# How long the end of a map waits for the cancellation of its runs, in seconds.
_MAX_JOIN_SECONDS = 6.0
# The maximum number of results that wait for a slower one or for their reader, as a multiple of the concurrency.
_MAX_WAITING_RESULTS = 4


class MapProgress(msgspec.Struct, frozen=True):
    """The progress of ``map``.

    Attributes:
        index: Index of the input whose prediction has just changed, or has failed to be created, from 0.
        prediction: The prediction that has just changed; None if none could be created.
        started: Number of inputs that have been taken.
        succeeded: Number of inputs whose prediction has succeeded.
        failed: Number of inputs whose prediction has failed.
    """

    index: int
    prediction: Prediction | None
    started: int
    succeeded: int
    failed: int


class MapResult(msgspec.Struct):
    """The result of one input: an output or an error."""

    index: int
    run: PredictionRun
    output: Any = None
    error: Exception | None = None


class MapRunner:
    """Runs a model on each of the inputs.

    When an input can't be read, ``on_update`` raises, or (with ``stop_on_failure``) a run fails, no more are started,
    and those in progress are completed. Leaving its context early cancels the runs in progress.
    """

    def __init__(
        self,
        pool: SessionPool,
        inputs: Iterable[Any] | AsyncIterable[Any],
        make_run: Callable[[int, Any], PredictionRun],
        *,
        concurrency: int,
        use_file_output: bool = True,
        stop_on_failure: bool = False,
        on_update: Callable[[MapProgress], None] | None = None,
    ) -> None:
        _check_arguments(inputs, concurrency)
        check_callback(on_update)
        self.failure: BaseException | None = None
        self._pool = pool
        self._inputs = inputs
        self._make_run = make_run
        self._use_file_output = use_file_output
        self._stop_on_failure = stop_on_failure
        self._on_update = on_update
        self._started = self._taken = self._succeeded = self._failed = 0
        self._running: set[asyncio.Task[None]] = set()
        self._results: dict[int, MapResult] = {}
        self._changed = asyncio.Event()
        self._run_slots = asyncio.Semaphore(concurrency)
        self._result_slots = asyncio.Semaphore(_MAX_WAITING_RESULTS * concurrency)
        self._feeder: asyncio.Task[None] | None = None
        # Needed in addition to the feeder: eager tasks run, and may fail, before there is a feeder to cancel.
        self._stopped = False

    async def __aenter__(self) -> None:
        """Start."""
        # An exception in the reader's loop may close the client before it closes the generator.
        self._on_close = self._pool.current().on_close
        self._feeder = asyncio.ensure_future(self._feed())
        self._feeder.add_done_callback(lambda _: self._changed.set())
        self._on_close.add(self._abandon)

    async def __aexit__(self, *exc_info: object) -> None:
        """Cancel the runs in progress."""
        self._on_close.discard(self._abandon)
        await self._abandon()

    async def next(self, *, ordered: bool) -> MapResult | None:
        """Return the next result; None after the last one."""
        while not self._is_fed() or self._taken < self._started:
            index = self._taken if ordered else next(iter(self._results), self._taken)
            if index in self._results:
                self._taken += 1
                self._result_slots.release()
                return self._results.pop(index)
            if self._is_fed() and not self._running:
                raise ReplicateError("this client was closed before all results of its map were read")
            self._changed.clear()
            await self._changed.wait()
        return None

    def _is_fed(self) -> bool:
        """Return whether no more inputs are taken."""
        return self._feeder is None or self._feeder.done()

    def raise_failure(self, failed: Sequence[MapResult]) -> None:
        """Raise the error that has ended the map, if there is one, with notes about the inputs that failed."""
        error, others = self.failure, failed
        if error is None and failed:
            first, *others = failed
            error = first.error
            _add_note(error, f"it was input {first.index} of a map; the other inputs' outputs have been yielded")
        if error is not None:
            for result in others:
                _add_note(error, f"input {result.index} failed as well: {result.error!r}")
            raise error

    def stop(self) -> None:
        """Start no more runs."""
        self._stopped = True
        if self._feeder is not None:
            self._feeder.cancel()

    async def _abandon(self) -> None:
        """Cancel the runs in progress."""
        self.stop()
        for task in self._running:
            task.cancel()
        await wait_shielded(asyncio.ensure_future(self._join()))

    async def _join(self) -> None:
        with anyio.move_on_after(_MAX_JOIN_SECONDS):
            while tasks := [task for task in (self._feeder, *self._running) if task is not None and not task.done()]:
                await asyncio.wait(tasks)
        # The traceback of its cancellation would keep the inputs alive until the next garbage collection.
        self._feeder = None

    async def _feed(self) -> None:
        inputs: AsyncIterator[Any] | None = None
        try:
            inputs = _iterator_of(self._inputs)
            while not self._stopped:
                # The slots come first, so that no more inputs are taken than are run.
                await self._run_slots.acquire()
                await self._result_slots.acquire()
                try:
                    item = await anext(inputs)
                except StopAsyncIteration:
                    return
                self._start(item)
        except BaseException as error:
            if self._stopped:
                raise
            # The inputs may raise anything, CancelledError too.
            self.failure = self.failure or error
        finally:
            if isinstance(inputs, ThreadIterator):
                inputs.close()

    def _start(self, item: Any) -> None:
        result = MapResult(self._started, self._make_run(self._started, item))
        if self._on_update is not None:
            result.run.on_update = partial(self._report_change, result)
        self._started += 1
        task = asyncio.ensure_future(self._run_one(result))
        self._running.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._run_slots.release()
        self._changed.set()

    async def _run_one(self, result: MapResult) -> None:
        try:
            result.output = await run(result.run, time_limit=None, use_file_output=self._use_file_output)
            self._succeeded += 1
        except Exception as error:  # noqa: BLE001 - it is part of the result
            result.error = error
            self._failed += 1
            if self._stop_on_failure:
                self.stop()
        self._report(result, result.run.prediction)
        self._results[result.index] = result

    def _report_change(self, result: MapResult, prediction: Prediction) -> None:
        # The end is reported when it has been counted.
        if not prediction.done:
            self._report(result, prediction)

    def _report(self, result: MapResult, prediction: Prediction | None) -> None:
        if self._on_update is None:
            return
        try:
            self._on_update(MapProgress(result.index, prediction, self._started, self._succeeded, self._failed))
        except BaseException as error:  # noqa: BLE001 - raised when the results were read, so that no output is lost
            self.failure = self.failure or error
            self._on_update = None
            self.stop()


def _iterator_of(inputs: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(inputs, AsyncIterable):
        return aiter(inputs)
    # It may read a file or a database. The event loop, which all blocking clients share, can't wait for that.
    return _items(inputs) if isinstance(inputs, Sequence) else ThreadIterator(inputs)


async def _items(inputs: Sequence[T]) -> AsyncGenerator[T, None]:
    for item in inputs:
        yield item


def _check_arguments(inputs: object, concurrency: object) -> None:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):
        raise TypeError(f"concurrency must be an int, not {type(concurrency).__name__}")
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency} must be at least 1")
    kind = type(inputs).__name__
    if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, (Iterable, AsyncIterable)):
        raise TypeError(f"inputs must be an iterable of mappings, not {kind}")


def _add_note(error: BaseException | None, note: str) -> None:
    """Add a note to an error; tracebacks show it from Python 3.11 on."""
    if error is not None:
        error.__dict__.setdefault("__notes__", []).append(note)
