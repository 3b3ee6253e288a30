"""The aiohttp.web applications of a server: requests become calls, and responses are sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from aiohttp import web

from ._calls import Call, Problem, Response, not_found
from ._fault_injection import Faults, inject
from ._operations import Operation
from ._response_writer import ResponseWriter, is_simple
from ._site import Site, require_private_name
from ._store import Store

_log = logging.getLogger("replicate_async.testing")

_PREFIX = "/v1"
# A file of 100 MiB, and the rest of the form.
_MAX_BODY_BYTES = 101 * 2**20
# Before version 3.14, aiohttp doesn't know the method QUERY and uses this name for it.
_UNKNOWN_METHOD = "<unknown>"

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Application:
    """The two applications of one server: ``api``, and ``delivery`` for event streams and output files."""

    def __init__(
        self,
        store: Store,
        *,
        token: str,
        latency: float,
        journal: list[Call],
        faults: Faults,
        operations: Sequence[Operation],
        delivery_operations: Sequence[Operation],
        site: Site,
    ) -> None:
        self._store = store
        self._latency = latency
        self._journal = journal
        self._faults = faults
        self._writer = ResponseWriter(store.clock)
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._authorizations = {f"Bearer {token}", f"Token {token}"}
        # The URLs of these operations are credentials, so they require no token.
        self._without_token = {"files.download", *(operation.name for operation in delivery_operations)}
        self.api = web.Application(client_max_size=_MAX_BODY_BYTES)
        for operation in operations:
            self.api.router.add_route(operation.method, _PREFIX + operation.path, self._responder(operation))
        self.api.router.add_routes(site.routes())
        self.api.router.add_route("*", "/{path:.*}", self._refuse)
        self.delivery = web.Application()
        for operation in delivery_operations:
            self.delivery.router.add_route(operation.method, operation.path, self._responder(operation))
        self.delivery.router.add_route("*", "/{path:.*}", self._refuse_delivery)
        self._query_responders = {
            _PREFIX + operation.path: self._responder(operation)
            for operation in operations
            if operation.method == "QUERY"
        }

    def _responder(self, operation: Operation) -> _Respond:
        async def respond(request: web.Request) -> web.StreamResponse:
            call = self._record(request, operation.name)
            response = await self._respond(request, call, operation)
            # The client has disconnected.
            if request.transport is None:
                call.disconnected = True
            if is_simple(response):
                return self._writer.build(call, response)
            # The client of an event stream waits for the headers only, not for the end of the response.
            serving = nullcontext() if response.chunks is not None else self._store.clock.serving()
            with self._cancel_on_stop(), serving:
                return await self._writer.send(request, call, response)

        return respond

    async def _respond(self, request: web.Request, call: Call, operation: Operation) -> Response:
        """Return the response of an operation, or what a fault makes of it."""
        needs_token = operation.name not in self._without_token
        try:
            await self._delay()
            if needs_token:
                self._authorize(call)
            call.body = await request.read()
            headers = self._store.limiter.count(operation.name) if needs_token else {}
            fault = self._faults.choose(call)
            with self._store.clock.serving():
                if fault is None:
                    return await self._operate(call, operation, headers)
                with self._cancel_on_stop():
                    return await inject(fault, lambda: self._operate(call, operation, headers), self._store.clock)
        except Problem as problem:
            return problem.response()
        except web.HTTPRequestEntityTooLarge:
            return Problem(413, "The request body is too large.").response()
        except ConnectionError:
            call.disconnected = True
            # The client doesn't receive this.
            return Problem(400, "The body is incomplete.").response()
        except Exception:  # noqa: BLE001  (a bug of this server must not end it)
            _log.exception("%s failed", operation.name)
            return Problem(500, "The local server failed; its log says why.").response()

    async def _delay(self) -> None:
        """Wait as long as requests are under way, by the server's clock."""
        if self._latency:
            with self._store.clock.serving(), self._cancel_on_stop():
                await self._store.clock.sleep(self._latency)

    async def _operate(self, call: Call, operation: Operation, headers: Mapping[str, str]) -> Response:
        """Return the response of an operation, with headers. A fault may replace both."""
        try:
            response = await operation.handler(self._store, call)
        except Problem as problem:
            response = problem.response()
        if headers:
            response.headers = {**headers, **(response.headers or {})}
        return response

    @contextmanager
    def _cancel_on_stop(self) -> Generator[None]:
        """Cancel the current request when the server stops, because its client may never end it."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def stop(self) -> None:
        """Cancel all requests that may take forever."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        """Respond to a request that matches no operation."""
        if request.method == _UNKNOWN_METHOD and request.path in self._query_responders:
            return await self._query_responders[request.path](request)
        call = self._record(request, "")
        try:
            await self._delay()
            self._authorize(call)
            call.body = await request.read()
        except Problem as problem:
            return self._writer.build(call, problem.response())
        allowed: set[str] = set()
        for resource in self.api.router.resources():
            allowed |= (await resource.resolve(request))[1]
        allowed.discard("*")
        if not allowed:
            return self._writer.build(call, not_found().response())
        method_not_allowed = Problem(405, f'Method "{call.method}" not allowed.')
        method_not_allowed.headers = {"Allow": ", ".join(sorted(allowed))}
        return self._writer.build(call, method_not_allowed.response())

    async def _refuse_delivery(self, request: web.Request) -> web.StreamResponse:
        """Respond to a request for a URL that is neither an event stream nor an output file."""
        call = self._record(request, "")
        await self._delay()
        return self._writer.build(call, not_found().response())

    def _record(self, request: web.Request, operation: str) -> Call:
        require_private_name(request)
        call = Call(
            operation=operation,
            method="QUERY" if request.method == _UNKNOWN_METHOD else request.method,
            path=request.rel_url.raw_path,
            query_string=request.rel_url.raw_query_string,
            query=request.query,
            headers=request.headers,
            path_arguments=dict(request.match_info) if operation else {},
        )
        self._journal.append(call)
        self._store.clock.request_arrived()
        return call

    def _authorize(self, call: Call) -> None:
        if call.token not in self._authorizations:
            raise Problem(401, "You did not pass a valid authentication token", title="Unauthenticated")
