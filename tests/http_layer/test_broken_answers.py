"""Whatever a response holds, calls succeed or raise an APIError: a table of broken responses, and random ones."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import anyio
import pytest

from rawserver import ACCOUNT, TOKEN, RawServer, Step, answer, part_of, prediction, record_pauses
from replicate_async import (
    APIError,
    APIStatusError,
    AsyncReplicate,
    ConflictError,
    CreateOutcomeUnknown,
    ModelError,
    WebhookVerificationError,
    verify_webhook,
)

pytestmark = pytest.mark.anyio
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()

DEEP = b"[" * 1100 + b"]" * 1100
DEEPER = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
HUGE_YEAR = "99999-01-01T00:00:00Z"
LAST_MOMENT = "9999-12-31T23:59:59.999999Z"


def listed(**members: Any) -> dict[str, Any]:
    return {"results": [prediction()], "next": None, "previous": None, **members}


def deep(levels: int, *, inner: str = "", **members: Any) -> bytes:
    """Return a response with a prediction whose output is nested."""
    text = json.dumps(succeeded("DEEP", **members)).replace('"DEEP"', "[" * levels + inner + "]" * levels)
    return answer(200, text.encode())


def redirect(location: bytes, status: int = 302) -> bytes:
    return b"HTTP/1.1 %d Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % (status, location)


def succeeded(output: Any, **members: Any) -> dict[str, Any]:
    return prediction(status="succeeded", output=output, completed_at="2025-01-01T00:00:01Z", **members)


BROKEN: dict[str, Step] = {
    "empty": answer(200, b""),
    "null": answer(200, None),
    "number": answer(200, 1),
    "list": answer(200, []),
    "text": answer(200, "text"),
    "html": answer(200, b"<html>", {"Content-Type": "text/html"}),
    "not utf-8": answer(200, b'{"id":"\xff\xfe","status":"succeeded"}'),
    "lone surrogate": answer(200, b'{"id":"\\ud800","status":"succeeded","results":["\\udfff"]}'),
    **{
        f"deep {levels}": deep(levels, inner='"https://a.test/b"', results=[]) for levels in (300, 600, 900, 1200, 1450)
    },
    "deeper": answer(200, DEEPER),
    "deep list": answer(200, DEEP),
    "huge number": answer(200, b'{"id":"a","status":"succeeded","run_count":' + b"9" * 5000 + b"}"),
    "huge exponent": answer(200, b'{"id":"a","status":"succeeded","size":1e999,"next":1e999,"results":[]}'),
    "huge year": answer(200, succeeded("x", created_at=HUGE_YEAR)),
    "last moment": answer(200, succeeded("x", created_at=LAST_MOMENT)),
    "first moment": answer(
        200, succeeded("x", created_at="0001-01-01T00:00:00Z"), {"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}
    ),
    "bad id": answer(200, succeeded("x", id="../..?\x00#/")),
    "empty id": answer(200, succeeded("x", id="")),
    "empty id of a running prediction": answer(201, prediction(id="")),
    "bad id of a running prediction": answer(201, prediction(id="a/../b")),
    "long id": answer(200, succeeded("x", id="a" * 100_000)),
    "id of another type": answer(200, succeeded("x", id=5)),
    "bad urls": answer(
        200, succeeded(["http://[::1", "https://a:b/c", "https://h:99999/"], urls={"stream": "http://[x"})
    ),
    "bad ports": answer(200, succeeded("https://h:99999/x", urls={"stream": "http://127.0.0.1:99999/"})),
    "bad host": answer(200, succeeded("https://a..b/x", urls={"stream": "https://" + "a" * 70 + "/"})),
    "credentials": answer(200, succeeded("x", urls={"stream": "http://user:pw@127.0.0.1:9/"})),
    "list of the wrong type": answer(200, {"results": 5, "next": None}),
    "items of wrong types": answer(200, {"results": [1, None, [], {}, "x"], "next": None}),
    **{
        f"next {number}": answer(200, listed(next=url))
        for number, url in enumerate(
            (
                *("", "x", "?", "http://[::1", "http://h:99999/?a", "https://a..b/", "http://\x00/", "//?", "mailto:a"),
                *("javascript:alert(1)", "http:///?cursor=x", "http://user@h/", 5, {}, [], True),
            )
        )
    },
    "charset of no text": answer(200, ACCOUNT, {"Content-Type": "application/json; charset=rot13"}),
    "charset idna": answer(200, b"\xff" * 70, {"Content-Type": "text/plain; charset=idna"}),
    "charset punycode": answer(200, b"\xff-\xff", {"Content-Type": "text/plain; charset=punycode"}),
    "charset undefined": answer(200, b"\xff", {"Content-Type": "text/plain; charset=undefined"}),
    "charset utf-16": answer(200, b"\x00a", {"Content-Type": "text/plain; charset=utf-16"}),
    "content type": answer(200, b"{}", {"Content-Type": ";;;=\xff"}),
    "header not utf-8": b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "huge length": part_of(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "unknown encoding": answer(200, b"{}", {"Content-Encoding": "snappy"}),
    "no gzip": answer(200, b"{}", {"Content-Encoding": "gzip"}),
    "half gzip": answer(200, gzip.compress(b"{}" * 1000)[:-9], {"Content-Encoding": "gzip"}),
    **{
        f"location {number}": redirect(location)
        for number, location in enumerate(
            (
                *(
                    b"",
                    b"http://[::1",
                    b"http://127.0.0.1:99999/",
                    b"http://127.0.0.1:x/",
                    b"//",
                    b"http://",
                    b"https:///",
                ),
                *(b"file:///etc/passwd", b"javascript:alert(1)", b"http://user:password@127.0.0.1:9/", b"\xff\xfe"),
                *(b"http://a..b/", b"http://" + b"a" * 70 + b"/", b"http://\xff/", b"/\xe9?\xff", b"//[", b"?", b"#"),
                *(b"http://127.0.0.1:0/", b"http://127.0.0.1:-1/", b"http:", b"http:x", "http://h\u00e4?".encode()),
            )
        )
    },
    **{
        f"retry after {number}": answer(503, b"", {"Retry-After": value})
        for number, value in enumerate(
            (
                *(
                    "9" * 400,
                    "1e400",
                    "-1",
                    "nan",
                    "inf",
                    "-inf",
                    "",
                    "soon",
                    "\u0661",
                    "Mon, 01 Jan 99999 00:00:00 GMT",
                ),
                *("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359", "0 0 0 0 0 0 0", "1_0"),
            )
        )
    },
    "retry after in the body": answer(429, {"retry_after": 10**400, "detail": "resets in " + "9" * 5000 + "m"}),
    "dates": answer(503, b"", {"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT", "Date": "x" * 100}),
    "deep error": answer(500, b'{"detail":' + DEEP + b',"title":' + DEEP + b"}"),
    "deeper error": answer(500, DEEPER),
    "error not utf-8": answer(422, b'{"detail":"\xff"}'),
    "error of other types": answer(422, {"detail": {"a": [1]}, "title": 5, "status": "x", "invalid_fields": 5}),
    "error surrogate": answer(404, b'{"detail":"\\ud800"}'),
    "status 999": answer(999, b""),
    "status 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "status 304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "half an error": part_of(answer(500, b'{"detail":"no"}')[:-5]),
}

Operation = Callable[[AsyncReplicate], Awaitable[Any]]


async def drain(items: AsyncIterator[Any]) -> list[Any]:
    """Return up to three items."""
    got: list[Any] = []
    async for item in items:
        got.append(item)
        if len(got) == 3:
            break
    return got


async def pages(client: AsyncReplicate) -> None:
    page = await client.predictions.list()
    repr(page)
    if page.has_next_page():
        await page.get_next_page()


async def outputs(client: AsyncReplicate) -> None:
    output = await client.run("owner/name", input={})
    for item in output if isinstance(output, list) else [output]:
        repr(item)
        if hasattr(item, "read"):
            assert item.content_type is None or item.content_type
            await item.read()


async def download(client: AsyncReplicate) -> None:
    response = await client.files.download("a", owner="a", expiry=1, signature="b")
    await response.read()


async def many(client: AsyncReplicate) -> None:
    """Wait for so many predictions that the list is polled."""
    waits = [client.predictions.wait(str(number)) for number in range(5)]
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def function(client: AsyncReplicate) -> None:
    model = client.use("owner/name")
    await model.signature()
    await model.documentation()
    await model.default_example()


async def raw(client: AsyncReplicate) -> None:
    response = await client.predictions.with_raw_response.get("a")
    repr(response)
    response.text()
    response.parse()


async def streaming(client: AsyncReplicate) -> None:
    async with client.predictions.with_streaming_response.list() as response:
        repr(response)
        await response.json()
        await response.parse()


async def streamed_text(client: AsyncReplicate) -> None:
    async with client.predictions.with_streaming_response.get("a") as response:
        assert isinstance("".join([text async for text in response.iter_text()]), str)
    async with client.predictions.with_streaming_response.get("a") as response:
        assert isinstance([line async for line in response.iter_lines()], list)


OPERATIONS: dict[str, Operation] = {
    "account": lambda client: client.account.get(),
    "collections": lambda client: client.collections.get("a"),
    "collections list": lambda client: client.collections.list(),
    "deployment": lambda client: client.deployments.get("a", "b"),
    "deployments": lambda client: client.deployments.list(),
    "deployment delete": lambda client: client.deployments.delete("a", "b"),
    "deployment create": lambda client: client.deployments.predictions.create("a", "b", input={}),
    "files": lambda client: client.files.list(),
    "file": lambda client: client.files.get("a"),
    "upload": lambda client: client.files.create(b"x"),
    "download": download,
    "hardware": lambda client: client.hardware.list(),
    "models": lambda client: client.models.list(),
    "model": lambda client: client.models.get("a", "b"),
    "model search": lambda client: client.models.search("a"),
    "readme": lambda client: client.models.readme.get("a", "b"),
    "examples": lambda client: client.models.examples.list("a", "b"),
    "versions": lambda client: client.models.versions.list("a", "b"),
    "version": lambda client: client.models.versions.get("a", "b", "c"),
    "model create": lambda client: client.models.predictions.create("a", "b", input={}),
    "create": lambda client: client.predictions.create(version=VERSION, input={}),
    "prediction": lambda client: client.predictions.get("a"),
    "predictions": lambda client: client.predictions.list(),
    "pages": pages,
    "items": lambda client: drain(aiter(client.predictions.list())),
    "cancel": lambda client: client.predictions.cancel("a"),
    "trainings": lambda client: client.trainings.list(),
    "training": lambda client: client.trainings.get("a"),
    "train": lambda client: client.trainings.create("a", "b", "c", destination="d/e", input={}),
    "webhook secret": lambda client: client.webhooks.default.secret.get(),
    "search": lambda client: client.search("a"),
    "get": lambda client: client.get("/x", cast_to=dict),
    "request": lambda client: client.request("PATCH", "/x", json={}),
    "run": outputs,
    "stream": lambda client: drain(client.stream("owner/name", input={})),
    "wait": lambda client: client.predictions.wait("a"),
    "many": many,
    "map": lambda client: drain(client.map("owner/name", [{}, {}])),
    "function": function,
    "raw": raw,
    "streaming": streaming,
    "streamed text": streamed_text,
}


async def attempt(name: str, client: AsyncReplicate) -> None:
    """Make a call, which may fail with nothing but an error of this package that shows all that it has."""
    try:
        await OPERATIONS[name](client)
    except (APIError, ModelError) as error:
        shown = str(error) + repr(error)
        assert TOKEN not in shown
        assert "password" not in shown
        if isinstance(error, APIError):
            assert error.method or error.prediction_id  # noqa: PT017 - there may be no error


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a?b", "a#b", "a\x00", "a\n"])
@pytest.mark.parametrize("name", ["run", "stream", "map", "create"])
async def test_an_id_that_is_no_part_of_a_path(name, job_id):
    """A prediction that can't be asked for by its id is an unreadable response, and not an invalid argument."""
    record_pauses()
    async with RawServer(answer(201, prediction(id=job_id))) as server, server.client(max_retries=0) as client:
        with pytest.raises(APIError):
            await OPERATIONS[name](client)


