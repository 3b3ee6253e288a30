"""The pytest plugin: a local or a recorded Replicate for each test that requests it.

pytest loads this module at each start, so it imports only pytest until a test uses it.
"""

from __future__ import annotations

import inspect
import os
import re
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from starlette.testclient import TestClient

    from replicate_async import AsyncReplicate, Replicate

    from ._recorder import Recording
    from ._server import LocalServer

# The usage and the description of each marker.
_MARKERS = {
    "replicate_server": ("replicate_server(**options)", "the options of the test's LocalServer"),
    "replicate_model": ('replicate_model("owner/name", function, **options)', "the arguments of LocalServer.model"),
    "replicate_faults": ("replicate_faults(*sources, **fault)", "sources for Faults.load, or the fields of one fault"),
    "replicate_recording": (
        'replicate_recording("file.json")',
        "the path of a recording, relative to the test's folder",
    ),
}
# The fixture that each marker needs.
_FIXTURES = dict.fromkeys(_MARKERS, "replicate_server") | {"replicate_recording": "replicate_recording"}
# The recordings of this run, with the test that each belongs to.
_recorded = pytest.StashKey["dict[Path, str]"]()
# Whether a test has passed; missing until it has run to its end.
_passed = pytest.StashKey[bool]()
_OFFLINE_REASON = (
    "the test uses the fixture {fixture}, which keeps it off the network. "
    "A Replicate client that was made before the test, for example at import, doesn't use the fixture: make it later, "
    "or replace it with the fixture async_replicate or replicate_client. "
    "If the test needs a host, list it in pytest's setting replicate_allowed_hosts."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting."""
    group = parser.getgroup("replicate", "Replicate")
    group.addoption(
        "--replicate-record",
        action="store_true",
        help="record the tests marked replicate_recording again, with the real API and your token",
    )
    parser.addini("replicate_allowed_hosts", "hosts that tests with a Replicate fixture may reach", "linelist", [])


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for usage, description in _MARKERS.values():
        config.addinivalue_line("markers", f"{usage}: {description}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Request the fixture that a test's markers need, if the test doesn't request it itself."""
    if isinstance(item, pytest.Function):
        for marker, fixture in _FIXTURES.items():
            if item.get_closest_marker(marker) is not None and fixture not in item.fixturenames:
                # All parametrizations of a test share one list, so it is replaced.
                item.fixturenames = [fixture, *item.fixturenames]
        if {*_FIXTURES.values()} <= {*item.fixturenames}:
            pytest.fail(
                "a test has either a replicate_recording, or a replicate_server with models and faults", pytrace=False
            )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Store whether a test has passed, after all other plugins: an expected failure hasn't."""
    outcome = yield
    if call.when == "call":
        item.stash[_passed] = outcome.get_result().passed


@pytest.fixture
def replicate_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A LocalServer for this test: the environment points to it, and the test can't reach any other host."""
    with _offline(request, "replicate_server"), _server_for(request.node) as server, _environment(server):
        yield server


@pytest.fixture
def replicate_recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """The recording of the test's marker, which replays, or records with --replicate-record."""
    from ._recorder import Recording

    record = bool(request.config.getoption("--replicate-record"))
    with _explain_errors("replicate_recording"):
        mark = request.node.get_closest_marker("replicate_recording")
        if mark is None or mark.kwargs or len(mark.args) != 1:
            raise ValueError("it takes the path of the recording")
        test = f"{request.path.name}::{request.node.nodeid.partition('::')[2]}"
        recorded = request.config.stash.setdefault(_recorded, {})
        path = _recording_path(request, str(mark.args[0]), test, recorded if record else None)
        if not record and not path.exists():
            raise ValueError(f"there is no {path}: run this test once with --replicate-record")
        if record and recorded.setdefault(path, test) != test:
            raise ValueError(f"{path} was recorded by another test: with {{test}} in the path, each test has its own")
        recording = Recording(path, record=record)
        recording._cassette.test = test  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    failed = request.session.testsfailed
    with nullcontext() if record else _offline(request, "replicate_recording"), recording, _environment(recording):
        yield recording
        # A failing test is not recorded, and unmatched requests don't fail it again. The session counts failures, also
        # those of subtests, but neither expected failures nor tests that skip the rest of themselves.
        if request.session.testsfailed > failed or not request.node.stash.get(_passed, False):
            recording.discard()


def _recording_path(request: pytest.FixtureRequest, name: str, test: str, recorded: dict[Path, str] | None) -> Path:
    """Return the file of a test; ``recorded`` are the recordings of this run, None when replaying.

    ``{test}`` is replaced by the test's name. If another test with the same file name has recorded it, for example in
    another class, a digest is added.
    """
    folder, file_name = request.path.parent, re.sub(r"[^\w.-]+", "-", request.node.name)
    path = folder / name.replace("{test}", file_name)
    path_with_digest = folder / name.replace("{test}", f"{file_name}-{sha256(test.encode()).hexdigest()[:8]}")
    if path_with_digest == path or path_with_digest.exists():
        return path_with_digest
    # A test whose class was renamed keeps its recording.
    if recorded is None:
        return path

    from ._cassette import read_test

    return path if {recorded.get(path, test), read_test(path) or test} == {test} else path_with_digest


@pytest.fixture
def async_replicate(request: pytest.FixtureRequest) -> Iterator[AsyncReplicate]:
    """An AsyncReplicate for the test's server or recording, with any plugin for async tests and any loop."""
    from replicate_async import AsyncReplicate

    endpoint = _endpoint(request)
    client = AsyncReplicate(base_url=endpoint.base_url, bearer_token=endpoint.token)
    yield client
    _close(client)


@pytest.fixture
def replicate_client(request: pytest.FixtureRequest) -> Iterator[Replicate]:
    """A blocking Replicate for the test's server or recording."""
    from replicate_async import Replicate

    endpoint = _endpoint(request)
    with Replicate(base_url=endpoint.base_url, bearer_token=endpoint.token) as client:
        yield client


@pytest.fixture
def replicate_app(request: pytest.FixtureRequest) -> Iterator[Callable[..., TestClient]]:
    """A function that starts an application of FastAPI or Starlette, and returns a TestClient of it.

    The clients that the application creates at its start are those of the test's server or recording. The application
    ends with the test. Options are those of ``TestClient``.
    """
    with warnings.catch_warnings():
        # Newer versions of starlette prefer another library for it.
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient

    _endpoint(request)
    with ExitStack() as applications:

        def start(app: Any, **options: Any) -> TestClient:
            client: TestClient = applications.enter_context(TestClient(app, **options))
            return client

        yield start


class _Endpoint(Protocol):
    """What clients connect to: a server or a recording."""

    token: str

    @property
    def base_url(self) -> str: ...


def _endpoint(request: pytest.FixtureRequest) -> _Endpoint:
    is_recorded = request.node.get_closest_marker("replicate_recording") is not None
    endpoint: _Endpoint = request.getfixturevalue("replicate_recording" if is_recorded else "replicate_server")
    return endpoint


def _server_for(node: pytest.Item) -> LocalServer:
    """Return the server that a test's markers describe. The closest markers come last, and override the others."""
    from ._server import LocalServer

    options: dict[str, Any] = {}
    with _explain_errors("replicate_server"):
        for mark in reversed(list(node.iter_markers("replicate_server"))):
            if mark.args:
                raise ValueError(f"options are keyword arguments, unlike {mark.args[0]!r}")
            options |= mark.kwargs
        parameters = inspect.signature(LocalServer).parameters
        if unknown := options.keys() - parameters:
            raise ValueError(f"there is no option {min(unknown)!r}, only {', '.join(parameters)}")
        # The class VirtualClock gives each test a clock of its own.
        if callable(options.get("clock")):
            options["clock"] = options["clock"]()
        server = LocalServer(**options)
    for mark in reversed(list(node.iter_markers("replicate_model"))):
        with _explain_errors("replicate_model"):
            if len(mark.args) != 2:
                raise ValueError("it takes a name and a function")
            server.model(mark.args[0], **mark.kwargs)(mark.args[1])
    # The closest marker comes first here, because only the first fault that matches a request occurs.
    for mark in node.iter_markers("replicate_faults"):
        with _explain_errors("replicate_faults"):
            _add_faults(server, mark, node.path.parent)
    return server


def _add_faults(server: LocalServer, mark: pytest.Mark, folder: Path) -> None:
    if not mark.args and not mark.kwargs:
        raise ValueError("it names no fault")
    for source in mark.args:
        server.faults.load(folder / source if isinstance(source, (str, Path)) else source)
    if mark.kwargs:
        server.faults.add(**mark.kwargs)


@contextmanager
def _explain_errors(marker: str) -> Generator[None]:
    """Fail with the usage of a marker if its arguments are invalid."""
    try:
        yield
    except (AttributeError, OSError, TypeError, ValueError) as error:
        usage, description = _MARKERS[marker]
        message = f"@pytest.mark.{marker}: {error}\nWrite @pytest.mark.{usage}, with {description}."
        raise pytest.fail.Exception(message, pytrace=False) from None


@contextmanager
def _offline(request: pytest.FixtureRequest, fixture: str) -> Generator[None]:
    from ._offline import offline

    with offline(_OFFLINE_REASON.format(fixture=fixture), request.config.getini("replicate_allowed_hosts")):
        yield


# Former default clients. Functions that were made at import may still use them, so they stay open.
_former_clients: list[Replicate] = []


@contextmanager
def _environment(endpoint: _Endpoint) -> Generator[None]:
    """Make clients without arguments, and the functions of ``replicate_async``, connect to an endpoint."""
    from replicate_async._sync import default_client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICATE_API_TOKEN", endpoint.token)
        patch.setenv("REPLICATE_BASE_URL", endpoint.base_url)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1", prepend="," if name in os.environ else None)
        if default_client.cache_info().currsize:
            _former_clients.append(default_client())
        default_client.cache_clear()
        try:
            yield
        finally:
            if default_client.cache_info().currsize:
                client = default_client()
                _close(client._async)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            default_client.cache_clear()


def _close(client: AsyncReplicate) -> None:
    """Close a client's connections in all loops, also in the loop of an async test, which no longer runs."""
    from replicate_async import _bridge

    pool = client._transport.pool  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    by_loop = pool._by_loop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for loop in [loop for loop in by_loop if not loop.is_running()]:
        connections = by_loop.pop(loop)
        if loop.is_closed():
            connections.drop(loop)
        else:
            loop.run_until_complete(connections.close())
    if by_loop:
        _bridge.run(client.close())
    pool.closed = True
