"""Streaming: every event once, whatever happens to connections, and how a stream ends when one side leaves."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import msgspec
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import programs
from callers import Caller, calling
from rawserver import (
    TOKEN,
    JumpingClock,
    RawRequest,
    RawServer,
    answer,
    close,
    free_port,
    part_of,
    prediction,
    record_pauses,
)
from replicate_async import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    AsyncReplicate,
    InternalServerError,
    ModelError,
    NotFoundError,
    PredictionCanceledError,
    Replicate,
    StreamEvent,
    UnprocessableEntityError,
)
from replicate_async._http import clock as sdk_clock
from replicate_async._http import sse
from replicate_async.testing import LocalServer, OutputFile
from replicate_async.types import Prediction
from simulation import Simulation, simulate

pytestmark = pytest.mark.anyio


class Models:
    """Models on a server; ``go_on`` lets the waiting model continue."""

    def __init__(self, server: LocalServer) -> None:  # noqa: C901 - each is simple
        self.go_on = threading.Event()

        @server.model("owner/words")
        async def words(text: str = "Once upon a time") -> AsyncIterator[str]:
            print("about to write")  # noqa: T201
            for number, word in enumerate(text.split()):
                yield f" {word}" if number else word

        @server.model("owner/endless")
        async def endless() -> AsyncIterator[str]:
            yield "Once"
            await asyncio.Event().wait()

        @server.model("owner/flood")
        async def flood() -> AsyncIterator[str]:
            while True:
                yield "x" * 10_000
                await asyncio.sleep(0)

        @server.model("owner/broken")
        async def broken() -> AsyncIterator[str]:
            yield "Once"
            raise ValueError("no luck today")

        @server.model("owner/steps")
        async def steps(count: int = 3) -> AsyncIterator[str]:
            for number in range(count):
                yield str(number)
                while not self.go_on.is_set():  # noqa: ASYNC110 - some tests run in another thread
                    await asyncio.sleep(0.002)
                self.go_on.clear()

        @server.model("owner/echo")
        async def echo(value: Any = "hello") -> Any:
            return value

        @server.model("owner/silent")
        async def silent() -> None:
            await asyncio.Event().wait()

        @server.model("owner/starting", startup=3600)
        async def starting() -> AsyncIterator[str]:
            yield "never"

        @server.model("owner/pictures")
        async def pictures() -> AsyncIterator[OutputFile]:
            yield OutputFile(b"1", "image/png", "1.png")
            yield OutputFile(b"2", "image/png", "2.png")


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(tidy=True) as server:
        yield server


@pytest.fixture
def hosted(server: LocalServer) -> Models:
    return Models(server)


@pytest.fixture
async def client(server: LocalServer, hosted: Models) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


@pytest.fixture(params=["async", "blocking"])
async def call(server: LocalServer, hosted: Models, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """Calls with either client."""
    async with calling(request.param, server.base_url, server.token) as call:
        yield call


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]


def operations(server: LocalServer) -> list[str]:
    return [request.operation for request in server.requests]


def connections(server: LocalServer) -> list[Any]:
    """Return the requests for event streams."""
    return [request for request in server.requests if request.operation == "predictions.stream"]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.002)


def seen(events: list[StreamEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in events]


# --- predictions that fail ---


@pytest.fixture
def so_far() -> list[StreamEvent]:
    """Return a list for the events before an error."""
    return []


async def gather(events: Any, so_far: list[StreamEvent]) -> None:
    async for event in events:
        so_far.append(event)  # noqa: PERF401 - what came before an error counts


async def test_a_failed_prediction(call, so_far):
    """A failure is raised where it happens in the stream, with the prediction and its output so far."""
    events = call.client.stream("owner/broken")
    with pytest.raises(ModelError, match="failed: no luck today") as caught:
        await (anyio.to_thread.run_sync(so_far.extend, events) if call.blocking else gather(events, so_far))
    assert type(caught.value) is ModelError
    assert (caught.value.prediction.status, caught.value.prediction.output) == ("failed", ["Once"])
    assert "".join(so_far) == "Once"
    assert all(event.event != "done" for event in so_far)


async def test_a_prediction_that_is_canceled_elsewhere(server, client, so_far):
    """A prediction that is canceled elsewhere raises an error of its own class, with the output so far."""
    task = asyncio.ensure_future(gather(client.stream("owner/endless"), so_far))
    await until(lambda: so_far)
    await client.predictions.cancel(next(iter(server.predictions)))
    with pytest.raises(PredictionCanceledError) as caught:
        await task
    assert (caught.value.prediction.status, caught.value.prediction.output) == ("canceled", ["Once"])


async def test_a_prediction_that_is_aborted(server, client, so_far):
    """A prediction that is canceled before it starts ends the same way, without any event."""
    task = asyncio.ensure_future(gather(client.stream("owner/starting"), so_far))
    await until(lambda: connections(server))
    await client.predictions.cancel(next(iter(server.predictions)))
    with pytest.raises(PredictionCanceledError, match="aborted"):
        await task
    assert so_far == []


async def test_a_failure_without_a_stream(server, client, so_far):
    """A model that does not stream fails in the same way."""

    @server.model("owner/breaks")
    async def breaks() -> str:
        raise ValueError("no luck at all")

    record_pauses()
    with pytest.raises(ModelError, match="no luck at all"):
        await gather(client.stream("owner/breaks"), so_far)


async def test_a_refused_create(server, client, so_far):
    """A refusal of the API is raised as it is, and nothing else is sent."""
    with pytest.raises(UnprocessableEntityError, match="count"):
        await gather(client.stream("owner/steps", input={"count": "x"}), so_far)
    assert operations(server) == ["models.predictions.create"]


async def test_bad_arguments_raise(server, client, so_far):
    """TypeError and ValueError name the mistake before anything is sent."""
    with pytest.raises(ValueError, match="ref="):
        await gather(client.stream("nonsense"), so_far)
    with pytest.raises(TypeError, match=r"input\.a\[1\]"):
        await gather(client.stream("owner/words", input={"a": [1, object()]}), so_far)
    with pytest.raises(TypeError, match="timout"):
        await gather(client.stream("owner/words", timout=3), so_far)
    assert server.requests == []


# --- scripted servers ---

Streams = Callable[[int, RawRequest], bytes]

FRAMES = [("logs", "0%"), ("output", "a"), ("output", "é\nc"), ("logs", "\n"), ("output", "a")]
OUTPUT = [data for event, data in FRAMES if event == "output"]
LOGS = "".join(data for event, data in FRAMES if event == "logs")
DONE = "event: done\ndata: {}\n\n"
IDLE = ":408: 408 Request Timeout\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
# These servers close the connection after each response.
CLOSE = {"Connection": "close"}


def frame(event: str, data: str, id: str | None = None) -> str:
    lines = [f"event: {event}", *([f"id: {id}"] if id is not None else []), *(f"data: {x}" for x in data.split("\n"))]
    return "\n".join(lines) + "\n\n"


def body_of(*, ids: bool = True, after: str | None = None, tail: str = DONE) -> bytes:
    """Return the whole stream, or the part after an event."""
    names = [f"1:{number}" for number in range(len(FRAMES))]
    start = names.index(after) + 1 if after in names else 0
    frames = [frame(*event, name if ids else None) for event, name in zip(FRAMES, names, strict=True)]
    return ("".join(frames[start:]) + tail).encode()


def streamed(body: bytes, *, missing: int | None = None) -> bytes:
    """Return a streamed response: one that just ends, or one that breaks off before its announced end."""
    if missing is None:
        return HEAD + b"\r\n" + body
    return HEAD + f"Content-Length: {len(body) + missing}\r\n\r\n".encode() + body


class WaitingClock(JumpingClock):
    """A clock that jumps over delays, but not while something else may happen first."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        """Run a callback after a delay in real time."""

        def fire() -> None:
            self._seconds += seconds
            callback()

        return asyncio.get_running_loop().call_later(seconds, fire)


def skip_pauses() -> list[float]:
    """Return a list that records the delays of clients, which they wait for only if something else may happen."""
    sdk_clock.current = clock = WaitingClock()
    return clock.pauses


# What a poll responds, or a function that returns it for the number of connections so far.
Poll = dict[str, Any] | Callable[[int], dict[str, Any]]


@asynccontextmanager
async def scripted(streams: Streams, *polls: Poll, **created: Any) -> AsyncIterator[tuple[RawServer, AsyncReplicate]]:
    """Serve a prediction: the function returns the nth connection's stream, and ``polls`` are the polls' responses.

    Without any, the prediction has succeeded.
    """
    counts = {"streams": 0, "polls": 0}

    async def step(writer: asyncio.StreamWriter) -> None:
        request = server.requests[-1]
        if request.method == "POST":
            counts.update(streams=0, polls=0)
            urls = {"stream": f"{server.url}/stream"}
            writer.write(answer(201, prediction(**{"urls": urls, "input": {}, **created}), CLOSE))
        elif request.target == "/stream":
            counts["streams"] += 1
            writer.write(streams(counts["streams"], request))
        else:
            counts["polls"] += 1
            poll = polls[min(counts["polls"], len(polls)) - 1] if polls else prediction(**ENDED)
            writer.write(answer(200, poll if isinstance(poll, dict) else poll(counts["streams"]), CLOSE))
        await writer.drain()

    async with RawServer(step) as server, server.client() as client:
        skip_pauses()
        yield server, client


START = "2025-01-01T00:00:01Z"
ENDED = {"status": "succeeded", "completed_at": "2025-01-01T00:00:01Z"}
WHOLE = prediction(output=OUTPUT, logs=LOGS, **ENDED)


def targets(server: RawServer) -> list[str]:
    """Return the kinds of the requests: ``create``, ``stream``, ``poll`` or ``cancel``."""
    kinds = {"/stream": "stream", "/v1/models/owner/name/predictions": "create"}
    return [
        kinds.get(request.target, "cancel" if request.target.endswith("/cancel") else "poll")
        for request in server.requests
    ]


def check_whole(events: list[StreamEvent]) -> None:
    """Check that no event is missing or repeated."""
    assert [event.data for event in events if event.event == "output"] == OUTPUT
    assert "".join(events) == "".join(OUTPUT)
    assert "".join(event.data for event in events if event.event == "logs") == LOGS
    assert [event.event for event in events].index("done") == len(events) - 1


AFTERWARDS: dict[str, Streams] = {
    "resumes": lambda _, request: streamed(body_of(after=request.headers.get("last-event-id"))),
    "starts over": lambda _, request: streamed(body_of()),
    "has no ids": lambda _, request: streamed(body_of(ids=False)),
    "is gone": lambda _, request: answer(404, {"detail": "no such stream"}, CLOSE),
    "fails": lambda _, request: answer(500, {"detail": "a bad day"}, CLOSE),
}


@pytest.mark.parametrize(
    ("afterwards", "clean"),
    [
        *(("resumes", True), ("starts over", True), ("has no ids", True), ("is gone", True)),
        *(("resumes", False), ("starts over", False), ("has no ids", False), ("fails", False)),
    ],
)
async def test_a_drop_after_every_byte(afterwards, clean):
    """Wherever a connection ends or breaks, nothing is lost or repeated; polling brings what no stream does."""
    body = body_of(ids=afterwards != "has no ids")
    length = 0

    def streams(number: int, request: RawRequest) -> bytes:
        if number == 1:
            return streamed(body[:length], missing=None if clean else len(body) - length)
        return AFTERWARDS[afterwards](number, request)

    async with scripted(streams, WHOLE) as (server, client):
        for length in range(len(body) - 2 * clean):
            server.requests.clear()
            events = [event async for event in client.stream("owner/name", max_retries=0)]
            try:
                check_whole(events)
                if afterwards == "resumes" and b"\n\n" in body[:length] and not clean:
                    assert targets(server) == ["create", "stream", "stream", "poll"]
            except AssertionError:
                raise AssertionError(f"dropped after {body[:length]!r}: {events}; {targets(server)}") from None


async def test_many_drops(server, client):
    """A stream that drops after each event is resumed as often as necessary, with the id of the last event."""
    server.faults.add(kind="truncate", operation="predictions.stream", at=90)
    events = [event async for event in client.stream("owner/words", input={"text": "a b c d e f g h"})]
    assert "".join(events) == "a b c d e f g h"
    assert len({event.id for event in events if event.event == "output"}) == 8
    assert len(connections(server)) > 4
    ids = [event.id for event in events if event.id]
    for request in connections(server)[1:]:
        assert request.headers["Last-Event-ID"] in ids


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    "fault",
    [{"kind": "reset"}, {"kind": "status", "status": 503}, {"kind": "truncate", "at": 100}],
    ids=["reset", "refused", "cut off"],
)
def test_drops_of_the_local_server(resume, fault, so_far, caplog):
    """A stream survives a reset, a refusal and a cut-off transfer; the log does not show its URL, which is a key."""
    caplog.set_level("DEBUG", logger="replicate_async")

    async def main(sim: Simulation) -> None:
        async with LocalServer(clock=sim, resume_streams=resume) as server:
            Models(server)
            server.faults.add(operation="predictions.stream", times=2, **fault)
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                await gather(client.stream("owner/words"), so_far)
            assert connections(server)[0].path not in caplog.text

    simulate(main)
    assert "".join(so_far) == "Once upon a time"
    assert [event.data for event in so_far if event.event == "logs"] == ["about to write\n"]


@pytest.mark.parametrize("event_id", ["\x01", "a\x0bb", "\x7f", "a\u2028b", "\x85", "é"])
async def test_ids_that_no_header_can_have(event_id, so_far):
    """A stream that breaks after such an id goes on without it, and nothing is lost or canceled."""
    events = f"event: output\nid: {event_id}\ndata: a\n\n".encode()

    async def step(writer: asyncio.StreamWriter) -> None:
        request = server.requests[-1]
        if request.method == "POST":
            writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
        elif "stream" in request.target:
            again = len([each for each in server.requests if "stream" in each.target]) > 1
            writer.write(HEAD + b"\r\n" + events + (b"event: done\ndata: {}\n\n" if again else b""))
        else:
            writer.write(answer(200, prediction(status="succeeded", output=["a"]), CLOSE))
        await writer.drain()

    async with RawServer(step) as server, server.client() as client:
        record_pauses()
        await gather(client.stream("owner/name"), so_far)
    assert "".join(so_far) == "a"
    assert not any("cancel" in request.target for request in server.requests)


async def test_an_unreachable_stream(so_far):
    """If the stream's host can't be reached, polling brings the output."""
    urls = {"stream": f"http://127.0.0.1:{free_port()}/stream"}
    async with scripted(lambda *_: b"", WHOLE, urls=urls) as (server, client):
        await gather(client.stream("owner/name"), so_far)
    check_whole(so_far)
    assert "poll" in targets(server)


def test_a_stream_that_stalls(so_far):
    """If the stream's host accepts the connection and never responds, the output comes by polling, and soon."""

    async def main(sim: Simulation) -> None:
        async with LocalServer(clock=sim) as server:
            Models(server)
            server.faults.add(kind="stall", operation="predictions.stream")
            options: Any = {"bearer_token": server.token, "base_url": server.base_url, "max_retries": 0}
            async with AsyncReplicate(**options) as client:
                await gather(client.stream("owner/words"), so_far)
        assert sim.monotonic() < 3

    simulate(main)
    assert "".join(so_far) == "Once upon a time"


