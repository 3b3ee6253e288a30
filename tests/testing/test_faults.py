"""Faults: what each kind does, which requests it affects, and which faults are invalid."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
import replicate

from replicate_async.testing import Fault, LocalServer, VirtualClock, models
from replicate_async.testing._fault_injection import FaultFields

from .conftest import Caller, eventually, serve
from .test_streams import parse, read

pytestmark = pytest.mark.anyio

HELLO = "/models/replicate/hello-world/predictions"
BODY = {"input": {"text": "a"}}


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Return a caller of a server with the demonstration models."""
    async with serve(tidy=True) as (server, caller):
        models.register(server)
        yield caller


async def exchange(server: LocalServer, path: str = "/v1/account", method: str = "GET", body: bytes = b"") -> bytes:
    """Send a raw request, and return everything that the server sends until it closes the connection."""
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("after", [False, True])
async def test_reset(call: Caller, after: bool) -> None:
    """A reset closes the connection with RST, before or after the prediction is created."""
    fault = call.server.faults.add(operation="models.predictions.create", kind="reset", after=after)
    with pytest.raises(ConnectionResetError):
        await exchange(call.server, f"/v1{HELLO}", "POST", b'{"input": {"text": "a"}}')
    assert len(call.server.predictions) == after
    (entry,) = call.server.requests
    assert (entry.fault, entry.status) == (fault, 0)
    with pytest.raises(aiohttp.ClientError):
        await call("POST", HELLO, BODY)


@pytest.mark.parametrize("after", [False, True])
async def test_stall(call: Caller, after: bool) -> None:
    """A stalled request gets no response, but others do, and the client can abandon it."""
    call.server.faults.add(operation="models.predictions.create", kind="stall", after=after, times=1)
    stalled = asyncio.create_task(call("POST", HELLO, BODY))
    await eventually(lambda: call.server.requests)
    assert (await call.run("replicate/hello-world", text="b"))["output"] == "hello b"
    await eventually(lambda: len(call.server.predictions) == 1 + after)
    assert not stalled.done()
    stalled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stalled
    assert (await call("GET", "/account")).status == 200


async def test_stopping_while_a_request_stalls() -> None:
    """A server stops at once while faults delay requests, whether or not their clients are still connected."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with LocalServer(tidy=True) as server:
            server.faults.add(operation="account.get", kind="stall")
            server.faults.add(operation="hardware.list", kind="delay", seconds=100)
            call = Caller(server, session)
            requests = [asyncio.create_task(call("GET", path)) for path in ("/account", "/hardware") for _ in range(2)]
            await eventually(lambda: len(server.requests) == 4)
            for request in requests[::2]:
                request.cancel()
            await asyncio.wait(requests[::2])
            begin = time.perf_counter()
        assert time.perf_counter() - begin < 10
        await asyncio.wait(requests)
        assert all(isinstance(request.exception(), aiohttp.ClientError) for request in requests[1::2])
    await eventually(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize("after", [False, True])
async def test_delay(slow_call: Caller, clock: VirtualClock, after: bool) -> None:
    """A delay passes on the server's clock, before or after the operation."""
    models.register(slow_call.server)
    slow_call.server.faults.add(operation="models.predictions.create", kind="delay", seconds=30, after=after)
    request = asyncio.create_task(slow_call("POST", HELLO, BODY))
    await eventually(lambda: slow_call.server.requests)
    await clock.advance(29)
    assert (len(slow_call.server.predictions), request.done()) == (after, False)
    await clock.advance(1)
    assert (await request).status == 201
    assert len(slow_call.server.predictions) == 1


async def test_a_delay_before_another_fault(slow_call: Caller, clock: VirtualClock) -> None:
    """Every kind takes seconds, which pass before the fault occurs."""
    slow_call.server.faults.add(operation="account.get", kind="html", seconds=10)
    request = asyncio.create_task(slow_call("GET", "/account"))
    await eventually(lambda: slow_call.server.requests)
    await clock.advance(9)
    assert not request.done()
    await clock.advance(1)
    assert (await request).status == 502


