"""Raw and streaming responses, low-level calls, and the options of all calls.

Tests run with both clients. The server is a bare socket with a script.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pydoc
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from datetime import datetime, timedelta, timezone
from functools import cached_property, reduce
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qsl, unquote

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import replicate_async
from callers import Caller, calling, transport_of
from rawserver import ACCOUNT, TOKEN, RawServer, answer, drip, part_of, prediction
from replicate_async import (
    APIConnectionError,
    APIResponse,
    APIResponseValidationError,
    APIStatusError,
    AsyncPage,
    AsyncReplicate,
    AsyncStreamedResponse,
    CreateOutcomeUnknown,
    InternalServerError,
    NotFoundError,
    Page,
    RateLimitError,
    Replicate,
    ReplicateError,
    StreamedResponse,
)
from replicate_async.testing._routes import OPERATIONS
from replicate_async.types import Account, Model

pytestmark = pytest.mark.anyio

TIME = "2025-01-02T03:04:05.678901Z"
VERSION_ID = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
AT_ONCE = {"Retry-After": "0"}
DEPLOYMENT = {"owner": "acme", "name": "fast"}
FILE = {
    "id": "f1",
    "content_type": "text/plain",
    "size": 1,
    "checksums": {"sha256": "ab"},
    "metadata": {"a": 1},
    "created_at": TIME,
    "urls": {"get": "https://example.com"},
}
MODEL = {"owner": "acme", "name": "cat"}
TRAINING = {"id": "t1", "status": "processing"}
VERSION = {"id": VERSION_ID, "created_at": TIME}


def page_of(*things: Any, following: str | None = None) -> dict[str, Any]:
    return {"results": things, "next": following, "previous": None}


IN_MODEL = {"model_owner": "acme", "model_name": "cat"}
IN_VERSION = {**IN_MODEL, "version_id": VERSION_ID}
IN_DEPLOYMENT = {"deployment_owner": "acme", "deployment_name": "fast"}
NEW_DEPLOYMENT = {"name": "fast", "model": "acme/cat", "version": VERSION_ID, "hardware": "cpu"}

# The arguments of each operation, and the response of the API: a str is text, None is an empty body.
OPERATION: Mapping[str, tuple[Mapping[str, Any], Any]] = {
    "account.get": ({}, ACCOUNT),
    "collections.get": ({"collection_slug": "cats"}, {"name": "Cats", "slug": "cats", "models": [MODEL]}),
    "collections.list": ({}, page_of({"name": "Cats", "slug": "cats"})),
    "deployments.create": ({**NEW_DEPLOYMENT, "min_instances": 0, "max_instances": 0}, DEPLOYMENT),
    "deployments.delete": (IN_DEPLOYMENT, None),
    "deployments.get": (IN_DEPLOYMENT, DEPLOYMENT),
    "deployments.list": ({}, page_of(DEPLOYMENT)),
    "deployments.predictions.create": ({**IN_DEPLOYMENT, "input": {}}, prediction(status="processing")),
    "deployments.update": ({**IN_DEPLOYMENT, "max_instances": 0}, DEPLOYMENT),
    "files.create": ({"content": b"abc"}, FILE),
    "files.delete": ({"file_id": "f1"}, None),
    "files.get": ({"file_id": "f1"}, FILE),
    "files.list": ({}, page_of(FILE)),
    "hardware.list": ({}, [{"name": "CPU", "sku": "cpu"}]),
    "models.create": ({"owner": "acme", "name": "cat", "visibility": "public", "hardware": "cpu"}, MODEL),
    "models.delete": (IN_MODEL, None),
    "models.examples.list": (IN_MODEL, page_of(prediction())),
    "models.get": (IN_MODEL, {**MODEL, "latest_version": VERSION, "default_example": prediction()}),
    "models.list": ({"sort_direction": "asc"}, page_of(MODEL, MODEL)),
    "models.predictions.create": ({**IN_MODEL, "input": {"a": [1]}}, prediction(output=[1, {"a": None}])),
    "models.readme.get": (IN_MODEL, "# Cäts"),
    "models.search": ({"query": "cats"}, page_of(MODEL)),
    "models.update": ({**IN_MODEL, "description": ""}, MODEL),
    "models.versions.delete": (IN_VERSION, None),
    "models.versions.get": (IN_VERSION, VERSION),
    "models.versions.list": (IN_MODEL, page_of(VERSION)),
    "predictions.cancel": ({"prediction_id": "p1"}, prediction(status="canceled")),
    "predictions.create": ({"version": VERSION_ID, "input": {}, "prefer": "wait=1"}, prediction(metrics={})),
    "predictions.get": ({"prediction_id": "p1"}, prediction(logs="a\nb")),
    "predictions.list": ({}, page_of(prediction())),
    "search": ({"query": "cats", "limit": 1}, {"query": "cats", "models": [], "collections": [], "pages": []}),
    "trainings.cancel": ({"training_id": "t1"}, TRAINING),
    "trainings.create": ({**IN_VERSION, "destination": "acme/dog", "input": {}}, TRAINING),
    "trainings.get": ({"training_id": "t1"}, TRAINING),
    "trainings.list": ({}, page_of(TRAINING)),
    "webhooks.default.secret.get": ({}, {"key": "whsec_abc="}),
}


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


Scripted = Callable[..., Awaitable[tuple[RawServer, Caller]]]


@pytest.fixture
async def scripted(kind: str) -> AsyncIterator[Scripted]:
    """Make servers that follow a script, and clients of them."""
    async with AsyncExitStack() as stack:

        async def make(*steps: Any, **options: Any) -> tuple[RawServer, Caller]:
            server = await stack.enter_async_context(RawServer(*steps))
            options = {"max_retries": 0, **options}
            return server, await stack.enter_async_context(calling(kind, f"{server.url}/v1", TOKEN, **options))

        yield make


def reply(body: Any) -> bytes:
    """Return the response of an operation."""
    if body is None:
        return answer(204, b"")
    if isinstance(body, str):
        return answer(200, body.encode(), {"Content-Type": "text/plain; charset=utf-8"})
    return answer(200, body, {"X-Request-Id": "r1"})


def same(first: Any, second: Any) -> bool:
    """Return whether two results are equal; pages are compared by their contents."""
    if type(first) is type(second) and isinstance(first, Page | AsyncPage):
        return all(getattr(first, name) == getattr(second, name) for name in ("results", "next", "previous"))
    return type(first) is type(second) and first == second


def resources(thing: Any, path: str = "") -> dict[str, Any]:
    """Return a client or resource, and those below it, by their paths."""
    by_path = {path: thing}
    for name in dir(type(thing)):
        kind_of = inspect.getattr_static(type(thing), name)
        if name.startswith(("_", "with_")) or not isinstance(kind_of, property | cached_property):
            continue
        by_path |= resources(getattr(thing, name), f"{path}.{name}".lstrip("."))
    return by_path


def methods(thing: Any) -> set[str]:
    """Return the names of a resource's methods."""
    return {
        name
        for name in dir(type(thing))
        if not name.startswith(("_", "with_")) and inspect.isfunction(inspect.getattr_static(type(thing), name))
    }


