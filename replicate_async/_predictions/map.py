"""Running a model over many inputs: so many at once, lazily, and with nothing lost that was paid for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from replicate_async._predictions.jobs import run_shielded
from replicate_async._predictions.run import run
from replicate_async.errors import ReplicateError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from replicate_async._http.sessions import Pool
    from replicate_async._predictions.run import PredictionRun
    from replicate_async.types import Prediction

T = TypeVar("T")

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
    job: PredictionRun
    output: Any = None
    error: Exception | None = None


class Outcomes:
    """What comes of running a model on each of the inputs.

    When an input can't be had, ``on_update`` raises, or with ``stop_at_failure`` a run fails, no more are started;
    those under way are carried through.

    Attributes:
        failure: What the inputs, or ``on_update``, have raised.
    """

    def __init__(
        self,
        pool: Pool,
        inputs: Iterable[Any] | AsyncIterable[Any],
        job_of: Callable[[int, Any], PredictionRun],
        *,
        concurrency: int,
        use_file_output: bool = True,
        stop_at_failure: bool = False,
        on_update: Callable[[MapProgress], None] | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self._pool = pool
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
        self._feeder: asyncio.Task[None] | None = None
        self._stopped = False  # besides: eager tasks run, and may fail, before there is a feeder to cancel

    async def read(self, *, ordered: bool) -> AsyncGenerator[Outcome, None]:
        """Start, and yield the outcomes; leaving early gives up what is running."""
        connections = self._pool.here() or await self._pool.open()
        feeder = self._feeder = asyncio.ensure_future(self._feed())
        feeder.add_done_callback(lambda _: self._news.set())
        # An exception in the reader's loop may close the client before this generator.
        connections.left.add(self._give_up)
        yielded = 0
        try:
            while not feeder.done() or yielded < self._started:
                index = yielded if ordered else next(iter(self._ended), yielded)
                if index in self._ended:
                    yielded += 1
                    self._results.release()
                    yield self._ended.pop(index)
                elif feeder.done() and not self._running:
                    raise ReplicateError("this client was closed before all of its map was read")
                else:
                    self._news.clear()
                    await self._news.wait()
        finally:
            connections.left.discard(self._give_up)
            await self._give_up()

    def stop(self) -> None:
        """Start no more."""
        self._stopped = True
        if self._feeder is not None:
            self._feeder.cancel()

    async def _give_up(self) -> None:
        """Cancel what is running."""
        self.stop()
        for task in self._running:
            task.cancel()
        await run_shielded(self._end())

    async def _end(self) -> None:
        while tasks := [task for task in (self._feeder, *self._running) if task is not None and not task.done()]:
            await asyncio.wait(tasks)
        self._feeder = None  # how it was cancelled would keep the inputs until the next garbage collection

    async def _feed(self) -> None:
        try:
            async with aclosing(_each(self._inputs)) as each:
                while not self._stopped:
                    # First the place, then the input: no more of them are taken than are run.
                    await self._places.acquire()
                    await self._results.acquire()
                    try:
                        one = await anext(each)
                    except StopAsyncIteration:
                        return
                    self._start(one)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - whoever reads is told
            self.failure = self.failure or error

    def _start(self, one: Any) -> None:
        outcome = Outcome(self._started, self._job_of(self._started, one))
        if self._on_update is not None:
            outcome.job.on_update = partial(self._tell_on_the_way, outcome)
        self._started += 1
        task = asyncio.ensure_future(self._carry_out(outcome))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._places.release()
        self._news.set()

    async def _carry_out(self, outcome: Outcome) -> None:
        try:
            outcome.output = await run(outcome.job, time_limit=None, use_file_output=self._use_file_output)
            self._succeeded += 1
        except Exception as error:  # noqa: BLE001 - whoever reads the outcomes is told
            outcome.error = error
            self._failed += 1
            if self._stop_at_failure:
                self.stop()
        self._tell(outcome, outcome.job.prediction)
        self._ended[outcome.index] = outcome

    def _tell_on_the_way(self, outcome: Outcome, prediction: Prediction) -> None:
        if not prediction.done:  # its end is told when it has been counted
            self._tell(outcome, prediction)

    def _tell(self, outcome: Outcome, prediction: Prediction | None) -> None:
        if self._on_update is None or prediction is None:
            return
        try:
            self._on_update(MapProgress(outcome.index, prediction, self._started, self._succeeded, self._failed))
        except Exception as error:  # noqa: BLE001 - it must not cost an output: whoever reads is told in the end
            self.failure = self.failure or error
            self._on_update = None
            self.stop()


async def _each(inputs: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(inputs, AsyncIterable):
        async for one in inputs:
            yield one
    elif isinstance(inputs, Sequence):
        for one in inputs:
            yield one
    else:
        # It may read a file or a database, for which the event loop, in the blocking client shared by all, can't wait.
        async with aclosing(_in_a_thread(inputs)) as each:
            async for one in each:
                yield one


async def _in_a_thread(inputs: Iterable[T]) -> AsyncGenerator[T, None]:
    """Read in a thread of its own: a daemon, because what blocks for ever must not keep a program from ending."""
    from queue import SimpleQueue

    loop = asyncio.get_running_loop()
    asked: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()

    def read() -> None:
        iterator: Iterator[T] | None = None
        while (wanted := asked.get()) is not None:
            error: BaseException | None = None
            one: Any = _END
            try:
                iterator = iter(inputs) if iterator is None else iterator
                one = next(iterator, _END)
            except StopIteration as raised:  # of __iter__, say: as from coroutines, no future takes it
                error = RuntimeError("the inputs raised StopIteration")
                error.__cause__ = raised
            except BaseException as raised:  # noqa: BLE001 - it is raised to whoever asked
                error = raised
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_settle, wanted, one, error)

    Thread(target=contextvars.copy_context().run, args=(read,), name="replicate_async inputs", daemon=True).start()
    try:
        while True:
            wanted: asyncio.Future[T] = loop.create_future()
            asked.put(wanted)
            if (one := await wanted) is _END:
                return
            yield one
    finally:
        asked.put(None)


def _settle(wanted: asyncio.Future[T], one: T, error: BaseException | None) -> None:
    if wanted.done():
        return  # nobody waits any more
    if error is None:
        wanted.set_result(one)
    else:
        wanted.set_exception(error)


async def map_(
    pool: Pool,
    inputs: Inputs,
    job_of: Callable[[int, Mapping[str, Any]], PredictionRun],
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
    anything = cast("object", inputs)
    if isinstance(anything, (str, bytes, Mapping)) or not isinstance(anything, (Iterable, AsyncIterable)):
        raise TypeError(f"inputs must be an iterable of mappings, not {type(inputs).__name__}")
    failures: list[Outcome] = []
    every = Outcomes(
        pool,
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
    error = every.failure
    if error is None and failures:
        first = failures.pop(0)
        error = first.error
        add_note(error, f"it was input {first.index} of a map; the other inputs' outputs have been yielded")
    if error is not None:
        for other in failures:
            add_note(error, f"input {other.index} failed as well: {other.error!r}")
        raise error


def add_note(error: BaseException | None, note: str) -> None:
    """Add a note to an error; before Python 3.11 it isn't shown in tracebacks."""
    if error is not None:
        error.__dict__.setdefault("__notes__", []).append(note)
