"""Operations on trainings."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async.types import Training, TrainingOutput, TrainingUrls, WebhookEvent

from ._calls import Call, Problem, Response, forbidden, json_response, not_found
from ._functions import to_output
from ._hosted import HostedModel, Version
from ._jobs import Job
from ._pagination import paginate
from ._store import Store
from ._webhooks import WebhookUrl, check_webhook


class CreateTraining(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``trainings.create``."""

    destination: str
    input: dict[str, Any]
    webhook: WebhookUrl | UnsetType = UNSET
    webhook_events_filter: list[WebhookEvent] | UnsetType = UNSET


async def create(store: Store, call: Call) -> Response:
    """Train a version of a model; the result is a new version of the destination."""
    body = call.decode(CreateTraining)
    model = store.model(call.path_arguments["model_owner"], call.path_arguments["model_name"])
    version = model.version(call)
    destination = store.models.get(body.destination)
    if destination is None:
        raise Problem(404, "The specified training destination does not exist")
    if destination.record.owner != store.account.username:
        raise forbidden()
    webhook = None if body.webhook is UNSET else body.webhook
    check_webhook(webhook)
    arguments = version.train.signature.arguments(body.input, store.open_file) if version.train else {}
    training = _new_training(store, model, version, body.input)
    job = Job(training, store.clock)
    if webhook is not None:
        events = None if body.webhook_events_filter is UNSET else body.webhook_events_filter
        store.webhooks.subscribe(job, webhook, events)
    store.trainings.add(training.id, training)
    store.jobs[training.id] = job
    job.members["urls"] = {**msgspec.to_builtins(training.urls), "stream": store.add_stream(job)}

    async def work(job: Job[Training]) -> None:
        if version.startup:
            await store.clock.sleep(version.startup)
        job.start()
        weights = await store.runner.call(job, version.train, arguments) if version.train else None
        trained = store.add_version(destination, version.function, hashlib.sha256(training.id.encode()).hexdigest())
        trained.startup, trained.output_delay, trained.train = version.startup, version.output_delay, version.train
        url = None if weights is None else str(to_output(weights, store.publish))
        job.output(TrainingOutput(version=f"{destination.name}:{trained.record.id}", weights=url))

    store.runner.begin(job, work)
    return json_response(job.to_wire(), 201)


async def list_(store: Store, call: Call) -> Response:
    """List trainings, newest first."""
    return paginate(
        store, call, store.trainings.newest_first(), encode=lambda each: store.jobs[each.id].to_list_entry()
    )


async def get(store: Store, call: Call) -> Response:
    """Get a training."""
    return json_response(store.to_wire(_find(store, call)))


async def cancel(store: Store, call: Call) -> Response:
    """Cancel a training; does nothing if it has ended."""
    training = _find(store, call)
    store.jobs[training.id].cancel()
    return json_response(store.to_wire(training))


def _new_training(store: Store, model: HostedModel, version: Version, inputs: dict[str, Any]) -> Training:
    training_id = store.new_id()
    api = f"{store.api_url}/v1/trainings/{training_id}"
    return Training(
        id=training_id,
        model=model.name,
        version=version.record.id,
        input=inputs,
        logs="",
        status="starting",
        source="api",
        created_at=store.clock.now(),
        urls=TrainingUrls(get=api, cancel=f"{api}/cancel", web=f"https://replicate.com/p/{training_id}"),
    )


def _find(store: Store, call: Call) -> Training:
    training_id = call.path_arguments["training_id"]
    if training_id not in store.trainings:
        raise not_found()
    return store.trainings[training_id]
