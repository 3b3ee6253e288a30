"""Predictions and trainings as they run: starting, processing, and one of four ends."""

from __future__ import annotations

import asyncio
import functools
import threading
import traceback
import types
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from replicate_async.types import Prediction, PredictionMetrics, Training, WebhookEvent

from ._clock import Clock, Timer
from ._functions import ModelFunction, Publish, to_output
from ._threads import Workers

End = Literal["succeeded", "failed", "canceled", "aborted"]
R = TypeVar("R", Prediction, Training)
Listener = Callable[["Job[Any]", WebhookEvent], None]
_PLUMBING = (Path(__file__).parent, Path(asyncio.__file__).parent)

Work = Callable[["Job[R]"], Any]


class _Metrics(PredictionMetrics, omit_defaults=True, kw_only=True):
    """Metrics; the API leaves out those that a model doesn't have."""


class Job(Generic[R]):
    """A running prediction or training.

    ``record`` is what the API shows, changed in place. ``listeners`` are called after each change with the kind of
    event; webhooks and event streams hang on these.
    """

    def __init__(self, record: R, clock: Clock) -> None:
        self.record: R = record
        self.listeners: list[Listener] = []
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._created = self._started = clock.monotonic()
        self._deadline: Timer | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._written: list[str] = []  # what isn't in the logs yet
        self._lock = threading.RLock()  # of that; a finalizer may print at any time

    @property
    def done(self) -> bool:
        """Whether the job has ended."""
        return self.record.completed_at is not None

    def start(self) -> None:
        """Go from starting to processing."""
        self.record.status = "processing"
        self.record.started_at = self._clock.now()
        self._started = self._clock.monotonic()
        self._tell("start")

    def log(self, text: str) -> None:
        """Add to the logs, from any thread.

        Carriage returns become line ends, so that progress bars leave a line per step.
        """
        if self.done:
            return
        with self._lock:
            self._written.append(text)
            if len(self._written) > 1:
                return
        with suppress(RuntimeError):  # the server is gone, and with it the prediction
            self._loop.call_soon_threadsafe(self._add_written)

    def output(self, value: Any) -> None:
        """Set the output; a job that has ended keeps what it has."""
        if not self.done:
            self._add_written()
            self.record.output = value
            self._tell("output")

    def add_output(self, item: Any) -> None:
        """Add an item to the output, which is a list."""
        if not self.done:
            self._add_written()
            record: Any = self.record  # a prediction
            items: list[Any] = record.output or []
            items.append(item)
            record.output = items
            self._tell("output")

    def end(self, status: End, error: str | None = None) -> None:
        """Reach one of the final states; a job that has ended stays as it is."""
        if self.done:
            return
        self._add_written()
        record, now = self.record, self._clock.monotonic()
        record.error = error and _sendable(error)
        record.metrics = metrics = _Metrics(total_time=now - self._created)
        if record.started_at is not None:
            metrics.predict_time = now - self._started
        record.completed_at = self._clock.now()
        record.status = status
        if self._deadline is not None:
            self._deadline.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._tell("completed")

    def cancel(self) -> None:
        """End the job as canceled, or aborted if it hasn't begun, and stop its function."""
        if not self.done:
            self.abandon()

    def abandon(self) -> None:
        """Do so even if it was done before, and its function went on."""
        self.end("aborted" if self.record.started_at is None else "canceled")
        if self.task is not None:
            self.task.cancel()

    def cancel_after(self, seconds: float) -> None:
        """Cancel the job when the time has passed, unless it ends before."""
        self._deadline = self._clock.call_later(seconds, self.cancel)

    async def wait(self, seconds: float) -> bool:
        """Wait until the job ends, at most for a time; return whether it has ended."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(seconds, functools.partial(_release, waiter))
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.remove(waiter)
        return self.done

    def _add_written(self) -> None:
        """Add what was written since the last time to the logs in one go: they may be long, and are copied."""
        with self._lock:
            written, self._written = self._written, []
        if written and not self.done:
            text = _sendable("".join(written)).replace("\r\n", "\n").replace("\r", "\n")
            self.record.logs = (self.record.logs or "") + text
            self._tell("logs")

    def _tell(self, event: WebhookEvent) -> None:
        for listener in self.listeners:
            listener(self, event)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _sendable(text: str) -> str:
    """Return a text as it can be sent: half a surrogate pair has no place in JSON, and no list could be had with it."""
    return text.encode("utf-8", "replace").decode()


def _user_part(where: types.TracebackType | None) -> types.TracebackType | None:
    """Return the traceback from the model's function on, if the error is from there."""
    step = where
    while step is not None and Path(step.tb_frame.f_code.co_filename).parent in _PLUMBING:
        step = step.tb_next
    return step or where