# On one Python only: there are four thousand of them.
@pytest.mark.endurance
@pytest.mark.parametrize("name", OPERATIONS)
async def test_broken_responses(name):
    """Every operation survives every broken response."""
    record_pauses()
    for kind, step in BROKEN.items():
        async with RawServer(step) as server, server.client(max_retries=0) as client:
            try:
                await attempt(name, client)
            except BaseException as error:
                error.add_note(f"response: {kind}")
                raise


MEMBERS = [
    "id",
    "status",
    "output",
    "error",
    "logs",
    "urls",
    "created_at",
    "completed_at",
    "metrics",
    "input",
    "results",
]
VALUES: list[Any] = [
    *(None, True, -1, 10**30, 1e308, "", "x" * 5000, "\x00\x1b", "é\U0001f600", [], {}, [[]], {"a": {"b": []}}),
    *("succeeded", "http://[::1", "https://h:99999/", "data:,", "data:;base64,@", HUGE_YEAR, LAST_MOMENT, "..", "a/b"),
]


def random_response(chance: random.Random) -> bytes:
    """Return a response with odd values in odd places, and perhaps a flipped, missing or repeated part."""
    body: Any = succeeded("x", results=[prediction()], next=None)
    for _ in range(chance.randrange(4)):
        body[chance.choice([*MEMBERS, "next", "detail", "retry_after"])] = chance.choice(VALUES)
    headers = {
        name: chance.choice(
            ["", "-1", "9" * 30, "x;=,\xff", "http://[", "Mon, 01 Jan 0001 00:00:00 +2359", "br", "gzip"]
        )
        for name in ("Retry-After", "Content-Type", "Date", "Location", "Content-Encoding", "ratelimit-reset")
        if chance.random() < 0.15
    }
    data = bytearray(answer(chance.choice([200, 200, 200, 201, 302, 404, 422, 429, 500, 503]), body, headers))
    for _ in range(chance.choice([0, 0, 1, 3])):
        place = chance.randrange(len(data))
        data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