# --- every view ---

# Methods that make several calls.
WITHOUT_VIEW = {"predictions.stream", "predictions.wait", "trainings.wait"}


def test_every_operation_has_a_view() -> None:
    """The table above has all operations but the download, whose body is no JSON."""
    assert set(OPERATION) == {operation.name for operation in OPERATIONS} - {"files.download"}


def test_every_resource_has_both_views(kind: str) -> None:
    """Each method of each resource is in both of its views, and in those of the client."""
    client = (AsyncReplicate if kind == "async" else Replicate)(bearer_token=TOKEN)
    everything = resources(client)
    assert {operation.rpartition(".")[0] for operation in OPERATION} - {""} < everything.keys()
    for view in ("with_raw_response", "with_streaming_response"):
        top = getattr(client, view)
        assert resources(top).keys() == everything.keys()
        assert "search" in methods(top)
        for path, resource in everything.items():
            resource_view = getattr(resource, view)
            assert resources(resource_view).keys() == resources(resource).keys()
            if path:
                assert type(attrgetter(path)(top)) is type(resource_view)
                assert methods(resource_view) == {
                    name for name in methods(resource) if f"{path}.{name}" not in WITHOUT_VIEW
                }


def test_a_view_is_documented_and_read_only(kind: str) -> None:
    """``help()`` shows what a view returns, and no resource takes another one."""
    client = (AsyncReplicate if kind == "async" else Replicate)(bearer_token=TOKEN)
    for resource in resources(client).values():
        owner = type(resource)
        text = pydoc.plaintext.document(owner)
        for view, when in {"raw": "with", "streaming": "before"}.items():
            calls = f"The calls of ``{owner.__name__}``, returning the response {when}"
            assert re.search(rf"with_{view}_response( = .*)?\n \|      {calls}", text)
        for view in ("with_raw_response", "with_streaming_response"):
            with pytest.raises(AttributeError):
                setattr(resource, view, None)


@pytest.mark.parametrize("operation", OPERATION)
async def test_raw(scripted: Scripted, operation: str) -> None:
    """A raw response describes the exchange, and parses to what the method returns without the view."""
    arguments, body = OPERATION[operation]
    server, call = await scripted(reply(body))
    plain = await call(operation, **arguments)
    resource, _, method = operation.rpartition(".")
    for view in (f"with_raw_response.{operation}", f"{resource}.with_raw_response.{method}".lstrip(".")):
        response = await call(view, **arguments)
        assert type(response) is APIResponse
        assert same(response.parse(), plain)
        assert response.status_code == (204 if body is None else 200)
        first, last = server.requests[0], server.requests[-1]
        assert (last.method, last.target) == (first.method, first.target)
        assert (response.method, response.url) == (last.method, server.url + last.target)
        content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        assert response.read() == response.content == content
        assert response.text() == content.decode()
        if isinstance(body, dict | list):
            assert response.headers["x-request-id"] == "r1"
            assert response.json() == json.loads(content)
        assert response.retries_taken == 0
        assert timedelta(0) < response.elapsed < timedelta(seconds=30)
    assert TOKEN not in repr(response)


@pytest.mark.parametrize("operation", OPERATION)
async def test_streaming(scripted: Scripted, operation: str) -> None:
    """A streamed response describes the exchange before its body is read, and parses to the same."""
    arguments, body = OPERATION[operation]
    server, call = await scripted(reply(body))
    plain = await call(operation, **arguments)
    resource, _, method = operation.rpartition(".")
    for view in (f"with_streaming_response.{operation}", f"{resource}.with_streaming_response.{method}".lstrip(".")):
        async with call.entered(attrgetter(view)(call.client)(**arguments)) as response:
            assert type(response) is (StreamedResponse if call.blocking else AsyncStreamedResponse)
            assert response.status_code == (204 if body is None else 200)
            last = server.requests[-1]
            assert (response.method, response.url) == (last.method, server.url + last.target)
            assert last.target == server.requests[0].target
            assert not response.is_closed
            assert same(await call.of(response.parse), plain)
            assert response.is_closed, "the body was read to its end"
            assert same(await call.of(response.parse), plain)
            content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
            assert await call.of(response.read) == content
            assert await call.of(response.text) == content.decode()
            if isinstance(body, dict | list):
                assert response.headers["x-request-id"] == "r1"
                assert await call.of(response.json) == json.loads(content)
        assert response.is_closed
    assert server.connections == 1, "the connection of a body that was read to its end is reused"
    assert TOKEN not in repr(response)