def _message(error: BaseException) -> str:
    """Return what an error says, or its name if that is nothing."""
    try:
        return str(error) or type(error).__name__
    except BaseException:  # noqa: BLE001  (the error's class is the model's, too)
        return type(error).__name__


class Runner:
    """Runs jobs as tasks, and ends them all when the server stops."""

    def __init__(self, clock: Clock, publish: Publish) -> None:
        self.clock = clock
        self.listeners: list[Listener] = []
        self._publish = publish
        self._workers = Workers()
        self._running: dict[asyncio.Task[None], Job[Any]] = {}

    def begin(self, job: Job[R], work: Work[R]) -> None:
        """Start a job: ``work(job)`` is awaited in a task of its own."""
        job.listeners.extend(self.listeners)
        job.task = task = asyncio.get_running_loop().create_task(self._run(job, work))
        self._running[task] = job
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled():
            task.exception()  # Ctrl-C: the loop has raised it, and asyncio needn't make noise of it

    async def _run(self, job: Job[R], work: Work[R]) -> None:
        with self.clock.working():
            try:
                await work(job)
            except BaseException as error:
                # Whatever a model raises is its job's failure: pytest.fail() isn't an Exception, and a CancelledError
                # is the model's own unless the job has been canceled, and is done.
                job.log("".join(traceback.format_exception(type(error), error, _user_part(error.__traceback__))))
                job.end("failed", _message(error))
                if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise  # Ctrl-C may come anywhere in the main thread, and nowhere else
            else:
                job.end("succeeded")

    async def call(self, job: Job[Any], function: ModelFunction, arguments: dict[str, Any]) -> Any:
        """Call a function that returns once; what it prints becomes the job's logs."""
        result = await function.call(arguments, self._workers, job.log)
        if job.done:
            raise asyncio.CancelledError  # which the function took no notice of
        return result

    async def predict(
        self,
        job: Job[Prediction],
        function: ModelFunction,
        arguments: dict[str, Any],
        *,
        startup: float = 0,
        output_delay: float = 0,
    ) -> None:
        """Do the work of a prediction: call the function, let its output grow."""
        if startup:
            await self.clock.sleep(startup)
        job.start()
        if not function.streams:
            result = await self.call(job, function, arguments)
            if output_delay:
                await self.clock.sleep(output_delay)
            job.output(to_output(result, self._publish))
            return
        async with aclosing(function.iterate(arguments, self._workers, job.log)) as iterator:
            async for item in iterator:
                if output_delay:
                    await self.clock.sleep(output_delay)
                if job.done:  # canceled, which the function took no notice of: it is closed
                    return
                job.add_output(to_output(item, self._publish))
        if job.record.output is None and not job.done:
            job.record.output = []

    async def stop(self) -> None:
        """Cancel what runs. A function that refuses to be cancelled is left behind after a second."""
        for job in list(self._running.values()):
            job.abandon()
        if self._running:
            await asyncio.wait(self._running, timeout=1)
        self._workers.stop()
        self._workers = Workers()  # for when the server is started again: a thread of the others may still be busy
