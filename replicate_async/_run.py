"""Running a model from its inputs to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from msgspec import UNSET

from replicate_async import _waiting
from replicate_async._arguments import ModelRef, prefer_of
from replicate_async._creates import find_lost
from replicate_async.errors import APITimeoutError, ModelError, PredictionCanceledError
from replicate_async.resources.predictions import AsyncPredictions, prediction_request
from replicate_async.types import Model, ModelVersion, Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import UnsetType

    from replicate_async._arguments import RequestOptions
    from replicate_async._transport import Transport
    from replicate_async._wire import Request
    from replicate_async.types import WebhookEvent


async def run(
    transport: Transport,
    ref: str | Model | ModelVersion,
    options: RequestOptions,
    *,
    input: Mapping[str, Any],
    wait: bool | int,
    time_limit: float | None,
    cancel_on_abort: bool,
    stream: bool | UnsetType,
    webhook: str | UnsetType,
    webhook_events_filter: Sequence[WebhookEvent] | UnsetType,
    cancel_after: str | int | UnsetType,
) -> Any:
    """Create a prediction, wait until it has ended, return its output; see ``AsyncReplicate.run``."""
    model = as_model_ref(ref)
    request = prediction_request(
        "/predictions" if model.version else f"/models/{model.owner}/{model.name}/predictions",
        options,
        version=model.version or UNSET,
        input=input,
        stream=stream,
        webhook=webhook,
        webhook_events_filter=webhook_events_filter,
        prefer=prefer_of(wait),
        cancel_after=cancel_after,
    )
    predictions = AsyncPredictions(transport)

    polling = _waiting.polling_options(options)

    async def fetch(prediction_id: str) -> Prediction:
        return await predictions.get(prediction_id, **polling)

    started = transport.now()
    prediction: Prediction | None = None
    with anyio.move_on_after(time_limit):
        try:
            prediction = await transport.call(request)
            # What was held until its end may still say "processing": that is looked at again without a pause.
            return output_of(await _waiting.until_done(transport, prediction, fetch, look_now=request.hold > 0))
        except anyio.get_cancelled_exc_class():
            if cancel_on_abort:
                await _waiting.whatever_happens(_abandon(transport, request, prediction, started))
            raise
    raise APITimeoutError(
        f"not done after {time_limit} s, the time limit", prediction_id=prediction.id if prediction else None
    )


def as_model_ref(ref: str | Model | ModelVersion) -> ModelRef:
    """Return what to run."""
    if isinstance(ref, Model):
        return ModelRef(ref.owner, ref.name)
    if isinstance(ref, ModelVersion):
        return ModelRef(version=ref.id)
    return ModelRef.parse(ref)


def output_of(prediction: Prediction) -> Any:
    """Return the output of a prediction that has ended.

    Raises:
        PredictionCanceledError: it was canceled, or aborted before it ran.
        ModelError: it failed.
    """
    if prediction.status in {"canceled", "aborted"}:
        raise PredictionCanceledError(prediction)
    if prediction.status != "succeeded" and (prediction.status == "failed" or prediction.error is not None):
        raise ModelError(prediction)
    return prediction.output


async def _abandon(
    transport: Transport, request: Request[Prediction], prediction: Prediction | None, started: float
) -> None:
    """Cancel what nobody waits for any more."""
    # A create that was interrupted may be on the server all the same, or be about to arrive there.
    if prediction is None and request.sent:
        for pause in (0.0, 0.25, 0.5):
            await transport.sleep(pause)
            prediction = await find_lost(transport, request, transport.now() - started)
            if prediction is not None:
                break
    if prediction is not None and not prediction.done:
        await transport.call(_waiting.cancel_request(prediction.id, urgent=True))