@pytest.mark.parametrize("view", ["with_raw_response", "with_streaming_response"])
async def test_pages_from_views_continue(scripted: Scripted, view: str) -> None:
    """A page that a view parsed fetches the next ones as ordinary pages."""
    server, call = await scripted(b"")
    first = page_of(prediction(id="p1"), following=f"{server.url}/v1/predictions?cursor=2")
    server.steps[:] = [answer(200, first), answer(200, page_of(prediction(id="p2")))]
    if view == "with_raw_response":
        page = (await call(f"{view}.predictions.list")).parse()
    else:
        async with call.entered(attrgetter(view)(call.client).predictions.list()) as response:
            page = await call.of(response.parse)
    assert type(page) is (Page if call.blocking else AsyncPage)
    assert [job.id for job in await call.all(page)] == ["p1", "p2"]
    assert server.requests[1].target == "/v1/predictions?cursor=2"
    following = await call.of(page.get_next_page)
    assert type(following) is type(page)
    assert following.results[0].id == "p2"


# --- errors in views ---


def stream(call: Caller, operation: str, **arguments: Any) -> Any:
    """Return the streaming view's context manager of a call."""
    return attrgetter(operation)(call.client.with_streaming_response)(**arguments)


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (429, RateLimitError), (500, InternalServerError)])
async def test_errors_are_raised_as_usual(scripted: Scripted, status: int, error: type[APIStatusError]) -> None:
    """An error status raises in every view, with the body's reason; a streaming block is not entered."""
    _, call = await scripted(answer(status, {"title": "Sorry", "detail": "the reason", "status": status}))
    with pytest.raises(error, match=f"{status} Sorry: the reason"):
        await call("with_raw_response.predictions.get", "p1")
    with pytest.raises(error, match=f"{status} Sorry: the reason") as caught:
        async with call.entered(stream(call, "predictions.get", prediction_id="p1")):
            pytest.fail("the block must not be entered")
    assert caught.value.detail == "the reason"


async def test_invalid_arguments_raise_as_usual(scripted: Scripted) -> None:
    """Views check arguments like the methods themselves, before anything is sent."""
    server, call = await scripted(answer(200, ACCOUNT))
    with pytest.raises(ValueError, match="prediction_id must not be empty"):
        await call("with_raw_response.predictions.get", "")
    with pytest.raises(ValueError, match="prediction_id must not be empty"):
        async with call.entered(stream(call, "predictions.get", prediction_id="")):
            pass
    with pytest.raises(TypeError, match="unexpected argument 'time_out'"):
        await call("with_raw_response.account.get", time_out=5)
    with pytest.raises(TypeError, match="input"):
        await call("predictions.with_raw_response.create", version=VERSION_ID)
    assert server.requests == []


async def test_retries_are_counted(scripted: Scripted) -> None:
    """Views retry like the methods themselves, and have the number of retries."""
    server, call = await scripted(answer(503, {}, AT_ONCE), answer(429, {}, AT_ONCE), reply(ACCOUNT), max_retries=2)
    response = await call("with_raw_response.account.get")
    assert (response.retries_taken, response.parse().username) == (2, "alice")
    server.steps[:] = [answer(503, {}, AT_ONCE), reply(ACCOUNT)]
    async with call.entered(stream(call, "account.get")) as opened:
        assert opened.retries_taken == 1
        assert (await call.of(opened.parse)).username == "alice"


async def test_creates_are_not_repeated(scripted: Scripted) -> None:
    """Views don't repeat a create that may have been carried out."""
    server, call = await scripted(answer(500, {}), max_retries=2)
    with pytest.raises(CreateOutcomeUnknown):
        await call("with_raw_response.predictions.create", version=VERSION_ID, input={})
    with pytest.raises(CreateOutcomeUnknown):
        async with call.entered(stream(call, "predictions.create", version=VERSION_ID, input={})):
            pass
    assert [request.method for request in server.requests].count("POST") == 2


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": 5}', b"", b"\xff"])
async def test_responses_of_another_shape(scripted: Scripted, body: bytes) -> None:
    """A body of another shape raises only when it is parsed, and can be read before."""
    _, call = await scripted(answer(200, body))
    response = await call("with_raw_response.predictions.get", "p1")
    assert response.read() == body
    with pytest.raises(APIResponseValidationError, match="Prediction"):
        response.parse()
    async with call.entered(stream(call, "predictions.get", prediction_id="p1")) as opened:
        with pytest.raises(APIResponseValidationError, match="Prediction") as caught:
            await call.of(opened.parse)
        assert caught.value.body == await call.of(opened.read) == body


async def test_a_body_that_is_not_json(scripted: Scripted) -> None:
    """``json`` raises for a body that is not JSON, and ``text`` returns it."""
    _, call = await scripted(answer(200, b"not JSON"))
    response = await call("with_raw_response.account.get")
    with pytest.raises(APIResponseValidationError, match="not JSON"):
        response.json()
    assert response.text() == "not JSON"


async def test_a_body_that_is_cut_off(scripted: Scripted) -> None:
    """A connection that breaks within the body raises at the read that reaches the break."""
    _, call = await scripted(part_of(answer(200, b"one\ntwo\nthr", {"Content-Length": "100"})))
    for method in ("read", "text", "json", "parse"):
        async with call.entered(stream(call, "account.get")) as response:
            with pytest.raises(APIConnectionError):
                await call.of(getattr(response, method))
        assert response.is_closed
    lines: list[str] = []

    async def collect() -> None:
        async with call.entered(stream(call, "account.get")) as response:
            if call.blocking:
                await anyio.to_thread.run_sync(lambda: lines.extend(response.iter_lines()))
            else:
                lines.extend([line async for line in response.iter_lines()])

    with pytest.raises(APIConnectionError):
        await collect()


