"""Options of a client and of its calls, checked before anything is sent: errors name the argument and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import urlsplit

from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

PREFER_WAIT_MAX = 60

QueryValue = str | int | float | bool | datetime | None


class RequestOptions(TypedDict, total=False):
    """What every call takes besides its own arguments.

    ``extra_headers``, ``extra_query`` and ``extra_body`` are added to what the call sends, and win. ``timeout`` is
    in seconds for each attempt (None: no limit); ``max_retries`` is how often a failed attempt may be repeated.
    """

    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, QueryValue]
    extra_body: Mapping[str, Any]
    timeout: float | aiohttp.ClientTimeout | None
    max_retries: int


class CallOptions(RequestOptions, total=False):
    """What the low-level calls take.

    ``json`` is the body as JSON, ``content`` the body as it is; ``params`` is the query, ``headers`` are sent beside
    the client's.
    """

    json: Any
    content: bytes | str
    params: Mapping[str, QueryValue]
    headers: Mapping[str, str]


_OPTIONS = RequestOptions.__optional_keys__


def check_options(options: RequestOptions) -> None:
    """Refuse options that don't exist or can't be."""
    # A misspelt argument lands among the options, whose names only type checkers know.
    if unknown := options.keys() - _OPTIONS:
        raise TypeError(f"unexpected argument {min(unknown)!r}")
    if "timeout" in options:
        check_timeout(options["timeout"])
    if "max_retries" in options:
        check_max_retries(options["max_retries"])
    if "extra_headers" in options:
        check_headers("extra_headers", options["extra_headers"])
    if "extra_query" in options:
        check_mapping("extra_query", options["extra_query"])
    if "extra_body" in options:
        check_mapping("extra_body", options["extra_body"])


def check_timeout(timeout: float | aiohttp.ClientTimeout | None) -> None:
    """Refuse a timeout that isn't a positive number of seconds, None, or aiohttp's own."""
    if isinstance(timeout, bool) or (isinstance(timeout, (int, float)) and not 0 < timeout < math.inf):
        raise ValueError(f"timeout={timeout!r} must be a positive number of seconds, or None for no limit")
    # aiohttp isn't imported for this question: its ClientTimeout is what has these two.
    if timeout is not None and not isinstance(timeout, (int, float)) and not hasattr(timeout, "sock_read"):
        raise TypeError(f"timeout must be seconds, an aiohttp.ClientTimeout or None, not {type(timeout).__name__}")


def check_max_retries(max_retries: int) -> None:
    """Refuse a negative or fractional number of retries."""
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"max_retries must be an int, not {type(max_retries).__name__}")
    if max_retries < 0:
        raise ValueError(f"max_retries={max_retries} must not be negative")


def check_mapping(name: str, value: object) -> None:
    """Refuse what should be a mapping and isn't."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")


def check_headers(name: str, headers: Mapping[str, str]) -> None:
    """Refuse headers that HTTP can't carry, without showing their values."""
    check_mapping(name, headers)
    for key, value in headers.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name}[{key!r}] must be a str, not {type(value).__name__}")
        if _CONTROL.search(value) or not _HEADER_NAME.fullmatch(key):
            raise ValueError(f"{name}[{key!r}] is not a valid header: line breaks and the like can't be sent")


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_token(token: str) -> Secret:
    """Return a token that can be sent; the error doesn't show it."""
    if not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"bearer_token must be a str, not {type(token).__name__}")
    stripped = Secret(token.strip())
    if not stripped:
        raise ValueError("bearer_token must not be empty: leave it out to use the environment's REPLICATE_API_TOKEN")
    if not re.fullmatch(r"[\x21-\x7e]+", stripped):
        raise ValueError("bearer_token has characters that can't stand in a token, such as spaces or line breaks")
    return stripped


class Secret(str):
    """A text that is sent but never shown: frames, headers and settings print it as stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def check_base_url(base_url: str) -> str:
    """Return the base URL without a slash at its end."""
    if not isinstance(base_url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"base_url must be a str, not {type(base_url).__name__}")
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
        raise ValueError(f"base_url={base_url!r} names a host that can't be: a part of it is empty or too long")
    if parts.query or parts.fragment:
        raise ValueError(f"base_url={base_url!r} must have neither query nor fragment")
    if parts.username or parts.password:
        raise ValueError("base_url must not carry credentials: pass bearer_token=")
    return base_url.rstrip("/")


def drop_unset(**arguments: Any) -> dict[str, Any]:
    """Keep what the caller passed, also when falsy; drop what was left out."""
    return {name: value for name, value in arguments.items() if value is not UNSET}


def check_choice(name: str, value: str | UnsetType, choices: Sequence[str]) -> None:
    """Refuse a value that the API doesn't document."""
    if value is not UNSET and value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")


def follow_up_options(options: RequestOptions) -> RequestOptions:
    """Return what of a create's options holds for looking at what it made too."""
    return cast("RequestOptions", {k: v for k, v in options.items() if k not in {"extra_body", "extra_query"}})
