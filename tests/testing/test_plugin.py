"""The pytest plugin, in separate pytest runs: fixtures, markers, and that tests stay on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.endurance

NAME = "replicate_async.testing.plugin"
# If the package is installed, pytest finds the plugin by its entry point. In a source tree it needs -p.
OPTIONS = [
    *([] if entry_points(group="pytest11", name=NAME) else ["-p", NAME]),
    *("-p", "no:asyncio", "-p", "no:schemathesis", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"),
]
BACKEND = """
    import pytest

    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""


def run(pytester: pytest.Pytester, code: str, *options: str, **outcomes: int) -> pytest.RunResult:
    """Run tests in a process of their own, and check their outcomes."""
    pytester.makeconftest(BACKEND)
    pytester.makepyfile(code)
    result = pytester.runpytest_subprocess(*OPTIONS, *options)
    result.assert_outcomes(**outcomes)
    return result


MODELS = """
    import pytest
    import replicate_async
    from replicate_async import AsyncReplicate, Replicate, errors
    from replicate_async.testing import LocalServer, NetworkRefusedError, VirtualClock

    def shout(text: str) -> str:
        return text.upper()
"""


def test_the_three_fixtures(pytester: pytest.Pytester) -> None:
    """Each test gets a server, and clients of both kinds for it."""
    code = """
    @pytest.mark.anyio
    @pytest.mark.parametrize("time", [1, 2])
    async def test_async(replicate_server, async_replicate, time):
        assert isinstance(replicate_server, LocalServer) and isinstance(async_replicate, AsyncReplicate)
        replicate_server.model("me/shout")(shout)
        assert await async_replicate.run("me/shout", input={"text": "hi"}) == "HI"
        assert len(replicate_server.predictions) == 1

    def test_blocking(replicate_server, replicate_client):
        assert isinstance(replicate_client, Replicate)
        replicate_server.model("me/shout")(shout)
        assert replicate_client.run("me/shout", input={"text": "hi"}) == "HI"
        assert len(replicate_server.predictions) == 1
    """
    run(pytester, MODELS + code, passed=3)


def test_code_that_makes_its_own_client(pytester: pytest.Pytester) -> None:
    """Through the environment, clients of the code under test use the server, and so do module-level functions."""
    code = """
    pytestmark = pytest.mark.replicate_model("me/shout", shout)

    @pytest.mark.parametrize("time", [1, 2])  # at another port
    def test_module(replicate_server, time):
        assert replicate_async.run("me/shout", input={"text": "hi"}) == "HI"
        assert replicate_async.use("me/shout")(text="hi") == "HI"
        assert len(replicate_server.predictions) == 2

    def test_client():
        with Replicate() as client:
            assert client.run("me/shout", input={"text": "hi"}) == "HI"

    @pytest.mark.anyio
    async def test_async_client():
        async with AsyncReplicate() as client:
            assert await client.run("me/shout", input={"text": "hi"}) == "HI"

    @pytest.mark.anyio
    async def test_module_in_a_loop():
        assert await replicate_async.use("me/shout", use_async=True)(text="hi") == "HI"
    """
    run(pytester, MODELS + code, passed=5)


def test_nothing_is_left(pytester: pytest.Pytester) -> None:
    """After a test, the environment, the default client and the network are restored."""
    code = """
    import os
    import socket
    from replicate_async._sync import default_client

    def look():
        return {name: value for name, value in os.environ.items() if "REPLICATE" in name or "PROXY" in name.upper()}

    before = look()

    def test_before():
        assert default_client().account is not None

    clients = []

    def test_clients(async_replicate, replicate_client):
        clients[:] = [async_replicate, replicate_client, default_client()]

    def test_clients_after():
        assert [client.is_closed() for client in clients] == [True, True, True]

    model = pytest.mark.replicate_model("me/shout", shout)

    @pytest.mark.parametrize("marked", [pytest.param(True, marks=model), False])
    def test_marked(request, marked):
        assert ("replicate_server" in request.fixturenames) is marked

    def test_with(replicate_server):
        assert os.environ["REPLICATE_BASE_URL"] == replicate_server.base_url
        assert os.environ["REPLICATE_API_TOKEN"] == replicate_server.token
        assert replicate_async.account.get().username == "local"

    def test_after():
        assert look() == before
        assert default_client.cache_info().currsize == 0
        with pytest.raises(OSError):  # an address that is nobody's, reserved for documentation
            with socket.socket() as sender:
                sender.settimeout(0.01)
                sender.connect(("192.0.2.1", 80))
    """
    run(pytester, MODELS + code, passed=7)