async def test_an_error_in_the_block_is_not_changed(scripted: Scripted) -> None:
    """An error that is raised inside of the block propagates unchanged, and the response is closed."""
    _, call = await scripted(reply(ACCOUNT))
    failure = KeyError("own")
    with pytest.raises(KeyError) as caught:
        async with call.entered(stream(call, "account.get")) as response:
            raise failure
    assert caught.value is failure
    assert response.is_closed


# --- reading in parts ---


class Endless:
    """Responds with an endless body, and notes when the client disconnects."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk
        self.disconnected = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        head, _, _ = answer(200, b"", {"Content-Length": str(2**40)}).partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        try:
            while not writer.transport.is_closing():
                writer.write(self.chunk)
                await writer.drain()
                await asyncio.sleep(0.001)
        finally:
            self.disconnected.set()


async def test_leaving_early_closes_the_connection(scripted: Scripted) -> None:
    """Leaving the block before the body's end disconnects at once, and the next call gets another connection."""
    endless = Endless(b"x" * 1000)
    server, call = await scripted(endless, reply(ACCOUNT))
    async with call.entered(stream(call, "account.get")) as response:
        chunks = response.iter_bytes(10)
        first = await (anyio.to_thread.run_sync(next, chunks) if call.blocking else anext(chunks))
        assert first == b"x" * 10
        assert not response.is_closed
        assert not endless.disconnected.is_set()
    assert response.is_closed
    with anyio.fail_after(5):
        await endless.disconnected.wait()
    await (anyio.to_thread.run_sync(chunks.close) if call.blocking else chunks.aclose())
    assert (await call("account.get")).username == "alice"
    assert server.connections == 2


async def test_close(scripted: Scripted) -> None:
    """Closing disconnects likewise, and closing again does nothing."""
    endless = Endless(b"x")
    _, call = await scripted(endless)
    async with call.entered(stream(call, "account.get")) as response:
        await call.of(response.close)
        assert response.is_closed
        await call.of(response.close)
        with anyio.fail_after(5):
            await endless.disconnected.wait()


async def test_an_abandoned_iteration_closes_the_connection(scripted: Scripted) -> None:
    """A loop over the body that ends early disconnects at the end of the block."""
    endless = Endless(b"line\n")
    _, call = await scripted(endless)
    async with call.entered(stream(call, "account.get")) as response:
        if call.blocking:

            def first_lines() -> list[str]:
                lines = []
                for line in response.iter_lines():
                    lines.append(line)
                    if len(lines) == 3:
                        break
                return lines

            assert await anyio.to_thread.run_sync(first_lines) == ["line"] * 3
        else:
            async with aclosing(response.iter_lines()) as lines:
                assert [await anext(lines) for _ in range(3)] == ["line"] * 3
    with anyio.fail_after(5):
        await endless.disconnected.wait()


async def test_the_body_arrives_as_it_is_sent(scripted: Scripted) -> None:
    """A chunk is available when the server has sent it, not when the body is complete."""
    go_on = asyncio.Event()

    async def step(writer: asyncio.StreamWriter) -> None:
        whole = answer(200, b"first\nsecond\n")
        writer.write(whole[:-7])
        await writer.drain()
        await go_on.wait()
        writer.write(whole[-7:])
        await writer.drain()

    _, call = await scripted(step)
    async with call.entered(stream(call, "account.get")) as response:
        lines = response.iter_lines()
        following = (lambda: anyio.to_thread.run_sync(next, lines)) if call.blocking else lines.__anext__
        with anyio.fail_after(5):
            assert await following() == "first"
            go_on.set()
            assert await following() == "second"
        rest = await call.all(lines)
        assert rest == []
        assert response.is_closed


TEXTS = {
    "none": ("", []),
    "one line": ("one", ["one"]),
    "a last line with its end": ("one\n", ["one"]),
    "empty lines": ("\n\na\n\n", ["", "", "a", ""]),
    "CRLF": ("one\r\ntwo\r\n\r\nthree", ["one", "two", "", "three"]),
    "mixed": ("a\r\nb\nc", ["a", "b", "c"]),
    "other separators": ("a\u2028b\x85c\x0bd\n", ["a\u2028b\x85c\x0bd"]),
    "not ASCII": ("héllo\n日本語 🦆\r\nüß", ["héllo", "日本語 🦆", "üß"]),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_text_and_lines_across_packets(scripted: Scripted, name: str) -> None:
    """Characters and line ends of several bytes are joined across any packets."""
    text, lines = TEXTS[name]
    _, call = await scripted(drip(answer(200, text.encode()), every=0.001))
    async with call.entered(stream(call, "account.get")) as response:
        assert await call.all(response.iter_lines()) == lines
    async with call.entered(stream(call, "account.get")) as response:
        chunks = await call.all(response.iter_text())
        assert "".join(chunks) == text
        assert "" not in chunks
    async with call.entered(stream(call, "account.get")) as response:
        assert await call.of(response.text) == text


async def test_a_very_long_line() -> None:
    """A line of many megabytes is joined once, not again for each chunk."""
    body = b"x" * (24 * 2**20) + b"\nend"
    async with RawServer(answer(200, body)) as server, server.client() as client:
        # It takes a tenth of a second.
        with anyio.fail_after(5):
            async with client.with_streaming_response.account.get() as response:
                lengths = [len(line) async for line in response.iter_lines()]
    assert lengths == [24 * 2**20, 3]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet=st.sampled_from("ab\r\n é🦆\u2028")),
    size=st.integers(1, 9),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-8-sig"]),
)
async def test_text_in_chunks_of_any_size(text: str, size: int, encoding: str) -> None:
    """Text and lines are the same in chunks of any size, in any charset."""
    headers = {"Content-Type": f"text/plain; charset={encoding}"}
    async with RawServer(answer(200, text.encode(encoding), headers)) as server, server.client() as client:
        async with client.with_streaming_response.account.get() as response:
            assert "".join([chunk async for chunk in response.iter_text(size)]) == text
        async with client.with_streaming_response.account.get() as response:
            *lines, rest = text.replace("\r\n", "\n").split("\n")
            assert [line async for line in response.iter_lines()] == [*lines, *([rest] if rest else [])]


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", "ä".encode(), "ä"),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ("text/plain; charset=nonsense", "ä".encode(), "ä"),
        ("text/plain; charset=base64", "ä".encode(), "ä"),
        ("text/plain", b"a\xffb", "a\ufffdb"),
        ("text/plain", "🦆".encode()[:3], "\ufffd"),
    ],
)
async def test_charsets(scripted: Scripted, content_type: str, body: bytes, text: str) -> None:
    """Text uses the charset of the response or UTF-8, and invalid bytes are replaced."""
    _, call = await scripted(answer(200, body, {"Content-Type": content_type}))
    assert (await call("with_raw_response.account.get")).text() == text
    async with call.entered(stream(call, "account.get")) as response:
        assert await call.of(response.text) == text
    async with call.entered(stream(call, "account.get")) as response:
        assert "".join(await call.all(response.iter_text(1))) == text


