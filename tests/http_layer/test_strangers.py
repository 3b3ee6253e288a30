"""What other hosts get to see, and what they can do: redirects, proxies, gateways, large and odd responses."""

from __future__ import annotations

import gzip
import logging
import pickle
import ssl
import traceback
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from rawserver import ACCOUNT, TOKEN, RawServer, answer, close, prediction, record_pauses
from replicate_async import APIConnectionError, APIError, APIResponseValidationError, AsyncReplicate
from replicate_async.types import Prediction

pytestmark = pytest.mark.anyio
PASSWORD = "hunter2-of-the-proxy"


# --- redirects ---


async def test_a_redirect_elsewhere_gets_no_headers_of_the_caller():
    """Another origin sees no header that was meant for the API, neither of the client nor of the call."""
    async with (
        RawServer(answer(200, ACCOUNT)) as stranger,
        RawServer(answer(302, b"", {"Location": f"{stranger.url}/x"})) as server,
        server.client(default_headers={"X-Key": "secret", "User-Agent": "secret/1"}) as client,
    ):
        await client.account.get(extra_headers={"X-Extra": "secret", "Cookie": "secret"})
        await client.get("/x", headers={"X-Mine": "secret", "Range": "bytes=0-9"})
        for request in stranger.requests:
            assert not [line for line in request.lines if "secret" in line or TOKEN in line]
        assert stranger.requests[1].headers["range"] == "bytes=0-9"


async def test_a_redirect_elsewhere_and_back():
    """The API gets no token from a call that came back from elsewhere: the stranger chose the URL."""
    async with RawServer(answer(200, ACCOUNT)) as server, RawServer(b"") as stranger, server.client() as client:
        stranger.steps = [answer(302, b"", {"Location": f"{server.url}/v1/secret"})]
        server.steps = [answer(302, b"", {"Location": stranger.url}), answer(200, ACCOUNT)]
        await client.account.get()
        assert "authorization" in server.requests[0].headers
        assert "authorization" not in server.requests[1].headers


async def test_a_session_keeps_its_own_headers_from_strangers():
    """The default headers and cookies of the user's session don't go to another origin either."""
    async with (
        RawServer(answer(200, ACCOUNT)) as stranger,
        RawServer(answer(302, b"", {"Location": stranger.url})) as server,
        aiohttp.ClientSession(
            headers={"Authorization": "secret", "X-Key": "secret"}, cookies={"a": "secret"}
        ) as session,
        server.client(session=session) as client,
    ):
        await client.account.get()
        await client.account.get()
        assert not [line for request in stranger.requests for line in request.lines if "secret" in line]
        assert not session.closed


async def test_no_redirect_from_https_to_http():
    """A redirect to a connection that anybody can read is an error, which nothing was sent for."""
    async with RawServer(answer(200, ACCOUNT)) as stranger:
        from replicate_async._http.exchange import _redirect_target

        with pytest.raises(aiohttp.RedirectClientError, match="not followed"):
            _redirect_target("https://api.replicate.com/v1/x", f"{stranger.url}/x?signature=s")
        assert _redirect_target("http://a/x", "https://a/y") == "https://a/y"


@pytest.mark.parametrize(
    "location",
    [
        "/a%2Fb/c%20d?X-Goog-Signature=ab%2Fcd%2B%3D&x=%7e",
        "/a%2fb?s=%zz",
        "/a//b/c?x=a+b&y=a b",
        "/a%2Fb?s=|^",
        "/\u00e9%2F?x=\u00e9",
        "/a;b=c,d@e:f!$&'()*",
    ],
)
async def test_a_redirect_is_followed_to_the_letter(location):
    """A signed URL arrives as it was signed. Characters that no URL may have are encoded, and nothing else is."""
    sent = location.replace(" ", "%20").replace("|", "%7C").replace("^", "%5E").replace("\u00e9", "%C3%A9")
    async with RawServer(answer(200, b"x")) as stranger:
        for target in (location, stranger.url + location):
            redirected = answer(302, b"", {"Location": target})
            async with RawServer(redirected, answer(200, b"x")) as server, server.client() as client:
                assert await client.get("/x", cast_to=bytes) == b"x"
                assert (server.requests + stranger.requests)[-1].target == sent