async def test_truncate(call: Caller) -> None:
    """A truncated response has complete headers and an incomplete body; the operation has been carried out."""
    call.server.faults.add(operation="models.predictions.create", kind="truncate", at=10)
    with pytest.raises(aiohttp.ClientPayloadError):
        await call("POST", HELLO, BODY)
    assert len(call.server.predictions) == 1
    received = await exchange(call.server, f"/v1{HELLO}", "POST", b'{"input": {"text": "a"}}')
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201")
    assert len(body) == 10
    assert int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) > 10


@pytest.mark.parametrize("at", [0, 1, 10_000])
async def test_truncate_cleanly(call: Caller, at: int) -> None:
    """A cleanly truncated response looks complete; a response that is shorter anyway is not truncated."""
    whole = (await call("GET", "/account")).body
    call.server.faults.add(operation="account.get", kind="truncate", at=at, clean=True)
    received = await exchange(call.server)
    head, _, body = received.partition(b"\r\n\r\n")
    assert body == whole[:at]
    assert f"content-length: {len(body)}" in head.decode().lower()


@pytest.mark.parametrize("clean", [False, True])
async def test_a_stream_that_breaks(call: Caller, clean: bool) -> None:
    """An event stream is truncated at the byte, even within an event, and the next request can resume it."""
    prediction = await call.run("replicate-local/stream-text", prompt="a b c", delay=0)
    whole = await read(call, prediction)
    call.server.faults.add(operation="predictions.stream", kind="truncate", at=100, clean=clean, times=1)
    received = b""
    async with call.session.get(prediction["urls"]["stream"]) as response:
        try:
            async for chunk in response.content.iter_any():
                received += chunk
        except aiohttp.ClientPayloadError:
            assert not clean
        else:
            assert clean
    assert len(received) == 100
    events = parse(received)
    assert events == whole[: len(events)] != []
    assert await read(call, prediction, **{"Last-Event-ID": str(events[-1][1])}) == whole[len(events) :]


async def test_a_stream_that_breaks_while_it_runs(call: Caller) -> None:
    """A stream is truncated as soon as the bytes have been sent, without waiting for more events."""

    @call.server.model("me/endless")
    async def endless() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    call.server.faults.add(operation="predictions.stream", kind="truncate", at=20)
    prediction = await call.start("me/endless")
    with pytest.raises(aiohttp.ClientPayloadError):
        await read(call, prediction)


async def test_drip(slow_call: Caller, clock: VirtualClock) -> None:
    """A dripping body is sent at its rate, on the server's clock."""
    whole = (await slow_call("GET", "/account")).body
    slow_call.server.faults.add(operation="account.get", kind="drip", rate=10)
    request = asyncio.create_task(slow_call("GET", "/account"))
    await eventually(lambda: len(slow_call.server.requests) == 2)
    await clock.advance(len(whole) / 10 - 0.2)
    await asyncio.sleep(0.01)
    assert not request.done()
    await clock.advance(0.3)
    assert (await request).body == whole


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"id": None}, b'{"id":null}'),
        ([], b"[]"),
        (None, b"null"),
        ('"text"', b'"text"'),
        ('{"id": "x', b'{"id": "x'),
        ("", b""),
    ],
)
@pytest.mark.parametrize("after", [False, True])
async def test_wrong_json(call: Caller, body: Any, sent: bytes, after: bool) -> None:
    """The response is unexpected or invalid JSON, with the status of the operation."""
    call.server.faults.add(operation="models.predictions.create", kind="json", body=body, after=after)
    async with call.session.post(
        call.server.base_url + HELLO, json=BODY, headers={"Authorization": f"Bearer {call.server.token}"}
    ) as response:
        assert (response.status, response.content_type) == (201 if after else 200, "application/json")
        assert await response.read() == sent
    assert len(call.server.predictions) == after


async def test_html(call: Caller) -> None:
    """The response is a gateway's HTML page, with the status 502 or another one."""
    call.server.faults.add(operation="account.get", kind="html", times=1)
    call.server.faults.add(operation="account.get", kind="html", status=504, body="<p>too late")
    first, second = await call("GET", "/account"), await call("GET", "/account")
    assert (first.status, first.headers["Content-Type"], b"502 Bad Gateway" in first.body) == (502, "text/html", True)
    assert (second.status, second.body) == (504, b"<p>too late")


