"""The client against servers and environments that misbehave: timeouts, tokens, proxies, loops and the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import socket
import threading
import traceback
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import aiohttp
import pytest

from replicate_async import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AsyncReplicate,
    AuthenticationError,
    CreateOutcomeUnknown,
    Replicate,
    ReplicateError,
)
from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async.testing import LocalServer, models

from . import programs
from .rawserver import (
    ACCOUNT,
    TOKEN,
    RawServer,
    after,
    answer,
    close,
    drip,
    free_port,
    part_of,
    prediction,
    record_pauses,
    reset,
    stall,
)

pytestmark = pytest.mark.anyio
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


# --- timeouts ---


def timeout_of(client: AsyncReplicate, *, hold: float = 0.0, **options: Any) -> aiohttp.ClientTimeout:
    """Return what aiohttp is given as a request's timeout."""
    request = Request[Any]("POST", "/predictions", None, options, hold=hold)
    made: aiohttp.ClientTimeout = client._transport.prepare(request).timeout
    return made


@pytest.mark.parametrize("asked", [0.5, 60, None, aiohttp.ClientTimeout(total=5, sock_read=3)])
@pytest.mark.parametrize("hold", [1, 5, 60])
def test_no_timeout_is_shorter_than_the_wait(asked, hold):
    """A request that the server may hold for a while is waited for longer than that, whatever the timeout."""
    for timeout in (
        timeout_of(AsyncReplicate(bearer_token=TOKEN, timeout=asked), hold=hold),
        timeout_of(AsyncReplicate(bearer_token=TOKEN), hold=hold, timeout=asked),
    ):
        assert timeout.total is None or timeout.total > hold
        assert timeout.sock_read is None or timeout.sock_read > hold


def test_timeouts_are_as_asked():
    """Without a wait the timeout is the call's, or the client's, or 60 seconds; connecting has its own, shorter one."""
    client = AsyncReplicate(bearer_token=TOKEN)
    assert timeout_of(client).total == 60
    assert timeout_of(client, timeout=300).total == 300
    assert timeout_of(client, timeout=300).sock_connect == 10
    assert timeout_of(client, timeout=2).sock_connect == 2
    assert timeout_of(client, timeout=None) == aiohttp.ClientTimeout(total=None)
    assert timeout_of(AsyncReplicate(bearer_token=TOKEN, timeout=7)).total == 7
    own = aiohttp.ClientTimeout(total=5, connect=4, sock_connect=3, sock_read=2)
    assert timeout_of(client, timeout=own) == own


def test_timeouts_of_ever_other_uploads_are_not_kept():
    """Uploads have a timeout for each size: a client that makes many of them doesn't grow by that."""
    client = AsyncReplicate(bearer_token=TOKEN)
    made = weakref.WeakSet(timeout_of(client, hold=1 + size / 1000) for size in range(5000))
    assert len(made) < 1000


@pytest.mark.parametrize("where", ["extra_headers", "default_headers"])
@pytest.mark.parametrize("name", ["Prefer", "prefer"])
def test_prefer_by_any_way_lengthens_the_timeout(where, name):
    """A wait that is asked for by a header counts as much as one that is asked for by an argument."""
    headers = {where: {name: "wait=60"}}
    if where == "extra_headers":
        assert timeout_of(AsyncReplicate(bearer_token=TOKEN), **headers).total > 60
    else:
        assert timeout_of(AsyncReplicate(bearer_token=TOKEN, **headers)).total > 60


async def test_a_held_answer_is_waited_for():
    """An answer that comes after the timeout, but within the wait that was asked for, is there."""
    async with RawServer(after(0.3, answer(201, prediction()))) as server, server.client(timeout=0.1) as client:
        made = await client.predictions.create(version=VERSION, input={}, prefer="wait=1")
        assert made.id == prediction()["id"]
        assert server.requests[0].headers["prefer"] == "wait=1"


