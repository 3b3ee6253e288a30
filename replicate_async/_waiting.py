"""Waiting for predictions and trainings to end, and giving them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from replicate_async._arguments import RequestOptions, path
from replicate_async._wire import Request
from replicate_async.errors import APIError
from replicate_async.types import Prediction, Training

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicate_async._transport import Transport

Job = TypeVar("Job", Prediction, Training)

CANCEL_WITHIN = 5.0  # seconds that giving up may take


def pause(age: float) -> float:
    """Return how long to wait before looking again at something that has been awaited for ``age`` seconds."""
    return min(max(0.25, age / 5), 10.0)


async def until_done(
    transport: Transport,
    job: Job,
    fetch: Callable[[str], Awaitable[Job]],
    *,
    look_now: bool = False,
) -> Job:
    """Look at a job, less and less often, until it has ended; ``look_now`` skips the first pause."""
    started = transport.now()
    while not job.done:
        if not look_now:
            await transport.sleep(pause(transport.now() - started))
        look_now = False
        try:
            job = await fetch(job.id)
        except APIError as error:
            error.prediction_id = error.prediction_id or job.id
            raise
    return job


def cancel_request(prediction_id: str, options: RequestOptions | None = None) -> Request[Prediction]:
    """Describe the call that cancels a prediction; cancelling twice is cancelling once."""
    at = path("/predictions/{prediction_id}/cancel", prediction_id=prediction_id)
    return Request("POST", at, Prediction, options or {}, repeatable=True)
