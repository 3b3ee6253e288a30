"""Event streams of predictions: each new piece of output or logs as a server-sent event."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_async.types import Prediction, WebhookEvent

from ._calls import Answer, Call, Problem
from ._clock import Clock

if TYPE_CHECKING:
    from ._jobs import Job
    from ._store import Store

_IDLE = 30.0
_TIMEOUT = b":408: 408 Request Timeout\n\n"
_LINE_END = re.compile(r"\r\n|\r|\n")


async def stream(store: Store, call: Call) -> Answer:
    """Send the events of a prediction: what there has been so far, then each as it comes."""
    accepted = call.headers.get("Accept", "*/*")
    if "text/event-stream" not in accepted and "*/*" not in accepted:
        raise Problem(406, f"Accept: expected text/event-stream, got {accepted!r}")
    log = store.streams.get(call.path_arguments["stream_key"])
    if log is None:
        raise Problem(404, "There is no such stream on this server.")
    if store.fresh(log.prediction).data_removed:
        log.forget()
    last_id = call.headers.get("Last-Event-ID") if store.resume_streams else None
    return Answer(content_type="text/event-stream", headers={"Cache-Control": "no-store"}, chunks=log.follow(last_id))


class EventLog:
    """The events of one prediction, as they go over the wire."""

    def __init__(self, job: Job[Prediction], clock: Clock) -> None:
        self.prediction = job.record
        self._clock = clock
        self._frames: list[bytes] = []
        self._ids: list[str | None] = []
        self._second, self._number = 0, 0
        self._items = self._logged = 0  # how much of the output and the logs is in the frames
        self._ended = False
        self._waiters: list[asyncio.Future[bool]] = []
        job.listeners.append(self._hear)

    async def follow(self, last_id: str | None) -> AsyncGenerator[bytes, None]:
        """Yield the events after the one with the id, or all without it, until the end or half a minute's silence.

        What came up at once is yielded at once, so a stream that fell behind catches up.
        """
        position = self._ids.index(last_id) + 1 if last_id is not None and last_id in self._ids else 0
        while True:
            if position < len(self._frames):
                news = b"".join(self._frames[position:])
                position = len(self._frames)
                yield news
            elif self._ended:
                return
            elif not await self._news():
                yield _TIMEOUT
                return

    def forget(self) -> None:
        """Drop the events of a prediction whose data was removed; who asks for them from now on waits in vain."""
        self._frames.clear()
        self._ids.clear()
        self._ended = False

    async def _news(self) -> bool:
        """Wait for an event; return whether one came."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(_IDLE, lambda: _release(waiter, news=False))
        self._waiters.append(waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiters.remove(waiter)

    def _hear(self, _job: Job[Any], event: WebhookEvent) -> None:
        if event == "logs":
            self._add_logs()
        elif event == "output":
            self._add_logs()
            output: list[Any] = self.prediction.output
            for item in output[self._items :]:
                self._add("output", item if isinstance(item, str) else msgspec.json.encode(item).decode())
            self._items = len(output)
        elif event == "completed":
            self._add_logs()
            self._end()

    def _add_logs(self) -> None:
        logs = self.prediction.logs or ""
        if len(logs) > self._logged:
            self._add("logs", logs[self._logged :])
            self._logged = len(logs)

    def _end(self) -> None:
        ending: dict[str, str] = {}
        if self.prediction.status == "failed":
            ending = {"reason": "error"}
            detail = msgspec.json.encode({"detail": self.prediction.error or ""})
            self._add("error", detail.decode(), numbered=False)
        elif self.prediction.status != "succeeded":
            ending = {"reason": "canceled"}
        self._add("done", msgspec.json.encode(ending).decode(), numbered=False)
        self._ended = True

    def _add(self, event: str, data: str, *, numbered: bool = True) -> None:
        event_id = self._next_id() if numbered else None
        if "\n" in data or "\r" in data:
            data = "\ndata: ".join(_LINE_END.split(data))
        head = f"event: {event}\nid: {event_id}" if event_id else f"event: {event}"
        self._frames.append(f"{head}\ndata: {data}\n\n".encode("utf-8", "replace"))
        self._ids.append(event_id)
        for waiter in self._waiters:
            _release(waiter, news=True)

    def _next_id(self) -> str:
        second = int(self._clock.now().timestamp())
        if second > self._second:
            self._second, self._number = second, 0
        else:
            self._number += 1
        return f"{self._second}:{self._number}"


def _release(waiter: asyncio.Future[bool], *, news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)
