"""A proxy that records the API's responses, and a server that replays them."""

from __future__ import annotations

import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import yarl
from aiohttp import web

from replicate_async._typing import Self

from ._cassette import Body, Cassette, Exchange, RecordedRequest, RecordedResponse, read_request, read_response
from ._clock import VirtualClock
from ._player import Player
from ._scrubber import Scrubber, map_values
from ._threads import ServerThread

_MAX_BODY_BYTES = 200 * 2**20
# The proxy doesn't forward these headers.
_HOP_HEADERS = {
    *("accept-encoding", "authorization", "connection", "content-length", "cookie", "host", "proxy-authorization"),
    "transfer-encoding",
}
# Clients request URLs in these fields of a response.
_URL_FIELDS = {"urls", "output", "input", "next", "previous"}
_URL = re.compile(r"https?://[^\s/]\S*")
_EVENT_URL = re.compile(rb"(?m)^data: ?(https?://[^\s/]\S*)\r?$")

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RecordingError(Exception):
    """A client sent a request that isn't in the recording."""


class Recording:
    """A recording of the API's responses, which replays without a network. Use it in a ``with`` statement.

    ``base_url`` and ``token`` are for clients, blocking or async. The account's token stays secret: clients get a
    placeholder. The file contains neither the account's token nor signatures of URLs, webhook secrets, or the keys to
    event streams.

    Equal requests get their responses in the order of the recording. After the last one, requests that read, cancel or
    upload get it again. While replaying, delays of clients take no time, as with a ``VirtualClock``.

    Args:
        path: The file, in JSON.
        record: Whether to record. The file is written at the end of the ``with`` statement, unless it raises.
        base_url: The API to record. If omitted, ``REPLICATE_BASE_URL``, or Replicate itself.
        token: The account's token. If omitted, ``REPLICATE_API_TOKEN``.

    Raises:
        ValueError: There is no token to record with, or the file isn't a recording.
        OSError: The file can't be read or, at the end, written.
        RecordingError: At the end: a request was not in the recording. ``unmatched`` contains all such requests.
    """

    def __init__(
        self, path: Path | str, *, record: bool = False, base_url: str | None = None, token: str | None = None
    ) -> None:
        self.path: Path = Path(path)
        self.token = "recording-token"  # noqa: S105  (a placeholder)
        self.unmatched: list[str] = []
        self._discarded = False
        if record:
            base_url = base_url or os.environ.get("REPLICATE_BASE_URL") or "https://api.replicate.com/v1"
            token = token or os.environ.get("REPLICATE_API_TOKEN", "").strip()
            if not token:
                raise ValueError("recording needs an account's token: set REPLICATE_API_TOKEN")
            self._cassette = Cassette(base_url.rstrip("/"), datetime.now(timezone.utc), [])
            self._server: _Server = _RecordingServer(self._cassette, token)
        else:
            try:
                self._cassette = msgspec.json.decode(self.path.read_bytes(), type=Cassette)
            except msgspec.DecodeError as error:
                raise ValueError(f"{self.path} is not a recording: {error}") from None
            self._server = _ReplayingServer(self._cassette, self.path, self.unmatched)
        self._thread: ServerThread | None = None

    @property
    def base_url(self) -> str:
        """The base URL for clients; raises ``RuntimeError`` outside of the ``with`` statement."""
        return self._server.base_url

    def discard(self) -> None:
        """At the end, neither write the file nor raise an error for unmatched requests."""
        self._discarded = True

    def __enter__(self) -> Self:
        self._thread = ServerThread(self._server)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        if exc_type is not None or self._discarded:
            return
        if self.unmatched:
            raise RecordingError("\n".join(self.unmatched))
        if isinstance(self._server, _RecordingServer):
            text = msgspec.json.format(msgspec.json.encode(self._server.finish()), indent=2)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(text + b"\n")


