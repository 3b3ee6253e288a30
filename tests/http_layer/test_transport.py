"""The client against misbehaving servers and environments: timeouts, tokens, proxies, event loops and shutdown."""

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

import programs
from callers import transport_of
from rawserver import (
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
from replicate_async._http.call import Call
from replicate_async._http.request import Request
from replicate_async.testing import LocalServer, models

pytestmark = pytest.mark.anyio
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


# --- timeouts ---


def timeout_of(
    client: AsyncReplicate, *, hold: int = 0, min_timeout: float = 0.0, **options: Any
) -> aiohttp.ClientTimeout:
    """Return a request's timeout as it is passed to aiohttp."""
    headers = {"Prefer": f"wait={hold}"} if hold else {}
    request = Request[Any]("POST", "/predictions", None, options, headers=headers, min_timeout=min_timeout)
    return transport_of(client).prepare(request).timeout


@pytest.mark.parametrize("seconds", [0.5, 60, None, aiohttp.ClientTimeout(total=5, sock_read=3)])
@pytest.mark.parametrize("hold", [1, 5, 60])
def test_no_timeout_is_shorter_than_the_hold(seconds, hold):
    """A request that the API may hold gets a longer timeout than the hold, whatever timeout is set."""
    for timeout in (
        timeout_of(AsyncReplicate(bearer_token=TOKEN, timeout=seconds), hold=hold),
        timeout_of(AsyncReplicate(bearer_token=TOKEN), hold=hold, timeout=seconds),
    ):
        assert timeout.total is None or timeout.total > hold
        assert timeout.sock_read is None or timeout.sock_read > hold


def test_timeouts():
    """Without a hold, the timeout is the call's, the client's or 60 seconds; connecting has a shorter one."""
    client = AsyncReplicate(bearer_token=TOKEN)
    assert timeout_of(client).total == 60
    assert timeout_of(client, timeout=300).total == 300
    assert timeout_of(client, timeout=300).sock_connect == 10
    assert timeout_of(client, timeout=2).sock_connect == 2
    assert timeout_of(client, timeout=None) == aiohttp.ClientTimeout(total=None)
    assert timeout_of(AsyncReplicate(bearer_token=TOKEN, timeout=7)).total == 7
    own = aiohttp.ClientTimeout(total=5, connect=4, sock_connect=3, sock_read=2)
    assert timeout_of(client, timeout=own) == own


def test_timeouts_of_many_uploads_are_not_kept():
    """Uploads have a timeout by size, and a client with many uploads keeps only some of them in memory."""
    client = AsyncReplicate(bearer_token=TOKEN)
    timeouts = weakref.WeakSet(timeout_of(client, min_timeout=1 + size / 1000) for size in range(5000))
    assert len(timeouts) < 1000


@pytest.mark.parametrize("where", ["extra_headers", "default_headers"])
@pytest.mark.parametrize("name", ["Prefer", "prefer"])
def test_a_prefer_header_lengthens_the_timeout(where, name):
    """A hold that is requested by a header counts like one that is requested by an argument."""
    headers = {where: {name: "wait=60"}}
    if where == "extra_headers":
        assert timeout_of(AsyncReplicate(bearer_token=TOKEN), **headers).total > 60
    else:
        assert timeout_of(AsyncReplicate(bearer_token=TOKEN, **headers)).total > 60


async def test_a_held_response_is_awaited():
    """A response that comes after the timeout, but within the requested hold, is returned."""
    async with RawServer(after(0.3, answer(201, prediction()))) as server, server.client(timeout=0.1) as client:
        job = await client.predictions.create(version=VERSION, input={}, prefer="wait=1")
        assert job.id == prediction()["id"]
        assert server.requests[0].headers["prefer"] == "wait=1"


@pytest.mark.parametrize("step", [stall, drip(answer(200, ACCOUNT), every=0.02)], ids=["stall", "drip"])
async def test_no_response_in_time(step):
    """A timeout error names the call, whether headers, a part of the body or nothing has arrived."""
    async with RawServer(step) as server, server.client(timeout=0.1, max_retries=0) as client:
        with pytest.raises(APITimeoutError, match="no response in time") as caught:
            await client.predictions.get("abc")
        error = caught.value
        assert (error.method, error.url) == ("GET", f"{server.url}/v1/predictions/abc")
        assert f"(GET {error.url})" in str(error)
        assert error.sent
        assert isinstance(error.__cause__, asyncio.TimeoutError)


async def test_no_connection_in_time():
    """If connecting times out, the error says that nothing was sent, and even a create is retried."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Fill the queue of connections that are never accepted.
        for _ in range(3):
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
    """The wait for a connection does not count against the timeout."""
    async with (
        RawServer(after(0.1, answer(200, ACCOUNT))) as server,
        server.client(timeout=0.6, max_connections=1, max_retries=0) as client,
    ):
        answers = await asyncio.gather(*[client.account.get() for _ in range(8)])
        assert len(answers) == 8


async def test_the_queue_of_the_users_session_does_not_count():
    """The same holds for the user's own session with fewer connections than the client."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        RawServer(after(0.1, answer(200, ACCOUNT))) as server,
        server.client(timeout=0.6, session=session, max_retries=0) as client,
    ):
        answers = await asyncio.gather(*[client.account.get() for _ in range(8)])
        assert len(answers) == 8


