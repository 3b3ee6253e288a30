"""What a client reports to its hooks, for tracing, metrics and logs.

A hook is a function that the client calls with an event whenever something happens. It runs on the event loop, so it
must not block. If it raises, the client logs the error and goes on. For ``PredictionStarted``, a hook can return a
context manager: the client enters it at once, and exits it when the prediction has been created, or could not be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import msgspec

from replicate_async.types import Prediction, Training

__all__ = [
    "Event",
    "Hook",
    "PredictionChanged",
    "PredictionCreated",
    "PredictionEnded",
    "PredictionStarted",
    "RequestFailed",
    "RequestRetried",
    "RequestSent",
    "RequestThrottled",
    "ResponseReceived",
]


class Event(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Something that happened. Events compare by identity, so that they can be keys of a dict."""


class RequestSent(Event, frozen=True, kw_only=True, eq=False):
    """A request is sent.

    Attributes:
        method: The HTTP method.
        url: The path below the base URL, or the whole URL, without its query, which may be a signature.
        attempt: The number of the attempt, from 1 on.
        queued: The seconds for which it waited for a rate limit or for a connection slot.
    """

    method: str
    url: str
    attempt: int
    queued: float


class ResponseReceived(Event, frozen=True, kw_only=True, eq=False):
    """A response arrived: with its body, or without it if the caller reads the body on demand.

    Attributes:
        request: The request.
        status_code: The HTTP status.
        seconds: The time since the request was sent.
    """

    request: RequestSent
    status_code: int
    seconds: float


class RequestFailed(Event, frozen=True, kw_only=True, eq=False):
    """No response arrived.

    Attributes:
        request: The request.
        error: Why; None if the caller was canceled.
        seconds: The time since the request was sent.
    """

    request: RequestSent
    error: Exception | None
    seconds: float


class RequestThrottled(Event, frozen=True, kw_only=True, eq=False):
    """The API refused a request because of a rate limit.

    Attributes:
        request: The request.
        retry_after: The seconds that the API asks to wait, if it does.
    """

    request: RequestSent
    retry_after: float | None


class RequestRetried(Event, frozen=True, kw_only=True, eq=False):
    """A request is repeated.

    Attributes:
        method: The HTTP method.
        url: The path or URL, as in ``RequestSent``.
        retry_number: The number of the retry, from 1 on.
        waited_so_far: The seconds for which all retries of this request have waited.
        error: Why the last attempt failed.
    """

    method: str
    url: str
    retry_number: int
    waited_so_far: float
    error: BaseException


class PredictionStarted(Event, frozen=True, kw_only=True, eq=False):
    """A prediction or training is about to be created: its files are uploaded, and its create is sent.

    Attributes:
        model: What to run: ``owner/name``, ``owner/name:version``, a version id, or the path of a deployment.
        input: The inputs by name, as the caller passed them.
    """

    model: str
    input: Mapping[str, Any]


class PredictionCreated(Event, frozen=True, kw_only=True, eq=False):
    """A prediction or training has been created.

    Attributes:
        prediction: The prediction or training.
    """

    prediction: Prediction | Training


class PredictionChanged(Event, frozen=True, kw_only=True, eq=False):
    """A prediction or training has another status, and has not ended.

    Attributes:
        prediction: The prediction or training.
        previous_status: The status that was seen before.
    """

    prediction: Prediction | Training
    previous_status: str


class PredictionEnded(Event, frozen=True, kw_only=True, eq=False):
    """A prediction or training has ended, or was given up and canceled.

    It is reported once for each prediction that this client has created or waited for.

    Attributes:
        prediction: The prediction or training.
        seconds: The time since this client created it or saw it first.
    """

    prediction: Prediction | Training
    seconds: float


Hook: TypeAlias = Callable[[Event], AbstractContextManager[object] | None]