async def test_read_again(scripted: Scripted) -> None:
    """After ``read``, the body stays available in every form, even after the block."""
    body = {"type": "user", "username": "alice"}
    _, call = await scripted(reply(body))
    async with call.entered(stream(call, "account.get")) as response:
        content = await call.of(response.read)
        assert b"".join(await call.all(response.iter_bytes(5))) == content
    assert await call.of(response.json) == body
    assert await call.of(response.parse) == Account(type="user", username="alice")
    assert await call.all(response.iter_lines()) == [content.decode()]


# --- low-level calls ---


async def test_verbs(scripted: Scripted) -> None:
    """Each verb sends its method, and returns the whole response."""
    server, call = await scripted(answer(200, {"a": 1}))
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        response = await call(method.lower(), "/custom/endpoint")
        assert type(response) is APIResponse
        assert (response.method, response.status_code, response.json()) == (method, 200, {"a": 1})
        assert response.url == f"{server.url}/v1/custom/endpoint"
        assert response.parse() == {"a": 1}
        response = await call("request", method, "/custom/endpoint")
        assert response.method == method
    assert [f"{request.method} {request.target}" for request in server.requests] == [
        f"{method} /v1/custom/endpoint" for method in ("GET", "POST", "PUT", "PATCH", "DELETE") for _ in range(2)
    ]
    assert {request.body for request in server.requests} == {b""}
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}


async def test_request_by_keywords(scripted: Scripted) -> None:
    """The call of the reference page works, and the method may be in lower case."""
    server, call = await scripted(answer(200, {}))
    await call(
        "request", method="patch", url="/custom/endpoint", json={"key": "value"}, headers={"X-Custom-Header": "value"}
    )
    request = server.requests[0]
    assert (request.method, request.target) == ("PATCH", "/v1/custom/endpoint")
    assert json.loads(request.body) == {"key": "value"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-custom-header"] == "value"


@pytest.mark.parametrize("url", ["account", "/account", "{api}/v1/account"])
async def test_urls(scripted: Scripted, url: str) -> None:
    """A path is relative to the base URL, with or without a slash; a whole URL of the API gets the token, too."""
    server, call = await scripted(reply(ACCOUNT))
    response = await call("get", url.format(api=server.url))
    assert response.url == f"{server.url}/v1/account"
    assert server.requests[0].target == "/v1/account"
    assert server.requests[0].header_values("authorization") == [f"Bearer {TOKEN}"]


async def test_elsewhere_gets_no_token(scripted: Scripted) -> None:
    """A whole URL at another origin gets neither the token nor the client's default headers and query."""
    options = {"default_headers": {"X-Internal": "secret"}, "default_query": {"key": "internal"}}
    server, call = await scripted(reply(ACCOUNT), **options)
    async with RawServer(answer(200, {"a": 1})) as other_server:
        for method in ("get", "post", "put", "patch", "delete"):
            await call(method, f"{other_server.url}/v1/account", cast_to=dict)
        await call("get", f"http://localhost:{server.url.rpartition(':')[2]}/v1/account")
        for request in [*other_server.requests, *server.requests]:
            assert request.header_values("authorization") == []
            assert TOKEN not in "".join(request.lines)
            assert "x-internal" not in request.headers
            assert request.target == "/v1/account"
        await call("get", f"{other_server.url}/own", headers={"Authorization": "Bearer own"}, params={"q": "1"})
        assert other_server.requests[-1].header_values("authorization") == ["Bearer own"], "the caller may send a token"
        assert other_server.requests[-1].target == "/own?q=1"


async def test_redirects_elsewhere_get_no_token(scripted: Scripted) -> None:
    """A redirected GET goes to another host without the token; other methods don't follow redirects."""
    async with RawServer(answer(200, {"a": 1})) as other_server:
        location = f"http://localhost:{other_server.url.rpartition(':')[2]}/there"
        server, call = await scripted(answer(307, None, {"Location": location}))
        assert (await call("get", "/here")).json() == {"a": 1}
        assert other_server.requests[0].target == "/there"
        assert TOKEN not in "".join(other_server.requests[0].lines)
        for method in ("post", "put", "patch", "delete"):
            with pytest.raises(APIStatusError, match=r"307 redirected to .*there.*not followed"):
                await call(method, "/here", json={})
        assert len(other_server.requests) == 1
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("cast_to", "body", "expected"),
    [
        (dict, b'{"a": 1}', {"a": 1}),
        (list[int], b"[1, 2]", [1, 2]),
        (Account, b'{"type": "user", "username": "alice", "more": 1}', Account(type="user", username="alice")),
        (list[Model], b'[{"owner": "a", "name": "b"}]', [Model(owner="a", name="b")]),
        (dict[str, Account | None], b'{"a": null}', {"a": None}),
        (str, "täxt, not JSON".encode(), "täxt, not JSON"),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (int, b"5", 5),
        (datetime, b'"2025-01-01T00:00:00Z"', datetime(2025, 1, 1, tzinfo=timezone.utc)),
        (object, b"[1]", [1]),
    ],
    ids=str,
)
async def test_cast_to(scripted: Scripted, cast_to: Any, body: bytes, expected: Any) -> None:
    """With a type, any verb decodes the response to it; ``str`` and ``bytes`` return the body."""
    _, call = await scripted(answer(200, body))
    for method in ("get", "post", "put", "patch", "delete"):
        assert await call(method, "/x", cast_to=cast_to) == expected
    assert await call("request", "GET", "/x", cast_to=cast_to) == expected


