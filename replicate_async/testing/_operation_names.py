"""Names of operations and webhook deliveries, as faults, rate limits and the request journal use them."""

from __future__ import annotations

from typing import Literal, get_args

from replicate_async.types import WebhookEvent

OperationName = Literal[
    "account.get",
    "collections.list",
    "collections.get",
    "deployments.list",
    "deployments.create",
    "deployments.get",
    "deployments.update",
    "deployments.delete",
    "deployments.predictions.create",
    "files.list",
    "files.create",
    "files.get",
    "files.delete",
    "files.download",
    "hardware.list",
    "models.list",
    "models.create",
    "models.search",
    "models.get",
    "models.update",
    "models.delete",
    "models.examples.list",
    "models.predictions.create",
    "models.readme.get",
    "models.versions.list",
    "models.versions.get",
    "models.versions.delete",
    "predictions.create",
    "predictions.list",
    "predictions.get",
    "predictions.cancel",
    "predictions.stream",
    "outputs.download",
    "search",
    "trainings.create",
    "trainings.list",
    "trainings.get",
    "trainings.cancel",
    "webhooks.default.secret.get",
]
OPERATION_NAMES: frozenset[str] = frozenset(get_args(OperationName))
WEBHOOK_NAMES: frozenset[str] = frozenset(f"webhook.{event}" for event in get_args(WebhookEvent))
