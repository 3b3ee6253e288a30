"""The operations as an aiohttp.web application: from requests to calls, from answers to responses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from aiohttp import web

from ._calls import Answer, Call, Problem
from ._routes import DELIVERY, OPERATIONS, Operation
from ._store import Store

_log = logging.getLogger("replicate_async.testing")

_PREFIX = "/v1"
_BODY_LIMIT = 101 * 2**20  # a file of 100 MiB, and what surrounds it in a form
_JOURNAL_LIMIT = 2**20
_OPEN = {"files.download", *(operation.name for operation in DELIVERY)}  # the URL is the secret, so no token is needed
_PIECE = 2**18  # more at once would have the loop copy it all, and nobody served meanwhile
_NAMELESS = "<unknown>"  # what aiohttp before 3.14 calls the method QUERY

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Application:
    """The web applications of one server: the API, and what is delivered from another origin."""

    def __init__(self, store: Store, token: str, journal: list[Call]) -> None:
        self._store = store
        self._journal = journal
        self._authorizations = {f"Bearer {token}", f"Token {token}"}
        self.api = web.Application(client_max_size=_BODY_LIMIT)
        for operation in OPERATIONS:
            self.api.router.add_route(operation.method, _PREFIX + operation.path, self._responder(operation))
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
        name, handler = operation.name, operation.handler

        async def respond(request: web.Request) -> web.StreamResponse:
            call = self._record(request, name)
            try:
                self._authorize(call)
                call.body = await request.read()
                answer = await handler(self._store, call)
            except Problem as problem:
                answer = problem.answer()
            except web.HTTPRequestEntityTooLarge:
                answer = Problem(413, "The body is too large: a file may have up to 100 MiB.").answer()
            except Exception:  # noqa: BLE001  (a fault of this server, which must not end it)
                _log.exception("%s failed", name)
                answer = Problem(500, "The local server failed; its log says how.").answer()
            if answer.chunks is not None:
                return await self._stream(request, call, answer, answer.chunks)
            if len(answer.body) > _PIECE and request.method != "HEAD":
                return await self._stream(request, call, answer, _pieces(answer.body))
            return self._send(call, answer)

        return respond

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        """Answer what fits no operation."""
        if request.method == _NAMELESS and request.path in self._queries:
            return await self._queries[request.path](request)
        call = self._record(request, "")
        try:
            self._authorize(call)
            call.body = await request.read()
        except Problem as problem:
            return self._send(call, problem.answer())
        allowed: set[str] = set()
        for resource in self.api.router.resources():
            allowed |= (await resource.resolve(request))[1]
        allowed.discard("*")
        if not allowed:
            return self._send(call, _nothing_at(call).answer())
        answer = Problem(405, f"{call.path} does not take {call.method}.").answer()
        answer.headers = {"Allow": ", ".join(sorted(allowed))}
        return self._send(call, answer)

    async def _refuse_delivery(self, request: web.Request) -> web.StreamResponse:
        """Answer what is at neither a stream's URL nor a file's."""
        call = self._record(request, "")
        return self._send(call, _nothing_at(call).answer())

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
        return call

    def _authorize(self, call: Call) -> None:
        if call.operation in _OPEN or call.headers.get("Authorization") in self._authorizations:
            return
        raise Problem(401, "You did not pass a valid authentication token", title="Unauthenticated")

    async def _stream(
        self, request: web.Request, call: Call, answer: Answer, chunks: AsyncGenerator[bytes, None]
    ) -> web.StreamResponse:
        """Send an answer's chunks, each as soon as it is there."""
        response = web.StreamResponse(status=answer.status, headers=_headers(answer))
        if answer.chunks is None:
            response.content_length = len(answer.body)
        self._note(call, answer)
        try:
            async with aclosing(chunks):
                await response.prepare(request)
                async for chunk in chunks:
                    await response.write(chunk)
                await response.write_eof()
        except ConnectionError:
            call.disconnected = True
        except asyncio.CancelledError:
            call.disconnected = True
            raise
        return response

    def _send(self, call: Call, answer: Answer) -> web.StreamResponse:
        self._note(call, answer)
        return web.Response(body=answer.body or None, status=answer.status, headers=_headers(answer))

    def _note(self, call: Call, answer: Answer) -> None:
        call.status = answer.status
        if len(call.body) > _JOURNAL_LIMIT:
            call.body = call.body[:_JOURNAL_LIMIT]


def _headers(answer: Answer) -> dict[str, str]:
    headers = dict(answer.headers or {})
    if answer.content_type is not None:
        headers["Content-Type"] = answer.content_type
    return headers


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _nothing_at(call: Call) -> Problem:
    return Problem(404, f"There is nothing at {call.method} {call.path}.")