async def test_status(call: Caller) -> None:
    """The response is a problem with any status, members and headers."""
    call.server.faults.add(
        operation="account.get",
        kind="status",
        status=503,
        problem={"detail": "d", "x": 1},
        headers={"Retry-After": "7"},
    )
    answer = await call("GET", "/account")
    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.data == {"detail": "d", "status": 503, "x": 1}
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "DATE"])
async def test_its_own_headers(call: Caller, name: str) -> None:
    """A fault's headers replace those of the server, in upper or lower case."""
    call.server.faults.add(operation="account.get", kind="status", status=503, headers={name: "text/html"})
    head = (await exchange(call.server)).partition(b"\r\n\r\n")[0].decode().lower()
    assert head.count(f"{name.lower()}: text/html\r\n") == head.count(f"\r\n{name.lower()}:") == 1


@pytest.mark.parametrize("hints", [(), ("header",), ("body",), ("detail",), None])
async def test_rate_limit(call: Caller, hints: Any) -> None:
    """A 429 gives the delay in the places that the hints list, by default in all."""
    call.server.faults.add(operation="account.get", kind="rate_limit", retry_after=7, hints=hints)
    answer = await call("GET", "/account")
    used = {
        "header": answer.headers.get("Retry-After") == "7",
        "body": answer.data.get("retry_after") == 7,
        "detail": "resets in ~7s." in answer.data["detail"],
    }
    assert {hint for hint, is_used in used.items() if is_used} == set(used if hints is None else hints)
    assert answer.status == answer.data["status"] == 429
    assert ("Retry-After" in answer.headers, "retry_after" in answer.data) == (used["header"], used["body"])


async def test_a_short_wait(call: Caller) -> None:
    """A delay may be a fraction of a second, so that tests in real time are fast."""
    call.server.faults.add(operation="account.get", kind="rate_limit", retry_after=0.05)
    answer = await call("GET", "/account")
    assert (answer.headers["Retry-After"], answer.data["retry_after"]) == ("0.05", 0.05)
    assert "resets in ~0.05s." in answer.data["detail"]


async def test_redirect(call: Caller) -> None:
    """A redirect leads to another origin, where a client must not bring its token."""
    target = f"{call.server.delivery_url}/a/b"
    call.server.faults.add(operation="account.get", kind="redirect", location=target)
    answer = await call("GET", "/account", allow_redirects=False)
    assert (answer.status, answer.headers["Location"], answer.body) == (307, target, b"")
    await call("GET", "/account")
    assert [entry.path for entry in call.server.requests] == ["/v1/account", "/v1/account", "/a/b"]


async def statuses(call: Caller, number: int, path: str = "/account") -> str:
    """Send requests, and return a dot for each success and an x for each fault."""
    return "".join(["." if (await call("GET", path)).status == 200 else "x" for _ in range(number)])


async def test_how_often(call: Caller) -> None:
    """A fault occurs always, a number of times, or after a number of successful requests."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "xxxx"),
        ({"times": 2}, "xx.."),
        ({"skip": 1, "times": 2}, ".xx."),
        ({"times": 0}, "...."),
    ]
    for fields, expected in cases:
        fault = call.server.faults.add(operation="account.get", kind="html", **fields)
        assert await statuses(call, 4) == expected
        call.server.faults.remove(fault)
    assert await statuses(call, 1) == "."


async def test_chance(call: Caller) -> None:
    """The same seed gives the same faults, another seed gives others."""
    seen = []
    for seed in (0, 0, 1):
        call.server.faults.add(operation="account.get", kind="html", probability=0.5, seed=seed)
        seen.append(await statuses(call, 40))
        call.server.faults.clear()
    assert seen[0] == seen[1] != seen[2]
    assert 10 < seen[0].count("x") < 30
    call.server.faults.add(operation="account.get", kind="html", probability=0)
    assert await statuses(call, 10) == "." * 10


async def test_predicates(call: Caller) -> None:
    """A predicate gets the whole call, including its body."""
    call.server.faults.add(kind="html", when=lambda call: call.method == "POST" and call.json()["input"]["text"] == "b")
    answers = [await call("POST", HELLO, {"input": {"text": text}}) for text in "abc"]
    assert [answer.status for answer in answers] == [201, 502, 201]


async def test_a_broken_predicate(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A predicate that raises causes a 500, with the traceback in the log."""
    call.server.faults.add(kind="html", when=lambda call: call.json()["nothing"])
    assert (await call("GET", "/account")).status == 500
    assert "DecodeError" in caplog.text