class _Server(ABC):
    """Two local origins that replace the API's origin and all others, and the translation of URLs."""

    def __init__(self, cassette: Cassette) -> None:
        self.cassette = cassette
        parts = urlsplit(cassette.base_url)
        self._real_api, self._path = f"{parts.scheme}://{parts.netloc}", parts.path
        self._local_api = self._local_others = ""
        # URLs of other origins for which clients got a local URL.
        self._translated: set[str] = set()
        self._runners: list[web.AppRunner] = []

    @property
    def base_url(self) -> str:
        if not self._local_api:
            raise RuntimeError("the recording is not in use: use it in a with statement")
        return self._local_api + self._path

    @abstractmethod
    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Respond to a request for a real URL."""

    async def __aenter__(self) -> Self:
        handlers: tuple[_Respond, ...] = (self._respond_for_api, self._respond_for_others)
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in handlers]
        self._local_api, self._local_others = (
            f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners
        )
        for handler, listener in zip(handlers, listeners, strict=True):
            application = web.Application(client_max_size=_MAX_BODY_BYTES)
            application.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.01)
            self._runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._local_api = self._local_others = ""
        for runner in self._runners:
            await runner.cleanup()

    async def _respond_for_api(self, request: web.Request) -> web.StreamResponse:
        return await self.respond(request, self._real_api + request.raw_path)

    async def _respond_for_others(self, request: web.Request) -> web.StreamResponse:
        url = self.to_real(self._local_others + request.raw_path)
        if url.startswith(self._local_others):
            return _problem(404, "Not found", f"{request.path} is not a URL of another host")
        return await self.respond(request, url)

    def to_real(self, text: str) -> str:
        """Return a text with local URLs replaced by real ones."""
        for scheme in ("https", "http"):
            text = text.replace(f"{self._local_others}/{scheme}/", f"{scheme}://")
        return text.replace(self._local_api, self._real_api)

    def to_local(self, url: str) -> str:
        """Return the local URL for a real one."""
        if url == self._real_api or url.startswith((f"{self._real_api}/", f"{self._real_api}?")):
            return self._local_api + url[len(self._real_api) :]
        self._translated.add(url)
        scheme, _, rest = url.partition("://")
        return f"{self._local_others}/{scheme}/{rest}"

    def headers(self, response: RecordedResponse) -> dict[str, str]:
        """Return the headers of a response, with local URLs."""
        url = response.headers.get("Location", "")
        return {**response.headers, "Location": self.to_local(url)} if _URL.fullmatch(url) else response.headers

    def body(self, response: RecordedResponse) -> bytes:
        """Return the body of a response, with local URLs."""
        body = response.body or Body(lines=[])
        if body.json is not msgspec.UNSET:
            return Body(json=map_values(body.json, self._translate)).to_bytes()
        content = body.to_bytes()
        is_stream = response.headers.get("Content-Type", "").startswith("text/event-stream")
        return self.events(content) if is_stream else content

    def events(self, content: bytes) -> bytes:
        """Return lines of an event stream, with local URLs."""
        return _EVENT_URL.sub(lambda match: b"data: " + self.to_local(match[1].decode()).encode(), content)

    def _translate(self, value: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(value, str) or not _URL.fullmatch(value):
            return value
        if not _URL_FIELDS.intersection(path) or path[-1] == "web":
            return value
        # Clients sent all other URLs in inputs themselves.
        if "input" in path and value not in self._translated and not value.startswith(self._real_api):
            return value
        return self.to_local(value)

    async def convert_request(self, request: web.Request, url: str) -> tuple[RecordedRequest, bytes]:
        """Return a request as it is recorded, and its body with real URLs."""
        content = await request.read() if request.body_exists else b""
        if not request.content_type.startswith("multipart/"):
            text = content.decode("utf-8", "surrogateescape")
            content = self.to_real(text).encode("utf-8", "surrogateescape")
        return read_request(_method(request), url, request.headers, content), content

    def build(self, response: RecordedResponse) -> web.Response:
        """Return a response as aiohttp sends it."""
        return web.Response(status=response.status, headers=self.headers(response), body=self.body(response) or None)


class _RecordingServer(_Server):
    """Forwards all requests, and records them."""

    def __init__(self, cassette: Cassette, token: str) -> None:
        super().__init__(cassette)
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        # In the order of the requests. The list has the response as soon as it is complete.
        self._exchanges: list[tuple[RecordedRequest, list[RecordedResponse]]] = []

    def finish(self) -> Cassette:
        """Return the cassette, without secrets."""
        scrubber = Scrubber(self._token)
        self.cassette.exchanges = [
            Exchange(request, responses[0]) for request, responses in self._exchanges if responses
        ]
        scrubber.learn(self.cassette)
        return scrubber.scrub(self.cassette)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), trust_env=True, timeout=aiohttp.ClientTimeout(total=None)
        )
        return await super().__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(exc_type, error, traceback)
        if self._session is not None:
            await self._session.close()

    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Forward the request to the real server."""
        recorded, content = await self.convert_request(request, url)
        responses: list[RecordedResponse] = []
        self._exchanges.append((recorded, responses))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        headers["Accept-Encoding"] = "identity"
        if url.startswith(f"{self._real_api}/"):
            headers["Authorization"] = f"Bearer {self._token}"
        session = self._session
        if session is None:
            raise RuntimeError("the recording has ended")
        target = yarl.URL(url, encoded=True)
        try:
            async with session.request(
                _method(request), target, data=content or None, headers=headers, allow_redirects=False
            ) as real:
                if real.content_type == "text/event-stream":
                    return await self._stream(request, real, responses)
                response = read_response(real.status, real.headers, await real.read())
        except (aiohttp.ClientError, OSError) as error:
            return _problem(502, "The recorder got no response", f"{url}: {error or type(error).__name__}")
        responses.append(response)
        return self.build(response)

    async def _stream(
        self, request: web.Request, real: aiohttp.ClientResponse, responses: list[RecordedResponse]
    ) -> web.StreamResponse:
        """Forward events as they come."""
        received: list[bytes] = []
        response = web.StreamResponse(status=real.status, headers=self.headers(read_response(200, real.headers, b"")))
        await response.prepare(request)
        try:
            async for lines in _read_lines(real):
                received.append(lines)
                await response.write(self.events(lines))
        # Also if the client disconnects.
        finally:
            responses.append(read_response(real.status, real.headers, b"".join(received)))
        return response