async def test_random_responses(seed):
    """Random damage to responses never raises anything but an error of this package."""
    record_pauses()
    chance = random.Random(seed)
    for _ in range(150):
        name, data = chance.choice([*OPERATIONS]), random_response(chance)
        async with RawServer(part_of(data)) as server, server.client(max_retries=0, timeout=5) as client:
            try:
                with anyio.fail_after(20):
                    await attempt(name, client)
            except BaseException as error:
                error.args = (*error.args, name, data)
                raise


@pytest.mark.parametrize(
    "document",
    [
        {"components": 5},
        {"components": {"schemas": []}},
        {"components": {"schemas": {"Input": {"$ref": "#/components/schemas/Input"}}}},
        {"components": {"schemas": {"Input": {"properties": [], "required": 5}, "Output": {"$ref": 5}}}},
        {"components": {"schemas": {"Input": {"properties": {"a": {"x-order": "1"}, "b": {"x-order": 2}}}}}},
        {"components": {"schemas": {"Input": {"properties": {"a": {"allOf": 5, "enum": 7, "minLength": "x"}}}}}},
        {"components": {"schemas": {"Output": {"type": "object", "properties": 5, "items": 7}}}},
    ],
)
async def test_malformed_schemas(document):
    """A model whose schema is malformed works as if it had none: its outputs are not lost."""
    model = {"owner": "a", "name": "b", "latest_version": {"id": "1", "created_at": "2025-01-01T00:00:00Z"}}
    model["latest_version"]["openapi_schema"] = document
    done = answer(200, succeeded({"a": ["http://127.0.0.1:9/b"]}))
    async with RawServer(done, answer(200, model), done) as server, server.client() as client:
        function = client.use("a/b")
        assert str((await function())["a"][0]) == "http://127.0.0.1:9/b"
        await function.signature()
        await function.documentation()
        assert len(server.requests) == 2


