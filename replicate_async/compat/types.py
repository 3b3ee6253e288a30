"""The types of 2.x by their names: one class for a thing, whichever call returned it."""

from __future__ import annotations

from replicate_async.compat._arguments import CreatePredictionParams
from replicate_async.compat.account import Account
from replicate_async.compat.collection import Collection
from replicate_async.compat.deployment import Deployment, Deployments
from replicate_async.compat.file import File, Files
from replicate_async.compat.hardware import Hardware
from replicate_async.compat.model import Model, Models
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.training import Training, Trainings
from replicate_async.compat.version import Version
from replicate_async.compat.webhook import WebhookSigningSecret

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

DeploymentCreateParams = Deployments.CreateDeploymentParams
DeploymentUpdateParams = Deployments.UpdateDeploymentParams
FileCreateParams = Files.CreateFileParams
ModelCreateParams = Models.CreateModelParams
PredictionCreateParams = PredictionCreateParamsWithoutVersion = CreatePredictionParams
TrainingCreateParams = Trainings.CreateTrainingParams

__all__ = [
    "AccountGetResponse",
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
    "FileGetResponse",
    "FileListResponse",
    "HardwareListResponse",
    "HardwareListResponseItem",
    "ModelCreateParams",
    "ModelCreateResponse",
    "ModelGetResponse",
    "ModelListResponse",
    "ModelSearchResponse",
    "ModelUpdateResponse",
    "Prediction",
    "PredictionCreateParams",
    "PredictionCreateParamsWithoutVersion",
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