async def test_patterns(call: Caller) -> None:
    """A pattern matches several operations; without one all match, also on the delivery origin."""
    prediction = await call.run("replicate-local/stream-text", prompt="a", delay=0)
    call.server.faults.add(operation="models.versions.*", kind="html")
    paths = "/models/replicate/hello-world", "/models/replicate/hello-world/versions", prediction["urls"]["stream"]
    assert [(await call("GET", path)).status for path in paths] == [200, 502, 200]
    call.server.faults.add(kind="html")
    assert [(await call("GET", path)).status for path in paths] == [502, 502, 502]


async def test_the_first_that_is_due_acts(call: Caller) -> None:
    """Only the first due fault that matches a request occurs, and the journal records it."""
    first = call.server.faults.add(operation="account.get", kind="html", status=500, times=1)
    second = call.server.faults.add(operation="account.get", kind="html", status=501)
    assert [(await call("GET", "/account")).status for _ in range(3)] == [500, 501, 501]
    assert (await call("GET", "/hardware")).status == 200
    assert [entry.fault for entry in call.server.requests] == [first, second, second, None]
    assert list(call.server.faults) == [first, second]


async def test_the_token_comes_first(call: Caller) -> None:
    """A request without the token is refused, and doesn't count for faults."""
    call.server.faults.add(operation="account.get", kind="html", times=1)
    assert (await call("GET", "/account", headers={"Authorization": "Bearer x"})).status == 401
    assert (await call("GET", "/account")).status == 502


TOML = """
[[faults]]
operation = "account.get"
kind = "status"
status = 418
problem = { title = "Teapot" }
times = 1

[[faults]]
operation = "predictions.*"
kind = "rate_limit"
retry_after = 3
hints = ["header"]
"""


