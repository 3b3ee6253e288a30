"""The types of 2.x by their names: one class for a thing, whichever call returned it."""

from __future__ import annotations

from typing import Any

from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options
from replicate_async.compat.account import Account
from replicate_async.compat.collection import Collection
from replicate_async.compat.deployment import Deployment, DeploymentCreate, DeploymentUpdate
from replicate_async.compat.file import Checksums, File, FileUpload
from replicate_async.compat.hardware import Hardware
from replicate_async.compat.model import Model, ModelCreate, ModelUpdateCall
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.resource import Urls
from replicate_async.compat.search import ModelMetadata, SearchResponse
from replicate_async.compat.training import Training, TrainingCreateCall
from replicate_async.compat.version import Version
from replicate_async.compat.webhook import WebhookSigningSecret
from replicate_async.types import PredictionMetrics, TrainingOutput


class _RunParams(CreatePredictionParams, total=False):
    input: Any


AccountGetResponse = Account
CollectionGetResponse = CollectionListResponse = Collection
DeploymentCreateResponse = DeploymentGetResponse = DeploymentListResponse = DeploymentUpdateResponse = Deployment
FileCreateResponse = FileGetResponse = FileListResponse = File
HardwareListResponseItem = Hardware
HardwareListResponse = list[Hardware]
ModelCreateResponse = ModelGetResponse = ModelListResponse = ModelSearchResponse = ModelUpdateResponse = Model
ReadmeGetResponse = str
SecretGetResponse = WebhookSigningSecret
TrainingCancelResponse = TrainingCreateResponse = TrainingGetResponse = TrainingListResponse = Training
VersionGetResponse = VersionListResponse = Version

DeploymentCreateParams = DeploymentCreate
PredictionCreateParamsWithoutVersion = _RunParams
# What is inside of those objects.
Output = TrainingOutput
CurrentRelease = Deployment.Release
CurrentReleaseConfiguration = Deployment.Release.Configuration
CurrentReleaseCreatedBy = Account
Metrics = PredictionMetrics
ModelModel = Model
URLs = Urls


class ClientSearchParams(Options, total=False):
    """Arguments of ``search``."""

    query: str
    limit: Maybe[int]


class DeploymentUpdateParams(DeploymentUpdate, total=False):
    """Arguments of ``deployments.update``."""

    deployment_owner: str
    deployment_name: str


class FileCreateParams(FileUpload, total=False):
    """Arguments of ``files.create``."""

    content: Any
    type: Maybe[str]


class FileDownloadParams(Options, total=False):
    """Arguments of ``files.download``."""

    file_id: str
    expiry: int
    owner: str
    signature: str


class ModelCreateParams(ModelCreate):
    """Arguments of ``models.create``."""

    owner: str
    name: str


class ModelListParams(Options, total=False):
    """Arguments of ``models.list``."""

    sort_by: Maybe[str]
    sort_direction: Maybe[str]


class ModelSearchParams(Options, total=False):
    """Arguments of ``models.search``."""

    body: str


class ModelUpdateParams(ModelUpdateCall, total=False):
    """Arguments of ``models.update``."""


class PredictionCreateParams(_RunParams, total=False):
    """Arguments of ``predictions.create``."""

    version: str
    model_owner: str
    model_name: str
    deployment_owner: str
    deployment_name: str


class PredictionListParams(Options, total=False):
    """Arguments of ``predictions.list``."""

    created_after: Maybe[Any]
    created_before: Maybe[Any]
    source: Maybe[str]


class TrainingCreateParams(TrainingCreateCall, total=False):
    """Arguments of ``trainings.create``."""

    input: Any


__all__ = [
    "AccountGetResponse",
    "Checksums",
    "ClientSearchParams",
    "CollectionGetResponse",
    "CollectionListResponse",
    "DeploymentCreateParams",
    "DeploymentCreateResponse",
    "DeploymentGetResponse",
    "DeploymentListResponse",
    "DeploymentUpdateParams",
    "DeploymentUpdateResponse",
    "FileCreateParams",
    "FileCreateResponse",
    "FileDownloadParams",
    "FileGetResponse",
    "FileListResponse",
    "HardwareListResponse",
    "HardwareListResponseItem",
    "ModelCreateParams",
    "ModelCreateResponse",
    "ModelGetResponse",
    "ModelListParams",
    "ModelListResponse",
    "ModelMetadata",
    "ModelSearchParams",
    "ModelSearchResponse",
    "ModelUpdateParams",
    "ModelUpdateResponse",
    "Prediction",
    "PredictionCreateParams",
    "PredictionCreateParamsWithoutVersion",
    "PredictionListParams",
    "ReadmeGetResponse",
    "SearchResponse",
    "SecretGetResponse",
    "TrainingCancelResponse",
    "TrainingCreateParams",
    "TrainingCreateResponse",
    "TrainingGetResponse",
    "TrainingListResponse",
    "VersionGetResponse",
    "VersionListResponse",
]
