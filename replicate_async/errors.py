"""The errors of this package, as a tree.

    ReplicateError
    ├── APIError                            a call to the API failed
    │   ├── APIConnectionError              no response came
    │   │   ├── APITimeoutError             ... in time
    │   │   └── CreateOutcomeUnknown        ... and it is unknown whether something was created
    │   ├── APIStatusError                  the response has an error status
    │   │   ├── BadRequestError             400
    │   │   ├── AuthenticationError         401
    │   │   ├── PaymentRequiredError        402
    │   │   ├── PermissionDeniedError       403
    │   │   ├── NotFoundError               404
    │   │   ├── ConflictError               409
    │   │   ├── UnprocessableEntityError    422
    │   │   ├── RateLimitError              429
    │   │   └── InternalServerError         5xx
    │   └── APIResponseValidationError      the response has an unknown shape
    ├── ModelError                          the prediction failed
    │   └── PredictionCanceledError         the prediction was canceled or aborted
    └── WebhookVerificationError            a webhook could not be verified

All have a ``message``, and a ``status``: the HTTP status of the response, or None. Invalid arguments raise
``TypeError`` or ``ValueError`` before anything is sent. No error contains the token.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any

from replicate_async._hints import Hinted
from replicate_async._logging import redact_url
from replicate_async.types import Prediction

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "CreateOutcomeUnknown",
    "InternalServerError",
    "ModelError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PredictionCanceledError",
    "RateLimitError",
    "ReplicateError",
    "UnprocessableEntityError",
    "WebhookVerificationError",
]


def __dir__() -> list[str]:
    return __all__


class ReplicateError(Hinted, Exception):
    """The root of all errors of this package.

    ``title`` and ``detail`` come from the response's problem document; None if there is no such document.
    """

    title: str | None = None
    detail: str | None = None

    def __init__(
        self, *args: object, status: int | None = None, title: str | None = None, detail: str | None = None
    ) -> None:
        super().__init__(*(args or [": ".join(filter(None, (title, detail)))]))
        if status is not None:
            self._status: int | None = status
        if title is not None:
            self.title = title
        if detail is not None:
            self.detail = detail

    @property
    def message(self) -> str:
        """What went wrong."""
        return str(self)

    @property
    def status(self) -> int | None:
        """The HTTP status of the response; None if there is no response."""
        return self.__dict__.get("_status")

    def _render_traceback_(self) -> list[str]:
        """Show the error in IPython and notebooks, which call this, without the frames of this package and its causes.

        The whole traceback is shown after ``%xmode Verbose``.
        """
        renderer: Any = import_module("IPython").get_ipython().InteractiveTB
        if renderer.mode == "Verbose":
            whole: list[str] = renderer.structured_traceback(type(self), self, self.__traceback__)
            return whole
        entry, frames = self.__traceback__, list[TracebackType]()
        while entry is not None:
            if not entry.tb_frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
                frames.append(entry)
            entry = entry.tb_next
        trace: TracebackType | None = None
        for frame in reversed(frames):
            trace = TracebackType(trace, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
        # A copy has no cause, which the message describes.
        lines: list[str] = renderer.structured_traceback(type(self), copy.copy(self), trace)
        return lines


class APIError(ReplicateError):
    """A call to the API failed.

    ``method`` and ``url`` identify the call; ``prediction_id`` is the id of the prediction concerned, if there is one.
    The text of the error leaves out the URL's query, which may be a signature.
    """

    # Every argument but the message has a default, so that unpickling (message first, then the attributes) works.
    def __init__(self, message: str, *, method: str = "", url: str = "", prediction_id: str | None = None) -> None:
        super().__init__(message)
        self.method: str = method
        self.url: str = url
        self.prediction_id: str | None = prediction_id

    @property
    def message(self) -> str:
        """What went wrong, without the call."""
        return str(self.args[0])

    def __str__(self) -> str:
        call = f" ({self.method} {redact_url(self.url)})" if self.method else ""
        about = f" [prediction {self.prediction_id}]" if self.prediction_id else ""
        return f"{self.args[0]}{call}{about}"


class APIConnectionError(APIError):
    """No response came: the connection could not be established, or broke.

    ``sent`` is False if the request certainly never reached the server, so that a retry is always safe.
    """

    def __init__(
        self, message: str, *, method: str = "", url: str = "", prediction_id: str | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, method=method, url=url, prediction_id=prediction_id)
        self.sent: bool = sent


class APITimeoutError(APIConnectionError):
    """No response came in time."""


class CreateOutcomeUnknown(APIConnectionError):  # noqa: N818 - the create may have succeeded
    """The response to a create was lost, and it is unknown whether it succeeded: a retry may be billed twice.

    ``candidates`` are the ids of predictions or trainings that it may have created; empty if they could not be listed.
    ``__cause__`` is the failure.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        url: str = "",
        prediction_id: str | None = None,
        sent: bool = True,
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(message, method=method, url=url, prediction_id=prediction_id, sent=sent)
        self.candidates: list[str] = list(candidates)


class APIStatusError(APIError):
    """The API responded with an error status.

    ``title`` and ``detail`` come from the response's problem document, if it has one; ``body`` is the raw body;
    ``retry_after`` is the delay in seconds that the response asks for. ``invalid_fields`` are the fields that a 422
    refuses, each a dict with ``type``, ``field`` and ``description``.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        url: str = "",
        prediction_id: str | None = None,
        status_code: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        title: str | None = None,
        detail: str | None = None,
        retry_after: float | None = None,
        invalid_fields: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message, method=method, url=url, prediction_id=prediction_id)
        self.status_code: int = status_code
        self.headers: Mapping[str, str] = headers or {}
        self.body: bytes = body
        self.title: str | None = title
        self.detail: str | None = detail
        self.retry_after: float | None = retry_after
        self.invalid_fields: list[dict[str, Any]] = list(invalid_fields)

    @property
    def status(self) -> int:
        """The HTTP status, by its name in problem documents."""
        return self.status_code


class BadRequestError(APIStatusError):
    """400: the request is malformed."""


class AuthenticationError(APIStatusError):
    """401: the token is missing or not valid."""


class PaymentRequiredError(APIStatusError):
    """402: the account has no credit left."""


class PermissionDeniedError(APIStatusError):
    """403: the token may not do this."""


class NotFoundError(APIStatusError):
    """404: there is no such thing, or the token may not see it."""


class ConflictError(APIStatusError):
    """409: the request conflicts with the current state of the object."""


class UnprocessableEntityError(APIStatusError):
    """422: the input doesn't fit the model's schema."""


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` is the time to wait."""


class InternalServerError(APIStatusError):
    """5xx: the API failed."""


class APIResponseValidationError(APIError):
    """The response is not what the API documents: not JSON, or JSON of another shape. ``body`` is the raw body."""

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        url: str = "",
        prediction_id: str | None = None,
        status_code: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message, method=method, url=url, prediction_id=prediction_id)
        self.status_code: int = status_code
        self.headers: Mapping[str, str] = headers or {}
        self.body: bytes = body

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.status_code


class ModelError(ReplicateError):
    """The prediction failed; ``prediction`` has its error, logs and metrics."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(prediction)
        self.prediction: Prediction = prediction

    def __str__(self) -> str:
        return f"prediction {self.prediction.id} {self.prediction.status}: {self.prediction.error or 'no reason given'}"


class PredictionCanceledError(ModelError):
    """The prediction was canceled while it ran, or aborted before it started."""


class WebhookVerificationError(ReplicateError):
    """The webhook could not be verified; the message names the part that is wrong."""