@pytest.mark.parametrize("step", [stall, drip(answer(200, ACCOUNT), every=0.02)], ids=["stall", "drip"])
async def test_no_answer_in_time(step):
    """A timeout tells which call it was; whether headers, the rest, or nothing at all had come."""
    async with RawServer(step) as server, server.client(timeout=0.1, max_retries=0) as client:
        with pytest.raises(APITimeoutError, match="no answer in time") as caught:
            await client.predictions.get("abc")
        error = caught.value
        assert (error.method, error.url) == ("GET", f"{server.url}/v1/predictions/abc")
        assert f"(GET {error.url})" in str(error)
        assert error.sent
        assert isinstance(error.__cause__, asyncio.TimeoutError)


async def test_no_connection_in_time():
    """A host that doesn't answer to the connection attempt got nothing: also a create is tried again."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # fill the queue of connections that nobody accepts
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        timeout = aiohttp.ClientTimeout(sock_connect=0.05)
        async with AsyncReplicate(bearer_token=TOKEN, base_url=base_url, timeout=timeout) as client:
            pauses = record_pauses()
            with pytest.raises(APITimeoutError) as caught:
                await client.predictions.create(version=VERSION, input={})
            assert not caught.value.sent
            assert len(pauses) == 2


async def test_time_in_the_queue_does_not_count():
    """Who waits for a connection doesn't use up the request's time: all of many slow calls succeed."""
    async with (
        RawServer(after(0.1, answer(200, ACCOUNT))) as server,
        server.client(timeout=0.6, max_connections=1, max_retries=0) as client,
    ):
        answers = await asyncio.gather(*[client.account.get() for _ in range(8)])
        assert len(answers) == 8


async def test_the_queue_of_a_session_of_ones_own_does_not_count():
    """The same holds for a session that allows fewer connections than the client."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        RawServer(after(0.1, answer(200, ACCOUNT))) as server,
        server.client(timeout=0.6, session=session, max_retries=0) as client,
    ):
        answers = await asyncio.gather(*[client.account.get() for _ in range(8)])
        assert len(answers) == 8


async def test_connections_are_limited():
    """No more requests are under way than ``max_connections``, and connections are used again."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        server.client(max_connections=3) as client,
    ):
        await asyncio.gather(*[client.account.get() for _ in range(40)])
        assert len(server.requests) == 40
        assert server.connections <= 3


async def test_cancelled_callers_leave_the_queue():
    """Callers that are cancelled while they wait, or while they are served, make room for others."""
    async with RawServer(after(0.05, answer(200, ACCOUNT))) as server, server.client(max_connections=2) as client:
        tasks = [asyncio.ensure_future(client.account.get()) for _ in range(20)]
        await asyncio.sleep(0.01)
        for task in tasks[:-1]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["CancelledError"] * 19 + ["Account"]
        assert (await client.account.get()).username == "alice"


# --- connections that break ---


async def test_a_connection_that_closed_while_idle():
    """A connection that the server closes between two calls is replaced, also for a create."""
    async with (
        RawServer(part_of(answer(200, ACCOUNT)), answer(201, prediction())) as server,
        server.client(max_retries=0) as client,
    ):
        await client.account.get()
        await asyncio.sleep(0.05)
        await client.predictions.create(version=VERSION, input={})
        assert server.connections == 2


async def test_a_create_on_a_connection_that_closes_is_not_sent_twice():
    """When a used connection breaks under a create, nobody knows what became of it: not even aiohttp sends it again."""
    async with RawServer(answer(200, ACCOUNT), reset) as server, server.client() as client:
        await client.account.get()
        with pytest.raises(CreateOutcomeUnknown):
            await client.predictions.create(version=VERSION, input={})
        assert [request.method for request in server.requests].count("POST") == 1


BROKEN = {
    "close": close,
    "reset": reset,
    "half": part_of(answer(200, ACCOUNT)[:-5]),
    "garbage": part_of(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "bad status": part_of(b"HTTP/1.1 abc Nope\r\n\r\n"),
    "bad header": part_of(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
    "endless header": part_of(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "bad chunk": part_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "bad length": part_of(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "no gzip": answer(200, b"this is not gzip", {"Content-Encoding": "gzip"}),
    "redirects for ever": answer(302, b"", {"Location": "/v1/account"}),
    "redirect to a file": answer(302, b"", {"Location": "file:///etc/passwd"}),
    "redirect to nonsense": answer(302, b"", {"Location": "http://[::1"}),
}


@pytest.mark.parametrize("step", BROKEN.values(), ids=BROKEN)
async def test_whatever_breaks_is_a_connection_error(step):
    """However an exchange fails below HTTP, it is one error class that names the call, with the cause behind it."""
    async with RawServer(step) as server, server.client(max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert (caught.value.method, caught.value.url) == ("GET", f"{server.url}/v1/account")
        assert caught.value.__cause__ is not None


async def test_odd_answers_that_are_good():
    """Interim answers, chunks, a body until the end of the connection, and slow ones are answers all the same."""
    body = b'{"type":"user","username":"alice"}'
    odd = [
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, body),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        part_of(b"HTTP/1.1 200 OK\r\n\r\n" + body),
        part_of(b"HTTP/1.0 200 OK\r\n\r\n" + body),
        drip(answer(200, body), every=0.001, size=10),
    ]
    async with RawServer(*odd) as server, server.client(max_retries=0) as client:
        for _ in odd:
            assert (await client.account.get()).username == "alice"
        assert len(server.requests) == len(odd)


async def test_an_answer_of_another_shape_is_told_with_its_call():
    """A page of HTML with status 200 can't be used: the error has status, headers and a piece of it."""
    page = answer(200, b"<html>Welcome to the hotel's network</html>", {"Content-Type": "text/html"})
    async with RawServer(page) as server, server.client() as client:
        with pytest.raises(APIResponseValidationError, match="hotel") as caught:
            await client.account.get()
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.status_code, error.headers["content-type"]) == (200, "text/html")
        assert len(server.requests) == 1