@pytest.mark.parametrize("resume", [True, False])
async def test_an_idle_stream(resume, so_far):
    """A stream that the server ended because it was idle is resumed, and comments are not events."""
    bodies = [IDLE, frame("output", "a", "1:0") + IDLE, frame("output", "b", "1:1") + DONE]

    def streams(number: int, request: RawRequest) -> bytes:
        assert resume or number == 1 or number == 3 or "last-event-id" not in request.headers
        before = "" if resume or number != 3 else frame("output", "a", "1:0")
        return streamed((":hi\n\n" + before + bodies[number - 1]).encode())

    def poll(connections: int) -> dict[str, Any]:
        return prediction(output=["a", "b"], **ENDED) if connections == 3 else prediction(status="processing")

    async with scripted(streams, poll) as (server, client):
        await gather(client.stream("owner/name"), so_far)
        ids = [request.headers.get("last-event-id") for request in server.requests if request.target == "/stream"]
        assert ids == [None, None, "1:0"]
    assert seen(so_far) == [("output", "a"), ("output", "b"), ("done", "{}")]


async def test_a_long_silence_before_the_output(so_far):
    """A model that boots for minutes, through several idle streams, is streamed once it starts, not only polled."""
    text = [frame("output", word, f"1:{number}") for number, word in enumerate("abc")]
    served = 0

    def streams(number: int, request: RawRequest) -> bytes:
        nonlocal served
        if number < 4:
            return streamed(IDLE.encode())
        served += 1
        return streamed(("".join(text) + DONE).encode())

    def poll(connections: int) -> dict[str, Any]:
        return prediction(output=["a", "b", "c"], **ENDED) if connections == 4 else prediction(status="starting")

    async with scripted(streams, poll) as (server, client):
        await gather(client.stream("owner/name"), so_far)
    assert "".join(so_far) == "abc"
    assert [event.id for event in so_far if event.event == "output"] == ["1:0", "1:1", "1:2"], targets(server)