# --- proxies ---


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def assert_no_password(error: BaseException) -> None:
    """Fail if an error, or any in its chain, shows the proxy's credentials in any way."""
    assert error.__traceback__ is not None
    # The first frame is the test's own.
    error = error.with_traceback(error.__traceback__.tb_next)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    link: BaseException | None = error
    while link is not None:
        shown += str(link) + repr(link) + repr(link.args) + repr(vars(link))
        link = link.__cause__ or link.__context__
    for secret in (PASSWORD, "hunter2", "dXNlcjpodW50ZXI"):
        assert secret not in shown
        assert secret.encode() not in pickle.dumps(error)


@pytest.mark.parametrize("base_url", ["https://replicate.test/v1", "http://replicate.test/v1"])
@pytest.mark.parametrize("step", [answer(502, b""), answer(407, b""), close])
async def test_a_failing_proxy_keeps_its_credentials(environment, caplog, base_url, step):
    """Credentials of a proxy reach the proxy, and neither errors nor the log."""
    caplog.set_level(logging.DEBUG)
    record_pauses()
    async with RawServer(step) as proxy:
        environment.setenv("all_proxy", f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}")
        async with AsyncReplicate(bearer_token=TOKEN, base_url=base_url, max_retries=1) as client:
            with pytest.raises(APIError) as caught:
                await client.account.get()
            assert PASSWORD not in repr(vars(client)) + repr(vars(client._transport.pool))
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic dXNlcjpodW50ZXI")
    assert_no_password(caught.value)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        *(f"http://user:{PASSWORD}@127.0.0.1:port", f"http://user:{PASSWORD}/x@127.0.0.1:1", f"http://{PASSWORD}@[::1"),
        *(f"http://user:{PASSWORD}#@127.0.0.1", f"socks5://user:{PASSWORD}@127.0.0.1:1", f"user:{PASSWORD}@h:99999"),
        *(f"http://user:{PASSWORD}@", f"http://user:{PASSWORD}@a b:1", f"http://user:{PASSWORD}?@127.0.0.1:1"),
    ],
)
async def test_a_malformed_proxy_keeps_its_credentials(environment, address):
    """The error for a malformed proxy names the variable, not the value."""
    environment.setenv("https_proxy", address)
    async with AsyncReplicate(bearer_token=TOKEN, base_url="https://replicate.test/v1") as client:
        with pytest.raises(ValueError, match="https_proxy") as caught:
            await client.account.get()
    assert_no_password(caught.value)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("scheme", ["HTTP://", "http://", ""])
async def test_the_variables_of_proxies(environment, name, scheme):
    """ALL_PROXY is used, schemes may be in upper case, and credentials may be percent-encoded."""
    async with RawServer(answer(200, ACCOUNT)) as proxy:
        environment.setenv(name, f"{scheme}us%40er:p%2Fw@127.0.0.1:{proxy.port}/")
        async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1") as client:
            await client.account.get()
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNAZXI6cC93"


async def test_a_host_beyond_ascii(environment):
    """A host in another script is asked for by its ASCII form."""
    async with RawServer(answer(200, ACCOUNT)) as proxy:
        environment.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        async with AsyncReplicate(bearer_token=TOKEN, base_url="http://bücher.test/v1") as client:
            await client.account.get()
        assert proxy.requests[0].target == "http://xn--bcher-kva.test/v1/account"


async def test_a_redirect_chooses_the_proxy_again(environment):
    """The credentials of a proxy don't go to a host that is redirected to without it."""
    async with RawServer(answer(200, ACCOUNT)) as stranger:
        location = {"Location": f"http://127.0.0.1:{stranger.port}/x"}
        async with RawServer(answer(302, b"", location)) as proxy:
            environment.setenv("http_proxy", f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}")
            environment.setenv("no_proxy", "127.0.0.1")
            async with AsyncReplicate(bearer_token=TOKEN, base_url="http://replicate.test/v1") as client:
                await client.account.get()
        assert "proxy-authorization" not in stranger.requests[0].headers


