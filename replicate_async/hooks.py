"""What a client reports to its hooks, for tracing, metrics and logs.

A hook is a function that the client calls with an event whenever something happens. It runs on the event loop, so it
must not block. If it raises, the client logs the error and goes on. For ``PredictionStarted``, a hook can return a
context manager: the client enters it at once, and exits it when the prediction has been created, or could not be.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

import msgspec

from replicate_async._logging import logger
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

    It is reported once for each prediction that this client has created, fetched or waited for.

    Attributes:
        prediction: The prediction or training.
        seconds: The time since this client created it or first fetched it.
    """

    prediction: Prediction | Training
    seconds: float


Hook: TypeAlias = Callable[[Event], AbstractContextManager[object] | None]


# --- calling them ---

# The predictions whose last status is remembered, so that each change is reported once.
_MAX_FOLLOWED = 100_000
# Threads add and remove functions of the same client.
_lock = threading.Lock()


class Hooks:
    """The hooks that a client and its copies call, and the predictions that they have seen."""

    def __init__(self, functions: Iterable[Hook] = ()) -> None:
        self.functions: tuple[Hook, ...] = tuple(functions) if hasattr(functions, "__iter__") else ()
        if not hasattr(functions, "__iter__") or not all(map(callable, self.functions)):
            raise TypeError(f"hooks must be a list of functions, not {functions!r}")
        # The last status of each prediction, None once it has ended, and when it was first seen.
        self._followed: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Hooks], tuple[()]]:
        # Functions can't always be pickled, and belong to the program that passed them.
        return Hooks, ()

    def add(self, function: Hook) -> None:
        """Call another function from now on."""
        with _lock:
            self.functions = (*self.functions, function)

    def remove(self, function: Hook) -> None:
        """Stop calling a function."""
        with _lock:
            self.functions = tuple(hook for hook in self.functions if hook is not function)

    @property
    def follows(self) -> bool:
        """Whether predictions are followed."""
        return bool(self.functions) or logger.isEnabledFor(logging.INFO)

    def emit(self, event: Event) -> None:
        """Call all hooks with an event."""
        for function in self.functions:
            _call(function, event)

    @contextmanager
    def starting(self, model: object, input: Any) -> Generator[None]:
        """Report that a prediction is about to be created, inside of the contexts that the hooks return."""
        event = PredictionStarted(model=str(model), input=input)
        with ExitStack() as entered:
            for function in self.functions:
                context: AbstractContextManager[Any] | None = _call(function, event)
                if context is not None and _call(_enter, context):
                    entered.push(partial(_exit, context))
            yield

    def observe(
        self, job: object, now: float, *, created_at: float | None = None, final_status: str | None = None
    ) -> None:
        """Report what is new about a prediction or training; anything else is ignored.

        Args:
            job: What a call has returned.
            now: The time, in seconds.
            created_at: When the call was sent, if it has created the prediction.
            final_status: What its end is called if its own status does not say that it has ended.
        """
        if not (self.follows and isinstance(job, (Prediction, Training))):
            return
        followed = self._followed.get(job.id)
        status, since = followed or (job.status, now if created_at is None else created_at)
        if status is None:
            return
        ended = job.done or final_status is not None
        self._followed[job.id] = None if ended else job.status, since
        if len(self._followed) > _MAX_FOLLOWED:
            self._followed.popitem(last=False)
        if created_at is not None and followed is None:
            self.emit(PredictionCreated(prediction=job))
        if ended:
            if final_status is not None and not job.done:
                job = copy.copy(job)
                job.status = final_status
            logger.info(
                "prediction %s of %s: %s after %.1f s", job.id, job.model or job.version, job.status, now - since
            )
            self.emit(PredictionEnded(prediction=job, seconds=now - since))
        elif status != job.status:
            self.emit(PredictionChanged(prediction=job, previous_status=status))


def _enter(context: AbstractContextManager[Any]) -> bool:
    context.__enter__()
    return True


def _exit(context: AbstractContextManager[Any], *exc_info: object) -> None:
    _call(context.__exit__, *exc_info)


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of a hook; its errors must not concern those whose calls it observes."""
    try:
        return function(*arguments)
    except Exception:  # noqa: BLE001 - it is logged
        logger.warning("the hook %r failed", function, exc_info=True)
        return None