# --- headers ---


async def test_headers():
    """Calls say who calls and what they take; the client's headers come next, and the call's own win."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        server.client(default_headers={"X-One": "client", "X-Two": "client"}) as client,
    ):
        await client.account.get(extra_headers={"X-Two": "call"})
        headers = server.requests[0].headers
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["user-agent"].startswith("replicate-async/")
        assert (headers["accept"], headers["x-one"], headers["x-two"]) == ("application/json", "client", "call")
        assert "content-type" not in headers


async def test_header_names_have_no_case():
    """A header that is given in another spelling replaces the one that would be sent, and isn't sent beside it."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        server.client(default_headers={"accept": "text/one", "x-a": "1"}) as client,
    ):
        await client.account.get()
        await client.account.get(extra_headers={"ACCEPT": "text/two", "authorization": "Bearer other", "X-A": "2"})
        first, second = server.requests
        assert first.header_values("Accept") == ["text/one"]
        assert second.header_values("Accept") == ["text/two"]
        assert second.header_values("Authorization") == ["Bearer other"]
        assert second.header_values("X-A") == ["2"]


async def test_a_create_in_full():
    """A create is one POST with exactly the body and headers that were asked for."""
    async with RawServer(answer(201, prediction())) as server, server.client() as client:
        await client.predictions.create(
            version=VERSION, input={}, stream=False, prefer="wait=5", cancel_after="5m", extra_body={"more": None}
        )
        (request,) = server.requests
        assert (request.method, request.target) == ("POST", "/v1/predictions")
        assert request.body == b'{"version":"%b","input":{},"stream":false,"more":null}' % VERSION.encode()
        assert request.headers["content-type"] == "application/json"
        assert (request.headers["prefer"], request.headers["cancel-after"]) == ("wait=5", "5m")


async def test_cookies_are_not_kept():
    """What a server or a gateway sets as a cookie doesn't come back: a client has no memory but its connections."""
    async with (
        RawServer(answer(200, ACCOUNT, {"Set-Cookie": "session=1; Path=/"})) as server,
        server.client() as client,
    ):
        await client.account.get()
        await client.account.get()
        assert "cookie" not in server.requests[1].headers


# --- the token's way ---


