"""How creates are described: the model, the input and the headers, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http.options import PREFER_WAIT_MAX, RequestOptions, check_choice, drop_unset
from replicate_async._http.request import Request, path
from replicate_async.types import Model, ModelVersion, Prediction, WebhookEvent


def check_time_limit(seconds: float | None) -> None:
    """Refuse what is no time to wait for; NaN would even keep the event loop's timers from ever coming."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"time_limit is seconds, or None for no limit, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"time_limit={seconds} is no time to wait for: pass seconds from 0 on, or None for no limit")


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


def to_model_ref(ref: str | Model | ModelVersion) -> ModelRef:
    """Return what to run."""
    if isinstance(ref, Model):
        return ModelRef(ref.owner, ref.name)
    if isinstance(ref, ModelVersion):
        return ModelRef(version=ref.id)
    return ModelRef.parse(ref)


def prediction_request(
    at: str,
    options: RequestOptions,
    *,
    input: Mapping[str, Any],
    stream: bool | UnsetType,
    webhook: str | UnsetType,
    webhook_events_filter: Sequence[WebhookEvent] | UnsetType,
    prefer: str | UnsetType,
    cancel_after: str | int | UnsetType,
    version: str | UnsetType = UNSET,
) -> Request[Prediction]:
    """Describe the call that starts a prediction: of a version, a model or a deployment."""
    check_events(webhook_events_filter)
    headers, hold = prediction_headers(prefer, cancel_after)
    body = drop_unset(
        version=version,
        input=check_input(input),
        stream=stream,
        webhook=webhook,
        webhook_events_filter=webhook_events_filter,
    )
    return Request("POST", at, Prediction, options, headers=headers, json=body, hold=hold, creates=True)
