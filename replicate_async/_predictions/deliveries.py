"""Jobs that webhooks bring: who waits for them, and whether they arrive."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from replicate_async._http.transport import Transport
from replicate_async._predictions.listing import is_older
from replicate_async._predictions.requests import PredictionOptions
from replicate_async.types import Prediction, Training, logs_of

# Jobs without a subscriber are kept, because a webhook may overtake the response to its create.
_MAX_UNCLAIMED = 500

Callback = Callable[[Prediction | Training | None], None]


class Deliveries:
    """The jobs that a receiver of webhooks has received, for callers on any thread and event loop."""

    def __init__(self, transport: Transport, url: str) -> None:
        self.transport = transport
        self.url = url
        # Whether webhooks arrive, as far as is known.
        self.reliable = True
        self._lock = threading.Lock()
        self._subscribers: dict[str, list[tuple[asyncio.AbstractEventLoop, Callback]]] = {}
        self._unclaimed = OrderedDict[str, Prediction | Training]()

    def register(self, options: PredictionOptions, *, all_events: bool) -> PredictionOptions:
        """Return the options of a create, with this receiver as the webhook if the caller names no other."""
        if options.get("webhook") is not None:
            return options
        return {**options, "webhook": self.url, "webhook_events_filter": None if all_events else ["completed"]}

    def publish(self, job: Prediction | Training) -> None:
        """Pass a job to its subscribers, each on its own loop, or keep it for the first one."""
        with self._lock:
            subscribers = list(self._subscribers.get(job.id, ()))
            if subscribers:
                self.reliable = True
            else:
                self._keep(job)
        for loop, callback in subscribers:
            # The loop of a caller that is gone may be closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(callback, job)

    def stop(self) -> None:
        """Let the subscribers poll at once, because no more webhooks come: they are called with None."""
        with self._lock:
            self.reliable = False
            subscribers = [each for subscribers in self._subscribers.values() for each in subscribers]
        for loop, callback in subscribers:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(callback, None)

    def _keep(self, job: Prediction | Training) -> None:
        latest = self._unclaimed.get(job.id)
        is_stale = latest is not None and is_older((job.status, logs_of(job)), (latest.status, logs_of(latest)))
        if latest is None or not (latest.done or is_stale):
            self._unclaimed[job.id] = job
        if len(self._unclaimed) > _MAX_UNCLAIMED:
            self._unclaimed.popitem(last=False)

    def subscribe(self, job_id: str, callback: Callback) -> Callable[[], None]:
        """Call a function on the running loop with each state of a job; return a function that ends this."""
        subscriber = asyncio.get_running_loop(), callback
        with self._lock:
            self._subscribers.setdefault(job_id, []).append(subscriber)
            job = self._unclaimed.pop(job_id, None)
        if job is not None:
            callback(job)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers[job_id].remove(subscriber)
                if not self._subscribers[job_id]:
                    del self._subscribers[job_id]

        return unsubscribe


class OpenReceivers(list[Deliveries]):
    """The deliveries of a client's open receivers, the newest last."""


def deliveries_for(transport: Transport) -> Deliveries | None:
    """Return the deliveries of the receiver that a client's creates register, if there is one."""
    receivers = reversed(transport.pool.state(OpenReceivers))
    # Another account signs with another secret.
    return next((item for item in receivers if item.transport.account_key == transport.account_key), None)
