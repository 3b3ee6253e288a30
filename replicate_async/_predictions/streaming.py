"""Streaming: a prediction's output as it is made, by server-sent events with resume, or by polling."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from math import inf
from typing import Any, TypeVar

import anyio
import msgspec

from replicate_async._files import CHUNK_SIZE
from replicate_async._http import clock
from replicate_async._http.body import Body
from replicate_async._http.options import RequestOptions, max_retries_of
from replicate_async._http.request import Request
from replicate_async._http.sse import ServerSentEvent, SSEDecoder
from replicate_async._http.transport import Transport
from replicate_async._json import is_list
from replicate_async._logging import logger
from replicate_async._predictions.jobs import fetch_job, output_of
from replicate_async._predictions.patience import Patience
from replicate_async._predictions.polled_job import poll_interval
from replicate_async._tasks import consume_exception
from replicate_async._typing import Self
from replicate_async.errors import APIConnectionError, APIError, APIStatusError
from replicate_async.types import Prediction, logs_of

T = TypeVar("T")

# In seconds without a byte. The API itself ends an idle stream after 30.
_READ_TIMEOUT = 45.0
# In seconds without an event: the prediction is polled, because a stream may be silent, late or cut off.
_QUIET_SECONDS = 2.5
# After this many connections in a row that failed without anything new, only polling is left.
_MAX_SILENT_CONNECTIONS = 2
# In seconds: between polls without a connection, and between connections without anything new.
_MAX_POLL_INTERVAL = 1.0


class StreamEvent(str):  # noqa: SLOT000 - pickle needs a dict
    """A piece of a prediction's output as text, or another event of its stream.

    ``event`` is ``output``, ``logs`` or ``done``, ``data`` the event's data, ``id`` the server's id. As a text it is
    the piece of output, and empty for other events: printing or joining all events gives the output.
    """

    event: str
    data: str
    id: str | None

    def __new__(cls, event: str, data: str, id: str | None = None) -> Self:
        """Create an event."""
        self = super().__new__(cls, data if event == "output" else "")
        self.event = event
        self.data = data
        self.id = id
        return self

    def __getnewargs__(self) -> tuple[str, str, str | None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.event, self.data, self.id

    def __repr__(self) -> str:
        return f"StreamEvent(event={self.event!r}, data={self.data!r}, id={self.id!r})"


class _Reader:
    """The events read so far, and what is missing from them."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.logs = ""
        self.last_id: str | None = None
        self._seen_ids: set[str] = set()
        self._earlier_ids: frozenset[str] = frozenset()

    def on_connect(self) -> None:
        """Begin another connection, which may repeat events of earlier ones."""
        self._earlier_ids = frozenset(self._seen_ids)

    def read(self, raw: ServerSentEvent) -> StreamEvent | None:
        """Take an event from the stream; return None if it was read before, or is of an unknown kind."""
        if raw.id:
            if raw.id in self._earlier_ids:
                return None
            self._seen_ids.add(raw.id)
            self.last_id = raw.id
        if raw.event == "output":
            self.pieces.append(raw.data)
        elif raw.event == "logs":
            self.logs += raw.data
        else:
            return None
        return StreamEvent(raw.event, raw.data, raw.id)

    @property
    def resumable(self) -> bool:
        """Whether a new connection can continue where the last one ended."""
        return self.last_id is not None or not (self.pieces or self.logs)

    def is_behind(self, prediction: Prediction) -> bool:
        """Return whether a prediction has ended, or has more output than was read. A stream may lack the logs."""
        return prediction.done or bool(self._rest(prediction))

    def catch_up(self, prediction: Prediction) -> list[StreamEvent]:
        """Return events for everything that a prediction has beyond what was read."""
        events: list[StreamEvent] = []
        logs = logs_of(prediction)
        if len(logs) > len(self.logs) and logs.startswith(self.logs):
            events.append(StreamEvent("logs", logs[len(self.logs) :]))
            self.logs = logs
        rest = self._rest(prediction)
        self.pieces += rest
        return events + [StreamEvent("output", piece) for piece in rest]

    def _rest(self, prediction: Prediction) -> list[str]:
        output, read = prediction.output, "".join(self.pieces)
        if is_list(output):
            items = [_text(item) for item in output]
            whole = "".join(items)
            if items[: len(self.pieces)] == self.pieces or not whole.startswith(read):
                return items[len(self.pieces) :]
            # The list divides the text differently from the stream.
        else:
            # Anything else comes in one piece, at the end.
            whole = "" if output is None or not prediction.done else _text(output)
        return [whole[len(read) :]] if whole.startswith(read) and whole != read else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _Connection:
    """A prediction's stream: one response at a time, opened when it is first read.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url
        self._body: Body | None = None
        self._decoder = SSEDecoder()

    @property
    def is_open(self) -> bool:
        """Whether there is a response."""
        return self._body is not None

    async def read(self, last_id: str | None) -> list[ServerSentEvent] | None:
        """Return the events of the next chunk; None at the end of the response.

        Raises:
            APIError: the connection failed, or the response is not a stream that can be read.
        """
        if self._body is None:
            self._decoder = SSEDecoder()
            self._body = await self._open(last_id)
        chunk = await self._body.read(CHUNK_SIZE)
        return self._decoder.feed(chunk) if chunk else None

    async def _open(self, last_id: str | None) -> Body:
        import aiohttp

        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        # A header can't have all that an id can.
        if last_id is not None and last_id.isprintable():
            headers["Last-Event-ID"] = last_id
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_READ_TIMEOUT)
        options = RequestOptions(timeout=timeout, max_retries=0)
        request = Request[bytes]("GET", self._url, bytes, options, headers=headers, secret=True)
        return (await self._transport.open_body(request))[0]

    def close(self) -> None:
        """Close the response, if there is one. The next read opens another."""
        body, self._body = self._body, None
        if body is not None:
            body.close()


class EventReader:
    """Reads a prediction's events from its beginning: from its stream, as long as that brings them, or by polling.

    The prediction is the truth: it is polled when the stream is quiet, when it ends and when it can't be reached.
    """

    def __init__(self, transport: Transport, prediction: Prediction, options: RequestOptions) -> None:
        self._transport = transport
        self.prediction: Prediction = prediction
        """The prediction as it was last seen."""
        self._options = options
        self._reader = _Reader()
        self._patience = Patience()
        self._ready: deque[StreamEvent] = deque()
        self._ended = False
        # The stream's last event.
        self._done: StreamEvent | None = StreamEvent("done", "{}")
        # At most one read and one poll are in progress.
        self._reading: asyncio.Task[list[ServerSentEvent] | None] | None = None
        self._polling: asyncio.Task[Prediction] | None = None
        self._silent_connections = 0
        url: object = getattr(prediction.urls, "stream", None)
        self._connection = _Connection(transport, str(url))
        # When there was the last event, and when the next read and the next poll are due.
        now = self._news_at = clock.current.monotonic()
        self._read_at, self._poll_at = now, now + _QUIET_SECONDS
        if not isinstance(url, str) or not url:
            self._read_at, self._poll_at = inf, now + poll_interval(0)
            self._apply(prediction)

    async def next(self) -> StreamEvent | None:
        """Return the next event; None after the last one.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APIError: a call failed; the error has the prediction's id.
        """
        try:
            while not self._ready and not self._ended:
                await self._work()
        except APIError as error:
            error.prediction_id = self.prediction.id
            raise
        return self._ready.popleft() if self._ready else self._end()

    def _end(self) -> StreamEvent | None:
        """Return the last event, or raise the error that the end of the prediction stands for."""
        prediction, done, self._done = self.prediction, self._done, None
        if done is not None and prediction.output is None and prediction.status != "succeeded":
            # The output so far.
            prediction.output = self._reader.pieces or None
        if done is not None:
            output_of(prediction)
        return done

    async def close(self) -> None:
        """Close the connection, and end what is in progress."""
        try:
            await _cancel(self._reading, self._polling)
        finally:
            self._connection.close()

    async def _work(self) -> None:
        """Wait for a read or a poll, and apply it."""
        now = clock.current.monotonic()
        if self._reading is None and now >= self._read_at:
            if not self._connection.is_open:
                self._silent_connections += 1
                self._reader.on_connect()
            self._reading = _start(self._connection.read(self._reader.last_id))
        if self._polling is None and now >= self._poll_at:
            self._polling = _start(fetch_job(self._transport, self.prediction.id, Prediction, self._options))
        due = min(inf if self._reading else self._read_at, inf if self._polling else self._poll_at)
        tasks = [task for task in (self._reading, self._polling) if task is not None]
        if not tasks:
            await clock.current.sleep(due - now)
            return
        with clock.time_limit(None if due == inf else due - now):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            await self._on_read(reading)
        elif self._polling is not None and self._polling.done():
            polling, self._polling = self._polling, None
            await self._on_poll(polling)

    async def _on_read(self, reading: asyncio.Task[list[ServerSentEvent] | None]) -> None:
        now, failed = clock.current.monotonic(), False
        try:
            events = reading.result()
        except (APIConnectionError, APIStatusError) as error:
            # The URL is not logged: with it, anyone can read the stream.
            logger.info("the stream of prediction %s broke: %s", self.prediction.id, error.message)
            events, failed = None, True
        for raw in events or ():
            if raw.event == "done":
                self._done = StreamEvent("done", raw.data, raw.id)
                self._poll_at = now
                await self._leave_stream()
                return
            event = self._reader.read(raw)
            # Compared with None, because events of logs are empty texts.
            if event is not None:
                self._ready.append(event)
                self._silent_connections, self._news_at, self._poll_at = 0, now, now + _QUIET_SECONDS
        if events is None:
            await self._on_disconnect(now, failed=failed)

    async def _on_disconnect(self, now: float, *, failed: bool) -> None:
        """Decide when to connect again and when to poll, after a connection has ended or failed."""
        self._connection.close()
        brought_news = not self._silent_connections
        if not failed:
            # The server ends an idle stream. The model may still be starting.
            self._silent_connections = 0
        self._read_at = now if brought_news else now + _MAX_POLL_INTERVAL
        if not self._reader.resumable or self._silent_connections >= _MAX_SILENT_CONNECTIONS:
            self._read_at = inf
        if not failed or not brought_news or self._read_at == inf:
            self._poll_at = now

    async def _on_poll(self, polling: asyncio.Task[Prediction]) -> None:
        now = clock.current.monotonic()
        interval = poll_interval(now - self._news_at)
        # Without a connection, polls bring the output.
        interval = max(interval, _QUIET_SECONDS) if self._reading else min(interval, _MAX_POLL_INTERVAL)
        self._poll_at = now + interval
        try:
            prediction = polling.result()
        except APIError as error:
            # As long as there is a stream, a poll is an additional look.
            max_retries = None if self._reading else max_retries_of(self._transport.settings, self._options)
            if not self._patience.on_failure(error, max_retries):
                raise
            return
        self._patience.on_success()
        self.prediction = prediction
        # Events that have arrived in the meantime come first.
        has_arrived = self._reading is not None and self._reading.done()
        if not has_arrived and (self._read_at == inf or self._reader.is_behind(prediction)):
            await self._leave_stream()
            self._apply(prediction)

    def _apply(self, prediction: Prediction) -> None:
        """Take everything from a prediction that was not read."""
        self._ready.extend(self._reader.catch_up(prediction))
        self._ended = prediction.done

    async def _leave_stream(self) -> None:
        """Close the connection for good: from now on, polls bring the rest."""
        self._read_at = inf
        reading, self._reading = self._reading, None
        await _cancel(reading)
        self._connection.close()


def _start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    task.add_done_callback(consume_exception)
    return task


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait for their ends, which come soon."""
    pending = [task for task in tasks if task is not None and not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        with anyio.CancelScope(shield=True):
            await asyncio.wait(pending)
