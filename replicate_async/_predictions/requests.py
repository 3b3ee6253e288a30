"""How a create is described: the model, the input and the options, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast

import msgspec

from replicate_async._http.options import RequestOptions, check_choice, check_options, drop_unset
from replicate_async._http.request import PREFER_WAIT_MAX, Request, format_path
from replicate_async._http.transport import Transport
from replicate_async._json import is_mapping
from replicate_async.types import Model, ModelVersion, Prediction, Struct, WebhookEvent

_NO_HOOKS = nullcontext()

# What to run: ``owner/name``, ``owner/name:version``, a version id, or the API's own description.
ModelLike: TypeAlias = str | Model | ModelVersion
# How files in an input are sent: inside the JSON, or uploaded before.
FileEncodingStrategy = Literal["base64", "url"]


class PredictionOptions(RequestOptions, total=False):
    """Options of every call that creates predictions, in addition to ``RequestOptions``.

    Attributes:
        webhook: URL that receives webhook events.
        webhook_events_filter: Events to send to the webhook. If omitted, all events are sent.
        cancel_after: Maximum lifetime from the creation, after which the API cancels the prediction: seconds, or a
            duration such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
        file_encoding_strategy: How to send files in the input: ``"base64"`` embeds them in the request, ``"url"``
            uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond 1 MB in the
            requests of the predictions in flight.
    """

    webhook: str | None
    webhook_events_filter: Sequence[WebhookEvent] | None
    cancel_after: str | int | None
    file_encoding_strategy: FileEncodingStrategy | None


_CREATE_OPTIONS = PredictionOptions.__optional_keys__ - RequestOptions.__optional_keys__


def request_options(options: PredictionOptions) -> RequestOptions:
    """Return the options that apply to the request itself."""
    own = {k: v for k, v in options.items() if k not in _CREATE_OPTIONS} if options else options
    return cast("RequestOptions", own)


def check_create_options(options: PredictionOptions) -> None:
    """Raise TypeError or ValueError if an option of a create is unknown or invalid."""
    check_options(request_options(options))
    check_events(options.get("webhook_events_filter"))
    _check_cancel_after(options.get("cancel_after"))
    check_choice("file_encoding_strategy", options.get("file_encoding_strategy"), ("base64", "url"))


def create_request(
    path: str,
    options: PredictionOptions,
    input: Mapping[str, Any],
    *,
    version: str | ModelVersion | Model | None = None,
    stream: bool | None = None,
    prefer: str | None = None,
) -> Request[Prediction]:
    """Describe the call that creates a prediction: with a version, a model or a deployment."""
    if options:
        check_create_options(options)
    webhook, events = options.get("webhook"), options.get("webhook_events_filter")
    headers: dict[str, str] = {}
    if prefer is not None:
        headers["Prefer"] = _check_prefer(prefer)
    if (cancel_after := options.get("cancel_after")) is not None:
        headers["Cancel-After"] = str(cancel_after)
    return Request(
        "POST",
        path,
        Prediction,
        request_options(options),
        headers=headers,
        json=drop_unset(
            version=version, input=check_input(input), stream=stream, webhook=webhook, webhook_events_filter=events
        ),
        billable=True,
    )


def starting(transport: Transport, request: Request[Any], model: object = None) -> AbstractContextManager[None]:
    """Report to the client's hooks that a request is about to create a prediction or training."""
    if not transport.hooks.functions:
        return _NO_HOOKS
    path = request.path[1:].removeprefix("models/").removesuffix("/predictions").removesuffix("/trainings")
    model = model or request.json.get("version") or path.replace("/versions/", ":")
    return transport.hooks.starting(model, request.json["input"])


def check_time_limit(seconds: object) -> None:
    """Raise TypeError or ValueError unless a time limit is None, or seconds from 0 on."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"time_limit must be seconds, or None for no limit, not {seconds!r}")
    # NaN would even block the event loop's timers.
    if not seconds >= 0:
        raise ValueError(f"time_limit={seconds} is invalid: pass seconds from 0 on, or None for no limit")


def check_callback(value: object) -> None:
    """Raise TypeError unless ``on_update`` is None or can be called."""
    if value is not None and not callable(value):
        raise TypeError(f"on_update must be a function, not {type(value).__name__}")


def check_input(value: object) -> Mapping[str, Any]:
    """Return a model's input; raises TypeError if it is not a mapping."""
    if is_mapping(value):
        return value
    raise TypeError(f"input must be a mapping of the model's input names to values, not {type(value).__name__}")