def test_the_network(pytester: pytest.Pytester) -> None:
    """Every attempt to reach another host raises an error that names the host and the fixture."""
    code = """
    import asyncio
    import http.client
    import socket
    import urllib.request
    import aiohttp
    import httpx

    pytestmark = pytest.mark.usefixtures("replicate_server")

    def refused(host):
        return pytest.raises(NetworkRefusedError, match=f"(?s)^{host} .*replicate_server.*replicate_allowed_hosts")

    def blocking(url):
        with Replicate(base_url=url) as client:
            client.account.get()

    @pytest.mark.parametrize("call", [
        lambda: socket.getaddrinfo("example.com", 80),
        lambda: socket.gethostbyname("example.com"),
        lambda: socket.gethostbyaddr("example.com"),
        lambda: socket.create_connection(("example.com", 80)),
        lambda: http.client.HTTPSConnection("example.com").connect(),
        lambda: httpx.get("https://example.com/"),
        lambda: urllib.request.urlopen("http://example.com/"),
        lambda: blocking("https://example.com/v1"),
    ])
    def test_names(call):
        with refused("example.com"):
            call()

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    @pytest.mark.parametrize("method", ["connect", "connect_ex"])
    def test_addresses(kind, method):
        with socket.socket(socket.AF_INET, kind) as sender, refused("192.0.2.1"):
            getattr(sender, method)(("192.0.2.1", 80))
        with socket.socket(socket.AF_INET6, kind) as sender, refused("2001:db8::1"):
            getattr(sender, method)(("2001:db8::1", 80))

    def test_datagrams():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            with refused("192.0.2.1"):
                sender.sendto(b"x", ("192.0.2.1", 53))
            with refused("192.0.2.1"):
                sender.sendmsg([b"x"], [], 0, ("192.0.2.1", 53))

    async def fetch(url):
        async with aiohttp.ClientSession() as session:
            await session.get(url)

    async def fetch_with_httpx(url):
        async with httpx.AsyncClient() as client:
            await client.get(url)

    async def connect(host):
        with socket.socket() as sender:
            sender.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sender, (host, 80))

    async def own_client(url):
        async with AsyncReplicate(base_url=url) as client:
            await client.account.get()

    @pytest.mark.anyio
    @pytest.mark.parametrize("host", ["example.com", "192.0.2.1"])
    async def test_in_a_loop(host):
        for awaitable in (
            fetch(f"http://{host}/"),
            connect(host),
            asyncio.open_connection(host, 80),
            own_client(f"https://{host}/v1"),
        ):
            with refused(host):
                await awaitable

    @pytest.mark.anyio
    async def test_httpx():
        with refused("example.com"):
            await fetch_with_httpx("http://example.com/")

    @pytest.mark.anyio
    async def test_webhooks(replicate_server):
        replicate_server.model("me/shout")(shout)
        with Replicate() as client:
            client.run("me/shout", input={"text": "a"}, webhook="https://example.com/hook")
        while len(replicate_server.webhooks) < 2:
            await asyncio.sleep(0.005)
        assert {call.status for call in replicate_server.webhooks} == {0}
    """
    run(pytester, MODELS + code, passed=17)


def own_addresses() -> list[str]:
    """Return the network addresses of this machine, if it has any."""
    addresses: list[str] = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sender:
            # Connecting a UDP socket sends nothing.
            sender.connect((elsewhere, 9))
            addresses.append(sender.getsockname()[0])
    return addresses


