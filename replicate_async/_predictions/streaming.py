"""Following a prediction's output while it is made."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from replicate_async._http import clock
from replicate_async._http.problem import trim_traceback
from replicate_async._http.request import Request
from replicate_async._http.response import AsyncStreamedResponse
from replicate_async._http.sse import EventParser, RawEvent
from replicate_async._predictions.jobs import look, output_of
from replicate_async._predictions.polling import poll_interval, wait_until_done
from replicate_async.errors import APIConnectionError, APIError, APIStatusError, ReplicateError
from replicate_async.types import Prediction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from typing_extensions import Self

    from replicate_async._http.options import RequestOptions
    from replicate_async._http.transport import Transport

logger = logging.getLogger("replicate_async")

_SILENCE = 45.0  # seconds without a byte; the API itself ends an idle stream after 30
_TRIES = 2  # connections in a row that bring nothing new, before polling takes over
_POLL_AT_MOST = 1.0  # seconds between two looks at a prediction that somebody reads along


class StreamEvent(str):  # noqa: SLOT000 - its attributes are few, and pickle wants a dict
    """A piece of a prediction's output as it is made, as text; ``event`` tells what else it may be.

    ``event`` is ``output``, ``logs`` or ``done``, ``data`` what came with it, ``id`` the server's name for it. As a
    text it is the output's piece, and empty for other events: printing or joining all of them gives the output.
    """

    event: str
    data: str
    id: str | None

    def __new__(cls, event: str, data: str, id: str | None = None) -> Self:
        """Make an event."""
        made = super().__new__(cls, data if event == "output" else "")
        made.event = event
        made.data = data
        made.id = id
        return made

    def __getnewargs__(self) -> tuple[str, str, str | None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.event, self.data, self.id

    def __repr__(self) -> str:
        return f"StreamEvent(event={self.event!r}, data={self.data!r}, id={self.id!r})"


class _Reader:
    """What was read of a prediction so far, and what that leaves to be read."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.logs = ""
        self.last_id: str | None = None
        self._seen: set[str] = set()
        self._before: frozenset[str] = frozenset()

    def connect(self) -> None:
        """Begin with another connection: what the others brought may come once more."""
        self._before = frozenset(self._seen)

    def event(self, raw: RawEvent) -> StreamEvent | None:
        """Take an event from the stream; None if another connection brought it, or if it is of no known kind."""
        if raw.id:
            if raw.id in self._before:
                return None
            self._seen.add(raw.id)
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
        """Whether a new connection can go on where the last one ended."""
        return self.last_id is not None or not (self.pieces or self.logs)

    def lacks(self, prediction: Prediction) -> bool:
        """Return whether a prediction has, or may have, more than what was read."""
        return prediction.done or bool(self._rest(prediction)) or len(prediction.logs or "") > len(self.logs)

    def missing(self, prediction: Prediction) -> list[StreamEvent]:
        """Return what a prediction has beyond what was read."""
        found: list[StreamEvent] = []
        logs = prediction.logs or ""
        if len(logs) > len(self.logs) and logs.startswith(self.logs):
            found.append(StreamEvent("logs", logs[len(self.logs) :]))
            self.logs = logs
        for piece in self._rest(prediction):
            self.pieces.append(piece)
            found.append(StreamEvent("output", piece))
        return found

    def _rest(self, prediction: Prediction) -> list[str]:
        output = prediction.output
        if isinstance(output, list):
            items = [_text(item) for item in cast("list[Any]", output)]  # type: ignore[redundant-cast]
            if items[: len(self.pieces)] == self.pieces:
                return items[len(self.pieces) :]
            read, whole = "".join(self.pieces), "".join(items)
            if whole.startswith(read):  # it is cut differently
                return [whole[len(read) :]] if whole != read else []
            return items[len(self.pieces) :]
        # Anything else comes in one piece, at the end.
        whole, read = "" if output is None or not prediction.done else _text(output), "".join(self.pieces)
        return [whole[len(read) :]] if whole.startswith(read) and whole != read else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def follow(
    transport: Transport, prediction: Prediction, options: RequestOptions
) -> AsyncGenerator[StreamEvent, None]:
    """Yield a prediction's events from its beginning, over as many connections as it takes."""
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
    fruitless = 0
    url = prediction.urls.stream
    while url and reader.resumable and fruitless < _TRIES:
        fruitless += 1
        reader.connect()
        try:
            async with aclosing(_connection(transport, url, reader.last_id)) as events:
                async for raw in events:
                    if raw.event == "done":
                        await _check_end(transport, prediction, options, raw, reader)
                        yield StreamEvent("done", raw.data, raw.id)
                        return
                    event = reader.event(raw)
                    if event is not None:  # as a text, an event of logs is empty
                        fruitless = 0
                        yield event
        except (APIConnectionError, APIStatusError) as error:
            logger.info("the stream of prediction %s broke: %s", prediction.id, error)
        else:
            if fruitless:  # idle, so the server ended it; the model may still be starting
                fruitless = 0
                await clock.current.sleep(_POLL_AT_MOST)
                prediction = await look(transport, prediction.id, Prediction, options)
                if reader.lacks(prediction):
                    break
    async with aclosing(_poll(transport, prediction, options, reader)) as rest:
        async for event in rest:
            yield event


async def _connection(transport: Transport, url: str, last_id: str | None) -> AsyncGenerator[RawEvent, None]:
    """Yield the events of one connection, until it ends or breaks."""
    import aiohttp

    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENCE)
    opened = await transport.open(Request[bytes]("GET", url, bytes, {"timeout": timeout}, headers=headers))
    parser = EventParser()
    async with aclosing(AsyncStreamedResponse(opened).iter_bytes()) as pieces:
        async for piece in pieces:
            for event in parser.feed(piece):
                yield event


async def _check_end(
    transport: Transport, prediction: Prediction, options: RequestOptions, done: RawEvent, reader: _Reader
) -> None:
    """Raise what the stream's end stands for, unless all went well."""
    try:
        reason = msgspec.json.decode(done.data or "{}", type=dict[str, Any]).get("reason")
    except msgspec.MsgspecError:
        reason = None
    if reason is not None:
        ended = await wait_until_done(transport, prediction, Prediction, options, look_now=True)
        _check_status(ended, reader)


def _check_status(ended: Prediction, reader: _Reader) -> None:
    if ended.output is None and ended.status != "succeeded":
        ended.output = reader.pieces or None  # so far
    output_of(ended)


async def _poll(
    transport: Transport, prediction: Prediction, options: RequestOptions, reader: _Reader
) -> AsyncGenerator[StreamEvent, None]:
    """Yield what is missing by looking at the prediction itself."""
    started = clock.current.monotonic()
    while True:
        for event in reader.missing(prediction):
            yield event
        if prediction.done:
            _check_status(prediction, reader)
            yield StreamEvent("done", "{}")
            return
        await clock.current.sleep(min(poll_interval(clock.current.monotonic() - started), _POLL_AT_MOST))
        prediction = await look(transport, prediction.id, Prediction, options)
