"""What goes on the wire and how an answer is read: the protocol, without I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Sequence


from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlencode

from replicate_async._http.options import (
    PREFER_WAIT_MAX,
    CallOptions,
    QueryValue,
    RequestOptions,
    check_headers,
    check_mapping,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
T = TypeVar("T")
U = TypeVar("U")


class Request(msgspec.Struct, Generic[T]):
    """One call to the API, as a resource describes it.

    ``type`` is what the answer's body becomes: ``bytes``, ``str`` and ``None`` as they are, anything else from JSON.
    ``then`` makes the result out of the decoded body, where the two differ.
    """

    method: str
    path: str
    type: Any
    options: RequestOptions
    query: Mapping[str, QueryValue] | None = None
    headers: Mapping[str, str] | None = None
    json: Any = UNSET
    content: Any = None
    repeatable: bool | None = None  # None: as the method says
    creates: bool = False  # a prediction or a training: what is billed
    skips_queue: bool = False  # goes past those that wait for a connection
    sent: bool = False  # the transport's note: the server may have it, and hasn't refused it
    sent_at: float = 0.0  # by the client's clock
    hold: float = 0.0  # seconds for which the server may keep the answer back
    then: Callable[[Any], T] | None = None
    encoded: tuple[Any, str | None] | None = None  # the body, once it was asked for: all attempts send the same

    @property
    def safe(self) -> bool:
        """Whether the call may be made twice without anyone noticing."""
        return self.method in _SAFE if self.repeatable is None else self.repeatable

    @property
    def shown(self) -> str:
        """The path for logs: without a query, which may be a signature."""
        return self.path.partition("?")[0]

    def mapped(self, function: Callable[[T], U]) -> Request[U]:
        """Return this call with a function applied to its result."""
        before = self.then

        def then(body: Any) -> U:
            return function(body if before is None else before(body))

        return cast("Request[U]", msgspec.structs.replace(self, then=then))


_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"})


# --- requests ---


def low_level_request(method: str, url: str, as_type: Any, call: CallOptions) -> Request[Any]:
    """Describe a call from the arguments of a low-level one."""
    options = dict(call)
    json, content = options.pop("json", UNSET), options.pop("content", None)
    query, headers = options.pop("params", None), options.pop("headers", None)
    if json is not UNSET and content is not None:
        raise TypeError("pass json or content, not both: each is the whole body")
    if not isinstance(url, str) or not url:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"url={url!r} must be a path below the base URL, or a whole URL")
    if not isinstance(method, str) or not re.fullmatch(r"[A-Za-z]+", method):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"method={method!r} is not an HTTP method")
    if content is not None and not isinstance(content, (str, bytes, bytearray)):
        raise TypeError(f"content must be bytes or a str, not {type(content).__name__}")
    if query is not None:
        check_mapping("params", query)
    if headers is not None:
        check_headers("headers", cast("Mapping[str, str]", headers))
    request = Request[Any](method.upper(), url, as_type, cast("RequestOptions", options))
    request.json, request.content = json, content.encode() if isinstance(content, str) else content
    request.query, request.headers = cast("Any", query), cast("Any", headers)
    return request


@lru_cache(maxsize=1024)
def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what a token belongs to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def full_url(base_url: str, request: Request[Any], default_query: Mapping[str, QueryValue] | None) -> str:
    """Return the absolute URL of a request; a path is relative to the base URL, an absolute URL stays."""
    target = request.path
    if target.startswith("/"):
        target = base_url + target
    elif "://" in target.partition("?")[0]:
        default_query = None  # of the API's paths; whole URLs, such as the next page's, have all they need
    else:
        target = f"{base_url}/{target}"
    extra = request.options.get("extra_query")
    if not (request.query or extra or default_query):
        return target
    text = encode_query({**(default_query or {}), **(request.query or {}), **(extra or {})})
    return f"{target}{'&' if '?' in target else '?'}{text}" if text else target


def encode_query(query: Mapping[str, QueryValue | Sequence[QueryValue]]) -> str:
    """Encode query parameters: None is left out, booleans are lower case, times are ISO 8601."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        values = cast("Sequence[QueryValue]", value) if isinstance(value, (list, tuple)) else (value,)
        pairs.extend((name, _query_text(name, one)) for one in values if one is not None)
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


