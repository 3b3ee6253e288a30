"""For FastAPI applications: one client for each application, hang-ups, server-sent events, errors and webhooks.

The extra ``fastapi`` installs what this module needs.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

import anyio
import msgspec
from fastapi import Depends, FastAPI, HTTPException
from fastapi.encoders import ENCODERS_BY_TYPE
from fastapi.requests import HTTPConnection, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send  # noqa: TC002 - annotations evaluate at run time

from replicate_async import errors, types
from replicate_async._client import AsyncReplicate
from replicate_async._http import clock
from replicate_async._logging import logger
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._webhooks import verify_webhook
from replicate_async.types import Prediction, Training, WebhookSecret

__all__ = [
    "ReplicateDep",
    "VerifiedWebhook",
    "cancel_on_disconnect",
    "exception_handlers",
    "get_replicate",
    "lifespan",
    "sse",
    "verified_webhook",
]

T = TypeVar("T")

# The status that servers log for a client that has hung up. It is never received.
_CLIENT_CLOSED_REQUEST = 499
# Proxies close connections that are silent for a minute or less.
_KEEP_ALIVE_SECONDS = 15.0
# A line of an event stream ends with any of these. https://html.spec.whatwg.org/multipage/server-sent-events.html
_LINE_END = re.compile(r"\r\n|\r|\n")

# Handlers may return objects of the API without declaring a type.
for _name in types.__all__:
    _kind = getattr(types, _name)
    if isinstance(_kind, type) and issubclass(_kind, types.Struct):
        ENCODERS_BY_TYPE.setdefault(_kind, _kind.to_dict)


# --- the client ---


def lifespan(
    create_client: Callable[[], AsyncReplicate] = AsyncReplicate,
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """Return a lifespan that opens a client when the application starts, and closes it when the application ends.

    An application can start any number of times in a process, as in tests: it gets a new client each time. In a
    lifespan of your own, write ``async with lifespan()(app) as state:`` and yield ``state``.

    Args:
        create_client: Function that creates the client. If omitted, the client has no arguments.

    Returns:
        The argument ``lifespan`` of ``FastAPI``.
    """

    @asynccontextmanager
    async def open_client(app: FastAPI) -> AsyncGenerator[Mapping[str, Any], None]:
        async with create_client() as client:
            app.state.replicate = client
            # Applications that are mounted in this one see the state of their requests only.
            yield {"replicate": client}

    return open_client


def get_replicate(connection: HTTPConnection) -> AsyncReplicate:
    """Return the application's client: a dependency of handlers, see ``ReplicateDep``.

    Args:
        connection: The request or WebSocket.

    Returns:
        The client.

    Raises:
        RuntimeError: the application was not started with ``lifespan``.
    """
    for state in (connection.state, connection.app.state):
        client = getattr(state, "replicate", None)
        if isinstance(client, AsyncReplicate):
            return client
    raise RuntimeError(
        "the application has no client: create it with FastAPI(lifespan=replicate_async.fastapi.lifespan()), and "
        "start it, for example with `with TestClient(app) as client:`"
    )


ReplicateDep = Annotated[AsyncReplicate, Depends(get_replicate)]
"""The annotation of a handler's argument that receives the application's client."""


# --- hang-ups ---


async def cancel_on_disconnect(request: Request, awaitable: Awaitable[T]) -> T:
    """Await something, and cancel it when the client of the request hangs up.

    The server does not cancel a handler whose client hangs up: without this, its prediction runs on, and is billed.

    Args:
        request: The request.
        awaitable: What to await, such as ``client.run(...)``, which cancels its prediction when it is canceled.

    Returns:
        The result of the awaitable.

    Raises:
        HTTPException: the client has hung up. The status is 499.
        Exception: the error of the awaitable.
    """
    results: list[T] = []
    problem: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_after_disconnect, request, group.cancel_scope)
        # The task group would raise a group of errors.
        try:
            results.append(await awaitable)
        except Exception as error:  # noqa: BLE001 - raised below
            problem = error
        group.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if not results:
        raise HTTPException(_CLIENT_CLOSED_REQUEST, "the client has closed the connection")
    return results[0]


async def _cancel_after_disconnect(request: Request, scope: anyio.CancelScope) -> None:
    with suppress(ClientDisconnect):
        # The body precedes the hang-up. It is kept for the handler, unless that has read it as a stream or a form.
        with suppress(RuntimeError):
            await request.body()
        while (await request.receive())["type"] != "http.disconnect":
            pass
    scope.cancel()


# --- server-sent events ---


def sse(events: AsyncIterable[Any]) -> Response:
    """Return a response that sends the events of ``stream`` as server-sent events, for a browser's ``EventSource``.

    Each event keeps its name (``output``, ``logs`` or ``done``) and its id. Comments keep the connection open while
    the model is silent. When the client hangs up, the events are closed, which cancels the prediction. An error before
    the first event is raised, so that the response has its status. A later one is sent as an event ``error``, whose
    data is JSON with a ``detail``.

    An ``EventSource`` reconnects when its connection ends, also after ``done`` unless the page closes it. The response
    to that is 204, which ends it: the model would run again.

    Args:
        events: What ``client.stream(...)`` and ``client.predictions.stream(...)`` return, or the output of a function
            with ``streaming=True``, whose pieces become events ``output``.

    Returns:
        The response.

    Raises:
        TypeError: the events are not asynchronous.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    if not isinstance(events, AsyncIterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"events must be asynchronous, such as those of AsyncReplicate, not {type(events).__name__}")
    return _EventStreamResponse(events)


