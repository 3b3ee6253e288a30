"""The table of operations: name, method, path, and the function that responds."""

from __future__ import annotations

from . import _account, _catalog, _delivery, _predictions, _trainings, _uploads
from ._operations import Operation

_MODEL = "/models/{model_owner}/{model_name}"
_VERSION = f"{_MODEL}/versions/{{version_id}}"
_DEPLOYMENT = "/deployments/{deployment_owner}/{deployment_name}"

OPERATIONS = [
    Operation("account.get", "GET", "/account", _account.get_account),
    Operation("collections.list", "GET", "/collections", _catalog.list_collections),
    Operation("collections.get", "GET", "/collections/{collection_slug}", _catalog.get_collection),
    Operation("deployments.list", "GET", "/deployments", _account.list_deployments),
    Operation("deployments.create", "POST", "/deployments", _account.create_deployment),
    Operation("deployments.get", "GET", _DEPLOYMENT, _account.get_deployment),
    Operation("deployments.update", "PATCH", _DEPLOYMENT, _account.update_deployment),
    Operation("deployments.delete", "DELETE", _DEPLOYMENT, _account.delete_deployment),
    Operation(
        "deployments.predictions.create", "POST", f"{_DEPLOYMENT}/predictions", _predictions.create_on_deployment
    ),
    Operation("files.list", "GET", "/files", _uploads.list_),
    Operation("files.create", "POST", "/files", _uploads.create),
    Operation("files.get", "GET", "/files/{file_id}", _uploads.get),
    Operation("files.delete", "DELETE", "/files/{file_id}", _uploads.delete),
    Operation("files.download", "GET", "/files/{file_id}/download", _uploads.download),
    Operation("hardware.list", "GET", "/hardware", _account.list_hardware),
    Operation("models.list", "GET", "/models", _catalog.list_),
    Operation("models.create", "POST", "/models", _catalog.create),
    Operation("models.search", "QUERY", "/models", _catalog.search_models),
    Operation("models.get", "GET", _MODEL, _catalog.get),
    Operation("models.update", "PATCH", _MODEL, _catalog.update),
    Operation("models.delete", "DELETE", _MODEL, _catalog.delete),
    Operation("models.examples.list", "GET", f"{_MODEL}/examples", _catalog.list_examples),
    Operation("models.predictions.create", "POST", f"{_MODEL}/predictions", _predictions.create_on_model),
    Operation("models.readme.get", "GET", f"{_MODEL}/readme", _catalog.get_readme),
    Operation("models.versions.list", "GET", f"{_MODEL}/versions", _catalog.list_versions),
    Operation("models.versions.get", "GET", _VERSION, _catalog.get_version),
    Operation("models.versions.delete", "DELETE", _VERSION, _catalog.delete_version),
    Operation("predictions.create", "POST", "/predictions", _predictions.create),
    Operation("predictions.list", "GET", "/predictions", _predictions.list_),
    Operation("predictions.get", "GET", "/predictions/{prediction_id}", _predictions.get),
    Operation("predictions.cancel", "POST", "/predictions/{prediction_id}/cancel", _predictions.cancel),
    Operation("search", "GET", "/search", _catalog.search),
    Operation("trainings.create", "POST", f"{_VERSION}/trainings", _trainings.create),
    Operation("trainings.list", "GET", "/trainings", _trainings.list_),
    Operation("trainings.get", "GET", "/trainings/{training_id}", _trainings.get),
    Operation("trainings.cancel", "POST", "/trainings/{training_id}/cancel", _trainings.cancel),
    Operation("webhooks.default.secret.get", "GET", "/webhooks/default/secret", _account.get_webhook_secret),
]

# The operations of the delivery origin. They require no token, because their URLs can't be guessed.
DELIVERY = [
    Operation("predictions.stream", "GET", "/v1/files/{stream_key}", _delivery.stream),
    Operation("outputs.download", "GET", "/{output_key}/{file_name}", _delivery.download),
    Operation("outputs.download", "HEAD", "/{output_key}/{file_name}", _delivery.download),
]