def authorization(server: RawServer) -> list[str | None]:
    """Return the tokens that a server has been sent, one for each request."""
    return [request.headers.get("authorization") for request in server.requests]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_elsewhere_gets_no_token(status):
    """A GET that is redirected to another origin goes there without the token, which the next call still has."""
    async with (
        RawServer(answer(200, ACCOUNT)) as other,
        RawServer(answer(status, b"", {"Location": f"{other.url}/v1/account"})) as server,
        server.client() as client,
    ):
        for _ in range(2):
            assert (await client.account.get()).username == "alice"
        assert authorization(server) == [f"Bearer {TOKEN}"] * 2
        assert authorization(other) == [None] * 2
        assert all(TOKEN not in line for request in other.requests for line in request.lines)


async def test_a_redirect_at_home_keeps_the_token():
    """Within the origin a GET is redirected with the token."""
    async with (
        RawServer(answer(307, b"", {"Location": "/v1/moved"}), answer(200, ACCOUNT)) as server,
        server.client() as client,
    ):
        await client.account.get()
        assert authorization(server) == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_but_get_is_redirected(status):
    """A create is never sent elsewhere, with its inputs: the redirect is an error that says where it led."""
    async with (
        RawServer(answer(201, prediction())) as other,
        RawServer(answer(status, b"", {"Location": f"{other.url}/v1/predictions"})) as server,
        server.client() as client,
    ):
        with pytest.raises(APIStatusError, match=f"{status} redirected to '{other.url}/v1/predictions'") as caught:
            await client.predictions.create(version=VERSION, input={})
        assert caught.value.status_code == status
        for call in (client.models.delete("owner", "name"), client.models.update("owner", "name", readme="x")):
            with pytest.raises(APIStatusError, match="redirected"):
                await call
        assert (len(server.requests), other.requests) == (3, [])


async def test_an_absolute_url_elsewhere_gets_no_token():
    """A call to another origin carries neither the token nor the client's headers and query, only what is passed."""
    async with (
        RawServer(answer(200, {})) as other,
        RawServer(answer(200, {})) as server,
        server.client(default_headers={"X-Key": "secret"}, default_query={"key": "secret"}) as client,
    ):
        await client.get(f"{other.url}/v1/x", headers={"X-Mine": "1"}, params={"a": "b"})
        (request,) = other.requests
        assert request.headers["x-mine"] == "1"
        assert "authorization" not in request.headers
        assert "x-key" not in request.headers
        assert request.target == "/v1/x?a=b"


@pytest.mark.parametrize(
    "url",
    [
        "{home}@{other}/v1/x",
        "{home}.{other}/x",
        "http://{other}/{home}/v1/x",
        "http://{other}#{home}/v1/",
        "http://{other}?{home}/v1/",
        "http://{other}\\@{home}/v1/",
    ],
)
async def test_urls_that_only_look_like_home(url):
    """An address that begins with or contains the base URL's host is not the base URL's origin."""
    async with RawServer(answer(200, {})) as other, RawServer(answer(200, {})) as server:
        async with server.client(max_retries=0) as client:
            with suppress(APIError, ValueError):
                await client.get(url.format(home=server.url, other=other.url.removeprefix("http://")))
        assert not [line for request in other.requests for line in request.lines if TOKEN in line]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.replicate.com:443/v1", "https://api.replicate.com/v1/predictions?cursor=x"),
        ("https://API.Replicate.com/v1", "https://api.replicate.com/v1/predictions?cursor=x"),
        ("http://localhost/v1", "http://localhost:80/v1/predictions?cursor=x"),
        ("http://localhost:8000/v1", "http://localhost:8000/v2/predictions?cursor=x"),
    ],
)
def test_the_token_goes_to_the_same_origin_however_it_is_written(base_url, url):
    """The URL of a next page needs the token even if it spells the origin in another way."""
    client = AsyncReplicate(bearer_token=TOKEN, base_url=base_url)
    attempt = client._transport.prepare(Request("GET", url, None, {}))
    assert attempt.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_a_next_page_elsewhere_gets_nothing_of_the_call():
    """A next page at another origin is fetched without the token, and without the headers and query of the call."""
    async with RawServer(answer(200, {"results": [], "next": None})) as other:
        page = answer(200, {"results": [], "next": f"{other.url}/v1/predictions?cursor=x"})
        async with (
            RawServer(page) as server,
            server.client(default_headers={"X-Key": "secret"}, default_query={"key": "secret"}) as client,
        ):
            first = await client.predictions.list()
            await first.get_next_page()
            own = await client.predictions.list(
                extra_headers={"Authorization": "Bearer r8_other", "X-Other": "secret"}, extra_query={"q": "secret"}
            )
            await own.get_next_page()
            for request in other.requests:
                assert "authorization" not in request.headers
                assert not [line for line in request.lines if "secret" in line or "r8_" in line]
                assert request.target == "/v1/predictions?cursor=x"