async def test_cast_to_another_type(scripted: Scripted) -> None:
    """A response that does not fit the type raises an error that names the place."""
    _, call = await scripted(answer(200, {"type": "user", "username": 5}))
    with pytest.raises(APIResponseValidationError, match=r"not Account.*username"):
        await call("get", "/account", cast_to=Account)


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({}, ""),
        ({"a": 1, "b": "x y+zü", "c": 1.5}, "?a=1&b=x+y+zü&c=1.5"),
        ({"a": True, "b": False, "c": None}, "?a=true&b=false"),
        ({"a": ["x", "y"], "b": ()}, "?a=x&a=y"),
        ({"at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)}, "?at=2025-01-02T03:04:05+00:00"),
        ({"a": "", "b": 0}, "?a=&b=0"),
    ],
    ids=str,
)
async def test_params(scripted: Scripted, params: Any, query: str) -> None:
    """Falsy parameters are sent, None is omitted, and lists repeat the name."""
    server, call = await scripted(answer(200, {}))
    response = await call("get", "/x", params=params)
    assert unquote(server.requests[0].target) == unquote(response.url.removeprefix(server.url)) == f"/v1/x{query}"
    await call("post", "/x?first=1", params=params)
    assert unquote(server.requests[1].target) == f"/v1/x?first=1{query.replace('?', '&')}"


async def test_params_are_escaped(scripted: Scripted) -> None:
    """Characters with a meaning in queries are escaped."""
    server, call = await scripted(answer(200, {}))
    await call("get", "/x", params={"a&b": "c=d&e #+%20"})
    _, _, query = server.requests[0].target.partition("?")
    assert parse_qsl(query, strict_parsing=True) == [("a&b", "c=d&e #+%20")]


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, "text", [1, {"a": None}], {"ä": "🦆"}], ids=repr)
async def test_json(scripted: Scripted, value: Any) -> None:
    """Any JSON value is sent, also a falsy one."""
    server, call = await scripted(answer(200, {}))
    await call("post", "/x", json=value)
    assert json.loads(server.requests[0].body) == value
    assert server.requests[0].header_values("content-type") == ["application/json"]


async def test_structs_as_json(scripted: Scripted) -> None:
    """The API's own structs can be sent."""
    server, call = await scripted(answer(200, {}))
    await call(
        "put", "/x", json=[Account(type="user", username="alice"), {"at": datetime(2025, 1, 1, tzinfo=timezone.utc)}]
    )
    assert json.loads(server.requests[0].body)[0]["username"] == "alice"
    assert json.loads(server.requests[0].body)[1] == {"at": "2025-01-01T00:00:00Z"}