async def test_ids_that_are_not_unique(so_far):
    """Events with the same id, or an empty one, are separate events."""
    body = frame("output", "a", "") + frame("output", "b", "") + frame("output", "c", "7") + frame("logs", "d", "7")
    async with scripted(lambda *_: streamed((body + DONE).encode())) as (_, client):
        await gather(client.stream("owner/name"), so_far)
    assert seen(so_far) == [("output", "a"), ("output", "b"), ("output", "c"), ("logs", "d"), ("done", "{}")]


async def test_polling_continues_where_the_stream_ended():
    """After a drop, polling yields the rest of the text, however the API divides it."""

    def streams(number: int, request: RawRequest) -> bytes:
        return streamed(frame("output", "Once").encode()) if number == 1 else answer(404, {}, CLOSE)

    for output in ["Once upon", ["Once", " upon"], ["On", "ce", " upon"]]:
        async with scripted(streams, prediction(output=output, **ENDED)) as (_, client):
            events = [event async for event in client.stream("owner/name")]
        assert [event.data for event in events if event.event == "output"] == ["Once", " upon"], output


@pytest.mark.parametrize("pieces", [["Hel", "lo"], ["Hello"], ["H", "e", "l"], ["Hel"], ["He", "llo"]])
@pytest.mark.parametrize("output", [list("Hello"), ["Hel", "lo"], ["Hello"]])
async def test_an_output_that_is_divided_differently(pieces, output):
    """The text comes whole and once, however the broken stream and the prediction's output divide it."""

    def streams(number: int, request: RawRequest) -> bytes:
        frames = "".join(frame("output", piece) for piece in pieces)
        return streamed(frames.encode()) if number == 1 else answer(404, {}, CLOSE)

    async with scripted(streams, prediction(output=output, **ENDED)) as (_, client):
        events = [event async for event in client.stream("owner/name")]
    assert "".join(events) == "Hello"


async def test_unknown_events_are_skipped(so_far):
    """Unknown events, and events without a name, are not yielded."""
    body = frame("ping", "1") + "data: x\n\n" + frame("output", "a", "1:0") + frame("metrics", "{}", "1:1") + DONE
    async with scripted(lambda *_: streamed(body.encode())) as (_, client):
        await gather(client.stream("owner/name"), so_far)
    assert seen(so_far) == [("output", "a"), ("done", "{}")]


