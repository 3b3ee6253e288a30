"""The table of operations: name, method, path, and the function that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from . import _catalog, _predictions
from ._calls import Answer, Call
from ._store import Store

Handler = Callable[[Store, Call], Awaitable[Answer]]


class Operation(NamedTuple):
    """An operation of the API."""

    name: str
    method: str
    path: str
    handler: Handler


_MODEL = "/models/{model_owner}/{model_name}"
_DEPLOYMENT = "/deployments/{deployment_owner}/{deployment_name}"

OPERATIONS = [
    Operation("account.get", "GET", "/account", _catalog.get_account),
    Operation("models.get", "GET", _MODEL, _catalog.get),
    Operation("models.predictions.create", "POST", f"{_MODEL}/predictions", _predictions.create_on_model),
    Operation("models.versions.list", "GET", f"{_MODEL}/versions", _catalog.list_versions),
    Operation("models.versions.get", "GET", f"{_MODEL}/versions/{{version_id}}", _catalog.get_version),
    Operation("predictions.create", "POST", "/predictions", _predictions.create),
    Operation("predictions.list", "GET", "/predictions", _predictions.list_),
    Operation("predictions.get", "GET", "/predictions/{prediction_id}", _predictions.get),
    Operation("predictions.cancel", "POST", "/predictions/{prediction_id}/cancel", _predictions.cancel),
]
