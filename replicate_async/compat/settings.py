"""The settings of clients, and the native client that they stand for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar

from replicate_async import _sync as blocking
from replicate_async._client import BASE_URL_VARIABLE, DEFAULT_BASE_URL, AsyncReplicate
from replicate_async._http.options import DEFAULT_TIMEOUT
from replicate_async._http.transport import Transport
from replicate_async._typing import Self
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import NOT_GIVEN, Maybe, NotGiven, native_options
from replicate_async.compat.pagination import BasePage, Page

DEFAULT_POLL_INTERVAL = 0.5
# The settings that a program has not set, as options of the native client.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("bearer_token", "max_retries", "default_headers", "default_query")),
    "base_url": DEFAULT_BASE_URL,
    "timeout": DEFAULT_TIMEOUT,
}


class BaseClient:
    """What all clients have in common: their settings, which may be changed at any time.

    Args:
        api_token: API token. If omitted, the environment variable ``REPLICATE_API_TOKEN``.
        bearer_token: The same, by its name in 2.x.
        base_url: URL of the API: without ``/v1`` in 1.x, that is with ``api_token``, and with it in 2.x.
        timeout: Seconds, an ``aiohttp.ClientTimeout``, or an ``httpx.Timeout`` that is read for its numbers.
        max_retries: Maximum number of retries.
        default_headers: Headers of every request.
        default_query: Query parameters of every request.
        headers: The same as ``default_headers``, by its name in 1.x.
        http_client: Must be omitted: HTTP clients and transports of httpx are not supported.

    Raises:
        TypeError: an option of httpx was passed.
    """

    # The class of the pages of lists.
    page: ClassVar[type[BasePage[Any]]] = Page

    def __init__(
        self,
        api_token: str | None = None,
        *,
        bearer_token: str | None = None,
        base_url: Any = None,
        timeout: Any = NOT_GIVEN,
        max_retries: Maybe[int] = None,
        default_headers: Maybe[Mapping[str, Any]] = None,
        default_query: Maybe[Mapping[str, Any]] = None,
        headers: Mapping[str, Any] | None = None,
        http_client: None = None,
        **httpx_options: Any,
    ) -> None:
        if http_client is not None:
            httpx_options["http_client"] = http_client
        if httpx_options:
            names = ", ".join(sorted(httpx_options))
            raise TypeError(
                f"{names}: replicate_async uses aiohttp, not httpx. For a transport of your own, "
                "use replicate_async.AsyncReplicate(session=aiohttp.ClientSession(...))"
            )
        self._version_1 = api_token is not None
        self._api_token = api_token if bearer_token is None else bearer_token
        self._base_url = base_url
        self._timeout = timeout
        self.max_retries = max_retries
        self._headers = default_headers if headers is None else headers
        self._query = default_query
        self.poll_interval: float = float(os.environ.get("REPLICATE_POLL_INTERVAL", DEFAULT_POLL_INTERVAL))
        """Seconds between the polls of ``output_iterator``. Everything else polls as this package does."""
        self._made: tuple[dict[str, Any], AsyncReplicate] | None = None

    @property
    def bearer_token(self) -> str | None:
        """The API token; None if it is in the environment. It may be changed at any time."""
        return self._api_token

    @bearer_token.setter
    def bearer_token(self, value: str | None) -> None:
        self._api_token = value

    api_token = bearer_token

    @property
    def base_url(self) -> Any:
        """The URL of the API. It may be changed at any time."""
        return self.native_url if self._base_url is None else self._base_url

    @base_url.setter
    def base_url(self, value: Any) -> None:
        self._base_url = value

    @property
    def timeout(self) -> Any:
        """The timeout. It may be changed at any time."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: Any) -> None:
        self._timeout = value

    @property
    def default_headers(self) -> Any:
        """The headers of every request, besides those of the package. They may be changed at any time."""
        return self._headers

    @default_headers.setter
    def default_headers(self, value: Any) -> None:
        self._headers = value

    @property
    def default_query(self) -> Any:
        """The query parameters of every request. They may be changed at any time."""
        return self._query

    @default_query.setter
    def default_query(self, value: Any) -> None:
        self._query = value

    def _settings(self) -> dict[str, Any]:
        base_url = self._base_url
        if base_url is None or not arguments.is_given(base_url):
            base_url = os.environ.get(BASE_URL_VARIABLE) or None
        settings = native_options(
            {
                "bearer_token": self._api_token,
                "base_url": arguments.native_base_url(base_url, version_1=self._version_1),
                "timeout": self._timeout,
                "max_retries": self.max_retries,
                "default_headers": self._headers,
                "default_query": self._query,
            }
        )
        # In 1.x, no timeout is the default one.
        if settings.get("timeout", 0) is None and self._version_1:
            del settings["timeout"]
        return {name: value for name, value in settings.items() if value is not None or name == "timeout"}

    @property
    def native(self) -> AsyncReplicate:
        """The client of this package that makes the calls."""
        settings = self._settings()
        if self._made is None:
            self._made = settings, AsyncReplicate(**settings)
        elif self._made[0] != settings:
            # A program has changed a setting. The connections stay.
            self._made = settings, self._made[1].with_options(**{**_DEFAULTS, **settings})
        return self._made[1]

    @property
    def native_url(self) -> str:
        """The URL of the API, as it is used."""
        return self.transport.settings.base_url

    @property
    def transport(self) -> Transport:
        """The transport of the native client."""
        transport: Transport = vars(self.native)["_transport"]
        return transport

    def native_view(self, path: str) -> Any:
        """Return a group of operations of the blocking native client, or that client."""
        client = object.__new__(blocking.Replicate)
        vars(client)["_async"] = self.native
        return attrgetter(path)(client) if path else client

    def copy(
        self,
        *,
        bearer_token: Maybe[str] = NOT_GIVEN,
        base_url: Any = NOT_GIVEN,
        timeout: Any = NOT_GIVEN,
        max_retries: Maybe[int] = NOT_GIVEN,
        default_headers: Maybe[Mapping[str, Any]] = NOT_GIVEN,
        set_default_headers: Maybe[Mapping[str, Any]] = NOT_GIVEN,
        default_query: Maybe[Mapping[str, Any]] = NOT_GIVEN,
        set_default_query: Maybe[Mapping[str, Any]] = NOT_GIVEN,
        http_client: None = None,
    ) -> Self:
        """Return a client with other settings. ``default_headers`` and ``default_query`` are added to this client's.

        The ``set_`` arguments replace them.
        """
        client = type(self)(http_client=http_client)
        vars(client).update({name: value for name, value in vars(self).items() if name.startswith("_")})
        client.max_retries, client.poll_interval = self.max_retries, self.poll_interval
        changes = {"_api_token": bearer_token, "_base_url": base_url, "_timeout": timeout, "max_retries": max_retries}
        changes["_headers"] = _merge("default_headers", self._headers, default_headers, set_default_headers)
        changes["_query"] = _merge("default_query", self._query, default_query, set_default_query)
        optional = {"_api_token", "_base_url"}
        for name, value in changes.items():
            if not isinstance(value, NotGiven) and not (value is None and name in optional):
                setattr(client, name, value)
        return client

    with_options = copy

    def is_closed(self) -> bool:
        """Return whether the client was closed."""
        return self._made is not None and self._made[1].is_closed()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}>"


def _merge(name: str, own: Any, added: Any, replaced: Any) -> Any:
    """Return the headers or the query of a copied client."""
    added, replaced = (None if not arguments.is_given(value) else value for value in (added, replaced))
    if added is not None and replaced is not None:
        raise ValueError(f"pass {name} or set_{name}, not both")
    if replaced is not None:
        return replaced
    merged: dict[str, Any] = {**(own or {}), **(added or {})}
    return own if added is None else merged


__all__ = ["BaseClient"]