def check_events(value: Sequence[WebhookEvent] | None) -> None:
    """Raise TypeError or ValueError if the API does not document a webhook event."""
    if value is None:
        return
    if isinstance(value, str):
        raise TypeError("webhook_events_filter must be a list of event names, not one str")
    for event in value:
        check_choice("webhook_events_filter", event, ("start", "output", "logs", "completed"))


def _check_prefer(prefer: object) -> str:
    if not isinstance(prefer, str):
        raise TypeError(f"prefer must be a str such as 'wait=5', not {type(prefer).__name__}")
    match = re.fullmatch(r"wait(?:=([0-9]{1,9}))?", prefer)
    seconds = int(match[1] or PREFER_WAIT_MAX) if match else 0
    if not 1 <= seconds <= PREFER_WAIT_MAX:
        raise ValueError(f"prefer={prefer!r} must be 'wait' or 'wait=n' with n from 1 to {PREFER_WAIT_MAX} seconds")
    return prefer


def prefer_header(wait: object) -> str | None:
    """Return the Prefer header for ``wait``: False, True, or 1 to 60 seconds."""
    if wait is False:
        return None
    if wait is True:
        return "wait"
    if not isinstance(wait, int):
        raise TypeError(f"wait must be a bool or an int, not {type(wait).__name__}")
    if not 1 <= wait <= PREFER_WAIT_MAX:
        raise ValueError(f"wait={wait} must be from 1 to {PREFER_WAIT_MAX} seconds, True or False")
    return f"wait={wait}"


_CANCEL_AFTER = re.compile(r"(?=[0-9])(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s?)?")


def _check_cancel_after(value: str | int | None) -> None:
    if value is None:
        return
    match = _CANCEL_AFTER.fullmatch(str(value))
    if match is None:
        raise ValueError(f"cancel_after={value!r} must be a duration such as 30, '90s', '5m' or '1h30m'")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if hours * 3600 + minutes * 60 + seconds < 5:
        raise ValueError(f"cancel_after={value!r} must be at least 5 seconds")


class ModelRef(msgspec.Struct, frozen=True):
    """What to run: a model by name, or a version of it."""

    owner: str | None = None
    name: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, ref: object) -> ModelRef:
        """Read ``owner/name``, ``owner/name:version`` or a bare version id."""
        if isinstance(ref, Model):
            return cls(ref.owner, ref.name)
        if isinstance(ref, ModelVersion):
            return cls(version=ref.id)
        if not isinstance(ref, str):
            raise TypeError(f"ref must be a str such as 'owner/name', not {type(ref).__name__}")
        return _parse_ref(ref)

    def path(self, tail: str = "") -> str:
        """Return the path of the model."""
        return model_path(self.owner or "", self.name or "", tail=tail)

    def __str__(self) -> str:
        name = f"{self.owner}/{self.name}" if self.owner else None
        return ":".join(filter(None, (name, self.version)))


@lru_cache(maxsize=256)
def _parse_ref(ref: str) -> ModelRef:
    if match := re.fullmatch(r"([\w.-]+)/([\w.-]+)(?::([\w.-]+))?", ref, re.ASCII):
        if not {".", ".."} & set(match.groups()):
            return ModelRef(*match.groups())
    elif re.fullmatch(r"[0-9a-zA-Z]{20,}", ref):
        return ModelRef(version=ref)
    page = re.search(r"replicate\.com/([\w-][\w.-]*/[\w-][\w.-]*)", ref, re.ASCII)
    remedy = f"did you mean {page[1]!r}?" if page else "use 'owner/name', 'owner/name:version' or a version id"
    raise ValueError(f"ref={ref!r} is not a model: {remedy}")


def model_path(owner: object, name: object = None, *, kind: str = "model", tail: str = "") -> str:
    """Return the path of a model or a deployment, named by two arguments, by one ``owner/name``, or by the object."""
    if name is None and isinstance(owner, Struct):
        name = owner
    elif name is None:
        if not isinstance(owner, str):
            raise TypeError(f"{kind}_owner must be a str, not {type(owner).__name__}")
        owner, slash, name = owner.partition("/")
        if not slash:
            raise TypeError(f"missing argument {kind}_name: pass {kind}_owner and {kind}_name, or one 'owner/name'")
    template = f"/{kind}s/{{{kind}_owner}}/{{{kind}_name}}"
    return format_path(template, **{f"{kind}_owner": owner, f"{kind}_name": name}) + tail