class _ReplayingServer(_Server):
    """Responds from a cassette, in virtual time."""

    def __init__(self, cassette: Cassette, file: Path, unmatched: list[str]) -> None:
        super().__init__(cassette)
        self._file = file
        self._player = Player(cassette)
        self._unmatched = unmatched
        self._clock = VirtualClock(cassette.recorded_at)

    async def __aenter__(self) -> Self:
        self._clock.attach()
        return await super().__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(exc_type, error, traceback)
        self._clock.detach()

    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Respond as the API did when the cassette was recorded."""
        recorded, _ = await self.convert_request(request, url)
        try:
            response = self._player.respond(recorded)
        except LookupError as error:
            message = f"{self._file}: {error.args[0]}\nIf this is intended, record again."
            self._unmatched.append(message)
            return _problem(400, "Not in the recording", message)
        return self.build(response)


def _method(request: web.Request) -> str:
    # Before version 3.14, aiohttp doesn't know the method QUERY.
    return "QUERY" if request.method == "<unknown>" else request.method


async def _read_lines(real: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield whole lines as they come, several at once if they are there."""
    rest = b""
    async for piece in real.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield b"\n".join(lines) + b"\n"
    if rest:
        yield rest


def _problem(status: int, title: str, detail: str) -> web.Response:
    document: dict[str, Any] = {"title": title, "detail": detail, "status": status}
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/problem+json")
