"""A stand-in for the API that passes everything on and records it, or answers from what it has recorded."""

from __future__ import annotations

import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import yarl
from aiohttp import web

from ._clock import VirtualClock
from ._recording import Answer, Body, Exchange, Player, Request, Scrubber, Tape, map_values, read_answer, read_request
from ._server import ServerThread

if TYPE_CHECKING:
    from typing_extensions import Self

_BODY_LIMIT = 200 * 2**20
_OURS = {  # headers between this stand-in and its client
    *("accept-encoding", "authorization", "connection", "content-length", "cookie", "host", "proxy-authorization"),
    "transfer-encoding",
}
_FOLLOWED = {"urls", "output", "input", "next", "previous"}  # where in an answer there are URLs that clients follow
_URL = re.compile(r"https?://[^\s/]\S*")
_EVENT_URL = re.compile(rb"(?m)^data: ?(https?://[^\s/]\S*)\r?$")

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RecordingError(Exception):
    """Something was asked for that the recording doesn't have."""


class Recording:
    """What the API answered once, to be had again without a network; in a ``with`` statement, in async code as well.

    Clients take ``base_url`` and ``token``. The token of the account stays here: clients have another, which is of no
    use elsewhere, and the file has neither it nor signatures of URLs, webhook secrets, or the keys to event streams.

    Equal requests get their answers in the order of the recording. At its end, what only looks, cancels or uploads is
    answered as it was the last time. Replaying, the pauses of clients cost no time, as with a ``VirtualClock``.

    Args:
        path: The file, in JSON.
        record: Whether to make it anew: it is written when the ``with`` statement ends, unless by an exception.
        base_url: What to record; by default ``REPLICATE_BASE_URL``, or Replicate itself.
        token: The account's token, by default ``REPLICATE_API_TOKEN``.

    Raises:
        ValueError: There is no token to record with, or the file isn't a recording.
        OSError: The file can't be read.
        RecordingError: Leaving: something was asked for that isn't in the recording. ``unmatched`` has all of it.
    """

    def __init__(
        self, path: Path | str, *, record: bool = False, base_url: str | None = None, token: str | None = None
    ) -> None:
        self.path: Path = Path(path)
        self.token = "recording-token"  # noqa: S105  (of no use elsewhere)
        self.unmatched: list[str] = []
        self._discarded = False
        if record:
            base_url = base_url or os.environ.get("REPLICATE_BASE_URL") or "https://api.replicate.com/v1"
            token = token or os.environ.get("REPLICATE_API_TOKEN", "").strip()
            if not token:
                raise ValueError("recording needs an account's token: set REPLICATE_API_TOKEN")
            self._tape = Tape(base_url.rstrip("/"), datetime.now(timezone.utc), [])
            self._server: _Server = _Recorder(self._tape, token)
        else:
            try:
                self._tape = msgspec.json.decode(self.path.read_bytes(), type=Tape)
            except msgspec.DecodeError as error:
                raise ValueError(f"{self.path} is not a recording: {error}") from None
            self._server = _Replayer(self._tape, self.path, self.unmatched)
        self._thread: ServerThread | None = None

    @property
    def base_url(self) -> str:
        """What clients take as their base URL."""
        return self._server.base_url

    def discard(self) -> None:
        """Neither write a file nor complain about what was unmatched in the end."""
        self._discarded = True

    def __enter__(self) -> Self:
        self._thread = ServerThread(self._server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        if kind is not None or self._discarded:
            return
        if self.unmatched:
            raise RecordingError("\n".join(self.unmatched))
        if isinstance(self._server, _Recorder):
            text = msgspec.json.format(msgspec.json.encode(self._server.finished()), indent=2)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(text + b"\n")


class _Server(ABC):
    """The two origins that stand in for the API's and for all others, and what URLs are there."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        parts = urlsplit(tape.base_url)
        self._real, self._path = f"{parts.scheme}://{parts.netloc}", parts.path
        self._api = self._others = ""
        self._given: set[str] = set()  # URLs of other origins that clients know by ours
        self._runners: list[web.AppRunner] = []

    @property
    def base_url(self) -> str:
        if not self._api:
            raise RuntimeError("the recording is not in use: use it in a with statement")
        return self._api + self._path

    @abstractmethod
    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Answer a request for a real URL."""

    async def __aenter__(self) -> Self:
        handlers: tuple[_Respond, ...] = (self._respond_as_api, self._respond_as_another)
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in handlers]
        self._api, self._others = (f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners)
        for handler, listener in zip(handlers, listeners, strict=True):
            application = web.Application(client_max_size=_BODY_LIMIT)
            application.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.01)
            self._runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._api = self._others = ""
        for runner in self._runners:
            await runner.cleanup()

    async def _respond_as_api(self, request: web.Request) -> web.StreamResponse:
        return await self.respond(request, self._real + request.raw_path)

    async def _respond_as_another(self, request: web.Request) -> web.StreamResponse:
        url = self.real(self._others + request.raw_path)
        if url.startswith(self._others):
            return _problem(404, "Not found", f"{request.path} is no URL of another host")
        return await self.respond(request, url)

    def real(self, text: str) -> str:
        """Return a text with our URLs replaced by the real ones."""
        for scheme in ("https", "http"):
            text = text.replace(f"{self._others}/{scheme}/", f"{scheme}://")
        return text.replace(self._api, self._real)

    def ours(self, url: str) -> str:
        """Return a real URL as a client here finds it."""
        if url == self._real or url.startswith((f"{self._real}/", f"{self._real}?")):
            return self._api + url[len(self._real) :]
        self._given.add(url)
        scheme, _, rest = url.partition("://")
        return f"{self._others}/{scheme}/{rest}"

    def headers(self, answer: Answer) -> dict[str, str]:
        """Return an answer's headers for a client here."""
        where = answer.headers.get("Location", "")
        return {**answer.headers, "Location": self.ours(where)} if _URL.fullmatch(where) else answer.headers

    def body(self, answer: Answer) -> bytes:
        """Return an answer's body for a client here."""
        body = answer.body or Body(lines=[])
        if body.json is not msgspec.UNSET:
            return Body(json=map_values(body.json, self._followed)).to_bytes()
        content = body.to_bytes()
        return self.events(content) if answer.headers.get("Content-Type", "").startswith("text/event-st") else content

    def events(self, content: bytes) -> bytes:
        """Return lines of an event stream for a client here."""
        return _EVENT_URL.sub(lambda match: b"data: " + self.ours(match[1].decode()).encode(), content)

    def _followed(self, value: Any, where: tuple[str, ...]) -> Any:
        return self._followed_text(value, where) if isinstance(value, str) else value

    def _followed_text(self, text: str, where: tuple[str, ...]) -> str:
        if not _FOLLOWED.intersection(where) or where[-1] == "web" or not _URL.fullmatch(text):
            return text
        # Of inputs, only what comes from here: the others are the client's own.
        return self.ours(text) if "input" not in where or text in self._given or text.startswith(self._real) else text