def test_this_machine(pytester: pytest.Pytester) -> None:
    """This machine can be reached by all its names and addresses, and so can hosts in the settings."""
    code = """
    import socket

    @pytest.mark.usefixtures("replicate_server")
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "0.0.0.0", "::ffff:127.0.0.1"])
    def test_loopback(host):
        with socket.create_server(("0.0.0.0", 0)) as listener:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as sender:
                sender.connect((host, listener.getsockname()[1]))
        assert socket.getaddrinfo(None, 80)

    @pytest.mark.usefixtures("replicate_server")
    def test_own_name():
        for name in (socket.gethostname(), socket.gethostname().upper()):
            try:
                found = {info[4][0] for info in socket.getaddrinfo(name, 80)}
            except OSError:  # not all machines know how to find themselves
                found = {}
            for address in found:
                with pytest.raises(OSError), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as it:
                    it.settimeout(0.01)
                    it.connect((address, 9))

    @pytest.mark.usefixtures("replicate_server")
    def test_own_addresses():
        for address in OWN:
            with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as it:
                socket.create_connection(it.getsockname()[:2]).close()
            assert socket.getaddrinfo(address, 80)
            if "." in address:
                near = str(ipaddress.ip_address(address) + 1)
                with pytest.raises(NetworkRefusedError), socket.socket(type=socket.SOCK_DGRAM) as sender:
                    sender.connect((near, 9))

    @pytest.mark.usefixtures("replicate_server")
    def test_unix(tmp_path):
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as sender:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            sender.connect(str(tmp_path / "socket"))

    @pytest.mark.usefixtures("replicate_server")
    def test_allowed():
        for host in ("192.0.2.1", "DB.example"):
            with pytest.raises(OSError), socket.socket() as sender:
                sender.settimeout(0.01)
                sender.connect((host, 80))
        with pytest.raises(NetworkRefusedError), socket.socket() as sender:
            sender.connect(("198.51.100.1", 80))
    """
    pytester.makeini("[pytest]\nreplicate_allowed_hosts =\n    192.0.2.1\n    db.example\n")
    code = code.replace("import socket", f"import ipaddress\n    import socket\n    OWN = {own_addresses()}", 1)
    run(pytester, MODELS + code, passed=9)


def test_a_client_made_at_import(pytester: pytest.Pytester) -> None:
    """A client that was made before the test can't reach the API either, and the error says what to do."""
    code = """
    early = AsyncReplicate(bearer_token="r8_real")
    flux = replicate_async.use("black-forest-labs/flux-dev")

    @pytest.mark.anyio
    async def test_early(replicate_server):
        await early.account.get()

    @pytest.mark.parametrize("time", [1, 2])
    def test_function(replicate_server, time):
        flux(prompt="a cat")

    @pytest.mark.anyio
    async def test_replaced(async_replicate, monkeypatch):
        monkeypatch.setitem(globals(), "early", async_replicate)
        assert (await early.account.get()).username == "local"
    """
    environment = (
        "import os; os.environ.pop('REPLICATE_BASE_URL', None); os.environ['REPLICATE_API_TOKEN'] = 'r8_real'\n"
    )
    pytester.makepyfile(environment=environment)
    result = run(
        pytester,
        "import environment" + MODELS.replace("\n    ", "\n") + code.replace("\n    ", "\n"),
        failed=3,
        passed=1,
    )
    expected = "E *NetworkRefusedError: api.replicate.com is not this machine*made before the test*"
    result.stdout.fnmatch_lines([expected] * 3)