# --- certificate authorities ---

# Of a server at 127.0.0.1 that only tests use, and its name in a folder of authorities.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBhDCCASugAwIBAgIBATAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAV0ZXN0czAg
Fw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowEDEOMAwGA1UEAwwFdGVz
dHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT++1pPYxiyEa2tRT3tSXd8O3HM
ebfT479FlK//179eSuMFbQsht9aaP6dpdU6X+v2R07XJUqO9hBzI12hwYbmzo3Qw
cjAPBgNVHREECDAGhwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQD
AgGGMB0GA1UdDgQWBBRoBRg4kQleDT9udRLlht/f0a/jojAfBgNVHSMEGDAWgBRo
BRg4kQleDT9udRLlht/f0a/jojAKBggqhkjOPQQDAgNHADBEAiA4/ifcYrT0zUdQ
5b6u46A/h802AGALIO0aO6YVqXnShwIgbqr3/1G4BZJKyjpFt8hlT2+bmh++nlsl
fb9a/84CY+8=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg92XJNHkKZ3+rVaTR
TuuKfc+7Kc4KJkp01kLanWYHnOWhRANCAAT++1pPYxiyEa2tRT3tSXd8O3HMebfT
479FlK//179eSuMFbQsht9aaP6dpdU6X+v2R07XJUqO9hBzI12hwYbmz
-----END PRIVATE KEY-----
"""
HASHED_NAME = "0d001701.0"


@asynccontextmanager
async def serving_tls(folder: Path) -> AsyncIterator[RawServer]:
    """Run a server whose certificate only the folder's own authority has signed."""
    chain = folder / HASHED_NAME
    chain.write_text(CERTIFICATE, encoding="utf-8")
    (folder / "key.pem").write_text(KEY, encoding="utf-8")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, folder / "key.pem")
    async with RawServer(answer(200, ACCOUNT), tls=context) as server:
        yield server


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
async def test_certificate_authorities(environment, tmp_path, name, is_folder):
    """The variables that name certificate authorities are honored: a file of them, or a folder."""
    async with serving_tls(tmp_path) as server:
        async with server.client(max_retries=0) as client:
            with pytest.raises(APIConnectionError, match="certificate"):
                await client.account.get()
        environment.setenv(name, str(tmp_path if is_folder else tmp_path / HASHED_NAME))
        async with server.client() as client:
            assert (await client.account.get()).username == "alice"


async def test_certificate_authorities_of_a_redirect(environment, tmp_path):
    """A redirect to another host uses the environment's authorities, too."""
    environment.setenv("SSL_CERT_FILE", str(tmp_path / HASHED_NAME))
    async with serving_tls(tmp_path) as secure:
        step = answer(302, b"", {"Location": f"{secure.url}/v1/account"})
        async with RawServer(step) as server, server.client() as client:
            assert (await client.account.get()).username == "alice"


async def test_certificate_authorities_of_a_session(environment, tmp_path):
    """A session of the user's own keeps its own TLS settings."""
    context = ssl.create_default_context()
    async with serving_tls(tmp_path) as server:
        context.load_verify_locations(tmp_path / HASHED_NAME)
        environment.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session, server.client(session=session) as client:
            assert (await client.account.get()).username == "alice"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("file", ["missing.pem", "bad.pem"])
async def test_unreadable_certificate_authorities(environment, tmp_path, name, file):
    """The error names the variable; a host that is asked without TLS needs none."""
    (tmp_path / "bad.pem").write_text("no certificate", encoding="utf-8")
    environment.setenv(name, str(tmp_path / file))
    async with AsyncReplicate(bearer_token=TOKEN, base_url="https://127.0.0.1:9") as client:
        with pytest.raises(ValueError, match=f"{name}=.*{file}"):
            await client.account.get()
    async with RawServer(answer(200, ACCOUNT)) as server, server.client() as client:
        assert (await client.account.get()).username == "alice"


# --- gateways ---


def listing(number: int, total: int, cursor: str = "cursor=c%2F") -> bytes:
    """Return a page whose next one is at the API's own host."""
    following = f"https://api.replicate.test/v1/predictions?{cursor}{number + 1}" if number < total else None
    results = [prediction(id=f"{number}-{index}", status="processing") for index in range(2)]
    return answer(200, {"results": results, "next": following, "previous": None})