async def test_connections_are_limited():
    """At most ``max_connections`` requests are in flight, and connections are reused."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        server.client(max_connections=3) as client,
    ):
        await asyncio.gather(*[client.account.get() for _ in range(40)])
        assert len(server.requests) == 40
        assert server.connections <= 3


async def test_cancelled_callers_leave_the_queue():
    """Callers that are cancelled while they wait or are served release their connections."""
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
    """A connection that the server closes between two calls is replaced, even for a create."""
    async with (
        RawServer(part_of(answer(200, ACCOUNT)), answer(201, prediction())) as server,
        server.client(max_retries=0) as client,
    ):
        await client.account.get()
        await asyncio.sleep(0.05)
        await client.predictions.create(version=VERSION, input={})
        assert server.connections == 2


async def test_a_create_on_a_connection_that_closes_is_not_sent_twice():
    """If a reused connection breaks during a create, neither the client nor aiohttp sends the create again."""
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
async def test_protocol_failures_are_connection_errors(step):
    """Every failure below HTTP raises APIConnectionError, which names the call and has a cause."""
    async with RawServer(step) as server, server.client(max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert (caught.value.method, caught.value.url) == ("GET", f"{server.url}/v1/account")
        assert caught.value.__cause__ is not None


async def test_unusual_responses():
    """Interim responses, chunks, bodies without a length and slow bodies are read like any other response."""
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


async def test_a_response_of_another_shape():
    """If a page of HTML comes with status 200, the error has its status, headers and beginning."""
    page = answer(200, b"<html>Welcome to the hotel's network</html>", {"Content-Type": "text/html"})
    async with RawServer(page) as server, server.client() as client:
        with pytest.raises(APIResponseValidationError, match="hotel") as caught:
            await client.account.get()
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.status_code, error.headers["content-type"]) == (200, "text/html")
        assert len(server.requests) == 1


# --- headers ---


async def test_headers():
    """Calls send the package's headers, the client's take precedence over those, and the call's over both."""
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


async def test_header_names_are_case_insensitive():
    """A header in another spelling replaces the default one instead of being added to it."""
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
    """A create is one POST with exactly the requested body and headers."""
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
    """A cookie that a server or a gateway sets is not sent back."""
    async with (
        RawServer(answer(200, ACCOUNT, {"Set-Cookie": "session=1; Path=/"})) as server,
        server.client() as client,
    ):
        await client.account.get()
        await client.account.get()
        assert "cookie" not in server.requests[1].headers


# --- where the token goes ---


