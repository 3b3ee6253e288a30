"""The groups of operations by their names in 2.x. In ``AsyncReplicate``, all of them are ``AsyncNamespace``."""

from __future__ import annotations

from replicate_async.compat.account import Accounts as AccountResource
from replicate_async.compat.asynchronous import AsyncNamespace
from replicate_async.compat.collection import Collections as CollectionsResource
from replicate_async.compat.deployment import Deployments as DeploymentsResource
from replicate_async.compat.file import Files as FilesResource
from replicate_async.compat.hardware import HardwareNamespace as HardwareResource
from replicate_async.compat.model import Models as ModelsResource
from replicate_async.compat.prediction import Predictions as PredictionsResource
from replicate_async.compat.training import Trainings as TrainingsResource
from replicate_async.compat.webhook import Webhooks as WebhooksResource

AsyncAccountResource = AsyncCollectionsResource = AsyncDeploymentsResource = AsyncNamespace
AsyncFilesResource = AsyncHardwareResource = AsyncModelsResource = AsyncPredictionsResource = AsyncNamespace
AsyncTrainingsResource = AsyncWebhooksResource = AsyncNamespace

__all__ = [
    "AccountResource",
    "AsyncAccountResource",
    "AsyncCollectionsResource",
    "AsyncDeploymentsResource",
    "AsyncFilesResource",
    "AsyncHardwareResource",
    "AsyncModelsResource",
    "AsyncPredictionsResource",
    "AsyncTrainingsResource",
    "AsyncWebhooksResource",
    "CollectionsResource",
    "DeploymentsResource",
    "FilesResource",
    "HardwareResource",
    "ModelsResource",
    "PredictionsResource",
    "TrainingsResource",
    "WebhooksResource",
]
