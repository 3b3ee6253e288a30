"""Predictions and trainings that exist: fetching them, canceling them, and their outputs."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET

from replicate_async._http.options import RequestOptions, follow_up_options
from replicate_async._http.request import Request, format_path
from replicate_async._http.transport import Transport
from replicate_async._json import is_nested_deeper
from replicate_async.errors import (
    APIError,
    APIResponseValidationError,
    ModelError,
    PredictionCanceledError,
    ReplicateError,
)
from replicate_async.types import Prediction, Training

T = TypeVar("T")
JobT = TypeVar("JobT", Prediction, Training)

# Deeper outputs exceed Python's limit of recursion, here or in the caller's own code.
MAX_OUTPUT_LEVELS = 200


def list_path(kind: type[Prediction | Training]) -> str:
    """Return the path of the list of all predictions or trainings."""
    return "/predictions" if kind is Prediction else "/trainings"


def check_job(job: object, kind: type[Prediction | Training]) -> None:
    """Raise TypeError unless a job is a prediction or training, or its id."""
    if not isinstance(job, (str, kind)):
        raise TypeError(f"expected a {kind.__name__} or its id, not {type(job).__name__}")


async def fetch_job(transport: Transport, job_id: str, kind: type[JobT], options: RequestOptions) -> JobT:
    """Fetch a prediction or training.

    Raises:
        APIError: the call failed, or the response is about another one; the error has the id.
    """
    path = format_path(list_path(kind) + "/{job_id}", job_id=job_id)
    try:
        job: JobT = await transport.decoding.call(Request("GET", path, kind, follow_up_options(options)))
    except APIError as error:
        error.prediction_id = job_id
        raise
    if job.id != job_id:
        # Somebody else's output is never handed out, whatever stands between here and the API.
        raise APIResponseValidationError(f"the response is about {job.id}, not {job_id}", prediction_id=job_id)
    return job


def poll_key(transport: Transport, options: RequestOptions) -> tuple[object, ...]:
    """Return a key that is equal for callers whose polls are interchangeable."""
    headers = tuple((options.get("extra_headers") or {}).items())
    return transport.options_key, headers, options.get("timeout", UNSET), options.get("max_retries")


def cancel_request(prediction_id: str | Prediction, options: RequestOptions) -> Request[Prediction]:
    """Describe the call that cancels a prediction."""
    path = format_path("/predictions/{prediction_id}/cancel", prediction_id=prediction_id)
    return Request("POST", path, Prediction, options, idempotent=True, skips_queue=True)


def output_of(prediction: Prediction) -> Any:
    """Return the output of a prediction that has ended.

    Raises:
        PredictionCanceledError: the prediction was canceled, or aborted before it ran.
        ModelError: the prediction failed.
        ReplicateError: the output was removed, because the prediction ended too long ago.
        APIResponseValidationError: the output is nested too deeply.
    """
    if prediction.status in ("canceled", "aborted"):
        raise PredictionCanceledError(prediction)
    if prediction.status != "succeeded" and (prediction.status == "failed" or prediction.error is not None):
        raise ModelError(prediction)
    if prediction.data_removed and prediction.output is None:
        raise ReplicateError(
            f"the output of prediction {prediction.id} was removed (data_removed): "
            "the API keeps outputs for an hour after the prediction"
        )
    if is_nested_deeper(prediction.output, MAX_OUTPUT_LEVELS):
        raise APIResponseValidationError(
            f"the output is nested more than {MAX_OUTPUT_LEVELS} levels deep", prediction_id=prediction.id
        )
    return prediction.output