@pytest.mark.parametrize("content", ["täxt", b"\x00\xff", b"", "x" * 3_000_000, bytes(3_000_000)])
async def test_content(scripted: Scripted, content: Any) -> None:
    """A raw body is sent unchanged, with the caller's content type."""
    server, call = await scripted(answer(200, {}))
    await call("post", "/x", content=content, headers={"Content-Type": "text/x-thing"})
    assert server.requests[0].body == (content.encode() if isinstance(content, str) else content)
    assert server.requests[0].header_values("content-type") == ["text/x-thing"]


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        ("post", {"url": "/x", "json": {}, "content": b""}, TypeError, "json or content, not both"),
        ("post", {"url": "/x", "json": {1j}}, TypeError, "can't be encoded as JSON"),
        ("post", {"url": "/x", "json": float("inf")}, ValueError, "not a finite number"),
        ("post", {"url": "/x", "content": {"a": 1}}, TypeError, "content"),
        ("post", {"url": "/x", "content": b"x", "extra_body": {"a": 1}}, TypeError, "extra_body"),
        ("post", {"url": "/x", "json": [1], "extra_body": {"a": 1}}, TypeError, "extra_body"),
        ("get", {"url": ""}, ValueError, "url="),
        ("get", {"url": None}, (TypeError, ValueError), "url="),
        ("get", {}, TypeError, "url"),
        ("get", {"url": "/x", "params": "a=b"}, TypeError, "params must be a mapping, not str"),
        ("get", {"url": "/x", "params": {"a": {}}}, TypeError, "a can't be sent in a query: dict"),
        ("get", {"url": "/x", "headers": {"A": "b\r\nC: d"}}, ValueError, "headers"),
        ("get", {"url": "/x", "headers": [("a", "b")]}, TypeError, "headers must be a mapping, not list"),
        ("get", {"url": "/x", "header": {}}, TypeError, "unexpected argument 'header'"),
        ("get", {"url": "/x", "timeout": -1}, ValueError, "timeout=-1"),
        ("request", {"method": "GET X", "url": "/x"}, ValueError, "method='GET X' is not an HTTP method"),
        ("request", {"method": "", "url": "/x"}, ValueError, "method=''"),
        ("request", {"method": None, "url": "/x"}, (TypeError, ValueError), "method"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_invalid_calls(scripted: Scripted, method: str, arguments: Any, error: Any, message: str) -> None:
    """Invalid arguments raise an error that names them, and nothing is sent."""
    server, call = await scripted(answer(200, {}))
    with pytest.raises(error, match=message):
        await call(method, **arguments)
    assert server.requests == []


@pytest.mark.parametrize(
    ("method", "times"), [("GET", 3), ("PUT", 3), ("DELETE", 3), ("HEAD", 3), ("POST", 1), ("PATCH", 1)]
)
async def test_idempotent_methods_are_repeated(scripted: Scripted, method: str, times: int) -> None:
    """By default, only idempotent methods are repeated."""
    failing = answer(500, b"" if method == "HEAD" else None, AT_ONCE)
    server, call = await scripted(failing, max_retries=2)
    with pytest.raises(InternalServerError):
        await call("request", method, "/x")
    assert [request.method for request in server.requests] == [method] * times


def test_low_level_calls_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module has the verbs of its default client."""
    from replicate_async.testing import LocalServer

    with LocalServer() as server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        replicate_async.default_client.cache_clear()
        try:
            assert replicate_async.get("/account").json()["username"] == "local"
            assert replicate_async.request("GET", "/account", cast_to=Account).username == "local"
            for verb in ("post", "put", "patch", "delete"):
                with pytest.raises(NotFoundError, match="/nowhere"):
                    getattr(replicate_async, verb)("/nowhere")
        finally:
            replicate_async.default_client().close()
            replicate_async.default_client.cache_clear()


# --- with_options ---

CHANGES: Mapping[str, Any] = {
    "bearer_token": "r8_other",
    "base_url": "http://127.0.0.1:1/v1",
    "timeout": 5.0,
    "max_retries": 7,
    "default_headers": {"X-Other": "1"},
    "default_query": {"other": "1"},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("method", ["with_options", "copy"])
async def test_with_options_changes_one_thing(scripted: Scripted, name: str, method: str) -> None:
    """A copy has the passed option, and all others of its original, which does not change."""
    _, call = await scripted(
        reply(ACCOUNT), default_headers={"X-First": "1"}, default_query={"first": "1"}, timeout=9.0
    )
    copied = getattr(call.client, method)(**{name: CHANGES[name]})
    assert type(copied) is type(call.client)

    def options(client: Any) -> dict[str, Any]:
        settings = msgspec.structs.asdict(transport_of(client).settings)
        return {"bearer_token" if key == "token" else key: value for key, value in settings.items()}

    before = options(call.client)
    assert before["default_headers"] == {"X-First": "1"}
    assert options(copied) == {**before, name: CHANGES[name]}
    assert options(getattr(call.client, method)()) == before


async def test_copies_share_connections(scripted: Scripted) -> None:
    """A copy uses the connections of its original, and is closed with it."""
    server, call = await scripted(reply(ACCOUNT))
    copied = Caller(call.client.with_options(bearer_token="r8_other", timeout=30))
    again = Caller(copied.client.with_options(default_headers={"X-Third": "1"}))
    for caller in (call, copied, again, call):
        await caller("account.get")
    assert server.connections == 1
    assert [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests] == [
        *(TOKEN, "r8_other", "r8_other", TOKEN)
    ]
    assert ["x-third" in request.headers for request in server.requests] == [False, False, True, False]
    await call("close")
    assert copied.client.is_closed()
    with pytest.raises(ReplicateError, match="closed"):
        await again("account.get")


async def test_resources_of_a_copy_are_its_own(scripted: Scripted) -> None:
    """The resources of a copy have its options, even if the original's were used before."""
    server, call = await scripted(answer(200, page_of()))
    for resource in ("models", "models.versions", "predictions"):
        attrgetter(resource)(call.client)
    copied = Caller(call.client.with_options(default_query={"x": "1"}))
    await copied("models.list")
    await copied("models.versions.list", "acme", "cat")
    await copied("with_raw_response.predictions.list")
    await call("models.list")
    assert [request.target for request in server.requests] == [
        *("/v1/models?x=1", "/v1/models/acme/cat/versions?x=1", "/v1/predictions?x=1", "/v1/models")
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bearer_token": ""}, ValueError, "bearer_token"),
        ({"base_url": "example.com"}, ValueError, "base_url"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"default_headers": {"a": 1}}, TypeError, "default_headers"),
        ({"default_query": "a=b"}, TypeError, "default_query"),
        ({"time_out": 5}, TypeError, "time_out"),
        ({"max_connections": 5}, TypeError, "max_connections"),
    ],
    ids=str,
)
async def test_invalid_options(scripted: Scripted, options: Any, error: type[Exception], message: str) -> None:
    """Invalid options raise an error that names them."""
    _, call = await scripted(reply(ACCOUNT))
    with pytest.raises(error, match=message):
        call.client.with_options(**options)


# --- extra headers, query and body ---


async def test_precedence(scripted: Scripted) -> None:
    """Extra options take precedence over the call's own, and those over the client's; header names ignore case."""
    server, call = await scripted(
        reply(ACCOUNT),
        default_headers={"X-A": "default", "X-B": "default", "X-C": "default", "User-Agent": "own/1"},
        default_query={"a": "default", "b": "default", "c": "default", "d": "default"},
    )
    await call(
        "get",
        "/x",
        headers={"x-b": "call", "x-c": "call", "accept": "text/x"},
        params={"b": "call", "c": "call"},
        extra_headers={"X-c": "extra"},
        extra_query={"c": "extra", "d": None},
    )
    request = server.requests[0]
    assert request.target == "/v1/x?a=default&b=call&c=extra", "None omits a parameter"
    expected = {"x-a": "default", "x-b": "call", "x-c": "extra", "user-agent": "own/1", "accept": "text/x"}
    assert {name: request.header_values(name) for name in expected} == {
        name: [value] for name, value in expected.items()
    }


