"""Predictions and trainings that were created: looking at them, giving them up, and what comes of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from msgspec import UNSET

from replicate_async._http.options import RequestOptions, follow_up_options
from replicate_async._http.request import Request, path
from replicate_async.errors import APIError, ModelError, PredictionCanceledError, ReplicateError
from replicate_async.types import Prediction, Training

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from replicate_async._http.transport import Transport

JobT = TypeVar("JobT", Prediction, Training)

logger = logging.getLogger("replicate_async")

_GIVE_UP_WITHIN = 5.0  # seconds


async def look(transport: Transport, job_id: str, kind: type[JobT], options: RequestOptions) -> JobT:
    """Look at one job.

    Raises:
        APIError: that failed; the error has the job's id.
    """
    at = "/predictions/{job_id}" if kind is Prediction else "/trainings/{job_id}"
    try:
        return await transport.plain.call(Request("GET", path(at, job_id=job_id), kind, follow_up_options(options)))
    except APIError as error:
        error.prediction_id = job_id
        raise


def poll_key(transport: Transport, options: RequestOptions) -> tuple[object, ...]:
    """Return what tells these looks from others: one look serves all that would be like it."""
    extra = options.get("extra_headers") or {}
    return transport.options_key, tuple(extra.items()), options.get("timeout", UNSET), options.get("max_retries")


def cancel_request(
    prediction_id: str, options: RequestOptions | None = None, *, skips_queue: bool = False
) -> Request[Prediction]:
    """Describe the call that cancels a prediction; cancelling twice is cancelling once."""
    at = path("/predictions/{prediction_id}/cancel", prediction_id=prediction_id)
    return Request("POST", at, Prediction, options or {}, repeatable=True, skips_queue=skips_queue)


async def cancel(transport: Transport, prediction_id: str) -> None:
    """Cancel a prediction, ahead of all calls that wait for a connection."""
    await transport.call(cancel_request(prediction_id, skips_queue=True))


async def run_shielded(giving_up: Coroutine[Any, Any, None]) -> None:
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
