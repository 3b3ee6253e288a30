"""Running a model over many inputs: so many at once, lazily, and with nothing lost that was paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import msgspec

from replicate_async._run import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from replicate_async._run import Job
    from replicate_async.types import Prediction

_AHEAD = 4  # times the concurrency: how many results may wait for a slow one before them, or for whoever reads them
_END: Any = object()

Inputs = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class MapProgress(msgspec.Struct, frozen=True):
    """How far ``map`` has come.

    ``prediction`` is what has just changed, at ``index`` of the inputs; ``started`` inputs have been taken, of which
    ``succeeded`` and ``failed`` have ended.
    """

    index: int
    prediction: Prediction
    started: int
    succeeded: int
    failed: int


class Outcome(msgspec.Struct):
    """What became of one input: an output or an error."""

    index: int
    job: Job
    output: Any = None
    error: Exception | None = None


class Outcomes:
    """What comes of running a model on each of the inputs.

    When an input can't be had, or with ``stop_at_failure`` a run fails, no more are started; those under way are
    carried through.
    """

    def __init__(
        self,
        inputs: Inputs,
        job_of: Callable[[int, Mapping[str, Any]], Job],
        *,
        concurrency: int,
        use_file_output: bool = True,
        stop_at_failure: bool = False,
        on_update: Callable[[MapProgress], None] | None = None,
    ) -> None:
        self._inputs = inputs
        self._job_of = job_of
        self._use_file_output = use_file_output
        self._stop_at_failure = stop_at_failure
        self._on_update = on_update
        self._started = self._succeeded = self._failed = 0
        self._running: set[asyncio.Task[None]] = set()
        self._ended: dict[int, Outcome] = {}
        self._news = asyncio.Event()
        self._places = asyncio.Semaphore(concurrency)
        self._results = asyncio.Semaphore(_AHEAD * concurrency)
        self._feeder: asyncio.Future[None] | None = None

    async def read(self, *, ordered: bool) -> AsyncGenerator[Outcome, None]:
        """Start, and yield the outcomes; leaving early gives up what is running."""
        feeder = self._feeder = asyncio.ensure_future(self._feed())
        feeder.add_done_callback(lambda _: self._news.set())
        yielded = 0
        try:
            while not feeder.done() or yielded < self._started:
                index = yielded if ordered else next(iter(self._ended), yielded)
                if index in self._ended:
                    yielded += 1
                    self._results.release()
                    yield self._ended.pop(index)
                else:
                    self._news.clear()
                    await self._news.wait()
            if not feeder.cancelled():
                feeder.result()  # raises what ended the inputs early
        finally:
            for task in (feeder, *self._running):
                task.cancel()
            # Each gives its prediction up, which takes a bounded time.
            with anyio.CancelScope(shield=True):
                await asyncio.wait([feeder, *self._running])

    async def _feed(self) -> None:
        async with aclosing(_each(self._inputs)) as each:
            while True:
                # First the place, then the input: no more of them are taken than are run.
                await self._places.acquire()
                await self._results.acquire()
                try:
                    one = await anext(each)
                except StopAsyncIteration:
                    return
                outcome = Outcome(self._started, self._job_of(self._started, one))
                if self._on_update is not None:
                    outcome.job.on_update = partial(self._tell_on_the_way, outcome)
                self._started += 1
                task = asyncio.ensure_future(self._carry_out(outcome))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _carry_out(self, outcome: Outcome) -> None:
        try:
            outcome.output = await run(outcome.job, time_limit=None, use_file_output=self._use_file_output)
            self._succeeded += 1
        except Exception as error:  # noqa: BLE001 - whoever reads the outcomes is told
            outcome.error = error
            self._failed += 1
        try:
            self._tell(outcome, outcome.job.prediction)
        except Exception as error:  # noqa: BLE001 - likewise
            outcome.error = outcome.error or error
        if outcome.error is not None and self._stop_at_failure and self._feeder is not None:
            self._feeder.cancel()
        self._ended[outcome.index] = outcome
        self._places.release()
        self._news.set()

    def _tell_on_the_way(self, outcome: Outcome, prediction: Prediction) -> None:
        if not prediction.done:  # its end is told when it has been counted
            self._tell(outcome, prediction)

    def _tell(self, outcome: Outcome, prediction: Prediction | None) -> None:
        if self._on_update is not None and prediction is not None:
            self._on_update(MapProgress(outcome.index, prediction, self._started, self._succeeded, self._failed))


async def _each(inputs: Inputs) -> AsyncGenerator[Mapping[str, Any], None]:
    anything = cast("object", inputs)
    if isinstance(anything, (str, bytes, Mapping)) or not isinstance(anything, (Iterable, AsyncIterable)):
        raise TypeError(f"inputs must be an iterable of mappings, not {type(inputs).__name__}")
    if isinstance(inputs, AsyncIterable):
        async for one in inputs:
            yield one
    elif isinstance(inputs, Sequence):
        for one in inputs:
            yield one
    else:
        # It may read a file or a database, for which the event loop, in the blocking client shared by all, can't wait.
        iterator = iter(inputs)

        def take() -> Any:
            return next(iterator, _END)

        while (one := await anyio.to_thread.run_sync(take, abandon_on_cancel=True)) is not _END:
            yield one


async def map_(
    inputs: Inputs,
    job_of: Callable[[int, Mapping[str, Any]], Job],
    *,
    concurrency: int,
    ordered: bool,
    return_exceptions: bool,
    use_file_output: bool,
    on_update: Callable[[MapProgress], None] | None,
) -> AsyncGenerator[Any, None]:
    """Yield the outputs of the model for each of the inputs; see ``AsyncReplicate.map``."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"concurrency must be an int, not {type(concurrency).__name__}")
    if concurrency < 1:
        raise ValueError(f"concurrency={concurrency} must be at least 1")
    failures: list[Outcome] = []
    every = Outcomes(
        inputs,
        job_of,
        concurrency=concurrency,
        use_file_output=use_file_output,
        stop_at_failure=not return_exceptions,
        on_update=on_update,
    )
    async with aclosing(every.read(ordered=ordered)) as each:
        async for outcome in each:
            if outcome.error is None:
                yield outcome.output
            elif return_exceptions:
                yield outcome.error
            else:
                failures.append(outcome)
    if failures:
        first, *others = failures
        assert first.error is not None  # noqa: S101
        for other in others:
            add_note(first.error, f"input {other.index} failed as well: {other.error!r}")
        add_note(first.error, f"it was input {first.index} of a map; the other inputs' outputs have been yielded")
        raise first.error


def add_note(error: Exception, note: str) -> None:
    """Add a note to an error; before Python 3.11 it isn't shown in tracebacks."""
    notes = error.__dict__.setdefault("__notes__", [])
    notes.append(note)