def test_markers(pytester: pytest.Pytester) -> None:
    """Markers set options, models and faults of the server; closer markers add to others, and request the fixture."""
    (pytester.path / "faults.toml").write_text(
        '[[faults]]\nkind = "status"\nstatus = 503\ntimes = 1\n', encoding="utf-8"
    )
    code = """
    pytestmark = [
        pytest.mark.replicate_server(username="alice", page_size=7),
        pytest.mark.replicate_model("me/shout", shout),
    ]

    @pytest.mark.replicate_server(username="bob")
    def test_options(replicate_server):
        assert replicate_async.account.get().username == "bob"
        assert replicate_server._store.page_size == 7

    def whisper(text: str) -> str:
        return text.lower()

    @pytest.mark.replicate_model("me/shout", whisper, description="quiet")
    @pytest.mark.replicate_model("me/whisper", whisper)
    def test_models():
        assert replicate_async.run("me/shout", input={"text": "Hi"}) == "hi"
        assert replicate_async.run("me/whisper", input={"text": "Hi"}) == "hi"
        assert replicate_async.models.get("me", "shout").description == "quiet"

    @pytest.mark.replicate_faults("faults.toml")
    @pytest.mark.replicate_faults({"faults": [{"kind": "html", "times": 1}]})
    @pytest.mark.replicate_faults(kind="rate_limit", times=1)
    @pytest.mark.replicate_server(clock=VirtualClock)
    def test_faults(replicate_server):
        assert replicate_async.account.get(max_retries=5).username == "alice"
        assert sorted(call.status for call in replicate_server.requests) == [200, 429, 502, 503]
        assert 30 < replicate_server.clock.monotonic() < 60

    class TestOnAClass:
        @pytest.mark.parametrize("word", ["a", pytest.param("b", marks=pytest.mark.replicate_faults(kind="reset"))])
        def test_it(self, word, request):
            if word == "a":
                assert replicate_async.run("me/shout", input={"text": word}) == "A"
            else:
                with pytest.raises(errors.APIConnectionError):
                    replicate_async.account.get(max_retries=0)
    """
    run(pytester, MODELS + code, passed=5)


def test_unittest(pytester: pytest.Pytester) -> None:
    """Test cases of unittest can be marked, too."""
    code = """
    import unittest

    @pytest.mark.replicate_model("me/shout", shout)
    class Test(unittest.TestCase):
        def test_it(self):
            self.assertEqual(replicate_async.run("me/shout", input={"text": "hi"}), "HI")
    """
    run(pytester, MODELS + code, passed=1)


def test_virtual_time(pytester: pytest.Pytester) -> None:
    """Each test has a clock of its own, and ten minutes pass at once for both clients."""
    code = """
    pytestmark = [
        pytest.mark.replicate_server(clock=VirtualClock),
        pytest.mark.replicate_model("me/shout", shout, output_delay=600),
    ]

    def test_blocking(replicate_server, replicate_client):
        assert replicate_client.run("me/shout", input={"text": "hi"}, time_limit=900) == "HI"
        assert 600 <= replicate_server.clock.monotonic() < 660

    @pytest.mark.anyio
    async def test_async(replicate_server, async_replicate):
        assert replicate_server.clock.monotonic() == 0
        assert await async_replicate.run("me/shout", input={"text": "hi"}, time_limit=900) == "HI"
    """
    run(pytester, MODELS + code, passed=2)


WRONG = [
    ("replicate_server(prot=80)", "there is no option 'prot', only host, port,*clock"),
    ("replicate_server('x')", "options are keyword arguments, unlike 'x'"),
    ("replicate_server(limits={'creates': 0})", "limits: *"),
    ("replicate_model('me/shout')", "it takes a name and a function"),
    ("replicate_model('shout', shout)", "a model's name is owner/name*"),
    ("replicate_model('me/shout', 'shout')", "a model is a function, not 'shout'"),
    ("replicate_model('me/shout', shout, startpu=3)", "*unexpected keyword argument 'startpu'*"),
    ("replicate_faults", "it names no fault"),
    ("replicate_faults(kind='stal')", "kind: Invalid enum value 'stal'"),
    ("replicate_faults(kind='stall', operation='account.git')", "*did you mean account.get[?]"),
    ("replicate_faults('none.toml')", "*No such file or directory: *none.toml'"),
    ("replicate_faults({'fault': []})", "faults are tables*"),
    ("replicate_recording", "it takes the path of the recording"),
    ("replicate_recording('none.json')", "there is no *none.json: run this test once with --replicate-record"),
    ("replicate_recording('test_wrong_markers.py')", "*is not a recording: *"),
]


