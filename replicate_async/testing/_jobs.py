"""Predictions and trainings while they run: from starting through processing to one of four final states."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar

import msgspec

from replicate_async.types import Prediction, PredictionMetrics, Training, WebhookEvent

from ._real_clock import Clock, Timer

FinalStatus = Literal["succeeded", "failed", "canceled", "aborted"]
R = TypeVar("R", Prediction, Training)
Listener = Callable[["Job[Any]", WebhookEvent], None]


# The API omits all other members that have no value.
_NULLABLE = frozenset({"output", "error", "logs"})


def to_wire(record: Prediction | Training, **members: Any) -> dict[str, Any]:
    """Return a prediction or training as the API sends it; ``members`` are added."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields.update(members)
    fields = {name: value for name, value in fields.items() if value is not None or name in _NULLABLE}
    for name in ("urls", "metrics"):
        if name in fields:
            fields[name] = {key: value for key, value in fields[name].items() if value is not None}
    # These times come from the machine that ran the model, and have nine digits of fraction.
    for name in ("started_at", "completed_at"):
        if "." in fields.get(name, ""):
            fields[name] = f"{fields[name].removesuffix('Z')}000Z"
    return fields


class Job(Generic[R]):
    """A running prediction or training.

    ``record`` is what the API returns; the job updates it in place. ``listeners`` are called after each change with the
    kind of event; webhooks and event streams are listeners.
    """

    def __init__(self, record: R, clock: Clock) -> None:
        self.record: R = record
        self.listeners: list[Listener] = []
        # Reported by the model, besides the times.
        self.metrics: dict[str, Any] = {}
        # Further members of the API's responses, such as the URL of the webhook.
        self.members: dict[str, Any] = {}
        # How long lists show the former status, and how long the API doesn't know the job.
        self.list_lag = self.read_lag = 0.0
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._created = self._started = clock.monotonic()
        self._ended: float | None = None
        self._deadline: Timer | None = None
        self._waiters: list[asyncio.Future[None]] = []
        # What was printed, but isn't in the logs yet.
        self._printed: list[str] = []
        # Guards _printed. Reentrant, because a finalizer may print at any time.
        self._lock = threading.RLock()

    @property
    def done(self) -> bool:
        """Whether the job has ended."""
        return self.record.completed_at is not None

    @property
    def is_readable(self) -> bool:
        """Whether the API knows the job already."""
        return self._clock.monotonic() - self._created >= self.read_lag

    def to_wire(self) -> dict[str, Any]:
        """Return the job as the API sends it."""
        metrics = {"metrics": self.metrics} if self.done else {}
        return to_wire(self.record, **metrics, **self.members)

    def to_list_entry(self) -> dict[str, Any]:
        """Return the job as lists show it, which may lag behind."""
        fields = self.to_wire()
        if self._ended is not None and self._clock.monotonic() - self._ended < self.list_lag:
            for name in ("completed_at", "metrics"):
                fields.pop(name, None)
            fields |= {"status": "processing", "output": None, "error": None}
        return fields

    def start(self) -> None:
        """Change the status from starting to processing."""
        self.record.status = "processing"
        self.record.started_at = self._clock.now()
        self._started = self._clock.monotonic()
        self._notify("start")

    def log(self, text: str) -> None:
        """Add to the logs, from any thread.

        Carriage returns become line ends, so that progress bars leave a line per step.
        """
        if self.done:
            return
        with self._lock:
            self._printed.append(text)
            if len(self._printed) > 1:
                return
        # The loop is closed if the server has stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._add_printed)

    def output(self, value: Any) -> None:
        """Set the output; does nothing if the job has ended."""
        if not self.done:
            self._add_printed()
            self.record.output = value
            self._notify("output")

    def add_output(self, item: Any) -> None:
        """Add an item to the output, which is a list; does nothing if the job has ended."""
        if not self.done:
            self._add_printed()
            # Only predictions stream their output.
            record: Any = self.record
            items: list[Any] = record.output or []
            items.append(item)
            record.output = items
            self._notify("output")

    def end(self, status: FinalStatus, error: str | None = None) -> None:
        """Set the final status; does nothing if the job has ended."""
        if self.done:
            return
        self._add_printed()
        record, now = self.record, self._clock.monotonic()
        record.error = error and _replace_surrogates(error)
        self._ended = now
        self.metrics["total_time"] = now - self._created
        if record.started_at is not None:
            self.metrics["predict_time"] = now - self._started
        record.metrics = PredictionMetrics(self.metrics)
        record.completed_at = self._clock.now()
        record.status = status
        if self._deadline is not None:
            self._deadline.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._notify("completed")

    def cancel(self) -> None:
        """Stop the function and end the job as canceled, or as aborted if it hasn't started."""
        if not self.done:
            self.abandon()

    def abandon(self) -> None:
        """Cancel the job, also if it has ended while its function still runs."""
        self.end("aborted" if self.record.started_at is None else "canceled")
        if self.task is not None:
            self.task.cancel()

    def cancel_after(self, seconds: float) -> None:
        """Cancel the job after a time, unless it ends before."""
        self._deadline = self._clock.call_later(seconds, self.cancel)

    async def wait(self, seconds: float) -> bool:
        """Wait until the job ends, or until a time has passed; return whether it has ended."""
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

    def _add_printed(self) -> None:
        """Add everything that was printed to the logs at once, because each addition copies the logs."""
        with self._lock:
            printed, self._printed = self._printed, []
        if printed and not self.done:
            text = _replace_surrogates("".join(printed)).replace("\r\n", "\n").replace("\r", "\n")
            self.record.logs = (self.record.logs or "") + text
            self._notify("logs")

    def _notify(self, event: WebhookEvent) -> None:
        for listener in self.listeners:
            listener(self, event)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _replace_surrogates(text: str) -> str:
    """Return a text without lone surrogates: JSON can't contain them, so lists of predictions would fail."""
    return text.encode("utf-8", "replace").decode()
