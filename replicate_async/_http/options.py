"""Options of a client and of its calls, checked before anything is sent: errors name the argument and the remedy."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from replicate_async import _advice as advice
from replicate_async._http.ratelimit import RateLimit
from replicate_async._references import to_reference
from replicate_async._typing import TypedDict, aiohttp, tenacity
from replicate_async.errors import ReplicateError
from replicate_async.hooks import Hooks

TOKEN_VARIABLE = "REPLICATE_API_TOKEN"  # noqa: S105 - a name, not a token
DEFAULT_TIMEOUT = 60.0

QueryValue = str | int | float | bool | datetime | None


class RequestOptions(TypedDict, total=False):
    """Options of every call, besides its own arguments. An option that is None counts as omitted, except ``timeout``.

    Attributes:
        extra_headers: Headers that are added to the request, and take precedence.
        extra_query: Query parameters that are added to the request, and take precedence.
        extra_body: Members that are added to the JSON body, and take precedence.
        timeout: Timeout of each attempt in seconds, or an ``aiohttp.ClientTimeout``. None: no limit. Large uploads
            extend it, and so does the time for which the API may hold a response. Waiting before an attempt does not
            count, but calls other than creates raise ``APITimeoutError`` if their rate limit lets none through for
            longer.
        max_retries: Maximum number of retries of a call that failed and can be repeated safely.
    """

    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, QueryValue] | None
    extra_body: Mapping[str, Any] | None
    timeout: float | aiohttp.ClientTimeout | None
    max_retries: int | None


class CallOptions(RequestOptions, total=False):
    """Options of the low-level calls, in addition to ``RequestOptions``.

    Attributes:
        json: Body, encoded as JSON.
        content: Raw body.
        params: Query parameters.
        headers: Headers, in addition to the client's.
    """

    json: Any
    content: bytes | str | None
    params: Mapping[str, QueryValue] | None
    headers: Mapping[str, str] | None


# Headers that describe one request, with its body and its response.
_OWN_HEADERS = frozenset({"prefer", "cancel-after", "content-type", "content-length", "transfer-encoding"})


def follow_up_headers(options: RequestOptions) -> RequestOptions:
    """Return the headers of a create that all calls on its behalf need as well, such as those for a gateway."""
    headers = {k: v for k, v in (options.get("extra_headers") or {}).items() if k.lower() not in _OWN_HEADERS}
    return {"extra_headers": headers} if headers else {}


def follow_up_options(options: RequestOptions) -> RequestOptions:
    """Return the options of a create that also apply to fetching its result."""
    dropped = {"extra_body", "extra_query", "extra_headers"}
    own = cast("RequestOptions", {k: v for k, v in options.items() if k not in dropped})
    return drop_unset_options({**own, **follow_up_headers(options)})


def max_retries_of(settings: Settings, options: RequestOptions) -> int | None:
    """Return the maximum number of retries of a call with these options; None: the built-in policy."""
    return options.get("max_retries", settings.max_retries)


class Secret(str):
    """A string that is sent but never shown: frames, headers and settings print it as asterisks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a client; ``with_options`` changes them."""

    base_url: str
    token: str | None = None
    timeout: float | aiohttp.ClientTimeout | None = DEFAULT_TIMEOUT
    max_retries: int | None = None
    default_headers: Mapping[str, str] | None = None
    default_query: Mapping[str, QueryValue] | None = None
    retry: tenacity.AsyncRetrying | None = None
    rate_limit: RateLimit | None = None
    hooks: Hooks = msgspec.field(default_factory=Hooks)

    def find_token(self) -> Secret:
        """Return the token, from the environment if the client has none."""
        # A secret from the start, because tracebacks may show local variables.
        token = Secret(self.token or os.environ.get(TOKEN_VARIABLE, "").strip())
        if not token:
            raise ReplicateError(f"no API token: set the environment variable {TOKEN_VARIABLE}, or pass bearer_token=")
        return check_token(token)

    def checked(self) -> Settings:
        """Return these settings in normal form; raises TypeError or ValueError if one is invalid."""
        for name in ("timeout", "max_retries", "default_headers", "default_query"):
            if (value := getattr(self, name)) is not None:
                _CHECKS[name](name, value)
        if self.rate_limit is not None and not isinstance(self.rate_limit, RateLimit):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"rate_limit must be a RateLimit, not {type(self.rate_limit).__name__}")
        return msgspec.structs.replace(
            self, base_url=check_base_url(self.base_url), token=None if self.token is None else check_token(self.token)
        )


def check_options(options: RequestOptions) -> None:
    """Raise TypeError or ValueError if an option is unknown or invalid."""
    for name, value in options.items():
        # A misspelled argument ends up among the options, whose names only type checkers know.
        if name not in RequestOptions.__optional_keys__:
            raise TypeError(f"unexpected argument {name!r}{advice.for_argument(name)}")
        if value is not None:
            _CHECKS[name](name, value)


def _check_timeout(name: str, timeout: object) -> None:
    if isinstance(timeout, bool) or (isinstance(timeout, (int, float)) and not 0 < timeout < math.inf):
        raise ValueError(f"{name}={timeout!r} must be a positive number of seconds, or None for no limit")
    # This must not import aiohttp, so its ClientTimeout is recognized by an attribute.
    if timeout is not None and not isinstance(timeout, (int, float)) and not hasattr(timeout, "sock_read"):
        raise TypeError(f"{name} must be seconds, an aiohttp.ClientTimeout or None, not {type(timeout).__name__}")


def _check_max_retries(name: str, max_retries: object) -> None:
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):
        raise TypeError(f"{name} must be an int, not {type(max_retries).__name__}")
    if max_retries < 0:
        raise ValueError(f"{name}={max_retries} must not be negative")


def check_mapping(name: str, value: object) -> None:
    """Raise TypeError if a value is not a mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")


