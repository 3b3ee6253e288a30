"""The groups of operations by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat._async_groups import AsyncAccounts as AsyncAccountResource
from replicate_async.compat._async_groups import AsyncCollections as AsyncCollectionsResource
from replicate_async.compat._async_groups import AsyncDeployments as AsyncDeploymentsResource
from replicate_async.compat._async_groups import AsyncFiles as AsyncFilesResource
from replicate_async.compat._async_groups import AsyncHardwareNamespace as AsyncHardwareResource
from replicate_async.compat._async_groups import AsyncModels as AsyncModelsResource
from replicate_async.compat._async_groups import AsyncPredictions as AsyncPredictionsResource
from replicate_async.compat._async_groups import AsyncTrainings as AsyncTrainingsResource
from replicate_async.compat._async_groups import AsyncWebhooks as AsyncWebhooksResource
from replicate_async.compat.account import Accounts as AccountResource
from replicate_async.compat.collection import Collections as CollectionsResource
from replicate_async.compat.deployment import Deployments as DeploymentsResource
from replicate_async.compat.file import Files as FilesResource
from replicate_async.compat.hardware import HardwareNamespace as HardwareResource
from replicate_async.compat.model import Models as ModelsResource
from replicate_async.compat.prediction import Predictions as PredictionsResource
from replicate_async.compat.training import Trainings as TrainingsResource
from replicate_async.compat.webhook import Webhooks as WebhooksResource

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