async def test_done_events_without_a_reason():
    """The stream ends with any ``done`` event, unless its data has a reason."""
    for data in ["", "null", "[]", "no JSON", '{"reason": null}', '{"more": 1}']:
        body = frame("output", "a", "1:0") + frame("done", data)
        async with scripted(lambda *_, body=body: streamed(body.encode())) as (server, client):
            assert seen([event async for event in client.stream("owner/name")]) == [("output", "a"), ("done", data)]
        assert targets(server) == ["create", "stream", "poll"]


@pytest.mark.parametrize(
    ("reason", "status", "error"), [("error", "failed", ModelError), ("canceled", "canceled", PredictionCanceledError)]
)
@pytest.mark.parametrize("way", ["stream", "polling"])
async def test_a_failure_with_the_output_so_far(so_far, reason, status, error, way):
    """The error has the final prediction, with the streamed output if the API kept none."""
    body = frame("output", "a", "1:0")
    if way == "stream":
        body += frame("error", '{"detail": "boom"}') + frame("done", f'{{"reason": "{reason}"}}')
    processing = prediction(status="processing")
    ended = prediction(status=status, error="boom", output=None, completed_at="2025-01-01T00:00:01Z")
    async with scripted(
        lambda number, _: streamed(body.encode()) if number == 1 else answer(404, {}, CLOSE), processing, ended
    ) as (_, client):
        with pytest.raises(error) as caught:
            await gather(client.stream("owner/name"), so_far)
    assert type(caught.value) is error
    assert (caught.value.prediction.status, caught.value.prediction.output) == (status, ["a"])
    assert seen(so_far) == [("output", "a")]


@pytest.mark.parametrize("when", ["at the end", "while polling"])
async def test_polls_that_fail(so_far, when):
    """If the prediction can't be polled, the error has its id; the output so far was yielded."""
    body = frame("output", "a", "1:0") + (frame("done", '{"reason": "error"}') if when == "at the end" else "")

    async def step(writer: asyncio.StreamWriter) -> None:
        request = server.requests[-1]
        if request.method == "POST":
            writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
        elif request.target == "/stream" and targets(server).count("stream") == 1:
            writer.write(streamed(body.encode()))
        else:
            writer.write(answer(404, {"detail": "who?"}, CLOSE))
        await writer.drain()

    async with RawServer(step) as server, server.client() as client:
        record_pauses()
        with pytest.raises(NotFoundError, match="who") as caught:
            await gather(client.stream("owner/name"), so_far)
    assert caught.value.prediction_id == prediction()["id"]
    assert seen(so_far) == [("output", "a")]


async def test_a_server_that_stays_down(server, client, so_far):
    """If neither the stream nor polling works any more, the error comes after the usual retries."""
    record_pauses()
    server.faults.add(kind="status", status=500, operation="predictions.*", when=lambda call: call.method == "GET")
    with pytest.raises(InternalServerError) as caught:
        await gather(client.stream("owner/words"), so_far)
    assert caught.value.prediction_id == next(iter(server.predictions))
    server.faults.clear()
    server.faults.add(kind="reset", operation="predictions.*", when=lambda call: call.method == "GET")
    with pytest.raises(APIConnectionError):
        await gather(client.stream("owner/words"), so_far)


# --- streams that don't tell the truth ---