def authorization(server: RawServer) -> list[str | None]:
    """Return the Authorization header of each request that a server has received."""
    return [request.headers.get("authorization") for request in server.requests]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_elsewhere_gets_no_token(status):
    """A GET that is redirected to another origin goes there without the token, which the next call still has."""
    async with (
        RawServer(answer(200, ACCOUNT)) as other_server,
        RawServer(answer(status, b"", {"Location": f"{other_server.url}/v1/account"})) as server,
        server.client() as client,
    ):
        for _ in range(2):
            assert (await client.account.get()).username == "alice"
        assert authorization(server) == [f"Bearer {TOKEN}"] * 2
        assert authorization(other_server) == [None] * 2
        assert all(TOKEN not in line for request in other_server.requests for line in request.lines)


async def test_a_redirect_within_the_api_keeps_the_token():
    """A GET that is redirected within the origin keeps the token."""
    async with (
        RawServer(answer(307, b"", {"Location": "/v1/moved"}), answer(200, ACCOUNT)) as server,
        server.client() as client,
    ):
        await client.account.get()
        assert authorization(server) == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_but_get_is_redirected(status):
    """A redirected create raises an error that names the location, and its input is sent nowhere else."""
    async with (
        RawServer(answer(201, prediction())) as other_server,
        RawServer(answer(status, b"", {"Location": f"{other_server.url}/v1/predictions"})) as server,
        server.client() as client,
    ):
        with pytest.raises(
            APIStatusError, match=f"{status} redirected to '{other_server.url}/v1/predictions'"
        ) as caught:
            await client.predictions.create(version=VERSION, input={})
        assert caught.value.status_code == status
        for call in (client.models.delete("owner", "name"), client.models.update("owner", "name", readme="x")):
            with pytest.raises(APIStatusError, match="redirected"):
                await call
        assert (len(server.requests), other_server.requests) == (3, [])


async def test_an_absolute_url_elsewhere_gets_no_token():
    """A call to another origin carries neither the token nor the client's headers and query."""
    async with (
        RawServer(answer(200, {})) as other_server,
        RawServer(answer(200, {})) as server,
        server.client(default_headers={"X-Key": "secret"}, default_query={"key": "secret"}) as client,
    ):
        await client.get(f"{other_server.url}/v1/x", headers={"X-Mine": "1"}, params={"a": "b"})
        (request,) = other_server.requests
        assert request.headers["x-mine"] == "1"
        assert "authorization" not in request.headers
        assert "x-key" not in request.headers
        assert request.target == "/v1/x?a=b"


@pytest.mark.parametrize(
    "url",
    [
        "{api}@{other}/v1/x",
        "{api}.{other}/x",
        "http://{other}/{api}/v1/x",
        "http://{other}#{api}/v1/",
        "http://{other}?{api}/v1/",
        "http://{other}\\@{api}/v1/",
    ],
)
async def test_urls_that_only_look_like_the_api(url):
    """A URL that begins with or contains the base URL's host does not belong to its origin."""
    async with RawServer(answer(200, {})) as other_server, RawServer(answer(200, {})) as server:
        async with server.client(max_retries=0) as client:
            with suppress(APIError, ValueError):
                await client.get(url.format(api=server.url, other=other_server.url.removeprefix("http://")))
        assert not [line for request in other_server.requests for line in request.lines if TOKEN in line]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.replicate.com:443/v1", "https://api.replicate.com/v1/predictions?cursor=x"),
        ("https://API.Replicate.com/v1", "https://api.replicate.com/v1/predictions?cursor=x"),
        ("http://localhost/v1", "http://localhost:80/v1/predictions?cursor=x"),
        ("http://localhost:8000/v1", "http://localhost:8000/v2/predictions?cursor=x"),
    ],
)
def test_spellings_of_the_origin_get_the_token(base_url, url):
    """The URL of a next page gets the token even if it spells the origin in another way."""
    client = AsyncReplicate(bearer_token=TOKEN, base_url=base_url)
    call = transport_of(client).prepare(Request("GET", url, None, {}))
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_a_next_page_elsewhere_gets_nothing_of_the_call():
    """A next page at another origin is asked of the base URL: no other host gets anything of the call."""
    async with RawServer(answer(200, {"results": [], "next": None})) as other_server:
        page = answer(200, {"results": [], "next": f"{other_server.url}/v9/other?cursor=x"})
        async with RawServer(page) as server, server.client(default_headers={"X-Key": "secret"}) as client:
            first = await client.predictions.list(extra_query={"q": "secret"})
            await first.get_next_page()
            assert other_server.requests == []
            assert server.requests[1].target == "/v1/predictions?cursor=x"
            assert server.requests[1].headers["x-key"] == "secret"