class _EventStreamResponse(StreamingResponse):
    """Sends events, and closes them in the end."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterable[Any]) -> None:
        # Nginx would buffer the events.
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events: AsyncIterator[Any] = aiter(events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        request = Request(scope, receive)
        stream = _EventStream(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            if "last-event-id" in request.headers:
                await Response(status_code=204)(scope, receive, send)
            else:
                await cancel_on_disconnect(request, stream.send_all(self._events))
        except (HTTPException, ClientDisconnect) as error:
            if getattr(error, "status_code", _CLIENT_CLOSED_REQUEST) != _CLIENT_CLOSED_REQUEST:
                raise
        finally:
            close = getattr(self._events, "aclose", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await close()
        if self.background is not None:
            await self.background()


class _EventStream:
    """An event stream while it is sent."""

    def __init__(self, send: Send, start: dict[str, Any]) -> None:
        self._send = send
        self._start: dict[str, Any] | None = start
        self._lock = anyio.Lock()
        self._last_sent = clock.current.monotonic()

    async def send_all(self, events: AsyncIterator[Any]) -> None:
        """Send all events, with comments in between."""
        problem: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_alive)
            try:
                await self._send_events(events)
            except Exception as error:  # noqa: BLE001 - raised below
                problem = error
            group.cancel_scope.cancel()
        if problem is not None:
            raise problem
        await self._write("", more=False)

    async def _send_events(self, events: AsyncIterator[Any]) -> None:
        # An event without an id has that of the one before it. If there is any, a browser says that it reconnects.
        last_id = "0"
        try:
            async for piece in events:
                event = piece if isinstance(piece, StreamEvent) else StreamEvent("output", str(piece))
                last_id = event.id or last_id
                await self._write(_encode(event.event, event.data, last_id))
        except errors.ReplicateError as error:
            if self._start is not None:
                raise
            await self._write(_encode("error", msgspec.json.encode(_problem_of(error)).decode(), last_id))

    async def _keep_alive(self) -> None:
        with suppress(ClientDisconnect):
            while True:
                due = self._last_sent + _KEEP_ALIVE_SECONDS
                await clock.current.sleep(due - clock.current.monotonic())
                if clock.current.monotonic() >= self._last_sent + _KEEP_ALIVE_SECONDS:
                    await self._write(": waiting\n\n")

    async def _write(self, text: str, *, more: bool = True) -> None:
        self._last_sent = clock.current.monotonic()
        async with self._lock:
            start, self._start = self._start, None
            try:
                if start is not None:
                    await self._send(start)
                await self._send({"type": "http.response.body", "body": text.encode(), "more_body": more})
            except OSError:
                # Servers of ASGI 2.4 raise it after a hang-up.
                raise ClientDisconnect from None


def _encode(name: str, data: str, event_id: str) -> str:
    lines = [f"event: {name}", f"id: {event_id}", *(f"data: {line}" for line in _LINE_END.split(data))]
    return "\n".join(lines) + "\n\n"


# --- errors ---

# The status of the response to each kind of error, the first that fits; and the text that the client of the
# application sees, where the error's own concerns the operator only.
_RESPONSES: tuple[tuple[type[errors.ReplicateError], int, str | None], ...] = (
    (errors.WebhookVerificationError, 400, None),
    (errors.ModelError, 502, None),
    (errors.NotFoundError, 404, None),
    (errors.ConflictError, 409, None),
    (errors.UnprocessableEntityError, 422, None),
    (errors.BadRequestError, 422, None),
    (errors.AuthenticationError, 500, "the application may not use Replicate"),
    (errors.PaymentRequiredError, 500, "the application may not use Replicate"),
    (errors.PermissionDeniedError, 500, "the application may not use Replicate"),
    (errors.RateLimitError, 503, "Replicate is busy"),
    (errors.APITimeoutError, 504, "Replicate did not respond in time"),
    (errors.APIError, 502, "Replicate failed"),
    (errors.ReplicateError, 502, None),
)
# The codes of failures that the input is the reason for: flagged content, and values that the model refuses.
_INPUT_FAILURES = re.compile(r"\((?:E005|E006)\)")


def _respond(error: errors.ReplicateError) -> tuple[int, str]:
    """Return the status and the text for an error."""
    status, text = next((status, text) for kind, status, text in _RESPONSES if isinstance(error, kind))
    if isinstance(error, errors.ModelError) and _INPUT_FAILURES.search(str(error.prediction.error)):
        status = 422
    return status, error.message if text is None else text


def _problem_of(error: errors.ReplicateError) -> dict[str, Any]:
    status, detail = _respond(error)
    if status >= 500:
        logger.error("a request to the application fails with %s: %s", status, error)
    return {"status": status, "detail": detail}


async def _handle(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ReplicateError)  # noqa: S101 - it is the handler of these only
    problem = _problem_of(error)
    headers: dict[str, str] = {}
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        headers["Retry-After"] = str(max(1, round(retry_after)))
    return JSONResponse({"detail": problem["detail"]}, problem["status"], headers)


exception_handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    errors.ReplicateError: _handle
}
"""The argument ``exception_handlers`` of ``FastAPI``: errors of this package become responses with a status.

