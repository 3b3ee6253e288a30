"""A job that is polled, and the callers that wait for its updates."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import datetime
from typing import Generic

import msgspec

from replicate_async._predictions.deliveries import Deliveries
from replicate_async._predictions.jobs import JobT
from replicate_async._predictions.patience import Patience
from replicate_async.errors import APIError

# Jobs whose next poll is due within this fraction of their interval are polled together with the others.
_COALESCE = 0.25
_MIN_INTERVAL, MAX_INTERVAL = 0.25, 10.0
# The same for a job whose end comes by webhook, if webhooks arrive.
_WEBHOOK_INTERVAL = 20.0


def poll_interval(age: float) -> float:
    """Return the delay before the next poll of a job that has been waited for ``age`` seconds."""
    return min(max(_MIN_INTERVAL, age / 5), MAX_INTERVAL)


def _do_nothing() -> None:
    """End no subscription."""


class PolledJob(msgspec.Struct, Generic[JobT], eq=False):
    """A job that callers wait for, each of which takes the updates in its own task."""

    id: str
    since: float
    due: float
    patience: Patience
    created_at: datetime | None = None
    state: tuple[str, str] = ("", "")
    subscribers: int = 0
    # The subscribers that want all updates, and not only the end.
    watchers: int = 0
    latest: JobT | None = None
    error: Exception | None = None
    wakeups: list[asyncio.Future[None]] = []
    # Where the job's webhooks arrive, and the function that ends the subscription there.
    deliveries: Deliveries | None = None
    unsubscribe: Callable[[], None] = _do_nothing

    @property
    def settled(self) -> bool:
        """Whether no caller waits for another poll."""
        return not self.subscribers or (self.latest is not None and self.latest.done)

    def _interval(self, now: float, fraction: float = 1) -> float:
        if self.deliveries is not None and self.deliveries.reliable:
            return _WEBHOOK_INTERVAL
        return max(_MIN_INTERVAL, fraction * poll_interval(now - self.since))

    def is_due(self, now: float) -> bool:
        """Whether to poll the job, if others are polled now."""
        return self.due <= now + _COALESCE * self._interval(now)

    def reschedule(self, now: float, fraction: float = 1) -> None:
        """Let the next poll come after a fraction of the usual interval."""
        self.due = now + self._interval(now, fraction)

    def publish(self, job: JobT) -> None:
        """Give an update to the subscribers."""
        # A final status is kept, even if a stale list page arrives later.
        if self.latest is None or not self.latest.done:
            self.latest = job
        self.wake()

    def wake(self) -> None:
        """Let the subscribers look for an update or an error."""
        for wakeup in self.wakeups:
            if not wakeup.done():
                wakeup.set_result(None)

    async def next_update(self, seen: JobT | None) -> JobT:
        """Wait for an update after the one that was seen, and return the newest."""
        while self.latest is None or self.latest is seen:
            if self.error is not None:
                # Each caller gets an error of its own.
                error = copy.copy(self.error)
                if isinstance(error, APIError):
                    error.prediction_id = self.id
                raise error from self.error.__cause__
            wakeup: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.wakeups.append(wakeup)
            try:
                await wakeup
            finally:
                self.wakeups.remove(wakeup)
        return self.latest