def check_headers(name: str, headers: object) -> None:
    """Raise TypeError or ValueError if HTTP cannot carry the headers, without showing their values."""
    check_mapping(name, headers)
    for key, value in cast("Mapping[str, object]", headers).items():
        if not isinstance(value, str):
            raise TypeError(f"{name}[{key!r}] must be a str, not {type(value).__name__}")
        if _CONTROL.search(value) or not _HEADER_NAME.fullmatch(key):
            raise ValueError(f"{name}[{key!r}] is not a valid header: control characters can't be sent")


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CHECKS: dict[str, Callable[[str, object], None]] = {
    "timeout": _check_timeout,
    "max_retries": _check_max_retries,
    "extra_headers": check_headers,
    "extra_query": check_mapping,
    "extra_body": check_mapping,
    "default_headers": check_headers,
    "default_query": check_mapping,
}


def check_token(token: object) -> Secret:
    """Return a token that can be sent; errors don't show it."""
    if not isinstance(token, str):
        raise TypeError(f"bearer_token must be a str, not {type(token).__name__}")
    stripped = Secret(token.strip())
    if not stripped:
        raise ValueError("bearer_token must not be empty: omit it to use the environment variable REPLICATE_API_TOKEN")
    if not re.fullmatch(r"[\x21-\x7e]+", stripped):
        raise ValueError("bearer_token contains invalid characters, such as spaces or line breaks")
    return stripped


def check_base_url(base_url: object) -> str:
    """Return the base URL without trailing slashes."""
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
    if re.match(r"([^/?#]*//)?[^/?#]*@", base_url):
        raise ValueError("base_url must not carry credentials: pass bearer_token=")
    if re.search(r"[\s\x00-\x1f\x7f]", base_url):
        raise ValueError(f"base_url={base_url!r} must not have spaces or line breaks")
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"base_url={base_url!r} is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"base_url={base_url!r} must start with http:// or https:// and name a host")
    if not all(0 < len(label) < 64 for label in parts.hostname.removesuffix(".").split(".")):
        raise ValueError(f"base_url={base_url!r} names an invalid host: a part of it is empty or too long")
    if parts.query or parts.fragment:
        raise ValueError(f"base_url={base_url!r} must have neither query nor fragment")
    return base_url.rstrip("/")


# --- arguments ---


def drop_unset(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that the caller passed, falsy ones but None included, with the references of objects."""
    return {name: to_reference(name, value) for name, value in arguments.items() if value is not None}


def drop_unset_options(options: RequestOptions) -> RequestOptions:
    """Return the options that the caller passed. None is a timeout, too: no limit."""
    return cast("RequestOptions", {k: v for k, v in options.items() if v is not None or k == "timeout"})


def check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    """Raise ValueError if the API does not document a value."""
    if value is not None and value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")