class _Recorder(_Server):
    """Passes everything on, and records it."""

    def __init__(self, tape: Tape, token: str) -> None:
        super().__init__(tape)
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._under_way: list[tuple[Request, list[Answer]]] = []  # in the order of the requests

    def finished(self) -> Tape:
        """Return the tape, without secrets."""
        scrubber = Scrubber(self._token)
        self.tape.exchanges = [Exchange(request, answers[0]) for request, answers in self._under_way if answers]
        scrubber.learn(self.tape)
        return scrubber.scrub(self.tape)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), trust_env=True, timeout=aiohttp.ClientTimeout(total=None)
        )
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, where)
        if self._session is not None:
            await self._session.close()

    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Have the real server answer."""
        content = await _content(request)
        if not request.content_type.startswith("multipart/"):
            content = self.real(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        answers: list[Answer] = []
        self._under_way.append((read_request(_method(request), url, request.headers, content), answers))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        headers["Accept-Encoding"] = "identity"
        if url.startswith(f"{self._real}/"):
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
                    return await self._stream(request, real, answers)
                answer = read_answer(real.status, real.headers, await real.read())
        except (aiohttp.ClientError, OSError) as error:
            return _problem(502, "The recorder got no answer", f"{url}: {error or type(error).__name__}")
        answers.append(answer)
        return web.Response(status=answer.status, headers=self.headers(answer), body=self.body(answer) or None)

    async def _stream(
        self, request: web.Request, real: aiohttp.ClientResponse, answers: list[Answer]
    ) -> web.StreamResponse:
        """Pass events on as they come."""
        came: list[bytes] = []
        response = web.StreamResponse(status=real.status, headers=self.headers(read_answer(200, real.headers, b"")))
        await response.prepare(request)
        try:
            async for line in _lines(real):
                came.append(line)
                await response.write(self.events(line))
        finally:  # also when the client leaves
            answers.append(read_answer(real.status, real.headers, b"".join(came)))
        return response


class _Replayer(_Server):
    """Answers from a tape, in no time."""

    def __init__(self, tape: Tape, path: Path, unmatched: list[str]) -> None:
        super().__init__(tape)
        self._path_of_tape = path
        self._player = Player(tape)
        self._unmatched = unmatched
        self._clock = VirtualClock(tape.recorded_at)

    async def __aenter__(self) -> Self:
        self._clock.attach()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, where)
        self._clock.detach()

    async def respond(self, request: web.Request, url: str) -> web.StreamResponse:
        """Answer as it was answered when the tape was made."""
        content = await _content(request)
        if not request.content_type.startswith("multipart/"):
            content = self.real(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        try:
            answer = self._player.answer(read_request(_method(request), url, request.headers, content))
        except LookupError as error:
            text = f"{self._path_of_tape}: {error.args[0]}\nIf that is as it should be, make the recording anew."
            self._unmatched.append(text)
            return _problem(400, "Not in the recording", text)
        return web.Response(status=answer.status, headers=self.headers(answer), body=self.body(answer) or None)


async def _content(request: web.Request) -> bytes:
    return await request.read() if request.body_exists else b""


def _method(request: web.Request) -> str:
    return "QUERY" if request.method == "<unknown>" else request.method  # what aiohttp before 3.14 calls it


async def _lines(real: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
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