_PREFER = re.compile(r"\bwait(?:=([0-9]{1,9}))?\b")


def hold_of(prefer: str | None) -> float:
    """Return for how many seconds a Prefer header lets the server keep its answer back."""
    match = _PREFER.search(prefer) if prefer else None
    return float(min(int(match[1] or PREFER_WAIT_MAX), PREFER_WAIT_MAX)) if match else 0.0


def full_body(request: Request[Any]) -> tuple[Any, str | None]:
    """Return the body and its content type (None: whatever the body itself says); both stay as they are at first."""
    if request.encoded is None:
        request.encoded = _encode_body(request)
    return request.encoded


def _encode_body(request: Request[Any]) -> tuple[Any, str | None]:
    extra = request.options.get("extra_body")
    if request.json is UNSET and extra is None:
        return request.content, None
    if request.content is not None:
        raise TypeError("extra_body can only be added to a JSON object")
    value = request.json
    if extra is not None:
        if value is not UNSET and not isinstance(value, Mapping):
            raise TypeError("extra_body can only be added to a JSON object")
        value = {**(cast("Mapping[str, Any]", value) if value is not UNSET else {}), **extra}
    return encode_json(value), "application/json"


def _encode_other(value: Any) -> Any:
    if isinstance(value, Mapping):  # other than a dict
        return dict(cast("Mapping[Any, Any]", value))  # type: ignore[redundant-cast]  # pyright needs it
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def encode_json(value: Any, place: str = "") -> bytes:
    """Encode a request's body, or the part of it at a place; what JSON can't say is an error that names its place."""
    try:
        body = _encoder.encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        place = _find_unencodable(value, place) or place
        raise TypeError(f"{place or 'the body'} can't be encoded as JSON: {error}") from error
    # The encoder writes NaN and the infinities as null, which would silently run the model with other inputs.
    if b"null" in body:
        # As the encoder sees it: with what is in dataclasses, structs, sets and enums.
        plain = msgspec.to_builtins(value, enc_hook=_other_to_builtins)
        if (found := _find_nonfinite(plain, place)) is not None:
            raise ValueError(f"{found or 'the body'} is not a finite number, which JSON can't express")
    return body


def _other_to_builtins(value: Any) -> Any:
    return _encode_other(value) if isinstance(value, Mapping) else None  # msgspec.Raw: JSON already


def _children(value: Any, place: str) -> list[tuple[Any, str]]:
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        return [(child, f"{place}.{key}" if place else str(key)) for key, child in mapping.items()]
    if isinstance(value, (list, tuple)):
        return [(child, f"{place}[{index}]") for index, child in enumerate(cast("Sequence[Any]", value))]
    return []


def _find_unencodable(value: Any, place: str) -> str | None:
    """Name the innermost part that can't be encoded."""
    try:
        _encoder.encode(value)
    except RecursionError:
        return place
    except (TypeError, ValueError, msgspec.MsgspecError):
        for child, below in _children(value, place):
            if found := _find_unencodable(child, below):
                return found
        return place
    return None


def _find_nonfinite(value: Any, place: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return place
    for child, below in _children(value, place):
        if (found := _find_nonfinite(child, below)) is not None:
            return found
    return None


# --- answers ---


_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")


_NOT_IN_SEGMENT = re.compile(r"[/?#\x00-\x1f\x7f]")


def path(template: str, /, **arguments: str) -> str:
    """Fill a path template; each argument becomes exactly one segment or a clear error."""
    return template.format_map({name: _segment(name, value) for name, value in arguments.items()})


def _segment(name: str, value: str) -> str:
    # An argument may be anything at run time, whatever its annotation says.
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not value:
        raise ValueError(f"{name} must not be empty")
    if value in {".", ".."} or _NOT_IN_SEGMENT.search(value):
        raise ValueError(f"{name}={value!r} can't stand in a URL path: pass a bare name or id")
    return quote(value, safe="")
