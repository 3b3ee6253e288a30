"""Operations on predictions."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async.types import Prediction, WebhookEvent

from ._calls import Call, Problem, Response, empty_response, invalid, json_response, not_found, parse_int
from ._hosted import HostedModel, Version
from ._pagination import entries_near_cursor, paginate
from ._store import Store
from ._webhooks import WebhookUrl, check_webhook

_CANCEL_AFTER = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?")
_MAX_CANCEL_AFTER_SECONDS = 365 * 24 * 3600


# Sizes of a create in bytes, above which the API refuses it, lets its prediction fail, or refuses to hold it.
# A megabyte of files as data URIs is within the last one.
_MAX_BODY_BYTES = 10_000_000
_INTERRUPTED_BYTES = 6_000_000
_MAX_HELD_BYTES = 1_500_000
_INTERRUPTION = "Prediction interrupted; please retry (code: PA)"


class PredictionInput(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``models.predictions.create`` and ``deployments.predictions.create``."""

    input: dict[str, Any]
    stream: bool | UnsetType = UNSET
    webhook: WebhookUrl | UnsetType = UNSET
    webhook_events_filter: list[WebhookEvent] | UnsetType = UNSET


class CreatePrediction(PredictionInput, kw_only=True, forbid_unknown_fields=True):
    """The body of ``predictions.create``."""

    version: str


InputT = TypeVar("InputT", bound=PredictionInput)


async def create(store: Store, call: Call) -> Response:
    """Run a version of a model."""
    body = _decode(call, CreatePrediction)
    model, version = _resolve(store, body.version)
    return await _create(store, call, body, model, version)


async def create_on_model(store: Store, call: Call) -> Response:
    """Run an official model by its name."""
    body = _decode(call, PredictionInput)
    model, version = store.runnable(call.path_arguments["model_owner"], call.path_arguments["model_name"])
    return await _create(store, call, body, model, version)


async def create_on_deployment(store: Store, call: Call) -> Response:
    """Run the version that a deployment deploys."""
    body = _decode(call, PredictionInput)
    deployment, release, _ = store.deployment(call)
    model, version = store.versions[release.version or ""]
    return await _create(store, call, body, model, version, f"{deployment.owner}/{deployment.name}")


async def list_(store: Store, call: Call) -> Response:
    """List predictions, newest first."""
    after, before = _parse_time(call, "created_after"), _parse_time(call, "created_before")
    source = call.query.get("source")
    if source not in {None, "web"}:
        raise invalid("source", 'source must be one of the following: "web"', "enum")

    def keep(prediction: Prediction) -> bool:
        return (
            store.jobs[prediction.id].is_readable
            and (after is None or prediction.created_at >= after)
            and (before is None or prediction.created_at < before)
            and (source is None or prediction.source == source)
        )

    entries = entries_near_cursor(store, call, store.predictions, keep)
    return paginate(store, call, entries, encode=lambda prediction: _list_entry(store, prediction))


async def get(store: Store, call: Call) -> Response:
    """Get a prediction."""
    return json_response(store.to_wire(_find(store, call)))


async def cancel(store: Store, call: Call) -> Response:
    """Cancel a prediction; does nothing if it has ended."""
    prediction = _find(store, call)
    store.jobs[prediction.id].cancel()
    return json_response(store.to_wire(prediction))


def _decode(call: Call, shape: type[InputT]) -> InputT:
    if len(call.body) > _MAX_BODY_BYTES:
        raise Problem(413, "The request body is too large.")
    return call.decode(shape)


def _list_entry(store: Store, prediction: Prediction) -> dict[str, Any]:
    store.fresh(prediction)
    return store.jobs[prediction.id].to_list_entry()


async def _create(
    store: Store, call: Call, body: PredictionInput, model: HostedModel, version: Version, deployment: str | None = None
) -> Response:
    prefer_wait = _parse_prefer(call)
    cancel_after = _parse_cancel_after(call)
    webhook = None if body.webhook is UNSET else body.webhook
    check_webhook(webhook)
    if prefer_wait is not None and len(call.body) > _MAX_HELD_BYTES:
        return empty_response(403)
    arguments = version.function.signature.arguments(body.input, store.open_file)
    prediction = store.new_prediction(model, version, body.input, deployment)
    interruption = _INTERRUPTION if len(call.body) > _INTERRUPTED_BYTES else None
    job = store.predict(prediction, model, version, arguments, cancel_after=cancel_after, interruption=interruption)
    if webhook is not None:
        events = None if body.webhook_events_filter is UNSET else body.webhook_events_filter
        store.webhooks.subscribe(job, webhook, events)
    if prefer_wait is None:
        return json_response(job.to_wire(), 201)
    await job.wait(min(prefer_wait, store.hold))
    response = json_response(store.to_held_wire(job), 201)
    response.headers = {"Preference-Applied": call.headers["Prefer"]}
    return response


def _resolve(store: Store, reference: str) -> tuple[HostedModel, Version]:
    name, _, version_id = reference.rpartition(":") if "/" in reference and ":" in reference else ("", "", reference)
    if "/" in version_id:
        model = store.models.get(version_id)
        if model is not None and model.record.is_official and model.latest is not None:
            return model, model.latest
    elif (model_and_version := store.versions.get(version_id)) and name in {"", model_and_version[0].name}:
        return model_and_version
    raise Problem(
        422,
        "The specified version does not exist (or perhaps you don't have permission to use it?)",
        title="Invalid version or not permitted",
    )


def _find(store: Store, call: Call) -> Prediction:
    prediction = store.predictions.get(call.path_arguments["prediction_id"])
    if prediction is None or not store.jobs[prediction.id].is_readable:
        raise not_found()
    return prediction


def _parse_prefer(call: Call) -> float | None:
    """Return how many seconds the client wants to wait for the end, from the header ``Prefer``."""
    for preference in call.headers.get("Prefer", "").split(","):
        name, equals, value = preference.strip().partition("=")
        if name.strip().lower() == "wait":
            seconds = parse_int(value.strip()) if equals else 60
            if seconds is None or not 1 <= seconds <= 60:
                raise invalid("Prefer", "wait must be between 1 and 60 seconds")
            return seconds
    return None


def _parse_cancel_after(call: Call) -> float | None:
    text = call.headers.get("Cancel-After")
    if text is None:
        return None
    match = _CANCEL_AFTER.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise invalid("Cancel-After", "Cancel-After must be a duration such as 30, 90s, 5m or 1h30m")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < 5:
        raise invalid("Cancel-After", "Cancel-After must be at least 5 seconds")
    if total > _MAX_CANCEL_AFTER_SECONDS:
        raise invalid("Cancel-After", "Cancel-After must be at most a year")
    return total


def _parse_time(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise invalid(name, f"{name} must be a date and time in ISO 8601", "format") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