def signed(body: bytes) -> dict[str, str]:
    """Return the headers of a genuine webhook."""
    now = str(int(time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, b"id." + now.encode() + b"." + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "id", "webhook-timestamp": now, "webhook-signature": signature}


def test_broken_webhooks():
    """Webhooks with the bodies of broken responses are decoded, or raise a WebhookVerificationError."""
    for step in BROKEN.values():
        if isinstance(step, bytes):
            body = step.partition(b"\r\n\r\n")[2]
            with suppress(WebhookVerificationError):
                verify_webhook(body, signed(body), SECRET)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        for value in ("", "\ud800", "9" * 5000, "-1", "1e9", "\u0661", "v1", "v1,", "v1,\xff", ",", "v1,==="):
            with pytest.raises(WebhookVerificationError):
                verify_webhook(b"{}", {**signed(b"{}"), name: value}, SECRET)


@pytest.mark.parametrize("status", [408, 409, 429, 500])
async def test_a_create_with_half_an_error(status):
    """An error whose body breaks off counts like a whole one: a create is repeated only if it was refused."""
    record_pauses()
    whole = answer(status, {"detail": "x"}, {"Retry-After": "1"} if status == 429 else {})
    empty_list = answer(200, {"results": []})
    for step in (whole, part_of(whole[:-5])):
        after = [empty_list] * 4 if status == 500 else []
        async with RawServer(step, *after, answer(201, prediction())) as server, server.client() as client:
            try:
                await client.predictions.create(version=VERSION, input={})
            except ConflictError:
                assert status == 409
            except APIStatusError as error:
                assert error.status_code == status == 408  # noqa: PT017 - only some raise
            else:
                assert status in {429, 500}
            posts = [request for request in server.requests if request.method == "POST"]
            assert len(posts) == (1 if status in {408, 409} else 2)


# --- creates whose response is read on demand ---


async def test_a_streamed_create_that_is_lost_is_adopted():
    """A create through with_streaming_response whose response is lost is looked for, and not repeated."""
    record_pauses()
    body = {"version": VERSION, "input": {}}
    mine = prediction(**body, created_at=datetime.now(timezone.utc).isoformat())
    lost = part_of(answer(201, mine)[:-20])
    async with (
        RawServer(lost, answer(200, {"results": [mine]}), answer(200, mine)) as server,
        server.client() as client,
    ):
        async with client.predictions.with_streaming_response.create(**body) as response:
            assert not response.is_closed
            assert (await response.parse()).id == mine["id"]
            assert response.is_closed
        assert [request.method for request in server.requests] == ["POST", "GET", "GET"]


async def test_a_streamed_create_of_unknown_outcome():
    """If the lookup fails as well, the outcome of a streamed create is unknown."""
    record_pauses()
    lost = part_of(answer(201, prediction())[:-20])
    async with RawServer(lost, answer(403)) as server, server.client() as client:
        with pytest.raises(CreateOutcomeUnknown):
            async with client.predictions.with_streaming_response.create(version=VERSION, input={}):
                pass
        assert [request.method for request in server.requests] == ["POST", "GET"]