LEAKY = {**BROKEN, "401": answer(401), "500": answer(500), "html": answer(200, b"<html>"), "stall": stall}


@pytest.mark.parametrize("step", LEAKY.values(), ids=LEAKY)
async def test_the_token_is_in_no_error(step, caplog):
    """A failure's text, repr, pickle, log and traceback with local variables don't show the token."""
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
    """Fail if an error, or an error in its chain, shows the token in any way."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert len(shown) > 1000
    assert TOKEN not in shown
    link: BaseException | None = error
    while link is not None:
        assert TOKEN not in str(link) + repr(link) + repr(link.args) + repr(vars(link))
        link = link.__cause__ or link.__context__
    assert TOKEN.encode() not in pickle.dumps(error)


async def test_the_token_is_in_no_error_without_a_server():
    """The same holds if there is no connection at all."""
    async with AsyncReplicate(bearer_token=TOKEN, base_url=f"http://127.0.0.1:{free_port()}") as client:
        record_pauses()
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert_secret(caught.value)


def test_the_token_is_in_no_blocking_error():
    """No frame of the background loop shows the token."""
    with (
        LocalServer(token="another") as server,
        Replicate(bearer_token=TOKEN, base_url=server.base_url, max_retries=0) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            client.run("owner/name", input={})
        assert_secret(caught.value)


async def test_an_invalid_token_in_the_environment_is_in_no_traceback(monkeypatch):
    """The error for an invalid token keeps it out of the local variables, too."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", f"{TOKEN} # comment")
    async with AsyncReplicate(base_url="http://127.0.0.1:9") as client:
        with pytest.raises((ValueError, ReplicateError)) as caught:
            await client.account.get()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert TOKEN not in shown


def test_the_token_is_in_no_repr():
    """Neither clients nor their parts show the token."""
    client = AsyncReplicate(bearer_token=TOKEN)
    blocking = Replicate(bearer_token=TOKEN)
    copied = client.with_options(bearer_token=TOKEN + "2")
    transport = transport_of(client)
    call = transport.prepare(Request("GET", "/account", None, {}))
    shown: list[Any] = [client, blocking, copied, call, client.account, blocking.predictions, transport.settings]
    shown += [vars(client), vars(transport), vars(transport.pool), [getattr(call, name) for name in Call.__slots__]]
    assert TOKEN not in "".join(map(repr, shown))
    assert call.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_the_token_is_in_no_log(caplog):
    """Successful calls are logged at DEBUG with method, path, status and time, and never with headers."""
    caplog.set_level(logging.DEBUG)
    async with RawServer(answer(200, ACCOUNT)) as server, server.client() as client:
        await client.account.get()
    texts = [record.getMessage() for record in caplog.records if record.name == "replicate_async"]
    assert len(texts) == 1
    assert texts[0].startswith("GET /account: 200 in 0.")
    assert TOKEN not in caplog.text


async def test_without_a_token_nothing_is_sent(monkeypatch):
    """Without a token, the error names the environment variable, which may be set later."""
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


async def test_the_environments_proxy_is_used(monkeypatch, no_proxies):
    """Requests use the proxy that the environment names, unless the host is excluded."""
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


