"""The operations as an aiohttp.web application: from requests to calls, from answers to responses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from aiohttp import web

from ._calls import Answer, Call, Problem
from ._faults import Faults, act
from ._routes import DELIVERY, OPERATIONS, Operation
from ._sending import Sender, is_simple
from ._site import Site
from ._store import Store

_log = logging.getLogger("replicate_async.testing")

_PREFIX = "/v1"
_BODY_LIMIT = 101 * 2**20  # a file of 100 MiB, and what surrounds it in a form
_OPEN = {"files.download", *(operation.name for operation in DELIVERY)}  # the URL is the secret, so no token is needed
_NAMELESS = "<unknown>"  # what aiohttp before 3.14 calls the method QUERY

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Application:
    """The web applications of one server: the API, and what is delivered from another origin."""

    def __init__(self, store: Store, token: str, journal: list[Call], faults: Faults) -> None:
        self._store = store
        self._journal = journal
        self._faults = faults
        self._sender = Sender(store.clock)
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._authorizations = {f"Bearer {token}", f"Token {token}"}
        self.api = web.Application(client_max_size=_BODY_LIMIT)
        for operation in OPERATIONS:
            self.api.router.add_route(operation.method, _PREFIX + operation.path, self._responder(operation))
        self.api.router.add_routes(Site(store, token).routes())
        self.api.router.add_route("*", "/{path:.*}", self._refuse)
        self.delivery = web.Application()
        for operation in DELIVERY:
            self.delivery.router.add_route(operation.method, operation.path, self._responder(operation))
        self.delivery.router.add_route("*", "/{path:.*}", self._refuse_delivery)
        self._queries = {
            _PREFIX + operation.path: self._responder(operation)
            for operation in OPERATIONS
            if operation.method == "QUERY"
        }

    def _responder(self, operation: Operation) -> _Respond:
        async def respond(request: web.Request) -> web.StreamResponse:
            call = self._record(request, operation.name)
            answer = await self._answer(request, call, operation)
            if request.transport is None:  # the connection is gone
                call.disconnected = True
            if is_simple(answer):
                return self._sender.simple(call, answer)
            # The client of an event stream has all that it waits for with the headers.
            with self._lasting(), nullcontext() if answer.chunks is not None else self._store.clock.serving():
                return await self._sender.send(request, call, answer)

        return respond

    async def _answer(self, request: web.Request, call: Call, operation: Operation) -> Answer:
        """Return what an operation answers, or what a fault makes of that."""
        try:
            if operation.name not in _OPEN:
                self._authorize(call)
            call.body = await request.read()
            if operation.name not in _OPEN:
                self._store.limiter.count(operation.name)
            fault = self._faults.choose(call)
            with self._store.clock.serving():
                if fault is None:
                    return await operation.handler(self._store, call)
                with self._lasting():
                    return await act(fault, lambda: self._work(call, operation), self._store.clock)
        except Problem as problem:
            return problem.answer()
        except web.HTTPRequestEntityTooLarge:
            return Problem(413, "The body is too large: a file may have up to 100 MiB.").answer()
        except ConnectionError:
            call.disconnected = True
            return Problem(400, "The body is incomplete.").answer()  # which nobody reads
        except Exception:  # noqa: BLE001  (a fault of this server, which must not end it)
            _log.exception("%s failed", operation.name)
            return Problem(500, "The local server failed; its log says how.").answer()

    async def _work(self, call: Call, operation: Operation) -> Answer:
        try:
            return await operation.handler(self._store, call)
        except Problem as problem:
            return problem.answer()

    @contextmanager
    def _lasting(self) -> Generator[None]:
        """Have the request end with the server at the latest: its client may be gone, and then nobody else ends it."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def stop(self) -> None:
        """End the requests that would last."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        """Answer what fits no operation."""
        if request.method == _NAMELESS and request.path in self._queries:
            return await self._queries[request.path](request)
        call = self._record(request, "")
        try:
            self._authorize(call)
            call.body = await request.read()
        except Problem as problem:
            return self._sender.simple(call, problem.answer())
        allowed: set[str] = set()
        for resource in self.api.router.resources():
            allowed |= (await resource.resolve(request))[1]
        allowed.discard("*")
        if not allowed:
            return self._sender.simple(call, _nothing_at(call).answer())
        refusal = Problem(405, f"{call.path} does not take {call.method}.")
        refusal.headers = {"Allow": ", ".join(sorted(allowed))}
        return self._sender.simple(call, refusal.answer())

    async def _refuse_delivery(self, request: web.Request) -> web.StreamResponse:
        """Answer what is at neither a stream's URL nor a file's."""
        call = self._record(request, "")
        return self._sender.simple(call, _nothing_at(call).answer())

    def _record(self, request: web.Request, operation: str) -> Call:
        call = Call(
            operation=operation,
            method="QUERY" if request.method == _NAMELESS else request.method,
            path=request.rel_url.raw_path,
            query_string=request.rel_url.raw_query_string,
            query=request.query,
            headers=request.headers,
            path_arguments=dict(request.match_info) if operation else {},
        )
        self._journal.append(call)
        self._store.clock.stir()
        return call

    def _authorize(self, call: Call) -> None:
        if call.token not in self._authorizations:
            raise Problem(401, "You did not pass a valid authentication token", title="Unauthenticated")


def _nothing_at(call: Call) -> Problem:
    return Problem(404, f"There is nothing at {call.method} {call.path}.")
