"""The table of operations: name, method, path, and the function that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from replicate_async.types import (
    Account,
    Collection,
    Deployment,
    File,
    Hardware,
    Model,
    ModelVersion,
    PageData,
    Prediction,
    SearchResults,
    Training,
    WebhookSecret,
)

from . import _account, _catalog, _outputs, _predictions, _streams, _trainings, _uploads
from ._calls import Answer, Call
from ._store import Store

Handler = Callable[[Store, Call], Awaitable[Answer]]


class Operation(NamedTuple):
    """An operation of the API, and what its OpenAPI document says beyond what all operations have in common.

    ``gives`` is what it answers with, where it succeeds: a struct, ``str``, ``bytes`` for a file, None for nothing.
    ``takes`` is the body; ``parameters`` are those in the query and in headers; ``refusals`` are statuses of its own.
    """

    name: str
    method: str
    path: str
    handler: Handler
    gives: Any = None
    statuses: Sequence[int] = (200,)
    takes: Any = None
    parameters: Sequence[str] = ()
    refusals: Sequence[int] = ()
    open: bool = False  # the URL is the secret, so no token is needed


_MODEL = "/models/{model_owner}/{model_name}"
_VERSION = f"{_MODEL}/versions/{{version_id}}"
_DEPLOYMENT = "/deployments/{deployment_owner}/{deployment_name}"

OPERATIONS = [
    Operation("account.get", "GET", "/account", _account.get_account, Account),
    Operation("collections.list", "GET", "/collections", _catalog.list_collections, PageData[Collection]),
    Operation("collections.get", "GET", "/collections/{collection_slug}", _catalog.get_collection, Collection),
    Operation("deployments.list", "GET", "/deployments", _account.list_deployments, PageData[Deployment]),
    Operation(
        "deployments.create",
        "POST",
        "/deployments",
        _account.create_deployment,
        Deployment,
        takes=_account.CreateDeployment,
        refusals=(409,),
    ),
    Operation("deployments.get", "GET", _DEPLOYMENT, _account.get_deployment, Deployment),
    Operation(
        "deployments.update",
        "PATCH",
        _DEPLOYMENT,
        _account.update_deployment,
        Deployment,
        takes=_account.UpdateDeployment,
    ),
    Operation("deployments.delete", "DELETE", _DEPLOYMENT, _account.delete_deployment, None, (204,)),
    Operation(
        "deployments.predictions.create",
        "POST",
        f"{_DEPLOYMENT}/predictions",
        _predictions.create_on_deployment,
        Prediction,
        (201, 202),
        takes=_predictions.PredictionInput,
        parameters=("Prefer", "Cancel-After"),
    ),
    Operation("files.list", "GET", "/files", _uploads.list_, PageData[File]),
    Operation(
        "files.create",
        "POST",
        "/files",
        _uploads.create,
        File,
        (201,),
        takes=_uploads.Form,
    ),
    Operation("files.get", "GET", "/files/{file_id}", _uploads.get, File),
    Operation("files.delete", "DELETE", "/files/{file_id}", _uploads.delete, None, (204,)),
    Operation(
        "files.download",
        "GET",
        "/files/{file_id}/download",
        _uploads.download,
        bytes,
        parameters=("owner", "expiry", "signature"),
        refusals=(403,),
        open=True,
    ),
    Operation("hardware.list", "GET", "/hardware", _account.list_hardware, list[Hardware]),
    Operation(
        "models.list", "GET", "/models", _catalog.list_, PageData[Model], parameters=("sort_by", "sort_direction")
    ),
    Operation(
        "models.create",
        "POST",
        "/models",
        _catalog.create,
        Model,
        (201,),
        takes=_catalog.CreateModel,
        refusals=(403, 409),
    ),
    Operation("models.search", "QUERY", "/models", _catalog.search_models, PageData[Model], takes=str),
    Operation("models.get", "GET", _MODEL, _catalog.get, Model),
    Operation("models.update", "PATCH", _MODEL, _catalog.update, Model, takes=_catalog.UpdateModel, refusals=(403,)),
    Operation("models.delete", "DELETE", _MODEL, _catalog.delete, None, (204,), refusals=(403, 409)),
    Operation("models.examples.list", "GET", f"{_MODEL}/examples", _catalog.list_examples, PageData[Prediction]),
    Operation(
        "models.predictions.create",
        "POST",
        f"{_MODEL}/predictions",
        _predictions.create_on_model,
        Prediction,
        (201, 202),
        takes=_predictions.PredictionInput,
        parameters=("Prefer", "Cancel-After"),
    ),
    Operation("models.readme.get", "GET", f"{_MODEL}/readme", _catalog.get_readme, str),
    Operation("models.versions.list", "GET", f"{_MODEL}/versions", _catalog.list_versions, PageData[ModelVersion]),
    Operation("models.versions.get", "GET", _VERSION, _catalog.get_version, ModelVersion),
    Operation("models.versions.delete", "DELETE", _VERSION, _catalog.delete_version, None, (202,), refusals=(403, 409)),
    Operation(
        "predictions.create",
        "POST",
        "/predictions",
        _predictions.create,
        Prediction,
        (201, 202),
        takes=_predictions.CreatePrediction,
        parameters=("Prefer", "Cancel-After"),
        refusals=(404,),
    ),
    Operation(
        "predictions.list",
        "GET",
        "/predictions",
        _predictions.list_,
        PageData[Prediction],
        parameters=("created_after", "created_before", "source"),
    ),
    Operation("predictions.get", "GET", "/predictions/{prediction_id}", _predictions.get, Prediction),
    Operation("predictions.cancel", "POST", "/predictions/{prediction_id}/cancel", _predictions.cancel, Prediction),
    Operation("search", "GET", "/search", _catalog.search, SearchResults, parameters=("query", "limit")),
    Operation(
        "trainings.create",
        "POST",
        f"{_VERSION}/trainings",
        _trainings.create,
        Training,
        (201,),
        takes=_trainings.CreateTraining,
        refusals=(403,),
    ),
    Operation("trainings.list", "GET", "/trainings", _trainings.list_, PageData[Training]),
    Operation("trainings.get", "GET", "/trainings/{training_id}", _trainings.get, Training),
    Operation("trainings.cancel", "POST", "/trainings/{training_id}/cancel", _trainings.cancel, Training),
    Operation(
        "webhooks.default.secret.get", "GET", "/webhooks/default/secret", _account.get_webhook_secret, WebhookSecret
    ),
]

# What is served on the other origin, where no token is asked for: these URLs can't be guessed.
DELIVERY = [
    Operation("predictions.stream", "GET", "/v1/streams/{stream_key}", _streams.stream, open=True),
    Operation("outputs.download", "GET", "/{output_key}/{file_name}", _outputs.download, open=True),
    Operation("outputs.download", "HEAD", "/{output_key}/{file_name}", _outputs.download, open=True),
]