async def test_an_unreachable_proxy(monkeypatch, no_proxies):
    """If the proxy is unreachable, the error says that nothing was sent, and hides the proxy's credentials."""
    monkeypatch.setenv("http_proxy", f"http://user:password@127.0.0.1:{free_port()}")
    async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.account.get()
        assert not caught.value.sent
        assert "password" not in str(caught.value)
        assert_secret(caught.value)


async def test_a_proxy_that_rejects_the_tunnel(monkeypatch, no_proxies):
    """A proxy's rejection of a tunnel is a connection error with the proxy's reason."""
    async with RawServer(answer(407, b"")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with AsyncReplicate(bearer_token=TOKEN, base_url="https://replicate.test/v1", max_retries=0) as client:
            with pytest.raises(APIConnectionError, match="407") as caught:
                await client.account.get()
        assert [(request.method, request.target) for request in proxy.requests] == [("CONNECT", "replicate.test:443")]
        assert authorization(proxy) == [None]
        assert_secret(caught.value)


async def test_an_unsupported_proxy(monkeypatch, no_proxies):
    """A proxy that aiohttp does not support raises an error that names it."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
        with pytest.raises((APIConnectionError, ValueError), match=r"(?i)proxy|socks"):
            await client.account.get()


async def test_a_proxy_without_a_scheme(monkeypatch, no_proxies):
    """The customary ``http_proxy=host:port`` means HTTP."""
    async with RawServer(answer(200, ACCOUNT)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1", max_retries=0) as client:
            await client.account.get()
        assert [request.target for request in proxy.requests] == ["http://replicate.test/v1/account"]


async def test_netrc_does_not_replace_the_token(monkeypatch, tmp_path):
    """An entry for the host in ~/.netrc is ignored."""
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
    """Give a server in its own thread, for clients in other loops."""
    with LocalServer() as server:
        models.register(server)
        yield server


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options)


def test_one_client_in_three_loops(local):
    """A client works in one asyncio.run() after another, and is closed in the last."""
    client = client_of(local)
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def use() -> Any:
        loops.add(asyncio.get_running_loop())
        return await client.run("replicate/hello-world", input={"text": "Alice"})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [asyncio.run(use()) for _ in range(3)] == ["hello Alice"] * 3
        gc.collect()
        # The pool has dropped the sessions of all but the last loop.
        assert len(loops) == 1
        asyncio.run(client.close())
        gc.collect()


def test_one_client_in_two_threads_at_once(local):
    """Two threads with a loop each use one client at the same time."""
    client = client_of(local, max_connections=2)
    barrier = threading.Barrier(2)
    outputs: list[list[str]] = []

    async def use() -> list[str]:
        barrier.wait(10)
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
    """A client can be closed twice, and every later call of it and its copies says that it is closed."""
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


async def test_closing_an_unused_client():
    """A client that made no call can be closed, and can't be used afterwards."""
    client = AsyncReplicate(bearer_token=TOKEN, base_url="http://127.0.0.1:9")
    await client.close()
    with pytest.raises(ReplicateError, match="closed"):
        await client.account.get()


async def test_closing_ends_calls_in_flight():
    """A call in flight fails when the client is closed; it does not hang."""
    async with RawServer(stall) as server:
        client = server.client()
        task = asyncio.ensure_future(client.account.get())
        while not server.requests:  # noqa: ASYNC110 - the server is part of the test
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(ReplicateError):
            await asyncio.wait_for(task, 5)


def test_closing_from_another_loop(local):
    """Closing in one loop closes the connections of other running loops, too."""
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
    """A client that is dropped while its loop runs warns exactly once, and its sockets are closed."""
    async with RawServer(answer(200, ACCOUNT)) as server:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client = server.client()
            await asyncio.gather(*[client.account.get() for _ in range(3)])
            connections = list(server.open_connections)
            del client
            gc.collect()
            warned = [(warning.category, "without being closed" in str(warning.message)) for warning in caught]
            assert warned == [(ResourceWarning, True)]
            # A recorded warning keeps its source alive.
            caught.clear()
            await asyncio.wait(connections, timeout=5)
            gc.collect()
        assert caught == []
        assert all(task.done() for task in connections)


async def test_a_closed_client_does_not_warn():
    """Neither a closed client nor an unused one warns."""
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
    """A loop that ends closes the sockets of an unclosed client, and the interpreter prints no warning."""
    output = programs.run(PROGRAM.format(client=client, lines=lines), **environment(local))
    assert set(output.splitlines()) == {"hello Alice"}


# --- the user's own session ---


async def test_the_users_session():
    """The user's session is used with its own headers, and stays open when the client is closed."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        aiohttp.ClientSession(headers={"X-Session": "own"}) as session,
    ):
        async with server.client(session=session) as client:
            await client.account.get()
        assert not session.closed
        assert server.requests[0].headers["x-session"] == "own"
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
    """A session that belongs to another loop raises an error that names the remedy."""
    async with aiohttp.ClientSession() as session:
        client = client_of(local, session=session)
        await client.account.get()
        blocking = Replicate(bearer_token=local.token, base_url=local.base_url, session=session)
        for call in (lambda: asyncio.run(client.account.get()), blocking.account.get):
            with pytest.raises(ReplicateError, match="session= belongs to another event loop"):
                await asyncio.to_thread(call)


async def test_the_users_closed_session():
    """A call on a session that was closed says so."""
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
    """Creating clients and their resources loads no aiohttp, starts no loop, and needs no token."""
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


def test_entering_loads_aiohttp():
    """Entering a client loads aiohttp, so that the first request does not delay other tasks."""
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
    assert programs.run(program) == "True\nthis client is closed: create another one, or close it later\n"


async def test_views_share_the_connections_and_the_token():
    """Raw and streaming responses use the client's connections, token and options."""
    async with (
        RawServer(answer(200, ACCOUNT)) as server,
        server.client(default_headers={"X-Key": "value"}) as client,
    ):
        await client.account.get()
        await client.account.with_raw_response.get()
        async with client.account.with_streaming_response.get() as response:
            await response.read()
        assert server.connections == 1
        assert authorization(server) == [f"Bearer {TOKEN}"] * 3
        assert [request.headers["x-key"] for request in server.requests] == ["value"] * 3


@pytest.mark.parametrize(
    "then",
    ["asyncio.run(client.account.get()); asyncio.run(client.close())", "asyncio.run(client.close())", "del client"],
)
def test_loops_that_are_closed_by_hand(local, then):
    """A loop that is closed without shutting down its generators leaves nothing open, and no warning is printed."""
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


def alive(kind: type) -> int:
    """Return how many objects of a class are in memory; tests that ran before may keep some."""
    return sum(type(thing) is kind for thing in gc.get_objects())


@pytest.mark.parametrize(
    "step",
    [reset, part_of(b"garbage\r\n\r\n"), answer(302, b"", {"Location": "ftp://x"})],
    ids=["reset", "garbage", "redirect"],
)
async def test_failed_calls_leave_nothing_behind(step):
    """A connection error that was caught and dropped is freed, with the body of its call, before any collection."""
    async with RawServer(step) as server, server.client(max_retries=0) as client:
        gc.collect()
        gc.disable()
        try:
            before = alive(APIConnectionError)
            with suppress(APIConnectionError):
                await client.account.get()
            await asyncio.sleep(0)
            assert alive(APIConnectionError) == before
        finally:
            gc.enable()


@pytest.mark.parametrize(
    "step", [reset, answer(500), answer(429, b"", {"Retry-After": "0"})], ids=["reset", "500", "429"]
)
async def test_retries_leave_nothing_behind(step):
    """A call that was retried is freed, with its body, before any collection."""
    record_pauses()
    async with RawServer(step, step, answer(200, ACCOUNT)) as server, server.client() as client:
        gc.collect()
        gc.disable()
        try:
            before = alive(Call)
            await client.account.get()
            await asyncio.sleep(0)
            assert len(server.requests) == 3
            assert alive(Call) == before
        finally:
            gc.enable()