@pytest.mark.parametrize("operation", [name for name in OPERATION if name != "files.create"])
async def test_extras_of_every_call(scripted: Scripted, operation: str) -> None:
    """Every method accepts extra headers, query and body, a timeout and a number of retries."""
    arguments, body = OPERATION[operation]
    server, call = await scripted(answer(503, {}, AT_ONCE), reply(body), default_query={"d": "1"})
    plain = {"extra_headers": {"X-Trace": "t1"}, "extra_query": {"q": "1"}, "timeout": 5, "max_retries": 1}
    await call(operation, **arguments, **plain)
    assert len(server.requests) == 2
    for request in server.requests:
        assert request.headers["x-trace"] == "t1"
        assert request.target.endswith("d=1&q=1") or "d=1" in request.target
        assert "q=1" in request.target
    # The body of models.search is text.
    if operation != "models.search":
        await call(operation, **arguments, extra_body={"beside": 0})
        before, after = server.requests[1].body, server.requests[2].body
        assert json.loads(after) == {**(json.loads(before) if before else {}), "beside": 0}


async def test_extra_body_takes_precedence(scripted: Scripted) -> None:
    """An extra field replaces the call's own of that name."""
    server, call = await scripted(reply(prediction()))
    await call("predictions.create", version=VERSION_ID, input={"a": 1}, extra_body={"input": {"b": 2}, "new": None})
    assert json.loads(server.requests[0].body) == {"version": VERSION_ID, "input": {"b": 2}, "new": None}


async def test_options_are_not_changed(scripted: Scripted) -> None:
    """Options may be any mapping, and are not changed."""
    from types import MappingProxyType

    headers, query = {"X-A": "1"}, {"a": "1"}
    server, call = await scripted(
        reply(prediction()), default_headers=MappingProxyType(headers), default_query=MappingProxyType(query)
    )
    options = {
        "extra_headers": MappingProxyType({"X-B": "1"}),
        "extra_query": MappingProxyType({"b": "1"}),
        "extra_body": MappingProxyType({"c": 1}),
    }
    await call("predictions.create", version=VERSION_ID, input={}, **options)
    assert (headers, query) == ({"X-A": "1"}, {"a": "1"})
    assert server.requests[0].target == "/v1/predictions?a=1&b=1"


# --- the log ---

PROGRAM = """
import asyncio
from replicate_async import AsyncReplicate, APIStatusError

async def main():
    async with AsyncReplicate() as client:
        await client.account.get()
        try:
            await client.predictions.get("nowhere", max_retries=0)
        except APIStatusError as error:
            print(error)

asyncio.run(main())
"""
BLOCKING = {
    "AsyncReplicate": "Replicate",
    "async def": "def",
    "async with": "with",
    "await ": "",
    "asyncio.run(main())": "main()",
}
PROGRAMS = {"async": PROGRAM, "blocking": reduce(lambda text, pair: text.replace(*pair), BLOCKING.items(), PROGRAM)}


async def logged(kind: str, level: str | None, program: str | None = None) -> list[str]:
    """Run a program whose first call is retried once and whose second one fails, and return its log."""
    steps = answer(500, {"detail": "try again"}, AT_ONCE), reply(ACCOUNT), answer(404, {"detail": "no such thing"})
    async with RawServer(*steps) as server:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "REPLICATE_LOG"},
            "REPLICATE_API_TOKEN": TOKEN,
            "REPLICATE_BASE_URL": f"{server.url}/v1",
            **({} if level is None else {"REPLICATE_LOG": level}),
        }
        with anyio.fail_after(30):
            done = await anyio.run_process(
                [sys.executable, "-W", "error", "-c", program or PROGRAMS[kind]], env=environment, check=False
            )
        assert done.returncode == 0, done.stderr.decode()
        assert b"404 no such thing" in done.stdout
        assert [request.target for request in server.requests] == [
            *("/v1/account", "/v1/account", "/v1/predictions/nowhere")
        ]
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout.decode() + done.stderr.decode()
    return done.stderr.decode().splitlines()


async def test_no_log(kind: str) -> None:
    """By default, nothing is logged."""
    assert await logged(kind, None if kind == "async" else "") == []


@pytest.mark.parametrize("level", ["info", " INFO "])
async def test_the_log_at_info(kind: str, level: str) -> None:
    """At info, there is a line with the reason for each retry."""
    (line,) = await logged(kind, level)
    assert "replicate_async INFO retry 1 of GET /account after: 500 try again" in line


async def test_the_log_at_debug(kind: str) -> None:
    """At debug, there is also a line with method, path and status for each request."""
    lines = await logged(kind, "debug")
    requests = [line for line in lines if " DEBUG " in line]
    for line, expected in zip(
        requests, ["GET /account: 500", "GET /account: 200", "GET /predictions/nowhere: 404"], strict=True
    ):
        assert expected in line
    assert len([line for line in lines if "retry 1 of GET /account" in line]) == 1
    assert len(lines) == 4, "other libraries log nothing"


async def test_an_invalid_log_level(kind: str) -> None:
    """An unknown level is reported once."""
    (line,) = await logged(kind, "verbose")
    assert "REPLICATE_LOG='verbose' is neither 'info' nor 'debug'" in line


async def test_the_log_of_a_program_that_configures_logging(kind: str) -> None:
    """A program that has configured logging keeps its format, and gets each line once."""
    program = "import logging\nlogging.basicConfig(format='own: %(message)s')\n" + PROGRAMS[kind]
    (line,) = await logged(kind, "info", program)
    assert line.startswith("own: retry 1 of GET /account")