def open_stream(text: str, *, comments: bool = True) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Send a part of a stream, keep the connection open, and send comments from time to time."""

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + text.encode())
        while True:
            await asyncio.sleep(1)
            writer.write(b": keep-alive\n\n" if comments else b"")
            await writer.drain()

    return step


async def never(writer: asyncio.StreamWriter) -> None:
    """Accept the connection, and never respond."""
    await asyncio.Event().wait()


A, B = frame("output", "a", "1:0"), frame("output", "b", "1:1")
LIARS: dict[str, Any] = {
    "no event at all": open_stream(""),
    "silent after a part of the output": open_stream(A),
    "silent after the output": open_stream(A + B),
    "no response": never,
    "an empty response": part_of(streamed(b"")),
    "done without output": part_of(streamed(DONE.encode())),
    "done after a part of the output": part_of(streamed((A + DONE).encode())),
    "done, but open": open_stream(A + B + DONE),
    "an end without done": part_of(streamed((A + B).encode())),
    "half an event": open_stream("event: output\ndata: a", comments=False),
    "a page": part_of(answer(200, b"<html>please wait</html>", CLOSE)),
    "a refusal": part_of(answer(403, {"detail": "no"}, CLOSE)),
    "a failure": part_of(answer(503, b"", CLOSE)),
    "closed": close,
}


@pytest.mark.parametrize("lie", LIARS.values(), ids=LIARS)
@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
def test_the_prediction_is_the_truth(lie, status):
    """Whatever a stream does, its events are whole, and end with the prediction, within three seconds."""

    async def main(sim: Simulation) -> None:
        async def step(writer: asyncio.StreamWriter) -> None:
            request = server.requests[-1]
            if request.method == "POST":
                writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            elif request.target != "/stream":
                writer.write(answer(200, prediction(status=status, output=["a", "b"], completed_at=START), CLOSE))
            else:
                await lie(writer)
            await writer.drain()

        async with RawServer(step) as server, server.client() as client:
            so_far: list[StreamEvent] = []
            if status == "succeeded":
                await gather(client.stream("owner/name"), so_far)
                assert [event.event for event in so_far] == ["output", "output", "done"]
            else:
                with pytest.raises(PredictionCanceledError if status == "canceled" else ModelError):
                    await gather(client.stream("owner/name"), so_far)
            assert "".join(so_far) == "ab"
            assert sim.monotonic() < 3
            assert asyncio.all_tasks() - server.open_connections == {asyncio.current_task()}

    simulate(main)


URLS: list[Any] = [
    "http://127.0.0.1:{port}/",
    "http://host:port/",
    "http://127.0.0.1:99999/",
    "http://[::1/",
    "http://",
    "ftp://example.com/",
    "stream",
    "",
    "http://exa mple/\n",
]


@pytest.mark.parametrize("url", URLS)
def test_a_stream_that_cannot_be_reached(url):
    """If the stream's host can't be reached, or there is none, the first poll comes at once, and brings the output."""

    async def main(sim: Simulation) -> None:
        created = prediction(urls={"stream": url.format(port=free_port())})
        ended = prediction(status="succeeded", output=["a", "b"], completed_at=START)
        async with RawServer(answer(201, created), answer(200, ended)) as server, server.client() as client:
            assert "".join([event async for event in client.stream("owner/name")]) == "ab"
            assert sim.monotonic() < 0.5

    simulate(main)


def test_a_stream_that_cannot_be_reached_at_first():
    """While the model boots, the stream is tried again, so that its output is streamed."""

    async def main(sim: Simulation) -> None:
        connections = 0

        async def step(writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            request = server.requests[-1]
            if request.method == "POST":
                writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            elif request.target != "/stream":
                done = {"status": "succeeded", "output": ["a", "b"], "completed_at": START}
                writer.write(answer(200, prediction(**(done if connections == 2 else {})), CLOSE))
            else:
                connections += 1
                writer.write(answer(503, b"", CLOSE) if connections == 1 else streamed((A + B + DONE).encode()))
            await writer.drain()

        async with RawServer(step) as server, server.client() as client:
            events = [event async for event in client.stream("owner/name")]
            assert [event.id for event in events] == ["1:0", "1:1", None]
            assert sim.monotonic() < 3

    simulate(main)


def test_a_healthy_stream_costs_few_polls():
    """A model that is silent for ten minutes and then writes is streamed, on one connection, with few polls."""

    async def main(sim: Simulation) -> None:
        async def stream(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"\r\n")
            for _ in range(60):
                await asyncio.sleep(10)
                writer.write(b": keep-alive\n\n")
            writer.write((A + B + DONE).encode())

        async def step(writer: asyncio.StreamWriter) -> None:
            request = server.requests[-1]
            if request.method == "POST":
                writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            elif request.target != "/stream":
                done = {"status": "succeeded", "output": ["a", "b"], "completed_at": START}
                writer.write(answer(200, prediction(**(done if sim.monotonic() >= 600 else {})), CLOSE))
            else:
                await stream(writer)
            await writer.drain()

        async with RawServer(step) as server, server.client() as client:
            events = [event async for event in client.stream("owner/name")]
            assert [event.id for event in events] == ["1:0", "1:1", None]
            assert targets(server).count("stream") == 1
            assert targets(server).count("poll") < 80

    simulate(main)


PASSING = {
    "a page": answer(200, b"<html>please wait</html>", CLOSE),
    "a page with status 403": answer(403, b"<html>blocked</html>", CLOSE),
    "nothing": answer(200, b"", CLOSE),
    "null": answer(200, None, CLOSE),
    "unknown": answer(404, {"detail": "not found"}, CLOSE),
    "an outage": answer(500, b"", CLOSE),
}


@pytest.mark.parametrize("passing", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("ends", [True, False])
def test_polls_of_a_stream_survive_what_may_pass(passing, ends):
    """Polls of a stream are as patient as others: they survive a minute and a half of bad responses, but not more."""

    async def main(sim: Simulation) -> None:
        async def step(writer: asyncio.StreamWriter) -> None:
            request = server.requests[-1]
            if request.method == "POST":
                writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            elif request.target == "/stream":
                writer.write(streamed((A + DONE).encode()))
            elif ends and sim.monotonic() > 90:
                writer.write(answer(200, prediction(status="succeeded", output=["a"], completed_at=START), CLOSE))
            else:
                writer.write(passing)
            await writer.drain()

        async with RawServer(step) as server, server.client() as client:
            so_far: list[StreamEvent] = []
            if ends:
                await gather(client.stream("owner/name"), so_far)
                assert sim.monotonic() < 100
            else:
                with pytest.raises(APIError) as caught:
                    await gather(client.stream("owner/name"), so_far)
                assert caught.value.prediction_id == prediction()["id"]
                assert 120 <= sim.monotonic() < 130
            assert "".join(so_far) == "a"

    simulate(main)


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("text", ["data: " + "x" * 1000, "data: x\n" * 500], ids=["line", "event"])
async def test_an_endless_event(kind, text, monkeypatch):
    """A line or an event without end is an error that says so, and has the prediction's id."""
    monkeypatch.setattr(sse, "MAX_LENGTH", 2**20)

    async def step(writer: asyncio.StreamWriter) -> None:
        if server.requests[-1].method == "POST":
            writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            return
        writer.write(HEAD + b"\r\n")
        while server.requests:
            writer.write(text.encode() * 10)
            await writer.drain()

    async with RawServer(step) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        with pytest.raises(
            APIResponseValidationError, match=r"line or an event of more than 1,048,576 bytes"
        ) as caught:
            await call.all(call.client.stream("owner/name"))
        assert caught.value.prediction_id == prediction()["id"]
        server.requests.clear()


# --- models that don't stream ---


async def test_models_that_do_not_stream(client):
    """Their output comes in one piece when it is ready, lists item by item, and anything but text as JSON."""
    record_pauses()
    for value, expected in [
        ("hello", ["hello"]),
        (["a", "b"], ["a", "b"]),
        ({"a": [1]}, ['{"a":[1]}']),
        (5, ["5"]),
        ([{"a": 1}, 2], ['{"a":1}', "2"]),
        (None, []),
    ]:
        events = [event async for event in client.stream("owner/echo", input={"value": value})]
        assert seen(events) == [*(("output", piece) for piece in expected), ("done", "{}")]


async def test_polling_increments(so_far):
    """The growing output and logs of a model without a stream are yielded as they grow, at least once a second."""
    polls = [
        prediction(status="processing", logs="1\n"),
        prediction(status="processing", logs="1\n", output=["a"]),
        prediction(status="processing", logs="1\n2\n", output=["a", "a"]),
        prediction(output=["a", "a", "b"], logs="1\n2\n3\n", **ENDED),
    ]
    async with scripted(lambda *_: b"", *polls, urls={}) as (server, client):
        pauses = record_pauses()
        await gather(client.stream("owner/name"), so_far)
    assert seen(so_far) == [
        ("logs", "1\n"),
        ("output", "a"),
        ("logs", "2\n"),
        ("output", "a"),
        ("logs", "3\n"),
        ("output", "b"),
        ("done", "{}"),
    ]
    assert targets(server) == ["create", *["poll"] * 4]
    assert all(0 < pause <= 1 for pause in pauses)


# --- leaving early ---


class Left(Exception):  # noqa: N818
    """Raised by a reader that leaves its loop."""


