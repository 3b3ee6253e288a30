"""Streaming: a prediction's output as it is made, by server-sent events with resume, or by polling."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_async._http import clock
from replicate_async._http.options import RequestOptions
from replicate_async._http.problem import trim_traceback
from replicate_async._http.request import Request
from replicate_async._http.sse import ServerSentEvent, SSEDecoder
from replicate_async._http.transport import Transport
from replicate_async._json import is_list
from replicate_async._logging import logger
from replicate_async._predictions.jobs import fetch_job, output_of
from replicate_async._predictions.polling import poll_interval, wait_until_done
from replicate_async.errors import APIConnectionError, APIError, APIStatusError, ReplicateError
from replicate_async.types import Prediction, logs_of

if TYPE_CHECKING:
    from typing_extensions import Self

# In seconds without a byte. The API itself ends an idle stream after 30.
_READ_TIMEOUT = 45.0
# After this many connections in a row without anything new, polling takes over.
_MAX_SILENT_CONNECTIONS = 2
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
        """Return whether a prediction has, or may have, more than was read."""
        return prediction.done or bool(self._rest(prediction)) or len(logs_of(prediction)) > len(self.logs)

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


async def follow(
    transport: Transport, prediction: Prediction, options: RequestOptions
) -> AsyncGenerator[StreamEvent, None]:
    """Yield a prediction's events from its beginning, over as many connections as necessary."""
    try:
        async with aclosing(_follow(transport, prediction, options)) as events:
            async for event in events:
                yield event
    except ReplicateError as error:
        if isinstance(error, APIError):
            error.prediction_id = prediction.id
        raise trim_traceback(error) from error.__cause__


async def _follow(
    transport: Transport, prediction: Prediction, options: RequestOptions
) -> AsyncGenerator[StreamEvent, None]:
    reader = _Reader()
    silent_connections = 0
    url: object = getattr(prediction.urls, "stream", None)
    while isinstance(url, str) and url and reader.resumable and silent_connections < _MAX_SILENT_CONNECTIONS:
        silent_connections += 1
        reader.on_connect()
        try:
            async with aclosing(_connect(transport, url, reader.last_id)) as events:
                async for raw in events:
                    if raw.event == "done":
                        await _raise_for_reason(transport, prediction, options, raw, reader)
                        yield StreamEvent("done", raw.data, raw.id)
                        return
                    event = reader.read(raw)
                    # Compared with None, because events of logs are empty texts.
                    if event is not None:
                        silent_connections = 0
                        yield event
        except (APIConnectionError, APIStatusError) as error:
            logger.info("the stream of prediction %s broke: %s", prediction.id, error)
        else:
            if silent_connections:
                # The server has ended an idle stream. The model may still be starting.
                silent_connections = 0
                await clock.current.sleep(_MAX_POLL_INTERVAL)
                prediction = await fetch_job(transport, prediction.id, Prediction, options)
                if reader.is_behind(prediction):
                    break
    async with aclosing(_poll(transport, prediction, options, reader)) as rest:
        async for event in rest:
            yield event


async def _connect(transport: Transport, url: str, last_id: str | None) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of one connection, until it ends or breaks.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    import aiohttp

    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_READ_TIMEOUT)
    response = await transport.open(Request[bytes]("GET", url, bytes, {"timeout": timeout}, headers=headers))
    decoder = SSEDecoder()
    async with aclosing(response.iter_bytes()) as chunks:
        async for chunk in chunks:
            for event in decoder.feed(chunk):
                yield event


async def _raise_for_reason(
    transport: Transport, prediction: Prediction, options: RequestOptions, done: ServerSentEvent, reader: _Reader
) -> None:
    """Raise the error that the end of a stream stands for, if it has a reason."""
    try:
        reason = msgspec.json.decode(done.data or "{}", type=dict[str, Any]).get("reason")
    except msgspec.MsgspecError:
        reason = None
    if reason is not None:
        _raise_for_status(await wait_until_done(transport, prediction, Prediction, options, poll_now=True), reader)


def _raise_for_status(prediction: Prediction, reader: _Reader) -> None:
    if prediction.output is None and prediction.status != "succeeded":
        # The output so far.
        prediction.output = reader.pieces or None
    output_of(prediction)


async def _poll(
    transport: Transport, prediction: Prediction, options: RequestOptions, reader: _Reader
) -> AsyncGenerator[StreamEvent, None]:
    """Yield the missing events by polling the prediction."""
    started = clock.current.monotonic()
    while True:
        for event in reader.catch_up(prediction):
            yield event
        if prediction.done:
            _raise_for_status(prediction, reader)
            yield StreamEvent("done", "{}")
            return
        await clock.current.sleep(min(poll_interval(clock.current.monotonic() - started), _MAX_POLL_INTERVAL))
        prediction = await fetch_job(transport, prediction.id, Prediction, options)