async def test_all_pages_behind_a_gateway():
    """Pages are asked of the base URL, with the token and the headers and query that the gateway needs."""
    steps = [listing(number, 3) for number in (1, 2, 3)]
    async with RawServer(*steps, *steps, *steps) as gateway:
        client = AsyncReplicate(
            bearer_token=TOKEN,
            base_url=f"{gateway.url}/replicate/v1",
            default_headers={"X-Gateway": "key"},
            default_query={"tenant": "t"},
        )
        async with client:
            assert len([item async for item in client.predictions.list(extra_headers={"X-Call": "1"})]) == 6
            page = await client.predictions.list(source="web")
            assert len([page async for page in page.iter_pages()]) == 3
            page = await client.predictions.list()
            assert (await page.get_next_page()).results[0].id == "2-0"
        assert gateway.requests[1].target == "/replicate/v1/predictions?cursor=c%2F2&tenant=t"
        assert gateway.requests[1].headers["x-call"] == "1"
        for request in gateway.requests:
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            assert request.headers["x-gateway"] == "key"


async def test_polling_and_reconciling_behind_a_gateway():
    """The lists that polling and the lookup of a lost create read are asked of the base URL, too."""
    from replicate_async._predictions.creates import _RecentList

    def recent(number: int) -> bytes:
        following = f"https://api.replicate.test/v1/predictions?cursor={number}" if number < 3 else None
        done = [
            prediction(id=f"{number}-{i}", status="succeeded", output="x", created_at="2099-01-01T00:00:00Z")
            for i in range(3)
        ]
        return answer(200, {"results": done, "next": following})

    async with RawServer(*map(recent, (1, 2, 3))) as gateway, gateway.client() as client:
        jobs = await _RecentList(client._transport, Prediction, {}).since(0.0)
        assert len(jobs) == 9
        assert gateway.requests[2].target == "/v1/predictions?cursor=2"
        assert gateway.requests[2].headers["authorization"] == f"Bearer {TOKEN}"


# --- large responses ---


def bomb(megabytes: int) -> bytes:
    """Return zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([packer.compress(b"[" + bytes(2**20)) for _ in range(megabytes)]) + packer.flush()


@pytest.mark.endurance
async def test_a_bomb():
    """A response that decompresses to too much is an error that says so, and never in memory as a whole."""
    content = bomb(600)
    async with (
        RawServer(answer(200, content, {"Content-Encoding": "gzip"})) as server,
        server.client() as client,
    ):
        with pytest.raises(APIResponseValidationError, match=r"too large.*decompression"):
            await client.account.get()
        with pytest.raises(APIResponseValidationError, match="too large"):
            await client.account.with_raw_response.get()
        server.steps = [answer(500, content, {"Content-Encoding": "gzip"})]
        with pytest.raises(APIError) as caught:
            await client.with_options(max_retries=0).account.get()
        assert len(caught.value.body) < 2 * 2**20


async def test_a_compressed_response_of_ordinary_size():
    """Compressed responses of a few megabytes are read."""
    content = gzip.compress(b'"' + b"x" * 5_000_000 + b'"')
    async with RawServer(answer(200, content, {"Content-Encoding": "gzip"})) as server, server.client() as client:
        assert len((await client.get("/x")).json()) == 5_000_000


@pytest.mark.parametrize("size", [8190, 20_000, 65_500])
async def test_long_headers(size):
    """A header may have 64 kB."""
    async with RawServer(answer(200, ACCOUNT, {"X-Long": "x" * size})) as server, server.client() as client:
        assert len((await client.account.with_raw_response.get()).headers["X-Long"]) == size


async def test_headers_that_are_too_long():
    """A longer header is an error that says so."""
    async with (
        RawServer(answer(200, ACCOUNT, {"X-Long": "x" * 200_000})) as server,
        server.client(max_retries=0) as client,
    ):
        with pytest.raises(APIError, match="Got more than"):
            await client.account.get()