async def leave(way: str, events: Any, last: str = "Once") -> None:  # noqa: C901 - there are many ways
    """Leave a stream after an event."""
    if way == "break":
        async for event in events:
            if event == last:
                break
    elif way == "exception":
        with suppress(Left):
            async for event in events:
                if event == last:
                    raise Left
    elif way == "closed":
        async with aclosing(events):
            while await anext(events) != last:
                pass
    elif way == "time limit":
        with anyio.move_on_after(0.15):
            async for _ in events:
                pass
    else:
        read = asyncio.Event()

        async def follow() -> None:
            async for event in events:
                if event == last:
                    read.set()

        task = asyncio.ensure_future(follow())
        await read.wait()
        await asyncio.sleep(0)
        task.cancel()
        if way == "cancelled twice":
            await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()


@pytest.mark.parametrize("way", ["break", "exception", "closed", "time limit", "cancelled", "cancelled twice"])
async def test_leaving(server, client, way):
    """However a loop is left, its connection is closed, and its prediction is canceled unless the caller opted out."""
    await leave(way, client.stream("owner/endless"))
    # For these, Python closes the generator soon afterwards.
    if way not in {"break", "exception"}:
        assert statuses(server) == ["canceled"]
    await until(lambda: statuses(server) == ["canceled"])
    await until(lambda: connections(server)[0].disconnected)
    assert operations(server).count("predictions.cancel") == 1

    server.requests.clear()
    await leave(way, client.stream("owner/endless", cancel_on_abort=False))
    await until(lambda: connections(server)[0].disconnected)
    assert statuses(server)[1] == "processing"
    assert "predictions.cancel" not in operations(server)


@pytest.mark.parametrize("way", ["break", "exception"])
async def test_leaving_the_client_as_well(server, hosted, way, caplog):
    """If the client is closed on the way out of the loop, the prediction is canceled before that, and once."""
    with suppress(Left):
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            async for event in client.stream("owner/endless"):
                if event == "Once" and way == "exception":
                    raise Left
                if event == "Once":
                    break
    assert statuses(server) == ["canceled"]
    gc.collect()
    await until(lambda: connections(server)[0].disconnected)
    assert operations(server).count("predictions.cancel") == 1
    assert caplog.records == []


async def test_leaving_a_model_that_does_not_stream(server, client):
    """Leaving the stream of a model that is only polled cancels its prediction too."""
    with anyio.move_on_after(0.1):
        async for _ in client.stream("owner/silent"):
            pass
    assert statuses(server) == ["canceled"]


async def test_leaving_between_connections(server, client):
    """Leaving while a connection is opened again cancels the prediction."""
    server.faults.add(kind="stall", operation="predictions.stream", skip=1)
    server.faults.add(kind="truncate", operation="predictions.stream", at=110, times=1)
    with anyio.move_on_after(0.2):
        async for _ in client.stream("owner/endless"):
            pass
    assert statuses(server) == ["canceled"]


async def test_leaving_during_the_create(server, client):
    """Leaving while the create is in flight leaves no prediction running."""
    server.faults.add(kind="stall", operation="models.predictions.create", after=True)
    with anyio.move_on_after(0.2):
        async for _ in client.stream("owner/endless"):
            pass
    assert statuses(server) == ["canceled"]


def test_the_connection_is_closed_first():
    """The connection is closed at once, even if the cancellation on the server is slow, or fails."""

    async def main(sim: Simulation) -> None:
        async with LocalServer(clock=sim) as server:
            Models(server)
            server.faults.add(kind="stall", operation="predictions.cancel")
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                events = client.stream("owner/endless")
                while await anext(events) != "Once":
                    pass
                started = sim.monotonic()
                closing = asyncio.ensure_future(events.aclose())
                await until(lambda: connections(server)[0].disconnected)
                assert sim.monotonic() - started < 0.4
                assert not closing.done()
                await closing
                assert 4 < sim.monotonic() - started < 6
                assert statuses(server) == ["processing"]

    simulate(main)


def test_leaving_after_a_poll_has_failed():
    """A poll that fails while the reader is busy is no concern of a reader that then leaves: nothing is logged."""

    async def main(sim: Simulation) -> None:
        async def step(writer: asyncio.StreamWriter) -> None:
            request = server.requests[-1]
            if request.method == "POST":
                writer.write(answer(201, prediction(urls={"stream": f"{server.url}/stream"}), CLOSE))
            elif request.target == "/stream":
                writer.write(HEAD + b"\r\n" + A.encode())
                await asyncio.sleep(3)
                writer.write(B.encode())
                await asyncio.sleep(60)
            else:
                # The poll, which fails after the second event.
                await asyncio.sleep(1)
            await writer.drain()

        logged: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        async with RawServer(step) as server, server.client(max_retries=0) as client:
            events = client.stream("owner/name")
            assert [str(await anext(events)) for _ in range(2)] == ["a", "b"]
            assert (targets(server).count("poll"), sim.monotonic()) == (1, pytest.approx(3, abs=0.1))
            await asyncio.sleep(2)
            await events.aclose()
        del events
        gc.collect()
        assert logged == []

    simulate(main)


async def test_leaving_at_the_end_cancels_nothing(server, client):
    """Leaving at the ``done`` event, or after it, sends no cancellation."""
    async with aclosing(client.stream("owner/words")) as events:
        async for event in events:
            if event.event == "done":
                break
    assert (statuses(server), "predictions.cancel" in operations(server)) == (["succeeded"], False)
    events = client.stream("owner/words")
    _ = [event async for event in events]
    await events.aclose()
    assert "predictions.cancel" not in operations(server)


async def test_a_stream_that_is_never_iterated(server, client):
    """A stream starts with its first event: without one, it sends nothing, and gives no warning."""
    events = client.stream("owner/words")
    del events
    gc.collect()
    await client.stream("owner/words").aclose()
    assert server.requests == []


