"""The local server: its models, its journal, and the three ways to run it."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiohttp import web

from replicate_async.types import Model, Prediction

from . import _printing, _targets
from ._calls import Call
from ._clock import Clock
from ._faults import Faults
from ._files import OutputFile
from ._functions import ModelFunction, to_output
from ._http import Application
from ._limits import Limits, RateLimiter
from ._process import ServerProcess
from ._store import Store
from ._webhooks import Webhooks

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])

_FIRST_LINE = re.compile(r"\s*([^\n]*)")


class LocalServer:
    """Replicate's HTTP API on this machine, with Python functions as models.

    Run it in the loop you are in (``async with LocalServer() as server``) or in a thread of its own
    (``with LocalServer() as server``); ``LocalServer.process(...)`` runs one in its own process.

    Args:
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        delivery_port: The port of the other origin, for event streams and output files; 0 takes a free one.
        token: The only token that the server accepts.
        username: The owner of the account that the token belongs to.
        page_size: How many things a page of a list has.
        hold: The longest time in seconds that a request with ``Prefer: wait`` is held.
        files: What models' output files become: URLs on the other origin that are good for an hour, or data URIs.
        resume_streams: Whether event streams heed ``Last-Event-ID``; if not, they start over.
        limits: The rate limits, as ``Limits`` or a dict of its fields; by default there are none.
        faults: What goes wrong from the start: a TOML file, or what one reads as. See ``Faults.load``.
        clock: What all waiting, expiry and timestamps go by.

    Attributes:
        requests: All requests, oldest first.
        webhooks: All attempts to deliver a webhook, oldest first; ``path`` is the URL, ``status`` 0 if nobody answered.
        faults: What goes wrong; empty unless something is added.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delivery_port: int = 0,
        token: str = "local-token",  # noqa: S107  (of no use elsewhere)
        username: str = "local",
        page_size: int = 100,
        hold: float = 60.0,
        files: Literal["url", "data"] = "url",
        resume_streams: bool = True,
        limits: Limits | Mapping[str, Any] | None = None,
        faults: Mapping[str, Any] | Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.token = token
        self.requests: list[Call] = []
        self.faults: Faults = Faults()
        if faults is not None:
            self.faults.load(faults)
        clock = clock or Clock()
        webhooks = Webhooks(clock, self.faults)
        self.webhooks: list[Call] = webhooks.journal
        self._host, self._ports = host, (port, delivery_port)
        self._store = Store(
            username=username,
            page_size=page_size,
            hold=hold,
            files=files,
            resume_streams=resume_streams,
            limits=Limits.of(limits),
            webhooks=webhooks,
            clock=clock,
        )
        self._application: Application | None = None
        self._runners: list[web.AppRunner] = []
        self._listeners: list[socket.socket] = []
        self._thread: ServerThread | None = None

    @property
    def url(self) -> str:
        """The server's origin, such as ``http://127.0.0.1:40404``; in a browser, a page to run and watch models."""
        if not self._store.url:
            raise RuntimeError("the server has not been started: use it in a with or async with statement")
        return self._store.url

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        return f"{self.url}/v1"

    @property
    def delivery_url(self) -> str:
        """The origin that event streams and output files come from; it asks for no token, and none should come here."""
        return self.url and self._store.delivery_url

    @property
    def clock(self) -> Clock:
        """What the server goes by: models that sleep on it, with ``await server.clock.sleep(1)``, go by it as well."""
        return self._store.clock

    @property
    def limits(self) -> Limits | None:
        """The rate limits. Setting them, to a dict as well, starts the count anew."""
        return self._store.limiter.limits

    @limits.setter
    def limits(self, limits: Limits | Mapping[str, Any] | None) -> None:
        self._store.limiter = RateLimiter(Limits.of(limits), self._store.clock)

    @property
    def predictions(self) -> Mapping[str, Prediction]:
        """All predictions by id, oldest first: what exists here would have been billed. They change as they run."""
        return self._store.predictions.view()

    @property
    def models(self) -> Mapping[str, Model]:
        """All models by name, in the order in which they came."""
        return {name: model.record for name, model in self._store.models.view().items()}

    @staticmethod
    def process(target: str = _targets.DEFAULT, **options: Any) -> ServerProcess:
        """Return a server to run in its own process, as a context manager with ``url``, ``base_url`` and ``token``.

        Args:
            target: A function as ``module:function``; the process calls it with the server, to register models.
            options: Arguments of ``LocalServer``.
        """
        return ServerProcess(target, **options)

    def sign_download(self, file_id: str, expires_in: float = 3600.0) -> dict[str, str]:
        """Return what ``files.download`` asks for in the query: owner, expiry and signature.

        The API gives these out in URLs only; here they can be had for any uploaded file.

        Args:
            file_id: The file's id.
            expires_in: For how many seconds the signature is valid.
        """
        expiry = int(self._store.clock.now().timestamp() + expires_in)
        signature = self._store.sign_download(file_id, expiry)
        return {"owner": self._store.account.username, "expiry": str(expiry), "signature": signature}

    def model(
        self,
        name: str,
        *,
        version: str | None = None,
        official: bool = False,
        description: str | None = None,
        visibility: Literal["public", "private"] | None = None,
        train: Callable[..., Any] | None = None,
        inline: bool = False,
        startup: float = 0.0,
        output_delay: float = 0.0,
        readme: str = "",
        examples: Sequence[tuple[Mapping[str, Any], Any]] = (),
    ) -> Callable[[F], F]:
        """Register a function as a model, as a decorator; before the server is started or while it runs.

        The signature says what the model takes and returns; ``Literal`` gives choices, ``Annotated`` with
        ``msgspec.Meta`` gives bounds and descriptions, ``pathlib.Path`` stands for files. Functions may be plain or
        async, and generators of either kind stream their output. What a function prints becomes logs, what it
        raises fails the prediction.

        Args:
            name: The model as ``owner/name``. A name that exists gets a further version.
            version: The version's id, 64 hexadecimal digits; without it, one that depends on the name only.
            official: Whether the model runs by name only, with its version hidden.
            description: What the model is about; by default the first line of the function's docstring.
            visibility: Who may see the model; public, unless it exists and is private.
            train: What a training of this version runs, with the training's input as arguments; it may return the
                weights as a file. Without it a training succeeds at once, whatever its input.
            inline: Call a plain function on the server's own loop: faster by the hand-over to a thread, but what
                the function waits for, the whole server waits for.
            startup: Seconds that a prediction stays in ``starting``.
            output_delay: Seconds that pass before the output, or before each item of a streamed one.
            readme: The model's README, in Markdown.
            examples: Pairs of input and output; the first is the default example.

        Raises:
            TypeError: The function can't be a model; the message says why.
            ValueError: The name or the version is malformed.
        """

        def register(function: F) -> F:
            hosted_function = ModelFunction(function, inline=inline)
            text = description
            if text is None and (match := _FIRST_LINE.match(function.__doc__ or "")):
                text = match[1] or None
            model = self._store.models.get(name) or self._store.add_model(name)
            model.record.description = text or model.record.description
            model.record.visibility = visibility or model.record.visibility or "public"
            model.record.is_official = official or model.record.is_official
            model.readme = readme or model.readme
            added = self._store.add_version(model, hosted_function, version)
            added.startup, added.output_delay = startup, output_delay
            added.train = ModelFunction(train) if train else None
            for inputs, output in examples:
                self._store.add_example(model, added, dict(inputs), to_output(output, OutputFile.data_uri))
            return function

        return register

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stop()

    def __enter__(self) -> Self:
        self._thread = ServerThread(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    async def _start(self) -> None:
        if self._runners:
            raise RuntimeError("the server runs already")
        # With listening sockets made here, the ports are known before the first request can come.
        host, family = self._host, socket.AF_INET
        if ":" in host:
            host, family = f"[{host}]", socket.AF_INET6
        with ExitStack() as undo:
            self._store.clock.attach()
            undo.callback(self._store.clock.detach)
            listeners = [
                undo.enter_context(socket.create_server((self._host, port), family=family, backlog=4096))
                for port in self._ports
            ]
            undo.pop_all()
        _printing.attach()
        self._listeners = listeners
        self._store.listen(*(f"http://{host}:{listener.getsockname()[1]}" for listener in listeners))
        self._application = application = Application(self._store, self.token, self.requests, self.faults)
        for web_application, listener in zip((application.api, application.delivery), listeners, strict=True):
            runner = web.AppRunner(
                web_application,
                access_log=None,
                handle_signals=False,
                # Who leaves an event stream is noticed at once. A create goes on, as it would at Replicate.
                handler_cancellation=web_application is application.delivery,
                shutdown_timeout=0.01,
                keepalive_timeout=3600,
            )
            self._runners.append(runner)
            await runner.setup()
            await web.SockSite(runner, listener, backlog=4096).start()

    async def _stop(self) -> None:
        runners, self._runners = self._runners, []
        if not runners or self._application is None:
            return
        # Who has just come in is let become a connection, to be aborted below: until Python 3.12 the loop forgets those
        # that it accepts while it closes, and they wait for ever.
        for listener in self._listeners:
            with suppress(NotImplementedError):  # Windows' loop has no readers, and doesn't forget any
                asyncio.get_running_loop().remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        await self._store.stop()
        await self._application.stop()
        # Requests that are still held, or answers that nobody reads, must not hold up the end.
        for runner in runners:
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()
        await asyncio.sleep(0)  # the transports take a turn of the loop to close
        _printing.detach()
        self._store.listen("", "")
        self._store.clock.detach()


class ServerThread:
    """A server's own thread, with a loop of its own."""

    def __init__(self, server: AbstractAsyncContextManager[Any]) -> None:
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._error: BaseException | None = None
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="replicate_async LocalServer", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        try:
            await self._server.__aenter__()
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        except BaseException as error:  # noqa: BLE001  (raised by whoever starts the thread)
            self._error = error
            return
        finally:
            ready.set()
        await self._stopping.wait()
        await self._server.__aexit__(None, None, None)