LEAKY = {**BROKEN, "401": answer(401), "500": answer(500), "html": answer(200, b"<html>"), "stall": stall}


@pytest.mark.parametrize("step", LEAKY.values(), ids=LEAKY)
async def test_the_token_is_in_no_error(step, caplog):
    """Neither text, nor repr, pickle, traceback with local variables, nor the log of a failure shows the token."""
    caplog.set_level(logging.DEBUG)
    timeout = 0.1 if step is stall else 30
    async with RawServer(step) as server, server.client(timeout=timeout, max_retries=1) as client:
        record_pauses()
        for call in (client.account.get(), client.predictions.create(version=VERSION, input={})):
            with pytest.raises(APIError) as caught:
                await call
            assert_secret(caught.value)
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert caplog.records
    assert TOKEN not in caplog.text


def assert_secret(error: BaseException) -> None:
    """Fail if an error, or what lies behind it, shows the token in any way."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert len(shown) > 1000
    assert TOKEN not in shown
    link: BaseException | None = error
    while link is not None:
        assert TOKEN not in str(link) + repr(link) + repr(link.args) + repr(vars(link))
        link = link.__cause__ or link.__context__
    assert TOKEN.encode() not in pickle.dumps(error)


async def test_the_token_is_in_no_error_without_server():
    """The same holds when no connection is made at all."""
    async with AsyncReplicate(bearer_token=TOKEN, base_url=f"http://127.0.0.1:{free_port()}") as client:
        record_pauses()
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert_secret(caught.value)


def test_the_token_is_in_no_blocking_error():
    """The way through the background loop adds no frame that shows it."""
    with (
        LocalServer(token="another") as server,
        Replicate(bearer_token=TOKEN, base_url=server.base_url, max_retries=0) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            client.run("owner/name", input={})
        assert_secret(caught.value)


async def test_a_token_of_the_environment_that_cannot_be_sent_is_in_no_traceback(monkeypatch):
    """A malformed token is half a token: the error that refuses it keeps it out of the local variables, too."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", f"{TOKEN} # mine")
    async with AsyncReplicate(base_url="http://127.0.0.1:9") as client:
        with pytest.raises((ValueError, ReplicateError)) as caught:
            await client.account.get()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert TOKEN not in shown


def test_the_token_is_in_no_repr():
    """Neither clients nor what they are made of show the token."""
    client = AsyncReplicate(bearer_token=TOKEN)
    blocking = Replicate(bearer_token=TOKEN)
    copied = client.with_options(bearer_token=TOKEN + "2")
    attempt = client._transport.prepare(Request("GET", "/account", None, {}))
    shown: list[Any] = [client, blocking, copied, attempt, client.account, blocking.predictions]
    shown += [client._transport.settings, vars(client), vars(client._transport), vars(client._transport.pool)]
    assert TOKEN not in "".join(map(repr, shown))
    assert attempt.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_the_token_is_in_no_log(caplog):
    """Successful calls are logged at DEBUG, with method, path, status and time, and never with headers."""
    caplog.set_level(logging.DEBUG)
    async with RawServer(answer(200, ACCOUNT)) as server, server.client() as client:
        await client.account.get()
    texts = [record.getMessage() for record in caplog.records if record.name == "replicate_async"]
    assert len(texts) == 1
    assert texts[0].startswith("GET /account: 200 in 0.")
    assert TOKEN not in caplog.text