def test_wrong_markers(pytester: pytest.Pytester) -> None:
    """An invalid marker is an error that says what is wrong, and how to write it."""
    tests = [f"    @pytest.mark.{marker}\n    def test_{n}(): pass\n" for n, (marker, _) in enumerate(WRONG)]
    result = run(pytester, MODELS + "".join(tests), errors=len(WRONG))
    for marker, reason in WRONG:
        name = marker.partition("(")[0]
        result.stdout.fnmatch_lines([f"@pytest.mark.{name}: {reason}", f"Write @pytest.mark.{name}(*), with *."])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_recording_and_a_server(pytester: pytest.Pytester) -> None:
    """A test can't have both a recording and a server."""
    code = """
    @pytest.mark.replicate_recording("x.json")
    @pytest.mark.replicate_model("me/shout", shout)
    def test_markers(): pass

    @pytest.mark.replicate_recording("x.json")
    def test_fixtures(replicate_server): pass
    """
    result = run(pytester, MODELS + code, errors=2)
    result.stdout.fnmatch_lines(["*either a replicate_recording, or a replicate_server*"] * 2)


def test_what_pytest_shows(pytester: pytest.Pytester) -> None:
    """The markers, the fixtures and the option are explained where users look for them."""
    markers = pytester.runpytest_subprocess(*OPTIONS, "--markers")
    markers.stdout.fnmatch_lines([f"@pytest.mark.replicate_{name}(*): *" for name in ("server", "model", "faults")])
    fixtures = pytester.runpytest_subprocess(*OPTIONS, "--fixtures")
    names = ("replicate_server", "replicate_recording", "async_replicate", "replicate_client")
    for name in names:
        fixtures.stdout.fnmatch_lines([f"{name} -- *", "    *[.]"])
    help_text = pytester.runpytest_subprocess(*OPTIONS, "--help")
    help_text.stdout.fnmatch_lines(["Replicate:", "  --replicate-record*", "  replicate_allowed_hosts (linelist):*"])


def test_with_xdist(pytester: pytest.Pytester) -> None:
    """Workers of xdist have servers of their own."""
    code = """
    @pytest.mark.parametrize("number", range(12))
    @pytest.mark.replicate_model("me/shout", shout)
    def test_it(replicate_server, replicate_client, number):
        assert replicate_client.run("me/shout", input={"text": "hi"}) == "HI"
        assert len(replicate_server.predictions) == 1
    """
    run(pytester, MODELS + code, "-n", "2", passed=12)


def test_what_it_costs_others(pytester: pytest.Pytester) -> None:
    """A run that doesn't use the plugin imports no slow modules of the SDK."""
    code = """
    import sys
    import pytest

    def test_it():
        assert "replicate_async.testing.plugin" in sys.modules
        heavy = {"aiohttp", "msgspec", "tenacity", "replicate_async._sync", "replicate_async.testing._server"}
        assert not heavy & sys.modules.keys()
    """
    run(pytester, code, "-p", "no:anyio", passed=1)


def test_its_imports() -> None:
    """The plugin's only dependency, besides those of the SDK, is pytest."""
    from replicate_async.testing import plugin

    source = Path(plugin.__file__).read_text(encoding="utf-8")
    imports = {line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))}
    assert imports - sys.stdlib_module_names == {"pytest"}


def test_a_proxy_in_the_environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not used for the server."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    code = """
    import os

    def test_it(replicate_client):
        assert replicate_client.account.get().username == "local"
        assert "internal.example" in os.environ["no_proxy"]
    """
    run(pytester, MODELS + code, passed=1)
    assert os.environ["no_proxy"] == "internal.example"
