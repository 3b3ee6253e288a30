"""What the server has besides the API, for people and tools on this machine: a page, and its OpenAPI document.

None of this is in the journal, counts against limits, has faults or moves the clock: watching changes nothing.
"""

from __future__ import annotations

import html
import ipaddress
import itertools
import math
import secrets
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from replicate_async.types import Prediction

from . import _openapi
from ._calls import whole_number
from ._store import Store

_SHOWN = 100  # predictions on the page
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _Model(msgspec.Struct):
    """A model that can be run, as the form needs it."""

    name: str
    description: str | None
    schemas: dict[str, Any]


class _News(msgspec.Struct):
    """What the page doesn't know yet, and the order of all that it shows."""

    at: int
    delivery: str
    total: int
    running: bool
    order: list[str]
    predictions: list[Prediction]
    models: msgspec.Raw | None


_Mark = tuple[Any, int]  # a state, and the number of the change that led to it


class Site:
    """The page and the document of one server."""

    def __init__(self, store: Store, token: str) -> None:
        self._store = store
        self._token = token
        self._changes = 0
        self._predictions: dict[str, _Mark] = {}
        self._models: _Mark | None = None

    def routes(self) -> Iterator[web.RouteDef]:
        """Yield the routes; the API's begin with its version, these don't."""
        yield web.get("/", self._page)
        yield web.get("/news", self._news)
        yield web.get("/openapi.json", self._document)

    async def _document(self, _request: web.Request) -> web.Response:
        return web.Response(body=_document(), content_type="application/json", headers=_HEADERS)

    async def _page(self, request: web.Request) -> web.Response:
        """Send the page, which has the token in it."""
        _require_this_machine(request)
        delivery, nonce = self._store.delivery_url, secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            f"img-src data: {delivery}; media-src data: {delivery}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        page = _template()
        for name, value in {"nonce": nonce, "token": self._token, "delivery": delivery}.items():
            page = page.replace(f"{{{{{name}}}}}", html.escape(value))
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _news(self, request: web.Request) -> web.Response:
        """Send what has changed since the change whose number the page knows."""
        _require_this_machine(request)
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise web.HTTPUnauthorized
        since = whole_number(request.query.get("since", "")) or 0
        since = since if since <= self._changes else 0  # else it is another server's number
        store = self._store
        newest = [
            store.fresh(prediction) for _, prediction in itertools.islice(store.predictions.older(math.inf), _SHOWN)
        ]
        self._predictions = {one.id: self._mark(self._predictions.get(one.id), _state(one)) for one in newest}
        self._models = self._mark(self._models, self._encoded_models())
        news = _News(
            at=self._changes,
            delivery=store.delivery_url,
            total=len(store.predictions),
            running=any(one.completed_at is None for one in newest),
            order=[one.id for one in newest],
            predictions=[one for one in newest if self._predictions[one.id][1] > since],
            models=msgspec.Raw(self._models[0]) if self._models[1] > since else None,
        )
        return web.Response(body=msgspec.json.encode(news), content_type="application/json", headers=_HEADERS)

    def _mark(self, before: _Mark | None, state: object) -> _Mark:
        """Number a change, if there is one."""
        if before is not None and before[0] == state:
            return before
        self._changes += 1
        return state, self._changes

    def _encoded_models(self) -> bytes:
        return msgspec.json.encode(
            [
                _Model(
                    model.name, model.record.description, version.function.signature.document["components"]["schemas"]
                )
                for model in list(self._store.models.values())
                if (version := model.latest) is not None
            ]
        )


def _state(prediction: Prediction) -> object:
    """Return what changes when a prediction does: output and logs only grow."""
    output, logs = prediction.output, prediction.logs
    if isinstance(output, list):
        output = len(cast("list[Any]", output))  # type: ignore[redundant-cast]  # pyright needs it
    return prediction.status, output, len(logs or ""), prediction.data_removed


def _require_this_machine(request: web.Request) -> None:
    """Refuse others: those elsewhere, and web sites whose name leads here (DNS rebinding)."""
    try:
        name = urlsplit(f"//{request.host}").hostname or ""
        addresses = [request.remote or "", *([name] if name != "localhost" else [])]
        if all(ipaddress.ip_address(address).is_loopback for address in addresses):
            return
    except ValueError:  # a name, or no address
        pass
    raise web.HTTPForbidden(text="This page is for the machine that the server runs on: open it at 127.0.0.1.")


@cache
def _template() -> str:
    return resources.files(__name__.rpartition(".")[0]).joinpath("page.html").read_text(encoding="utf-8")


@cache
def _document() -> bytes:
    return msgspec.json.encode(_openapi.document())
