"""A pytest plugin: a Replicate on this machine, or a recorded one, for each test that asks for it.

pytest loads this module at each start, so it imports nothing but pytest before a test uses it.
"""

from __future__ import annotations

import inspect
import os
import re
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from replicate_async import AsyncReplicate, Replicate
    from replicate_async.testing import LocalServer, Recording

# How each marker is written, and the fixture that it brings along.
_MARKERS = {
    "replicate_server": ("replicate_server(**options)", "the options of the test's LocalServer"),
    "replicate_model": ('replicate_model("owner/name", function, **options)', "a model as LocalServer.model takes it"),
    "replicate_faults": ("replicate_faults(*sources, **fault)", "what Faults.load takes, or the fields of one fault"),
    "replicate_recording": ('replicate_recording("file.json")', "the path of a recording, from the test's folder"),
}
_recorded = pytest.StashKey["dict[Path, str]"]()  # in this run, with the tests they are of
_passed = pytest.StashKey[bool]()  # of a test; missing unless it has run to its end
_FIXTURES = dict.fromkeys(_MARKERS, "replicate_server") | {"replicate_recording": "replicate_recording"}
_LATE = (
    "the test uses the fixture {fixture}, which keeps it off the network. "
    "A Replicate client that was made before the test, such as at import, doesn't know of the fixture: make it later, "
    "or have the test replace it by the fixture async_replicate or replicate_client. "
    "Hosts that the test needs can be listed in pytest's setting replicate_allowed_hosts."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting."""
    group = parser.getgroup("replicate", "Replicate")
    group.addoption(
        "--replicate-record",
        action="store_true",
        help="make the recordings of tests marked replicate_recording anew, with the real API and your token",
    )
    parser.addini("replicate_allowed_hosts", "hosts that tests with a Replicate fixture may reach", "linelist", [])


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for usage, what in _MARKERS.values():
        config.addinivalue_line("markers", f"{usage}: {what}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a test the fixture that its markers are about, also where it doesn't ask for it."""
    if isinstance(item, pytest.Function):
        for marker, fixture in _FIXTURES.items():
            if item.get_closest_marker(marker) is not None and fixture not in item.fixturenames:
                item.fixturenames = [fixture, *item.fixturenames]  # the list is that of all parameters
        if {*_FIXTURES.values()} <= {*item.fixturenames}:
            pytest.fail(
                "a test has either a replicate_recording, or a replicate_server with models and faults", pytrace=False
            )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Note whether a test has passed, once all plugins have had their say: an expected failure hasn't."""
    outcome = yield
    if call.when == "call":
        item.stash[_passed] = outcome.get_result().passed


@pytest.fixture
def replicate_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A LocalServer that runs for this test, is where the environment points to, and is all that can be reached."""
    with _offline(request, "replicate_server"), _server_for(request.node) as server, _environment(server):
        yield server


@pytest.fixture
def replicate_recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """The recording of the test's marker: it answers, or, with --replicate-record, is made."""
    from replicate_async.testing import Recording

    record = bool(request.config.getoption("--replicate-record"))
    with _explaining("replicate_recording"):
        mark = request.node.get_closest_marker("replicate_recording")
        if mark is None or mark.kwargs or len(mark.args) != 1:
            raise ValueError("it takes the path of the recording")
        test = f"{request.path.name}::{request.node.nodeid.partition('::')[2]}"
        recorded = request.config.stash.setdefault(_recorded, {})
        path = _recording_path(request, str(mark.args[0]), test, recorded if record else None)
        if not record and not path.exists():
            raise ValueError(f"there is no {path}: run this test once with --replicate-record")
        if record and recorded.setdefault(path, test) != test:
            raise ValueError(f"{path} has just been recorded by another test: with {{test}} in its name, each has one")
        recording = Recording(path, record=record)
        recording._tape.test = test  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    failed = request.session.testsfailed
    with nullcontext() if record else _offline(request, "replicate_recording"), recording, _environment(recording):
        yield recording
        # What a failing test does is neither what it should get, nor worth another failure. Those that count are in the
        # session, subtests as well; one that is expected to fail, or is skipped half way, isn't.
        if request.session.testsfailed > failed or not request.node.stash.get(_passed, False):
            recording.discard()


def _recording_path(request: pytest.FixtureRequest, name: str, test: str, recorded: dict[Path, str] | None) -> Path:
    """Return which file is a test's, given those that have been recorded in this run, if it is for recording.

    ``{test}`` stands for the test's name; where another test of that name, in another class or with parameters that
    come to the same, has made the file, a digest tells the two apart.
    """
    folder, plain = request.path.parent, re.sub(r"[^\w.-]+", "-", request.node.name)
    path = folder / name.replace("{test}", plain)
    own = folder / name.replace("{test}", f"{plain}-{sha256(test.encode()).hexdigest()[:8]}")
    if own == path or own.exists():
        return own
    if recorded is None:  # a class that has another name now shall keep its recordings
        return path

    from replicate_async.testing._recording import made_for

    return path if {recorded.get(path, test), made_for(path) or test} == {test} else own


@pytest.fixture
def async_replicate(request: pytest.FixtureRequest) -> Iterator[AsyncReplicate]:
    """An AsyncReplicate for the test's server or recording; under any plugin for async tests, and any loop."""
    from replicate_async import AsyncReplicate

    place = _place(request)
    client = AsyncReplicate(base_url=place.base_url, bearer_token=place.token)
    yield client
    _close(client)


@pytest.fixture
def replicate_client(request: pytest.FixtureRequest) -> Iterator[Replicate]:
    """A blocking Replicate for the test's server or recording."""
    from replicate_async import Replicate

    place = _place(request)
    with Replicate(base_url=place.base_url, bearer_token=place.token) as client:
        yield client


class _Place(Protocol):
    """Where clients go."""

    token: str

    @property
    def base_url(self) -> str: ...


def _place(request: pytest.FixtureRequest) -> _Place:
    recorded = request.node.get_closest_marker("replicate_recording") is not None
    place: _Place = request.getfixturevalue("replicate_recording" if recorded else "replicate_server")
    return place


def _server_for(node: pytest.Item) -> LocalServer:
    """Make the server that a test's markers describe; those next to the test come last, and count most."""
    from replicate_async.testing import LocalServer

    options: dict[str, Any] = {}
    with _explaining("replicate_server"):
        for mark in reversed(list(node.iter_markers("replicate_server"))):
            if mark.args:
                raise ValueError(f"options have names, unlike {mark.args[0]!r}")
            options |= mark.kwargs
        known = inspect.signature(LocalServer).parameters
        if unknown := options.keys() - known:
            raise ValueError(f"there is no option {min(unknown)!r}, only {', '.join(known)}")
        if callable(options.get("clock")):  # VirtualClock itself, so that each test has its own
            options["clock"] = options["clock"]()
        server = LocalServer(**options)
    for mark in reversed(list(node.iter_markers("replicate_model"))):
        with _explaining("replicate_model"):
            if len(mark.args) != 2:
                raise ValueError("it takes a name and a function")
            server.model(mark.args[0], **mark.kwargs)(mark.args[1])
    for mark in node.iter_markers("replicate_faults"):  # of several, the first acts
        with _explaining("replicate_faults"):
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
def _explaining(marker: str) -> Generator[None]:
    """Say how a marker is written, if what is in it makes no sense."""
    try:
        yield
    except (AttributeError, OSError, TypeError, ValueError) as error:
        usage, what = _MARKERS[marker]
        message = f"@pytest.mark.{marker}: {error}\nWrite @pytest.mark.{usage}, with {what}."
        raise pytest.fail.Exception(message, pytrace=False) from None


@contextmanager
def _offline(request: pytest.FixtureRequest, fixture: str) -> Generator[None]:
    from replicate_async.testing._offline import offline

    with offline(_LATE.format(fixture=fixture), request.config.getini("replicate_allowed_hosts")):
        yield


_former: list[Replicate] = []  # default clients that functions made at import may belong to: none of ours to close


@contextmanager
def _environment(place: _Place) -> Generator[None]:
    """Have clients without arguments, and the functions of ``replicate_async``, go to a place."""
    from replicate_async._sync import default_client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICATE_API_TOKEN", place.token)
        patch.setenv("REPLICATE_BASE_URL", place.base_url)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1", prepend="," if name in os.environ else None)
        if default_client.cache_info().currsize:
            _former.append(default_client())
        default_client.cache_clear()
        try:
            yield
        finally:
            if default_client.cache_info().currsize:
                client = default_client()
                _close(client._async)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            default_client.cache_clear()


def _close(client: AsyncReplicate) -> None:
    """Close a client's connections in all loops: those of a test's loop, which stands still by now, included."""
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
