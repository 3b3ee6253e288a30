"""What callers pass, checked before anything is sent: each error names the argument and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from replicate_async.types import WebhookEvent

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


def check_time_limit(seconds: float | None) -> None:
    """Refuse what is no time to wait for; NaN would even keep the event loop's timers from ever coming."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"time_limit is seconds, or None for no limit, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"time_limit={seconds} is no time to wait for: pass seconds from 0 on, or None for no limit")


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


def drop_unset(**arguments: Any) -> dict[str, Any]:
    """Keep what the caller passed, also when falsy; drop what was left out."""
    return {name: value for name, value in arguments.items() if value is not UNSET}


def check_choice(name: str, value: str | UnsetType, choices: Sequence[str]) -> None:
    """Refuse a value that the API doesn't document."""
    if value is not UNSET and value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")


def check_input(value: Any) -> Mapping[str, Any]:
    """Return a model's input if it is a mapping."""
    if isinstance(value, (dict, Mapping)):  # a dict is told faster than a Mapping
        return cast("Mapping[str, Any]", value)
    raise TypeError(f"input must be a mapping of the model's input names to values, not {type(value).__name__}")


def check_events(value: Sequence[WebhookEvent] | UnsetType) -> None:
    """Refuse webhook events that don't exist."""
    if value is UNSET:
        return
    if isinstance(value, str):
        raise TypeError("webhook_events_filter must be a list of event names, not one str")
    for event in value:
        check_choice("webhook_events_filter", event, ("start", "output", "logs", "completed"))


def prediction_headers(prefer: str | UnsetType, cancel_after: str | int | UnsetType) -> tuple[dict[str, str], float]:
    """Return the headers of a create, and for how long it lets the server keep the answer back."""
    headers: dict[str, str] = {}
    hold = 0.0
    if prefer is not UNSET:
        hold = _hold(prefer)
        headers["Prefer"] = prefer
    if cancel_after is not UNSET:
        headers["Cancel-After"] = _check_cancel_after(cancel_after)
    return headers, hold


def _hold(prefer: str) -> float:
    if not isinstance(prefer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"prefer must be a str such as 'wait=5', not {type(prefer).__name__}")
    match = re.fullmatch(r"wait(?:=([0-9]{1,9}))?", prefer)
    seconds = int(match[1] or PREFER_WAIT_MAX) if match else 0
    if not 1 <= seconds <= PREFER_WAIT_MAX:
        raise ValueError(f"prefer={prefer!r} must be 'wait' or 'wait=n' with n from 1 to {PREFER_WAIT_MAX} seconds")
    return float(seconds)


def prefer_header(wait: bool | int) -> str | UnsetType:
    """Translate ``wait`` (False, True or 1..60 seconds) into the Prefer header's value."""
    if wait is False:
        return UNSET
    if wait is True:
        return "wait"
    if not isinstance(wait, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"wait must be a bool or an int, not {type(wait).__name__}")
    if not 1 <= wait <= PREFER_WAIT_MAX:
        raise ValueError(f"wait={wait} must be from 1 to {PREFER_WAIT_MAX} seconds, True or False")
    return f"wait={wait}"


_CANCEL_AFTER = re.compile(r"(?=[0-9])(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s?)?")


def _check_cancel_after(value: str | int) -> str:
    text = str(value)
    match = _CANCEL_AFTER.fullmatch(text)
    if match is None:
        raise ValueError(f"cancel_after={value!r} must be a duration such as 30, '90s', '5m' or '1h30m'")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if hours * 3600 + minutes * 60 + seconds < 5:
        raise ValueError(f"cancel_after={value!r} must be at least 5 seconds")
    return text


class ModelRef(msgspec.Struct, frozen=True):
    """What to run: a model by name, or a version of it."""

    owner: str | None = None
    name: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, ref: str) -> ModelRef:
        """Read ``owner/name``, ``owner/name:version`` or a bare version id."""
        if not isinstance(ref, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"ref must be a str such as 'owner/name', not {type(ref).__name__}")
        if match := re.fullmatch(r"([\w.-]+)/([\w.-]+)(?::([\w.-]+))?", ref, re.ASCII):
            if not {".", ".."} & set(match.groups()):
                return cls(*match.groups())
        elif re.fullmatch(r"[0-9a-zA-Z]{20,}", ref):
            return cls(version=ref)
        raise ValueError(f"ref={ref!r} is not a model: use 'owner/name', 'owner/name:version' or a version id")


def model_path(owner: str, name: str | UnsetType, *, kind: str = "model", tail: str = "") -> str:
    """Return the path of a model or a deployment, given as two arguments or as one ``owner/name``."""
    if name is UNSET:
        owner, slash, name = owner.partition("/")
        if not slash:
            raise TypeError(f"missing argument {kind}_name: pass {kind}_owner and {kind}_name, or one 'owner/name'")
    template = f"/{kind}s/{{{kind}_owner}}/{{{kind}_name}}"
    return path(template, **{f"{kind}_owner": owner, f"{kind}_name": name}) + tail
