"""The server's page and OpenAPI document, for people and tools on this machine.

Requests for them aren't in the journal, don't count against limits, and have no faults. They don't move the clock.
"""

from __future__ import annotations

import html
import ipaddress
import itertools
import math
import secrets
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import resources
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from replicate_async.types import Prediction

from ._calls import parse_int
from ._store import Store

# The number of predictions on the page.
_MAX_PREDICTIONS = 100
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _Model(msgspec.Struct):
    """A model that can run, as the page's form needs it."""

    name: str
    # None for an official model.
    version: str | None
    description: str | None
    schemas: dict[str, Any]


class _News(msgspec.Struct):
    """Everything that has changed since the page's last request, and the order of all predictions on the page."""

    at: int
    delivery: str
    total: int
    running: bool
    order: list[str]
    predictions: list[dict[str, Any]]
    models: msgspec.Raw | None


# A state, and the number of the change that led to it.
_NumberedState = tuple[Any, int]


class Site:
    """The page and the OpenAPI document of one server; ``document`` returns the latter."""

    def __init__(self, store: Store, token: str, document: Callable[[], object]) -> None:
        self._store = store
        self._token = token
        self._document = cache(lambda: msgspec.json.encode(document()))
        self._changes = 0
        self._predictions: dict[str, _NumberedState] = {}
        self._models: _NumberedState | None = None

    def routes(self) -> Iterator[web.RouteDef]:
        """Yield the routes. Unlike those of the API, they don't start with its version."""
        yield web.get("/", self._get_page)
        yield web.get("/news", self._get_news)
        yield web.get("/openapi.json", self._get_document)

    async def _get_document(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document(), content_type="application/json", headers=_HEADERS)

    async def _get_page(self, request: web.Request) -> web.Response:
        """Send the page, which contains the token."""
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

    async def _get_news(self, request: web.Request) -> web.Response:
        """Send what has changed since a change, whose number the page sends."""
        _require_this_machine(request)
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise web.HTTPUnauthorized
        since = parse_int(request.query.get("since", "")) or 0
        # A larger number is from another server, which had this address before.
        since = since if since <= self._changes else 0
        store = self._store
        newest = [
            store.fresh(prediction)
            for _, prediction in itertools.islice(store.predictions.older(math.inf), _MAX_PREDICTIONS)
        ]
        self._predictions = {
            prediction.id: self._number(self._predictions.get(prediction.id), _state(prediction))
            for prediction in newest
        }
        self._models = self._number(self._models, self._encode_models())
        news = _News(
            at=self._changes,
            delivery=store.delivery_url,
            total=len(store.predictions),
            running=any(prediction.completed_at is None for prediction in newest),
            order=[prediction.id for prediction in newest],
            predictions=[
                store.to_wire(prediction) for prediction in newest if self._predictions[prediction.id][1] > since
            ],
            models=msgspec.Raw(self._models[0]) if self._models[1] > since else None,
        )
        return web.Response(body=msgspec.json.encode(news), content_type="application/json", headers=_HEADERS)

    def _number(self, previous: _NumberedState | None, state: object) -> _NumberedState:
        """Return a state with the number of its change: a new number if the state has changed."""
        if previous is not None and previous[0] == state:
            return previous
        self._changes += 1
        return state, self._changes

    def _encode_models(self) -> bytes:
        return msgspec.json.encode(
            [
                _Model(
                    model.name,
                    None if model.record.is_official else version.record.id,
                    model.record.description,
                    version.function.signature.document["components"]["schemas"],
                )
                for model in list(self._store.models.values())
                if (version := model.latest) is not None
            ]
        )


def _state(prediction: Prediction) -> object:
    """Return a value that changes whenever a prediction does. Output and logs only grow, so their lengths suffice."""
    output, logs = prediction.output, prediction.logs
    if isinstance(output, list):
        output = len(cast("list[Any]", output))  # type: ignore[redundant-cast]  # pyright needs it
    return prediction.status, output, len(logs or ""), prediction.data_removed


def _require_this_machine(request: web.Request) -> None:
    """Refuse clients on other machines, and web sites whose name resolves to this machine (DNS rebinding)."""
    name = _host_name(request.host)
    if _is_loopback(request.remote or "") and (name == "localhost" or _is_loopback(name)):
        return
    raise web.HTTPForbidden(text="This page is only for the machine that the server runs on: open it at 127.0.0.1.")


def require_private_name(request: web.Request) -> None:
    """Refuse web sites whose name resolves to this server (DNS rebinding): they know the server's token.

    Other machines may use the API, by an address or a name that public DNS does not have.
    """
    host = request.headers.get("Host")
    if host is not None and not _is_private(_host_name(host)):
        raise web.HTTPForbidden(text="This server has no public name: use its address, such as 127.0.0.1.")


@lru_cache(maxsize=256)
def _is_private(name: str) -> bool:
    """Return whether a host's name is an address, or a name that public DNS does not have."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith((".localhost", ".local", ".internal", ".test")))
    return True


def _host_name(host: str) -> str:
    """Return the name in a Host header; an empty string if the header is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@cache
def _template() -> str:
    return resources.files(__name__.rpartition(".")[0]).joinpath("page.html").read_text(encoding="utf-8")