LEFT_PROGRAM = """
    import asyncio, gc, itertools
    from contextlib import aclosing
    from replicate_async import AsyncReplicate

    async def use(client, way):
        events = MAKE
        if way == "half read":
            client.kept = events
            await anext(events)
        elif way == "broken out of":
            async for _ in events:
                break
        elif way == "dropped":
            await anext(events)
            del events
            gc.collect()
        elif way == "raised in":
            try:
                async for _ in events:
                    raise KeyError
            except KeyError:
                pass
        elif way == "timed out":
            try:
                await asyncio.wait_for(read(events), 0.5)
            except asyncio.TimeoutError:
                pass
        elif way == "being read":
            client.task = asyncio.ensure_future(read(events))
            await asyncio.sleep(0.5)
        elif way == "in a group":
            async def fail():
                await asyncio.sleep(0.5)
                raise KeyError
            await asyncio.gather(read(events), fail(), return_exceptions=False)

    async def read(events):
        async for _ in events:
            pass

    async def main(way):
        # Debug mode reports that an import blocks the loop.
        asyncio.get_running_loop().slow_callback_duration = 60
        client = AsyncReplicate()
        clients.append(client)
        if CLOSES:
            async with client:
                await use(client, way)
        else:
            await use(client, way)

    clients = []
    for way in WAYS:
        try:
            asyncio.run(main(way))
        except KeyError:
            pass
"""
WAYS = ["half read", "broken out of", "dropped", "raised in", "timed out", "being read", "in a group"]
LEFT = {
    "stream": 'client.stream("owner/endless")',
    "predictions.stream": 'client.predictions.stream((await client.submit("owner/endless")).prediction)',
    "function": 'aiter(client.use("owner/endless", streaming=True)())',
    "map": 'client.map("owner/slow", itertools.chain([{"n": 0}], itertools.repeat({"n": 1})), concurrency=5)',
}


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "not closed"])
@pytest.mark.parametrize("make", LEFT.values(), ids=LEFT)
def test_programs_that_leave_a_generator(closes, make):
    """However a program leaves a generator, at the end of its loop too, nothing runs on, and nothing is printed."""
    # A task that still reads when its client is closed gets an error, which is for the program to handle.
    ways = [way for way in WAYS if not closes or way not in {"being read", "in a group"}]
    program = LEFT_PROGRAM.replace("MAKE", make).replace("WAYS", repr(ways)).replace("CLOSES", repr(closes))
    with LocalServer() as server:
        Models(server)

        @server.model("owner/slow")
        async def slow(n: int) -> int:
            await asyncio.sleep(n * 3600)
            return n

        environment = {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}
        assert programs.run(program, "-X", "dev", "-W", "ignore::ResourceWarning", **environment) == ""
        assert len(statuses(server)) >= len(ways)
        until_blocking(lambda: set(statuses(server)) <= {"succeeded", "canceled", "aborted"})


# --- requests ---


async def test_no_token_at_the_streams_origin(server, hosted):
    """The stream's origin gets none of the API's headers: no token, and no headers of the caller."""
    server.faults.add(kind="truncate", operation="predictions.stream", at=100, times=1)
    options: Any = {"default_headers": {"X-Secret": "default"}, "default_query": {"key": "secret"}}
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options) as client:
        stream = client.stream(
            "owner/words", extra_headers={"X-Other": "extra", "Authorization": f"Bearer {server.token}"}
        )
        _ = [event async for event in stream]
    first, second = connections(server)
    for request in (first, second):
        assert request.token is None
        assert not {"X-Secret", "X-Other", "Cookie"} & set(request.headers)
        assert (request.query_string, request.headers["Accept"]) == ("", "text/event-stream")
        assert request.headers["Cache-Control"] == "no-store"
    assert ("Last-Event-ID" in first.headers, "Last-Event-ID" in second.headers) == (False, True)


async def test_the_create_of_a_stream(server, client):
    """The create asks for a stream, is not held, and passes on the other arguments."""
    options: Any = {"webhook": "https://example.com/", "webhook_events_filter": ["completed"], "cancel_after": "5m"}
    _ = [event async for event in client.stream("owner/words", {"text": "a"}, extra_headers={"X-A": "b"}, **options)]
    create = server.requests[0]
    expected = {"webhook": "https://example.com/", "webhook_events_filter": ["completed"], "stream": True}
    assert create.json() == {"input": {"text": "a"}, **expected}
    assert "Prefer" not in create.headers
    assert (create.headers["Cancel-After"], create.headers["X-A"]) == ("5m", "b")


# --- events ---


async def test_events(server, call):
    """Events are typed, come in order, and are texts themselves; the last one is ``done``."""
    events = await call.all(call.client.stream("owner/words"))
    assert all(type(event) is StreamEvent for event in events)
    assert seen(events) == [
        ("logs", "about to write\n"),
        *(("output", word) for word in ("Once", " upon", " a", " time")),
        ("done", "{}"),
    ]
    assert "".join(events) == "Once upon a time"
    assert [bool(event.id) for event in events] == [True] * 5 + [False]
    assert (statuses(server), len(server.requests)) == (["succeeded"], 3)


async def test_files_come_as_their_urls(server, client):
    """A stream of files yields their URLs."""
    events = [event async for event in client.stream("owner/pictures")]
    assert [str(event).startswith(server.delivery_url) for event in events] == [True, True, False]


async def test_events_come_at_once(call, hosted):
    """Each piece arrives before the next exists: nothing waits for more, or for the end."""
    pieces: list[str] = []
    if call.blocking:

        def read() -> None:
            for event in call.client.stream("owner/steps"):
                pieces.append(str(event))
                hosted.go_on.set()

        await anyio.to_thread.run_sync(read)
    else:
        async for event in call.client.stream("owner/steps"):
            pieces.append(str(event))
            hosted.go_on.set()
    assert pieces == ["0", "1", "2", ""]


def test_an_event_as_a_text():
    """An event is a str with attributes: it prints, joins and compares as its text, and its repr shows the rest."""
    output, logs = StreamEvent("output", "Once", "1:0"), StreamEvent("logs", "50%")
    assert (output, str(output), f"{output}!", output.upper()) == ("Once", "Once", "Once!", "ONCE")
    assert (logs, str(logs), logs.data, logs.id, bool(logs)) == ("", "", "50%", None, False)
    assert repr(output) == "StreamEvent(event='output', data='Once', id='1:0')"
    for copied in (pickle.loads(pickle.dumps(logs)), copy.copy(logs), copy.deepcopy(logs)):
        assert type(copied) is StreamEvent
        assert (copied, copied.event, copied.data, copied.id) == ("", "logs", "50%", None)


# --- predictions that were created elsewhere ---


async def test_the_stream_of_a_prediction(call, server):
    """An existing prediction, or its id, is followed from its beginning, running or done."""
    version = (await call("models.get", "owner/words")).latest_version.id
    created = await call("predictions.create", version=version, input={"text": "a b"})
    for by in (created, created.id, created):
        server.requests.clear()
        events = await call.all(call.client.predictions.stream(by))
        assert [event for event in seen(events) if event[0] != "logs"] == [
            ("output", "a"),
            ("output", " b"),
            ("done", "{}"),
        ]
        expected = ["predictions.get"] * (by == created.id) + ["predictions.stream", "predictions.get"]
        assert operations(server) == expected