async def test_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults can be loaded from TOML or from a dict with the same content, when the server is made or later."""
    path = tmp_path / "faults.toml"
    path.write_text(TOML, encoding="utf-8")
    expected = [
        Fault(operation="account.get", kind="status", status=418, problem={"title": "Teapot"}, times=1),
        Fault(operation="predictions.*", kind="rate_limit", retry_after=3, hints=("header",)),
    ]
    if sys.version_info >= (3, 11):
        async with serve(tidy=True, faults=path) as (server, call):
            assert list(server.faults) == expected
            answer = await call("GET", "/account")
            assert (answer.status, answer.data["title"]) == (418, "Teapot")
        (tmp_path / "broken.toml").write_text("[[faults", encoding="utf-8")
        for text, reason in [
            ("[[faults", "Expected "),
            ("", r"faults are tables \[\[faults\]\]: "),
            (
                "[[faults]]\nkind = 'html'\n[[faults]]\nkind = 'explode'",
                r"faults\[1\]\.kind: Invalid enum value 'explode'$",
            ),
            ("[[faults]]\nkind = 'delay'", r"faults\[0\]: seconds: required by the kind delay$"),
        ]:
            (tmp_path / "broken.toml").write_text(text, encoding="utf-8")
            for name in (tmp_path / "broken.toml", str(tmp_path / "broken.toml")):
                with pytest.raises(ValueError, match=rf"broken\.toml: {reason}"):
                    server.faults.load(name)
    server = LocalServer(tidy=True, faults={"faults": [{"kind": "reset"}]})
    assert list(server.faults) == [Fault(kind="reset")]
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(ValueError, match=r"needs Python 3\.11, or the package tomli"):
        server.faults.load(path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "missing required field `kind`"),
        ({"kind": "explode"}, "kind: Invalid enum value 'explode'"),
        ({"kind": "reset", "operation": "prediction.create"}, "there is no .* did you mean predictions.create?"),
        ({"kind": "reset", "operation": "xyz*"}, "there is no 'xyz"),
        ({"kind": "delay"}, "seconds: required by the kind delay"),
        ({"kind": "truncate"}, "at: required"),
        ({"kind": "drip"}, "rate: required"),
        ({"kind": "json"}, "body: required"),
        ({"kind": "status"}, "status: required"),
        ({"kind": "redirect"}, "location: required"),
        ({"kind": "reset", "at": 3}, "at: not for the kind reset"),
        ({"kind": "truncate", "at": 3, "after": True}, "after: not for the kind truncate"),
        ({"kind": "reset", "probability": 1.5}, "probability: Expected `float` <= 1.0"),
        ({"kind": "reset", "times": -1}, "times: Expected `int` >= 0"),
        ({"kind": "reset", "seconds": -1}, "seconds: Expected `float` >= 0.0"),
        ({"kind": "truncate", "at": -1}, "at: Expected `int` >= 0"),
        ({"kind": "drip", "rate": 0}, "rate: Expected `float` > 0.0"),
        ({"kind": "html", "status": 99}, "status: Expected `int` >= 200"),
        ({"kind": "reset", "times": "3"}, "times: Expected `int | null`, got `str`"),
        ({"kind": "rate_limit", "hints": ["hat"]}, "hints"),
        ({"kind": "reset", "when": "always"}, "when: expected a function"),
        ({"kind": "reset", "tiems": 3}, "unknown field `tiems`"),
        ({"kind": "redirect", "location": "/a\r\nb: c"}, "location.*without line breaks"),
        ({"kind": "status", "status": 503, "headers": {"X-A": "a\nb"}}, "X-A.*without line breaks"),
        ({"kind": "status", "status": 503, "headers": {"X\r": "a"}}, "X.*without line breaks"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, Any], reason: str) -> None:
    """Adding an invalid fault raises an error with the reason; then no fault of a file is added."""
    server = LocalServer(tidy=True)
    with pytest.raises(ValueError, match=reason.replace("$", r"\$").replace("|", r"\|")):
        server.faults.add(**fields)  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"faults\[1\]"):
        server.faults.load({"faults": [{"kind": "reset"}, fields]})
    with pytest.raises(ValueError, match="faults are tables"):
        server.faults.load({"fault": []})
    assert len(server.faults) == 0


def test_a_fault_by_itself() -> None:
    """A Fault can be added, also with changes; adding it checks the types of its fields."""
    server = LocalServer(tidy=True)
    fault = Fault(kind="reset", operation="predictions.create", after=True)
    assert server.faults.add(fault) is fault
    assert server.faults.add(fault, times=1) == msgspec.structs.replace(fault, times=1)
    server.faults.remove(fault)
    assert len(server.faults) == 1
    with pytest.raises(ValueError, match="times"):
        server.faults.add(Fault(kind="reset", times="3"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind: expected one of"):
        Fault(kind="explode")  # type: ignore[arg-type]


def test_the_keywords_are_the_fields() -> None:
    """The keyword arguments of add are exactly the fields of a fault."""
    assert set(FaultFields.__annotations__) == {field.name for field in msgspec.structs.fields(Fault)}


def test_the_official_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official SDK retries and survives temporary faults, and raises errors for permanent ones."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with LocalServer(tidy=True) as server:
        models.register(server)
        client = replicate.Replicate(bearer_token=server.token, base_url=server.base_url, max_retries=2)
        with client:
            for kind in ("reset", "html"):
                server.faults.add(operation="account.get", kind=kind, times=1)  # type: ignore[arg-type]
            assert client.account.get().username == "local"
            assert [request.status for request in server.requests] == [0, 502, 200]
            server.faults.add(operation="hardware.list", kind="rate_limit", retry_after=1)
            with pytest.raises(replicate.RateLimitError, match="resets in ~1s"):
                client.with_options(max_retries=0).hardware.list()
            server.faults.add(operation="collections.list", kind="truncate", at=5)
            with pytest.raises(replicate.APIConnectionError):
                client.with_options(max_retries=0).collections.list()


async def test_a_client_that_leaves_in_the_middle(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects while it sends is in the journal, and isn't logged as an error."""
    address = urlsplit(call.server.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1{HELLO} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {call.server.token}\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    await eventually(lambda: call.server.requests)
    writer.close()
    await eventually(lambda: call.server.requests[0].disconnected)
    assert not caplog.records
    assert not call.server.predictions