404, 409 and 422 stay what they are. A failed model is a 502, or a 422 if its input was refused; a timeout is a 504;
a rate limit a 503 with ``Retry-After``; and a token that is refused, or an account without credit, a 500. The texts
of the last four do not show the reason, which is logged.
"""


# --- webhooks ---


class _Secrets:
    """The secret that signs the webhooks of a client's account."""

    secret: WebhookSecret | None = None


def verified_webhook(
    secret: WebhookSecret | str | None = None,
) -> Callable[..., Awaitable[Prediction | Training]]:
    """Return a dependency that verifies a webhook, and gives its prediction or training to the handler.

    A request that Replicate has not sent gets a 400. If the secret can't be fetched, the dependency raises the
    ``APIError``. Webhooks may arrive more than once and out of order.

    Args:
        secret: Secret that signs the webhooks. If omitted, it is fetched once with the application's client.

    Returns:
        The argument of ``Depends``; see ``VerifiedWebhook``.

    Source: https://replicate.com/docs/topics/webhooks/verify-webhook
    """

    async def read_webhook(request: Request) -> Prediction | Training:
        key = secret
        if key is None:
            client = get_replicate(request)
            cache = client._transport.pool.state(_Secrets)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            key = cache.secret = cache.secret or await client.webhooks.default.secret.get()
        try:
            return verify_webhook(await request.body(), request.headers, key)
        except errors.WebhookVerificationError as error:
            raise HTTPException(400, str(error)) from error

    return read_webhook


VerifiedWebhook = Annotated[Prediction | Training, Depends(verified_webhook())]
"""The annotation of a handler's argument that receives the prediction or training of a verified webhook."""
