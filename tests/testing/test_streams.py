# ruff: noqa: T201 (models may print)
"""Event streams at ``urls.stream``."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from replicate_async.testing import VirtualClock, models

from .conftest import Caller, eventually, serve

pytestmark = pytest.mark.anyio

# The name, the id and the data of an event.
Event = tuple[str, str | None, str]


def parse(body: bytes) -> list[Event]:
    """Return the events of a stream; a comment counts as an event."""
    events: list[Event] = []
    for block in body.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            events.append(("", None, block))
            continue
        lines = [line.partition(": ")[::2] for line in block.split("\n")]
        fields = dict(lines)
        events.append((fields["event"], fields.get("id"), "\n".join(value for name, value in lines if name == "data")))
    return events


async def read(call: Caller, prediction: Any, **headers: str) -> list[Event]:
    """Read a stream to its end, without a token."""
    async with call.session.get(
        prediction["urls"]["stream"], headers={"Accept": "text/event-stream", **headers}
    ) as response:
        assert response.status == 200, await response.read()
        return parse(await response.read())


async def test_a_stream(call: Caller) -> None:
    """Output and logs are events with ids, done is an event without one; the content type is that of event streams."""

    @call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        yield "Once"
        print("working")
        await asyncio.sleep(0)
        yield " upon"

    prediction = await call.start("me/words")
    async with call.session.get(prediction["urls"]["stream"], headers={"Accept": "text/event-stream"}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        events = parse(await response.read())
    assert [(name, data) for name, _, data in events] == [
        ("output", "Once"),
        ("logs", "working\n"),
        ("output", " upon"),
        ("done", "{}"),
    ]
    ids = [event_id or "" for _, event_id, _ in events]
    assert ids[3] == ""
    assert all(re.fullmatch(r"1\d{9}:\d+", event_id) for event_id in ids[:3])
    assert len(set(ids)) == 4


async def test_the_other_origin(call: Caller) -> None:
    """A stream has another origin, which requires no token; if a client sends one, the journal has it."""
    models.register(call.server)
    prediction = await call.run("replicate-local/stream-text", prompt="a", delay=0)
    stream = prediction["urls"]["stream"]
    assert stream.startswith(f"{call.server.delivery_url}/")
    assert urlsplit(call.server.delivery_url).netloc != urlsplit(call.server.url).netloc
    await read(call, prediction)
    await read(call, prediction, Authorization="Bearer leaked")
    seen = [entry for entry in call.server.requests if entry.operation == "predictions.stream"]
    assert [(entry.token, entry.status) for entry in seen] == [(None, 200), ("Bearer leaked", 200)]
    # The URL can't be derived from the id.
    assert prediction["id"] not in stream
    assert (await call("GET", f"{call.server.delivery_url}/v1/account")).status == 404
    assert (await call("GET", f"{call.server.delivery_url}/v1/streams/x")).status == 404
    assert (await call("GET", f"{call.server.url}{urlsplit(stream).path}")).status == 404


async def test_as_it_happens(call: Caller) -> None:
    """Each item is sent when the model yields it, before the next one."""
    steps: asyncio.Queue[str] = asyncio.Queue()

    @call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        while (word := await steps.get()) != "end":
            yield word

    prediction = await call.start("me/words")
    # The headers come before the first event.
    async with call.session.get(prediction["urls"]["stream"]) as response:
        for word in ("a", "b", "c"):
            steps.put_nowait(word)
            assert [data for _, _, data in parse(await response.content.readany())] == [word]
        steps.put_nowait("end")
        assert [name for name, _, _ in parse(await response.content.read())] == ["done"]


async def test_several_lines(call: Caller) -> None:
    """Data with any line ends become several data lines; values that aren't strings are JSON."""

    @call.server.model("me/lines")
    async def lines() -> AsyncIterator[Any]:
        for item in ("a\nb", "\r\n", "c\r", "", " d", "\u2028", {"e": [1, None]}):
            yield item

    prediction = await call.run("me/lines")
    events = await read(call, prediction)
    assert [data for _, _, data in events] == ["a\nb", "\n", "c\n", "", " d", "\u2028", '{"e":[1,null]}', "{}"]
    async with call.session.get(prediction["urls"]["stream"]) as response:
        assert b"data: a\ndata: b\n\n" in await response.read()


async def test_failure_and_cancellation(call: Caller) -> None:
    """The stream of a failed prediction ends with error and done, that of a canceled one with done, with the reason."""

    @call.server.model("me/breaks")
    async def breaks() -> AsyncIterator[str]:
        yield "a"
        raise ValueError("no more\npaint")

    @call.server.model("me/endless")
    async def endless() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    events = await read(call, await call.run("me/breaks"))
    assert [(name, data) for name, _, data in events if name != "logs"] == [
        ("output", "a"),
        ("error", '{"detail":"no more\\npaint"}'),
        ("done", '{"reason":"error"}'),
    ]
    prediction = await call.start("me/endless")
    stream = asyncio.create_task(read(call, prediction))
    await eventually(lambda: call.server.predictions[prediction["id"]].output)
    await call("POST", prediction["urls"]["cancel"])
    assert [(name, data) for name, _, data in await stream] == [("output", "a"), ("done", '{"reason":"canceled"}')]


