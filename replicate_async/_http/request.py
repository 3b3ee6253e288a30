"""Requests: one immutable description for each call, and its URL and body, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from msgspec import UNSET

from replicate_async._http.options import QueryValue, RequestOptions
from replicate_async._json import encode_json, is_mapping
from replicate_async._logging import redact_url
from replicate_async._references import to_reference
from replicate_async._version import __version__
from replicate_async.errors import APIError

if TYPE_CHECKING:
    from multidict import CIMultiDict

T = TypeVar("T")
U = TypeVar("U")

# The longest time in seconds that the API holds a response back for ``Prefer: wait``.
# https://replicate.com/docs/topics/predictions/create-a-prediction#sync-mode
PREFER_WAIT_MAX = 60


class Request(msgspec.Struct, Generic[T], frozen=True):
    """A call to the API, as a resource describes it.

    Attributes:
        method: The HTTP method.
        path: A path below the base URL, or a whole URL.
        response_type: What the body is decoded to: ``bytes``, ``str``, None, or any type that msgspec decodes from
            JSON.
        options: The caller's options.
        query: Query parameters.
        headers: Headers in addition to the client's.
        json: The body, to be encoded as JSON.
        content: The raw body, or a function that creates one for each attempt.
        idempotent: Whether repeating the call has no further effect (RFC 9110, section 9.2.2); None: by its method.
        billable: Whether the call creates a prediction or a training.
        anonymous: Whether the token is withheld, whatever the URL is.
        secret: Whether the path grants access by itself, so that no log must show it.
        resumable: Whether a response that is read on demand continues on another connection where one broke.
        skips_queue: Whether the call waits neither for the connections of other calls nor for a rate limit.
        min_timeout: The shortest timeout in seconds that gives an upload a chance.
        transform: Makes the result from the decoded body.
        holds: Lives as long as the request.
    """

    method: str
    path: str
    response_type: Any
    options: RequestOptions
    query: Mapping[str, QueryValue] | None = None
    headers: Mapping[str, str] | None = None
    json: Any = UNSET
    content: Any = None
    idempotent: bool | None = None
    billable: bool = False
    anonymous: bool = False
    secret: bool = False
    resumable: bool = False
    skips_queue: bool = False
    min_timeout: float = 0.0
    transform: Callable[[Any], T] | None = None
    holds: object = None

    @property
    def log_path(self) -> str:
        """The path, or the URL, without what may be a secret, such as a signature in the query."""
        return f"{urlsplit(self.path).hostname}/..." if self.secret else redact_url(self.path)

    @property
    def is_held(self) -> bool:
        """Whether the API may hold the response back until the prediction has ended."""
        return "Prefer" in (self.headers or {})

    def map(self, function: Callable[[T], U]) -> Request[U]:
        """Return this request with a function applied to its result."""
        transform = self.transform

        def transform_further(body: Any) -> U:
            return function(body if transform is None else transform(body))

        return cast("Request[U]", msgspec.structs.replace(self, transform=transform_further))


# --- URLs ---

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_NOT_IN_SEGMENT = re.compile(r"[/?#\x00-\x1f\x7f]")


def format_path(template: str, /, **arguments: object) -> str:
    """Fill a path template; each argument, or an object's id or name, becomes one segment or raises an error."""
    return template.format_map({name: _segment(name, value) for name, value in arguments.items()})


def _segment(name: str, argument: object) -> str:
    value = to_reference(name, argument)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not value:
        raise ValueError(f"{name} must not be empty")
    if value in {".", ".."} or _NOT_IN_SEGMENT.search(value):
        raise ValueError(f"{name}={value!r} can't be part of a URL path: pass a bare name or id")
    return quote(value, safe="")


@lru_cache(maxsize=1024)
def origin(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of a URL: what a token belongs to.

    Raises:
        ValueError: it is not the URL of a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not the URL of a host")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


@lru_cache(maxsize=1024)
def is_valid_url(url: str) -> bool:
    """Return whether a URL can be requested."""
    try:
        _, host, _ = origin(url)
        url.encode("utf-8")
    except ValueError:
        return False
    return not re.search(r"[\s\x00-\x20\x7f]", host)


def full_url(base_url: str, request: Request[Any], default_query: Mapping[str, QueryValue] | None) -> str:
    """Return the absolute URL of a request. Paths are relative to the base URL."""
    url = request.path
    if url.startswith("/"):
        url = base_url + url
    elif "://" in url.partition("?")[0]:
        # Whole URLs, such as the next page's, have all the parameters that they need.
        default_query = None
    else:
        url = f"{base_url}/{url}"
    extra = request.options.get("extra_query")
    if not (request.query or extra or default_query):
        return url
    if default_query and "?" in url:
        # The URL of a next page has the parameters of the first, as far as the API knows them.
        own = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
        default_query = {name: value for name, value in default_query.items() if name not in own}
    text = encode_query({**(default_query or {}), **(request.query or {}), **(extra or {})})
    return f"{url}{'&' if '?' in url else '?'}{text}" if text else url


def next_page(request: Request[T], next_url: object) -> Request[T]:
    """Return the request for the next page of a list.

    Whatever host and path the URL names, the page has the list's own path below the base URL. The API names itself,
    also behind a gateway, which needs the call's headers and may be the only way to the API.

    Raises:
        APIError: the URL has no cursor.
    """
    path = request.path.partition("?")[0]
    query = next_url.partition("#")[0].partition("?")[2] if isinstance(next_url, str) else ""
    if not query:
        raise APIError("the list does not name its next page", method=request.method, url=request.path)
    options = cast("RequestOptions", {k: v for k, v in request.options.items() if k != "extra_query"})
    return msgspec.structs.replace(request, path=f"{path}?{query}", query=None, options=options)


def encode_query(query: Mapping[str, QueryValue | Sequence[QueryValue]]) -> str:
    """Encode query parameters: None is omitted, booleans are lower case, times are ISO 8601."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        values = value if isinstance(value, (list, tuple)) else (value,)
        pairs.extend((name, _query_text(name, item)) for item in values if item is not None)
    return urlencode(pairs)


def _query_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} must be a timezone-aware datetime")
        return value.isoformat()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError(f"{name} can't be sent in a query: {type(value).__name__}")


# --- headers ---


def base_headers(content_type: str | None = None) -> CIMultiDict[str]:
    """Return the headers that any host may see."""
    from multidict import CIMultiDict

    headers = CIMultiDict({"User-Agent": f"replicate-async/{__version__}", "Accept": "*/*"})
    if content_type is not None:
        headers["Content-Type"] = content_type
    return headers


_PREFER = re.compile(r"\bwait(?:=([0-9]{1,9}))?\b")


def prefer_wait_seconds(prefer: str | None) -> float:
    """Return for how many seconds a Prefer header lets the API hold its response back."""
    match = _PREFER.search(prefer) if prefer else None
    return float(min(int(match[1] or PREFER_WAIT_MAX), PREFER_WAIT_MAX)) if match else 0.0


# --- bodies ---


def encode_body(request: Request[Any]) -> tuple[Any, str | None]:
    """Return the body and its content type; None: there is no body, or its own type applies."""
    extra = request.options.get("extra_body")
    if request.json is UNSET and extra is None:
        return request.content, None
    value = request.json
    if extra is not None:
        value = cast("Any", {}) if value is UNSET else value
        if request.content is not None or not is_mapping(value):
            raise TypeError("extra_body can only be added to a JSON object")
        value = {**value, **extra}
    return encode_json(value), "application/json"