async def test_the_stream_of_a_prediction_that_fails(server, client, so_far):
    """A failed or missing prediction raises the same errors as ``stream``."""
    with pytest.raises(NotFoundError):
        await gather(client.predictions.stream("nothing"), so_far)
    record_pauses()
    created = await client.models.predictions.create("owner", "broken", input={})
    with pytest.raises(ModelError, match="no luck") as caught:
        await gather(client.predictions.stream(created), so_far)
    assert (caught.value.prediction.id, so_far) == (created.id, ["Once", *[""] * (len(so_far) - 1)])
    server.faults.add(kind="status", status=500, operation="predictions.*", when=lambda call: call.method == "GET")
    with pytest.raises(InternalServerError) as failed:
        await gather(client.predictions.stream(created, max_retries=0), so_far)
    assert failed.value.prediction_id == created.id


@pytest.mark.parametrize("cancel", [True, False])
async def test_leaving_the_stream_of_a_prediction(server, client, cancel):
    """Leaving early closes the connection, and cancels a running prediction unless the caller opted out."""
    created = await client.models.predictions.create("owner", "endless", input={})
    await leave("cancelled", client.predictions.stream(created, cancel_on_abort=cancel))
    assert statuses(server) == ["canceled" if cancel else "processing"]
    await until(lambda: connections(server)[0].disconnected)
    ended = await client.run("owner/words", wait=True) and await client.predictions.get(list(server.predictions)[1])
    server.requests.clear()
    await leave("closed", client.predictions.stream(ended, cancel_on_abort=cancel))
    assert operations(server) == ["predictions.stream"]


# --- in FastAPI ---


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Run an app under uvicorn."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def website(client: AsyncReplicate) -> AsyncIterator[str]:
    """Return the URL of an app that streams to its users."""
    app = FastAPI()

    @app.get("/{name}")
    async def stream(name: str) -> StreamingResponse:
        return StreamingResponse(client.stream(f"owner/{name}"), media_type="text/plain")

    async with served(app) as url:
        yield url


async def test_fastapi_streams(website):
    """FastAPI's StreamingResponse takes a stream as it is."""
    async with aiohttp.ClientSession() as session, session.get(f"{website}/words") as response:
        assert (response.status, await response.text()) == (200, "Once upon a time")


@pytest.mark.parametrize("model", ["endless", "flood"])
async def test_a_user_of_fastapi_disconnects(server, website, model):
    """When a user disconnects, the prediction is canceled, whether it is silent or floods the user."""
    async with aiohttp.ClientSession() as session:
        response = await session.get(f"{website}/{model}")
        await response.content.readany()
        if model == "flood":
            # Until buffers are full, and sending has to wait.
            await asyncio.sleep(0.2)
        response.close()
        await until(lambda: statuses(server) == ["canceled"])
    await until(lambda: connections(server)[0].disconnected)


# --- the blocking client ---


@pytest.fixture(scope="module")
def apart() -> Iterator[LocalServer]:
    """Run a server in a thread."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def models(apart: LocalServer) -> Models:
    apart.requests.clear()
    return Models(apart)


@pytest.fixture
def blocking(apart: LocalServer, models: Models) -> Iterator[Replicate]:
    with Replicate(bearer_token=apart.token, base_url=apart.base_url) as client:
        yield client


def until_blocking(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.002)


def last_status(server: LocalServer) -> str:
    return list(server.predictions.values())[-1].status


def test_blocking_events_come_in_batches_and_order(blocking):
    """Many events come in order, each once, even if their reader is slower or faster than the stream."""
    words = " ".join(str(number) for number in range(1000))
    text = ""
    for number, event in enumerate(blocking.stream("owner/words", {"text": words})):
        text += event
        if number % 200 == 0:
            time.sleep(0.01)
    assert text == words


@pytest.mark.parametrize("way", ["break", "exception", "close"])
def test_blocking_leaving(apart, blocking, way):
    """A blocking loop that is left closes its connection and cancels the prediction before the next line runs."""
    for cancel in (True, False):
        apart.requests.clear()
        events = blocking.stream("owner/endless", cancel_on_abort=cancel)
        with suppress(Left):
            for event in events:
                if event == "Once":
                    if way == "exception":
                        raise Left
                    break
        if way == "close":
            events.close()
        else:
            del events
        assert last_status(apart) == ("canceled" if cancel else "processing")
        until_blocking(lambda: connections(apart)[0].disconnected)


def test_a_slow_blocking_reader_slows_the_stream(apart, blocking):
    """A slow reader does not collect a flood in memory: only some events wait, and leaving still works."""
    events = blocking.stream("owner/flood")
    assert len(next(events)) == 10_000
    until_blocking(lambda: len(list(apart.predictions.values())[-1].output) > 500)
    assert len(events.gi_frame.f_locals["call"].items) <= 128
    events.close()
    assert last_status(apart) == "canceled"


def test_ctrl_c(apart, models):
    """Ctrl-C in a blocking loop ends it at once, with the prediction canceled."""
    program = """
        import replicate_async as replicate

        try:
            for event in replicate.stream("owner/endless"):
                print(event, flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    """
    environment = {"REPLICATE_API_TOKEN": apart.token, "REPLICATE_BASE_URL": apart.base_url}
    with programs.start(program, **environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "Once\n"
            os.kill(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        except BaseException:
            process.kill()
            raise
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")
    assert last_status(apart) == "canceled"


def test_the_modules_own_stream(apart, models):
    """A program that streams with the default client ends well, even if it left a stream open."""
    program = """
        import replicate_async as replicate

        print("".join(replicate.stream("owner/words")))
        events = replicate.stream("owner/endless")
        print(next(events))
    """
    environment = {"REPLICATE_API_TOKEN": apart.token, "REPLICATE_BASE_URL": apart.base_url}
    assert programs.run(program, **environment) == "Once upon a time\nOnce\n"


async def test_blocking_in_a_running_loop(server, hosted):
    """Blocking streams work in a running loop, as in notebooks."""
    with LocalServer() as other:
        Models(other)
        with Replicate(bearer_token=other.token, base_url=other.base_url) as client:
            assert "".join(client.stream("owner/words")) == "Once upon a time"


@pytest.mark.parametrize("option", ["webhook", "cancel_after", "bogus"])
@pytest.mark.parametrize("known", [True, False], ids=["prediction", "id"])
async def test_streaming_a_prediction_takes_no_options_of_creates(option, known):
    """Options that only creates have, and unknown ones, are refused before anything is sent."""
    job = msgspec.convert(prediction(), Prediction, strict=False)
    async with RawServer(answer(200, prediction())) as server, server.client() as client:
        with pytest.raises(TypeError, match=f"unexpected argument '{option}'"):
            async for _ in client.predictions.stream(job if known else "p1", **{option: "5m"}):
                pass
        assert server.requests == []