async def test_no_token_no_call(monkeypatch):
    """Without a token nothing is sent, and the error names the variable; set later, it is found."""
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    async with RawServer(answer(200, ACCOUNT)) as server, AsyncReplicate(base_url=server.url) as client:
        for call in (client.account.get, lambda: client.run("owner/name", input={})):
            with pytest.raises(ReplicateError, match="REPLICATE_API_TOKEN"):
                await call()
        assert server.connections == 0
        monkeypatch.setenv("REPLICATE_API_TOKEN", f" {TOKEN}\n")
        await client.account.get()
        assert authorization(server) == [f"Bearer {TOKEN}"]


# --- proxies ---


@pytest.fixture
def no_proxies(monkeypatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_a_proxy_of_the_environment_is_used(monkeypatch, no_proxies):
    """Requests go through the proxy that the environment names, unless the host is excepted."""
    async with RawServer(answer(200, ACCOUNT)) as proxy, RawServer(answer(200, ACCOUNT)) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with server.client() as client:
            await client.account.get()
        assert [request.target for request in proxy.requests] == [f"{server.url}/v1/account"]
        assert server.requests == []
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with server.client() as client:
            await client.account.get()
        assert (len(proxy.requests), len(server.requests)) == (1, 1)


async def test_a_proxy_that_is_not_there(monkeypatch, no_proxies):
    """A proxy that can't be reached got nothing: the error says so, and no credentials of the proxy."""
    monkeypatch.setenv("http_proxy", f"http://user:password@127.0.0.1:{free_port()}")
    async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert not caught.value.sent
        assert "password" not in str(caught.value)
        assert_secret(caught.value)


async def test_a_proxy_that_refuses(monkeypatch, no_proxies):
    """A proxy's refusal of a tunnel is a failed connection, with the proxy's reason."""
    async with RawServer(answer(407, b"")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with AsyncReplicate(bearer_token=TOKEN, base_url="https://replicate.test/v1", max_retries=0) as client:
            with pytest.raises(APIConnectionError, match="407") as caught:
                await client.account.get()
        assert [(request.method, request.target) for request in proxy.requests] == [("CONNECT", "replicate.test:443")]
        assert authorization(proxy) == [None]
        assert_secret(caught.value)


async def test_a_proxy_of_an_unknown_kind(monkeypatch, no_proxies):
    """A proxy that aiohttp can't speak to is an error that names it, not a crash."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
        with pytest.raises((APIConnectionError, ValueError), match=r"(?i)proxy|socks"):
            await client.account.get()


async def test_a_proxy_without_scheme(monkeypatch, no_proxies):
    """``http_proxy=host:port`` is customary, and means HTTP."""
    async with RawServer(answer(200, ACCOUNT)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
            await client.account.get()
        assert [request.target for request in proxy.requests] == ["http://replicate.test/v1/account"]


async def test_netrc_does_not_replace_the_token(monkeypatch, tmp_path):
    """An entry of ~/.netrc for the host is for others; the token is what is sent."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n", encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with RawServer(answer(200, ACCOUNT)) as server, server.client() as client:
        await client.account.get()
        assert authorization(server) == [f"Bearer {TOKEN}"]


# --- loops ---


@pytest.fixture
def local() -> Iterator[LocalServer]:
    """Give a server in a thread of its own, for clients in other loops."""
    with LocalServer() as server:
        models.register(server)
        yield server


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options)


def test_one_client_in_three_loops(local):
    """A client works in one asyncio.run() after another, and is closed in the last."""
    client = client_of(local)

    async def use() -> Any:
        return await client.run("replicate/hello-world", input={"text": "Alice"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [asyncio.run(use()) for _ in range(3)] == ["hello Alice"] * 3
        assert len(client._transport.pool._by_loop) == 1  # those of loops that have ended are forgotten
        asyncio.run(client.close())
        gc.collect()


def test_one_client_in_two_threads_at_once(local):
    """Two threads with a loop each use one client at the same time."""
    client = client_of(local, max_connections=2)
    together = threading.Barrier(2)
    outputs: list[list[str]] = []

    async def use() -> list[str]:
        together.wait(10)
        return await asyncio.gather(*[client.run("replicate/hello-world", input={"text": str(n)}) for n in range(10)])

    threads = [threading.Thread(target=lambda: outputs.append(asyncio.run(use()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [[f"hello {n}" for n in range(10)]] * 2
    asyncio.run(client.close())


async def test_copies_share_connections():
    """A client and its copies use the same connections, with their own options."""
    async with RawServer(answer(200, ACCOUNT)) as server, server.client() as client:
        await client.account.get()
        await client.with_options(default_headers={"X-Copy": "1"}).account.get()
        assert server.connections == 1
        assert server.requests[1].headers["x-copy"] == "1"


async def test_a_closed_client():
    """Closing twice is closing once; every call afterwards says that the client is closed, copies included."""
    async with RawServer(answer(200, ACCOUNT)) as server:
        client = server.client()
        copied = client.with_options(timeout=5)
        await client.account.get()
        assert not client.is_closed()
        await client.close()
        await client.close()
        assert client.is_closed()
        assert copied.is_closed()
        for call in (client.account.get, copied.account.get, lambda: client.run("o/n", input={}), client.models.list):
            with pytest.raises(ReplicateError, match="closed"):
                await call()
        assert len(server.requests) == 1


async def test_closing_unused():
    """A client that made no call can be closed, and can't be used afterwards."""
    client = AsyncReplicate(bearer_token=TOKEN, base_url="http://127.0.0.1:9")
    await client.close()
    with pytest.raises(ReplicateError, match="closed"):
        await client.account.get()


async def test_closing_ends_what_is_under_way():
    """A call that is waiting for its answer when the client is closed fails; it doesn't hang."""
    async with RawServer(stall) as server:
        client = server.client()
        task = asyncio.ensure_future(client.account.get())
        while not server.requests:  # noqa: ASYNC110 - the server is part of the test
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(ReplicateError):
            await asyncio.wait_for(task, 5)


def test_closing_from_another_loop(local):
    """Closing in one loop closes the connections of the others that run, too."""
    client = client_of(local)
    used, closed = threading.Event(), threading.Event()

    async def use() -> None:
        await client.account.get()
        used.set()
        await asyncio.to_thread(closed.wait, 10)
        await asyncio.sleep(0.05)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=lambda: asyncio.run(use()))
        thread.start()
        used.wait(10)
        asyncio.run(client.close())
        closed.set()
        thread.join()
        gc.collect()


async def test_a_dropped_client_warns_once():
    """A client that is dropped while its loop runs gives exactly one warning, and its sockets are closed."""
    async with RawServer(answer(200, ACCOUNT)) as server:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client = server.client()
            await asyncio.gather(*[client.account.get() for _ in range(3)])
            connections = list(server._tasks)
            del client
            gc.collect()
            told = [(warning.category, "without being closed" in str(warning.message)) for warning in caught]
            assert told == [(ResourceWarning, True)]
            caught.clear()  # a recorded warning keeps what it is about alive
            await asyncio.wait(connections, timeout=5)
            gc.collect()
        assert caught == []
        assert all(task.done() for task in connections)


async def test_a_closed_client_does_not_warn():
    """Who closes the client hears nothing, nor does who never used it."""
    async with RawServer(answer(200, ACCOUNT)) as server:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            async with server.client() as client:
                await client.account.get()
            del client
            unused = server.client()
            del unused
            gc.collect()


PROGRAM = """
import asyncio, os
from replicate_async import AsyncReplicate

async def main():
    print(await {client}.run("replicate/hello-world", input={{"text": "Alice"}}))

{lines}
"""


def environment(server: LocalServer) -> dict[str, str]:
    return {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}


@pytest.mark.parametrize(
    ("client", "lines"),
    [
        ("client", "client = AsyncReplicate()\nasyncio.run(main())"),
        ("client", "client = AsyncReplicate()\nasyncio.run(main())\nasyncio.run(main())\ndel client"),
        ("client", "client = AsyncReplicate()\nasyncio.run(main())\nasyncio.run(client.close())"),
    ],
    ids=["kept", "dropped", "closed"],
)
def test_loops_end_silently(local, client, lines):
    """A loop that ends closes the sockets of a client that was not: no interpreter complains, at no time."""
    output = programs.run(PROGRAM.format(client=client, lines=lines), **environment(local))
    assert set(output.splitlines()) == {"hello Alice"}


# --- a session of the user's own ---


async def test_a_session_of_ones_own():
    """It is used, with its own headers, and left open when the client is closed."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        aiohttp.ClientSession(headers={"X-Session": "mine"}) as session,
    ):
        async with server.client(session=session) as client:
            await client.account.get()
        assert not session.closed
        assert server.requests[0].headers["x-session"] == "mine"
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = server.client(session=session)
            await second.account.get()
            del second
            gc.collect()
        assert not session.closed
        assert server.connections == 1


async def test_a_session_of_another_loop(local):
    """A session can't leave its loop: the error says so, and what to do."""
    async with aiohttp.ClientSession() as session:
        client = client_of(local, session=session)
        await client.account.get()
        blocking = Replicate(bearer_token=local.token, base_url=local.base_url, session=session)
        for call in (lambda: asyncio.run(client.account.get()), blocking.account.get):
            with pytest.raises(ReplicateError, match="session= belongs to another event loop"):
                await asyncio.to_thread(call)


async def test_a_closed_session_of_ones_own():
    """Using a session after its end fails with words that lead to it."""
    session = aiohttp.ClientSession()
    await session.close()
    async with AsyncReplicate(bearer_token=TOKEN, session=session) as client:
        with pytest.raises((ReplicateError, RuntimeError), match=r"(?i)session.* closed"):
            await client.account.get()


# --- importing ---


def test_importing_costs_nothing():
    """Importing the package loads neither aiohttp nor asyncio, starts no thread, and needs no token."""
    program = """
    import sys, threading
    import replicate_async
    heavy = {"aiohttp", "asyncio", "anyio", "tenacity", "msgspec", "yarl", "ssl", "email", "urllib", "http"}
    print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}), threading.active_count())
    """
    assert programs.run(program) == "[] 1\n"


def test_clients_cost_little():
    """Making clients and naming their resources loads no aiohttp, makes no loop, and needs no token."""
    program = """
    import sys, threading
    import replicate_async
    for client in (replicate_async.AsyncReplicate(), replicate_async.Replicate()):
        client.models.versions
        client.predictions
        repr(client)
    replicate_async.predictions
    print("aiohttp" in sys.modules, "tenacity" in sys.modules, threading.active_count())
    """
    assert programs.run(program) == "False False 1\n"


def test_entering_makes_ready():
    """What takes long to load is loaded where a client is entered, so that no first request holds up the others."""
    program = """
    import asyncio, sys
    from replicate_async import AsyncReplicate, ReplicateError

    async def main():
        client = AsyncReplicate()
        async with client:
            print("aiohttp" in sys.modules)
        try:
            async with client:
                pass
        except ReplicateError as error:
            print(error)

    asyncio.run(main())
    """
    assert programs.run(program) == "True\nthis client is closed: make a new one, or close it later\n"


def test_every_transport_of_a_client_is_one_class_away():
    """Raw and streaming views use the same machinery: what is pinned here for plain calls holds for them."""
    client = AsyncReplicate(bearer_token=TOKEN)
    views = (client.account.with_raw_response, client.account.with_streaming_response)
    assert all(isinstance(view._calls._transport, Transport) for view in views)
    assert all(view._calls._transport.pool is client._transport.pool for view in views)


@pytest.mark.parametrize(
    "then",
    ["asyncio.run(client.account.get()); asyncio.run(client.close())", "asyncio.run(client.close())", "del client"],
)
def test_loops_that_are_closed_by_hand(local, then):
    """A loop that was closed without its generators being shut down leaves nothing open, and makes no noise."""
    program = f"""
    import asyncio, gc, os
    from replicate_async import AsyncReplicate

    client = AsyncReplicate()
    loop = asyncio.new_event_loop()
    before = len(os.listdir("/dev/fd"))
    loop.run_until_complete(client.account.get())
    loop.close()
    {then}
    gc.collect()
    print(len(os.listdir("/dev/fd")) <= before)
    """
    assert programs.run(program, "-W", "ignore::ResourceWarning", **environment(local)) == "True\n"
