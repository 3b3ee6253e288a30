"""Waiting for predictions and trainings to end, what comes of it, and giving them up."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from replicate_async import _clock
from replicate_async._arguments import RequestOptions, path
from replicate_async._wire import Request
from replicate_async.errors import APIError, APITimeoutError, ModelError, PredictionCanceledError, ReplicateError
from replicate_async.types import Prediction, Training

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from replicate_async._transport import Transport

Job = TypeVar("Job", Prediction, Training)

logger = logging.getLogger("replicate_async")

_GIVE_UP_WITHIN = 5.0  # seconds


def pause(age: float) -> float:
    """Return how long to wait before looking again at something that has been awaited for ``age`` seconds."""
    return min(max(0.25, age / 5), 10.0)


async def until_done(
    transport: Transport,
    job: Job | str,
    fetch: Callable[[str], Awaitable[Job]],
    *,
    time_limit: float | None = None,
    look_now: bool = False,
) -> Job:
    """Look at a job, less and less often, until it has ended; ``look_now`` skips the first pause.

    Raises:
        APITimeoutError: the time limit has passed.
        APIError: looking failed. Both have the job's id.
    """
    job_id = job if isinstance(job, str) else job.id
    with _clock.time_limit(time_limit):
        try:
            found = await fetch(job) if isinstance(job, str) else job
            started = transport.now()
            while not found.done:
                if not look_now:
                    await transport.sleep(pause(transport.now() - started))
                look_now = False
                found = await fetch(job_id)
        except APIError as error:
            error.prediction_id = job_id
            raise
        return found
    raise APITimeoutError(f"not done after {time_limit} s, the time limit", prediction_id=job_id)


def polling_options(options: RequestOptions) -> RequestOptions:
    """Return what of a create's options holds for looking at its prediction too."""
    return cast("RequestOptions", {k: v for k, v in options.items() if k not in {"extra_body", "extra_query"}})


def cancel_request(
    prediction_id: str, options: RequestOptions | None = None, *, urgent: bool = False
) -> Request[Prediction]:
    """Describe the call that cancels a prediction; cancelling twice is cancelling once."""
    at = path("/predictions/{prediction_id}/cancel", prediction_id=prediction_id)
    return Request("POST", at, Prediction, options or {}, repeatable=True, urgent=urgent)


async def cancel(transport: Transport, prediction_id: str) -> None:
    """Cancel a prediction, ahead of all calls that wait for a connection."""
    await transport.call(cancel_request(prediction_id, urgent=True))


async def whatever_happens(giving_up: Coroutine[Any, Any, None]) -> None:
    """Carry a giving-up through while the caller is being cancelled: not for long, and never with another error."""

    async def bounded() -> None:
        try:
            with anyio.fail_after(_GIVE_UP_WITHIN):
                await giving_up
        except (ReplicateError, TimeoutError) as error:
            # The caller's cancellation is on its way and must not be replaced.
            logger.warning("a prediction that was given up could not be canceled: %s", error or "no answer in time")

    task = asyncio.ensure_future(bounded())
    while not task.done():
        # A task of its own, because a shielded scope doesn't hold off a second Task.cancel().
        with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
            await asyncio.shield(task)


def output_of(prediction: Prediction) -> Any:
    """Return the output of a prediction that has ended.

    Raises:
        PredictionCanceledError: it was canceled, or aborted before it ran.
        ModelError: it failed.
        ReplicateError: it ended so long ago that its output was removed.
    """
    if prediction.status in {"canceled", "aborted"}:
        raise PredictionCanceledError(prediction)
    if prediction.status != "succeeded" and (prediction.status == "failed" or prediction.error is not None):
        raise ModelError(prediction)
    if prediction.data_removed and prediction.output is None:
        raise ReplicateError(
            f"the output of prediction {prediction.id} was removed (data_removed): "
            "the API keeps outputs for an hour after the prediction"
        )
    return prediction.output
