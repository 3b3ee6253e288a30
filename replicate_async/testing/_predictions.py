"""Operations on predictions."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import msgspec

from replicate_async.types import Prediction, WebhookEvent

from ._calls import Call, Problem, Response, json_response, parse_int
from ._pagination import entries_near_cursor, paginate
from ._store import HostedModel, Store, Version
from ._webhooks import WebhookUrl, check_webhook

_CANCEL_AFTER = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?")
_MAX_CANCEL_AFTER_SECONDS = 365 * 24 * 3600


class PredictionInput(msgspec.Struct):
    """The body of ``models.predictions.create`` and ``deployments.predictions.create``."""

    input: dict[str, Any]
    stream: bool | None = None
    webhook: WebhookUrl | None = None
    webhook_events_filter: list[WebhookEvent] | None = None


class CreatePrediction(PredictionInput, kw_only=True):
    """The body of ``predictions.create``."""

    version: str


async def create(store: Store, call: Call) -> Response:
    """Run a version of a model."""
    body = call.decode(CreatePrediction)
    model, version = _resolve(store, body.version)
    return await _create(store, call, body, model, version)


async def create_on_model(store: Store, call: Call) -> Response:
    """Run a model by its name.

    The real API offers this for official models only; this server runs the latest version of any model.
    """
    body = call.decode(PredictionInput)
    model, version = store.runnable(call.path_arguments["model_owner"], call.path_arguments["model_name"])
    return await _create(store, call, body, model, version)


async def create_on_deployment(store: Store, call: Call) -> Response:
    """Run the version that a deployment deploys."""
    body = call.decode(PredictionInput)
    deployment, release, _ = store.deployment(call)
    model, version = store.versions[release.version or ""]
    return await _create(store, call, body, model, version, f"{deployment.owner}/{deployment.name}")


async def list_(store: Store, call: Call) -> Response:
    """List predictions, newest first."""
    after, before = _parse_time(call, "created_after"), _parse_time(call, "created_before")
    source = call.query.get("source")
    if source not in {None, "web", "api"}:
        raise Problem(422, f"source: expected web or api, got {source!r}")

    def keep(prediction: Prediction) -> bool:
        return (
            (after is None or prediction.created_at >= after)
            and (before is None or prediction.created_at < before)
            and (source is None or prediction.source == source)
        )

    entries = entries_near_cursor(store, call, store.predictions, keep)
    return paginate(store, call, [(number, store.fresh(prediction)) for number, prediction in entries])


async def get(store: Store, call: Call) -> Response:
    """Get a prediction."""
    return json_response(_find(store, call))


async def cancel(store: Store, call: Call) -> Response:
    """Cancel a prediction; does nothing if it has ended."""
    prediction = _find(store, call)
    store.jobs[prediction.id].cancel()
    return json_response(prediction)


async def _create(
    store: Store, call: Call, body: PredictionInput, model: HostedModel, version: Version, deployment: str | None = None
) -> Response:
    prefer_wait = _parse_prefer(call)
    cancel_after = _parse_cancel_after(call)
    check_webhook(body.webhook)
    arguments = version.function.signature.arguments(body.input, store.open_file)
    prediction = store.new_prediction(model, version, body.input, deployment)
    job = store.predict(prediction, model, version, arguments, cancel_after=cancel_after)
    if body.webhook is not None:
        store.webhooks.subscribe(job, body.webhook, body.webhook_events_filter)
    if prefer_wait is None:
        return json_response(prediction, 202)
    if await job.wait(min(prefer_wait, store.hold)):
        return json_response(prediction, 201)
    # After the wait, the API reports the status starting, whatever the status is.
    return json_response(msgspec.structs.replace(prediction, status="starting"), 202)


def _resolve(store: Store, reference: str) -> tuple[HostedModel, Version]:
    name, _, version_id = reference.rpartition(":") if "/" in reference and ":" in reference else ("", "", reference)
    if "/" in version_id:
        owner, _, short = version_id.partition("/")
        model, version = store.runnable(owner, short)
        if not model.record.is_official:
            raise Problem(
                422,
                f"version: {reference} is not official, so it needs a version: {reference}:{version.record.id}",
                title="Invalid version or not permitted",
            )
        return model, version
    model_and_version = store.versions.get(version_id)
    if model_and_version is None or (name and model_and_version[0].name != name):
        raise Problem(
            422,
            f"version: {reference} does not exist, or you are not permitted to use it. {store.registered()}",
            title="Invalid version or not permitted",
        )
    return model_and_version


def _find(store: Store, call: Call) -> Prediction:
    prediction_id = call.path_arguments["prediction_id"]
    prediction = store.predictions.get(prediction_id)
    if prediction is None:
        raise Problem(404, f"There is no prediction {prediction_id} on this server.")
    return store.fresh(prediction)


def _parse_prefer(call: Call) -> float | None:
    """Return how many seconds the client wants to wait for the end, from the header ``Prefer``."""
    for preference in call.headers.get("Prefer", "").split(","):
        name, equals, value = preference.strip().partition("=")
        if name.strip().lower() == "wait":
            seconds = parse_int(value.strip()) if equals else 60
            if seconds is None or not 1 <= seconds <= 60:
                raise Problem(422, f"Prefer: wait takes 1 to 60 seconds, got {value.strip()!r}")
            return seconds
    return None


def _parse_cancel_after(call: Call) -> float | None:
    text = call.headers.get("Cancel-After")
    if text is None:
        return None
    match = _CANCEL_AFTER.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise Problem(422, f"Cancel-After: expected a duration such as 30, 90s, 5m or 1h30m, got {text!r}")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < 5:
        raise Problem(422, f"Cancel-After: the shortest duration is 5 seconds, got {text!r}")
    if total > _MAX_CANCEL_AFTER_SECONDS:
        raise Problem(422, f"Cancel-After: the longest duration is a year, got {text!r}")
    return total


def _parse_time(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise Problem(422, f"{name}: expected a date and time in ISO 8601, got {text!r}") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
