"""The events of a prediction's stream: each new piece of output or logs as a server-sent event."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from replicate_async.types import Prediction, Training, WebhookEvent

from ._jobs import Job
from ._real_clock import Clock

_IDLE_SECONDS = 30.0
_TIMEOUT = b":408: 408 Request Timeout\n\n"
_LINE_END = re.compile(r"\r\n|\r|\n")


class EventLog:
    """The events of one prediction or training, in their wire format."""

    def __init__(self, job: Job[Any], clock: Clock) -> None:
        self.prediction: Prediction | Training = job.record
        self._clock = clock
        self._frames: list[bytes] = []
        self._ids: list[str | None] = []
        self._id_second, self._id_number = 0, 0
        # How many items of the output, and characters of the logs, are in the frames.
        self._items_sent = self._logs_sent = 0
        self._ended = False
        self._waiters: list[asyncio.Future[bool]] = []
        job.listeners.append(self._on_event)

    async def follow(self, last_id: str | None) -> AsyncGenerator[bytes, None]:
        """Yield the events after the one with the id, or all if there is none, until the end or a timeout.

        All events that are ready are yielded at once, so that a slow client catches up.
        """
        position = self._ids.index(last_id) + 1 if last_id is not None and last_id in self._ids else 0
        while True:
            if position < len(self._frames):
                ready = b"".join(self._frames[position:])
                position = len(self._frames)
                yield ready
            elif self._ended:
                return
            elif not await self._wait():
                yield _TIMEOUT
                return

    def forget(self) -> None:
        """Remove all events, because the prediction's data was removed. Streams that start later wait in vain."""
        self._frames.clear()
        self._ids.clear()
        self._ended = False

    async def _wait(self) -> bool:
        """Wait for an event; return whether there is one before the timeout."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(_IDLE_SECONDS, lambda: _release(waiter, has_event=False))
        self._waiters.append(waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiters.remove(waiter)

    def _on_event(self, _job: Job[Any], event: WebhookEvent) -> None:
        if event == "logs":
            self._add_logs()
        elif event == "output":
            self._add_logs()
            value: Any = self.prediction.output
            # An output that is no list is one item.
            output: list[Any] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
            for item in output[self._items_sent :] if value is not None else ():
                self._add("output", item if isinstance(item, str) else msgspec.json.encode(item).decode())
            self._items_sent = len(output)
        elif event == "completed":
            self._add_logs()
            self._end()

    def _add_logs(self) -> None:
        logs = self.prediction.logs or ""
        if len(logs) > self._logs_sent:
            self._add("logs", logs[self._logs_sent :])
            self._logs_sent = len(logs)

    def _end(self) -> None:
        done_data: dict[str, str] = {}
        if self.prediction.status == "failed":
            done_data = {"reason": "error"}
            detail = msgspec.json.encode({"detail": self.prediction.error or ""})
            self._add("error", detail.decode(), numbered=False)
        elif self.prediction.status != "succeeded":
            done_data = {"reason": "canceled"}
        self._add("done", msgspec.json.encode(done_data).decode(), numbered=False)
        self._ended = True

    def _add(self, event: str, data: str, *, numbered: bool = True) -> None:
        event_id = self._next_id() if numbered else None
        if "\n" in data or "\r" in data:
            data = "\ndata: ".join(_LINE_END.split(data))
        head = f"event: {event}\nid: {event_id}" if event_id else f"event: {event}"
        self._frames.append(f"{head}\ndata: {data}\n\n".encode("utf-8", "replace"))
        self._ids.append(event_id)
        for waiter in self._waiters:
            _release(waiter, has_event=True)

    def _next_id(self) -> str:
        second = int(self._clock.now().timestamp())
        if second > self._id_second:
            self._id_second, self._id_number = second, 0
        else:
            self._id_number += 1
        return f"{self._id_second}:{self._id_number}"


def _release(waiter: asyncio.Future[bool], *, has_event: bool) -> None:
    if not waiter.done():
        waiter.set_result(has_event)
