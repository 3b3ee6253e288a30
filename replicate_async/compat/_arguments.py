"""Arguments of the official SDK: what stands for an omitted one, and what they are called in this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from replicate_async._predictions.requests import prefer_header
from replicate_async._typing import TypedDict

T = TypeVar("T")


class NotGiven:
    """The type of ``NOT_GIVEN``, which stands for an omitted argument."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


class Omit:
    """The type of ``omit``, which stands for an omitted argument or header."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "omit"


NOT_GIVEN: NotGiven = NotGiven()
not_given: NotGiven = NOT_GIVEN
omit: Omit = Omit()


class Timeout:
    """Time limits in seconds. ``write`` and ``pool`` have no effect: requests wait in a queue of their own."""

    def __init__(
        self,
        timeout: float | None = None,
        *,
        connect: float | NotGiven | None = NOT_GIVEN,
        read: float | NotGiven | None = NOT_GIVEN,
        write: float | NotGiven | None = NOT_GIVEN,
        pool: float | NotGiven | None = NOT_GIVEN,
    ) -> None:
        self.connect: float | None = timeout if isinstance(connect, NotGiven) else connect
        self.read: float | None = timeout if isinstance(read, NotGiven) else read
        self.write: float | None = timeout if isinstance(write, NotGiven) else write
        self.pool: float | None = timeout if isinstance(pool, NotGiven) else pool

    def __repr__(self) -> str:
        return f"Timeout(connect={self.connect}, read={self.read}, write={self.write}, pool={self.pool})"


Maybe: TypeAlias = T | NotGiven | Omit | None
FileEncodingStrategy = Literal["base64", "url"]


class Options(TypedDict, total=False):
    """Options of every request. ``timeout`` is in seconds, or an ``httpx.Timeout`` that is read for its numbers."""

    extra_headers: Maybe[Mapping[str, Any]]
    extra_query: Maybe[Mapping[str, Any]]
    extra_body: Maybe[Mapping[str, Any]]
    timeout: Any


class CreatePredictionParams(Options, total=False):
    """Options of calls that create predictions, in 1.x and 2.x.

    ``wait`` and ``prefer`` let the API hold its response until the output is ready. ``webhook_completed`` is a
    ``webhook`` that receives the end only.
    """

    webhook: Maybe[str]
    webhook_completed: Maybe[str]
    webhook_events_filter: Maybe[list[Any]]
    stream: Maybe[bool]
    wait: Maybe[int]
    prefer: Maybe[str]
    cancel_after: Maybe[Any]
    file_encoding_strategy: Maybe[FileEncodingStrategy]


def is_given(value: object) -> bool:
    """Return whether an argument was passed."""
    return not isinstance(value, (NotGiven, Omit))


def native_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by their names in this package, without omitted ones."""
    options = {name: value for name, value in options.items() if is_given(value)}
    if "timeout" in options:
        options["timeout"] = native_timeout(options["timeout"])
    if headers := options.get("extra_headers"):
        options["extra_headers"] = {name: value for name, value in headers.items() if is_given(value)}
    webhook = options.pop("webhook_completed", None)
    if webhook is not None:
        if options.get("webhook") is not None:
            raise ValueError("pass webhook or webhook_completed, not both: a prediction has one webhook")
        options.update(webhook=webhook, webhook_events_filter=["completed"])
    return options


def create_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a create, with ``wait`` as the header that it stands for."""
    native = native_options(options)
    wait = native.pop("wait", None)
    if wait is not None and native.get("prefer") is not None:
        raise TypeError("pass wait or prefer, not both: they mean the same")
    if wait is not None and wait is not False and wait != 0:
        native["prefer"] = prefer_header(wait)
    return native


def run_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run, with ``prefer`` as the argument ``wait``."""
    native = native_options(options)
    prefer = native.pop("prefer", None)
    if prefer is not None:
        if native.get("wait") is not None:
            raise TypeError("pass wait or prefer, not both: they mean the same")
        seconds = str(prefer).partition("=")[2]
        native["wait"] = int(seconds) if seconds.isdecimal() else True
    return native


def call_options(call: Mapping[str, Any], body: Any, options: Any) -> dict[str, Any]:
    """Return the options of a low-level call, with its body as JSON."""
    native = native_options({**call, **(options or {})})
    return native if body is None else {"json": body, **native}


def native_timeout(timeout: Any) -> Any:
    """Return a timeout in seconds or as an ``aiohttp.ClientTimeout``, for one that may be an ``httpx.Timeout``."""
    if not all(hasattr(timeout, name) for name in ("connect", "read", "write", "pool")):
        return timeout
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=timeout.connect, sock_read=timeout.read)


def native_base_url(base_url: Any, *, version_1: bool) -> str | None:
    """Return the URL of the API with its version. In 1.x, base URLs are without ``/v1``."""
    if base_url is None or not is_given(base_url):
        return None
    url = str(base_url).rstrip("/")
    needs_version = version_1 or not urlsplit(url).path
    return url if url.endswith("/v1") or not needs_version else f"{url}/v1"


# --- references ---


def owner_and_name(thing: Any, name: Any = None) -> tuple[Any, Any]:
    """Return owner and name of a model or deployment: of an object, a tuple, ``owner/name``, or two arguments."""
    if isinstance(thing, tuple):
        parts: list[Any] = list(cast("Any", thing))
        return parts[0], parts[1]
    if not name and not isinstance(thing, str) and hasattr(thing, "owner"):
        return thing.owner, thing.name
    if not name and isinstance(thing, str) and "/" in thing:
        owner, _, name = thing.partition("/")
        if ":" in name:
            raise ValueError(f"{thing!r} names a version: pass 'owner/name', or the version to predictions.create")
        return owner, name
    if not (thing and name):
        raise ValueError("pass 'owner/name', an (owner, name) tuple, or owner and name")
    return thing, name


def to_reference(ref: Any) -> Any:
    """Return ``owner/name``, ``owner/name:version`` or a version id, for any description of a model or version."""
    if isinstance(ref, tuple):
        parts: list[Any] = list(cast("Any", ref))
        return ":".join([f"{parts[0]}/{parts[1]}", *filter(None, parts[2:])])
    if hasattr(ref, "owner") and hasattr(ref, "name"):
        return f"{ref.owner}/{ref.name}"
    if isinstance(ref, str):
        return ref
    return getattr(ref, "id", None) or getattr(ref, "name", ref)


def to_id(thing: Any) -> Any:
    """Return the id of an object, or the id itself."""
    return thing if isinstance(thing, str) else getattr(thing, "id", thing)