@pytest.mark.parametrize("inline", [True, False])
async def test_late_and_many(call: Caller, inline: bool) -> None:
    """A late stream gets all events, while the prediction runs and after its end."""

    @call.server.model("me/count", inline=inline)
    def count() -> Iterator[str]:
        yield from "abc"

    prediction = await call.run("me/count")
    first, *other_streams = await asyncio.gather(*(read(call, prediction) for _ in range(5)))
    assert [data for _, _, data in first] == ["a", "b", "c", "{}"]
    assert other_streams == [first] * 4


async def test_resuming(call: Caller) -> None:
    """With Last-Event-ID a stream resumes after that event; with an unknown id it gets all events."""
    models.register(call.server)
    prediction = await call.run("replicate-local/stream-text", prompt="a b c", delay=0)
    events = await read(call, prediction)
    for place, (_, event_id, _) in enumerate(events[:-1], 1):
        assert await read(call, prediction, **{"Last-Event-ID": str(event_id)}) == events[place:]
    assert await read(call, prediction, **{"Last-Event-ID": "0:0"}) == events


async def test_without_resuming() -> None:
    """With resume_streams=False a stream always starts over."""
    async with serve(tidy=True, resume_streams=False) as (server, call):
        models.register(server)
        prediction = await call.run("replicate-local/stream-text", prompt="a b c", delay=0)
        events = await read(call, prediction)
        assert await read(call, prediction, **{"Last-Event-ID": str(events[1][1])}) == events


async def test_silence(slow_call: Caller, clock: VirtualClock) -> None:
    """A stream without events for 30 seconds ends with a comment; the prediction continues."""
    steps: asyncio.Queue[str] = asyncio.Queue()

    @slow_call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        while True:
            yield await steps.get()

    prediction = await slow_call.start("me/words")
    async with slow_call.session.get(prediction["urls"]["stream"]) as response:
        await clock.advance(29)
        steps.put_nowait("a")
        assert b"data: a" in await response.content.readany()
        await clock.advance(29)
        steps.put_nowait("b")
        assert b"data: b" in await response.content.readany()
        await clock.advance(30)
        assert await response.content.read() == b":408: 408 Request Timeout\n\n"
    assert (await slow_call.get(prediction))["status"] == "processing"


async def test_an_expired_stream(slow_call: Caller, clock: VirtualClock) -> None:
    """The stream of a prediction whose data was removed has no events, and ends in the same way."""
    models.register(slow_call.server)
    prediction = await slow_call.run("replicate-local/stream-text", prompt="a", delay=0)
    await clock.advance(3599)
    assert [data for _, _, data in await read(slow_call, prediction)] == ["a", "{}"]
    await clock.advance(1)
    async with slow_call.session.get(prediction["urls"]["stream"]) as response:
        await clock.advance(30)
        assert await response.content.read() == b":408: 408 Request Timeout\n\n"


async def test_leaving(call: Caller) -> None:
    """The journal records a client that leaves a stream early; the prediction continues."""

    @call.server.model("me/endless")
    async def endless() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    prediction = await call.start("me/endless")
    async with call.session.get(prediction["urls"]["stream"]) as response:
        assert b"data: a" in await response.content.readany()
        entry = call.server.requests[-1]
        assert (entry.status, entry.disconnected) == (200, False)
    await eventually(lambda: entry.disconnected)
    assert (await call.get(prediction))["status"] == "processing"


async def test_accept(call: Caller) -> None:
    """A request that doesn't accept event streams is a 406."""
    models.register(call.server)
    prediction = await call.run("replicate-local/stream-text", prompt="a", delay=0)
    answer = await call("GET", prediction["urls"]["stream"], headers={"Accept": "application/json"})
    assert (answer.status, answer.data["status"]) == (406, 406)


async def test_printing_in_pieces(call: Caller) -> None:
    """Logs before an output come before it, and consecutive prints come as one event."""

    @call.server.model("me/chatty")
    async def chatty() -> AsyncIterator[str]:
        print("one")
        print("two", file=sys.stderr)
        yield "a"
        print("three")

    events = await read(call, await call.run("me/chatty"))
    assert [(name, data) for name, _, data in events] == [
        ("logs", "one\ntwo\n"),
        ("output", "a"),
        ("logs", "three\n"),
        ("done", "{}"),
    ]


async def test_what_has_no_stream(call: Caller) -> None:
    """Examples have no stream."""
    call.server.model("me/text", examples=[({}, ["a"])])(models.stream_text)
    assert "stream" not in (await call("GET", "/models/me/text")).data["default_example"]["urls"]


async def test_many_streams(call: Caller) -> None:
    """Fifty streams of a thousand pieces each arrive complete and in order."""

    @call.server.model("me/flood")
    async def flood() -> AsyncIterator[str]:
        for n in range(1000):
            yield f"{n}\n"
            if n % 10 == 0:
                await asyncio.sleep(0)

    predictions = [await call.start("me/flood") for _ in range(50)]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        streams = await asyncio.gather(*(read(Caller(call.server, session), each) for each in predictions))
    expected = [f"{n}\n" for n in range(1000)] + ["{}"]
    assert all([data for _, _, data in stream] == expected for stream in streams)
