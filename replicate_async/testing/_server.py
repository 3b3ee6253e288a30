"""The local server: its models, its journal, and three ways to run it."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from aiohttp import web

from replicate_async._typing import Self
from replicate_async.types import Model, Prediction

from . import _openapi
from ._application import Application
from ._calls import Call
from ._capture import attach_capture, detach_capture
from ._fault_injection import Faults
from ._files import OutputFile
from ._functions import ModelFunction, to_output
from ._limits import Limits, Preset, RateLimiter
from ._process import DEFAULT_TARGET, ServerProcess
from ._real_clock import Clock
from ._routes import DELIVERY, OPERATIONS
from ._site import Site
from ._store import Store
from ._threads import ServerThread
from ._webhooks import Webhooks

F = TypeVar("F", bound=Callable[..., Any])

_FIRST_LINE = re.compile(r"\s*([^\n]*)")


class LocalServer:
    """Replicate's HTTP API on this machine, with Python functions as models.

    ``async with LocalServer() as server`` runs the server in the current event loop, ``with LocalServer() as server``
    in a thread of its own, and ``with LocalServer.process(...) as server`` in a process of its own.

    Args:
        host: The address to listen on.
        port: The port to listen on; 0 uses a free one.
        delivery_port: The port of the delivery origin, for event streams and output files; 0 uses a free one.
        token: The only token that the server accepts.
        username: The name of the authenticated account.
        page_size: The number of entries on a page of a list. If omitted, that of the API: 25 models, and 100 of all
            other things.
        api_url: The origin of the API in responses, in ``next`` of lists and in ``urls``, as a gateway passes them on.
            If omitted, the server's own.
        hold: The maximum seconds that a request with ``Prefer: wait`` is held.
        tidy: Whether the server is kinder than the API, for tests that need it: every model runs by its name, official
            models show their version, and responses to held requests are those of predictions that have ended.
        files: What output files of models become: ``"url"`` for URLs of the delivery origin that expire after an
            hour, ``"data"`` for data URIs.
        resume_streams: Whether event streams respect ``Last-Event-ID``; if not, they start from the beginning.
        limits: The rate limits: ``"default"`` for those of the API, ``"low_credit"`` for those of an account with less
            than 5 dollars, ``"no_credit"`` for an account that gets a 402, or ``Limits``, or a dict of its fields. If
            omitted, there are none.
        latency: The seconds that every request takes in addition. The real API takes 0.1 to 0.3 seconds.
        faults: The initial faults: a TOML file, or a dict with the same content. See ``Faults.load``.
        clock: The clock for all waiting, expiry and timestamps. If omitted, real time.

    Raises:
        ValueError: ``latency``, ``limits`` or a fault is invalid.
        OSError: The file of faults can't be read or, when the server starts, a port is in use.
        RuntimeError: When the server starts: it is already running, or its clock can't be used; see ``VirtualClock``.

    Attributes:
        requests: All requests, oldest first.
        webhooks: All attempts to deliver a webhook, oldest first. ``path`` is the URL, ``status`` is 0 if there was
            no response.
        faults: The faults; empty unless faults are added.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        delivery_port: int = 0,
        token: str = "local-token",  # noqa: S107  (of no use elsewhere)
        username: str = "local",
        page_size: int | None = None,
        api_url: str | None = None,
        hold: float = 60.0,
        tidy: bool = False,
        files: Literal["url", "data"] = "url",
        resume_streams: bool = True,
        limits: Limits | Mapping[str, Any] | Preset | None = None,
        latency: float = 0.0,
        faults: Mapping[str, Any] | Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= latency < math.inf:
            raise ValueError(f"latency: expected 0 seconds or more, got {latency}")
        self.token = token
        self._latency = latency
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
            api_url=api_url and api_url.rstrip("/"),
            tidy=tidy,
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
        """The server's origin, such as ``http://127.0.0.1:40404``. It also serves a page to run and watch models.

        Raises ``RuntimeError`` while the server does not run.
        """
        if not self._store.url:
            raise RuntimeError("the server has not been started: use it in a with or async with statement")
        return self._store.url

    @property
    def base_url(self) -> str:
        """The base URL for clients."""
        return f"{self.url}/v1"

    @property
    def delivery_url(self) -> str:
        """The origin of event streams and output files. It requires no token, and clients should send none."""
        return self.url and self._store.delivery_url

    @property
    def clock(self) -> Clock:
        """The server's clock. Models can sleep on it, with ``await server.clock.sleep(1)``."""
        return self._store.clock

    @property
    def limits(self) -> Limits | None:
        """The rate limits. Assigning limits, a dict of their fields, or the name of a preset, resets the count.

        Raises:
            ValueError: The assigned limits are invalid.
        """
        return self._store.limiter.limits

    @limits.setter
    def limits(self, limits: Limits | Mapping[str, Any] | Preset | None) -> None:
        self._store.limiter = RateLimiter(Limits.of(limits), self._store.clock)

    @property
    def predictions(self) -> Mapping[str, Prediction]:
        """All predictions by id, oldest first. The real API would have billed them. They change while they run."""
        return self._store.predictions.view()

    @property
    def models(self) -> Mapping[str, Model]:
        """All models by name, oldest first."""
        return {name: model.record for name, model in self._store.models.view().items()}

    @staticmethod
    def process(target: str = DEFAULT_TARGET, **options: Any) -> ServerProcess:
        """Return a server to run in its own process: a context manager with ``url``, ``base_url`` and ``token``.

        Args:
            target: A function as ``module:function``. The process calls it with the server, to register models.
            options: Arguments of ``LocalServer`` that have a JSON form.

        Returns:
            The server, which starts with the ``with`` statement.

        Raises:
            TypeError: An option has no JSON form.
        """
        return ServerProcess(target, **options)

    def sign_download(self, file_id: str, expires_in: float = 3600.0) -> dict[str, str]:
        """Return the query parameters of ``files.download``: owner, expiry and signature.

        The real API returns them as part of URLs only.

        Args:
            file_id: The id of the uploaded file.
            expires_in: The seconds until the signature expires.

        Returns:
            The parameters, as text by name.
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
        setup: Callable[[], Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        inline: bool = False,
        startup: float = 0.0,
        output_delay: float = 0.0,
        list_lag: float = 0.0,
        read_lag: float = 0.0,
        readme: str = "",
        examples: Sequence[tuple[Mapping[str, Any], Any]] = (),
    ) -> Callable[[F], F]:
        """Return a decorator that registers a function as a model, before the server starts or while it runs.

        The function's signature defines the model's input and output: ``Literal`` defines choices, ``Annotated`` with
        ``msgspec.Meta`` bounds and descriptions, ``pathlib.Path`` files. Functions may be plain or async; generators
        of either kind stream their output. What a function prints becomes the logs; an error that it raises fails the
        prediction. ``record_metrics`` adds metrics.

        Args:
            name: The model as ``owner/name``. If the model exists, it gets a new version.
            version: The version's id, 64 hexadecimal digits. If omitted, the id depends on the name only.
            official: Whether the model is official: it runs by its name, and has no versions that clients can see,
                except for ``latest_version`` if ``version`` is set. Other models run by version only.
            description: The model's description. If omitted, the first line of the function's docstring.
            visibility: The model's visibility. If omitted, that of an existing model, else public.
            train: The function that a training of this version runs, with the training's input as arguments. It may
                return the weights as a file. If omitted, trainings succeed at once, whatever their input.
            setup: A function without parameters that is called before a prediction starts. An error that it raises
                fails the prediction before its start: without ``started_at`` and logs.
            schema: The OpenAPI document of the version, such as that of a model at Replicate. Inputs are checked with
                it. If omitted, the function's signature defines it.
            inline: Call a plain function on the server's event loop instead of in a thread. This is faster, but the
                function blocks the whole server.
            startup: The seconds that a prediction has the status ``starting``.
            output_delay: The seconds before the output, or before each item of a streamed output.
            list_lag: The seconds after the end of a prediction in which lists still say ``processing``.
            read_lag: The seconds after its creation in which the API doesn't know a prediction yet: it is not in
                lists, and getting it gives 404.
            readme: The model's README, in Markdown.
            examples: Pairs of input and output; the first is the default example.

        Returns:
            The decorator, which returns the function as it is.

        Raises:
            TypeError: The function can't be a model; the message says why.
            ValueError: The name or the version is malformed.
        """

        def register(function: F) -> F:
            hosted_function = ModelFunction(function, inline=inline, schema=schema)
            text = description
            if text is None and (match := _FIRST_LINE.match(function.__doc__ or "")):
                text = match[1] or None
            model = self._store.models.get(name) or self._store.add_model(name)
            model.record.description = text or model.record.description
            model.record.visibility = visibility or model.record.visibility or "public"
            model.record.is_official = official or model.record.is_official
            model.readme = readme or model.readme
            model.shows_version = model.shows_version or version is not None
            hosted_version = self._store.add_version(model, hosted_function, version)
            hosted_version.startup, hosted_version.output_delay = startup, output_delay
            hosted_version.list_lag, hosted_version.read_lag = list_lag, read_lag
            hosted_version.setup = ModelFunction(setup) if setup else None
            hosted_version.train = ModelFunction(train) if train else None
            for inputs, output in examples:
                self._store.add_example(model, hosted_version, dict(inputs), to_output(output, OutputFile.data_uri))
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
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    async def _start(self) -> None:
        if self._runners:
            raise RuntimeError("the server is already running")
        # Creating the sockets first makes the ports known before the first request can arrive.
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
        attach_capture()
        self._listeners = listeners
        self._store.listen(*(f"http://{host}:{listener.getsockname()[1]}" for listener in listeners))
        self._application = application = Application(
            self._store,
            token=self.token,
            latency=self._latency,
            journal=self.requests,
            faults=self.faults,
            operations=OPERATIONS,
            delivery_operations=DELIVERY,
            site=Site(self._store, self.token, lambda: _openapi.document(OPERATIONS)),
        )
        for web_application, listener in zip((application.api, application.delivery), listeners, strict=True):
            runner = web.AppRunner(
                web_application,
                access_log=None,
                handle_signals=False,
                # A client that leaves an event stream is noticed at once. A create continues, like at Replicate.
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
        # Clients that connect now get a connection, which is aborted below. Until Python 3.12, a loop that closes a
        # server forgets sockets that it accepts meanwhile, and their clients wait forever.
        for listener in self._listeners:
            # The loop of Windows has no readers, and doesn't forget any sockets.
            with suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        await self._store.stop()
        await self._application.stop()
        # Held requests, and responses that no client reads, must not delay the end.
        for runner in runners:
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()
        # The transports need a turn of the loop to close.
        await asyncio.sleep(0)
        detach_capture()
        self._store.listen("", "")
        self._store.clock.detach()
