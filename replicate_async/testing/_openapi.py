"""The OpenAPI document of the server, generated from the operations and the structs of their bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._version import __version__
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

from . import _account, _catalog, _predictions, _trainings, _uploads
from ._operation_names import OperationName
from ._operations import Operation

_Json = dict[str, Any]

_DESCRIPTION = """Replicate's HTTP API on this machine, with the registered models.

Event streams and output files have another origin; responses contain their URLs. `models.search` is under `x-query`,
because OpenAPI 3.1 doesn't support its method `QUERY`."""

_REF = "#/components/schemas/{name}"
_TEXT: _Json = {"type": "string"}
_TIME: _Json = {"type": "string", "format": "date-time"}
_MEDIA_TYPES: dict[Any, str] = {str: "text/plain", _uploads.Form: "multipart/form-data"}

# Parameters outside of the path: location, whether it is required, schema, and description.
_PARAMETERS: dict[str, tuple[str, bool, _Json, str]] = {
    "created_after": ("query", False, _TIME, "Only predictions created at this time or later."),
    "created_before": ("query", False, _TIME, "Only predictions created before this time."),
    "cursor": ("query", False, _TEXT, "A position in the list, from the URLs `next` and `previous` of a page."),
    "expiry": (
        "query",
        True,
        {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        "The Unix time at which the URL expires.",
    ),
    "limit": ("query", False, {"type": "integer", "minimum": 1, "maximum": 50, "default": 20}, "The maximum number."),
    "owner": ("query", True, _TEXT, "The owner of the file."),
    "query": ("query", True, _TEXT, "Words; results contain all of them."),
    "signature": ("query", True, _TEXT, "The signature of owner, file and expiry."),
    "sort_by": ("query", False, {"enum": ["latest_version_created_at", "model_created_at"]}, "Defaults to the first."),
    "sort_direction": ("query", False, {"enum": ["desc", "asc"]}, "Defaults to the first."),
    "source": ("query", False, {"enum": ["web"]}, "Only predictions from the web site."),
    "Cancel-After": (
        "header",
        False,
        {"type": "string", "pattern": "^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s?)?$", "examples": ["90s", "1h30m"]},
        "The maximum lifetime, after which the prediction is canceled; at least 5 seconds.",
    ),
    "Prefer": (
        "header",
        False,
        {"type": "string", "examples": ["wait", "wait=5"]},
        "With `wait` the response waits for the end of the prediction; `wait=n` limits this to 1 to 60 seconds.",
    ),
}


class _Signature(NamedTuple):
    """The bodies, parameters and statuses of an operation.

    ``response`` is the type of a successful response: a struct, ``str``, ``bytes`` for a file, None for no body.
    ``body`` is the type of the request's body. ``parameters`` are those in the query and the headers. ``errors`` are
    the statuses that don't follow from the other fields.
    """

    response: Any
    body: Any = None
    statuses: Sequence[int] = (200,)
    parameters: Sequence[str] = ()
    errors: Sequence[int] = ()
    token: bool = True


_RUN = _Signature(Prediction, _predictions.PredictionInput, (201,), ("Prefer", "Cancel-After"), (402, 403))

_SIGNATURES: dict[OperationName, _Signature] = {
    "account.get": _Signature(Account),
    "collections.list": _Signature(PageData[Collection]),
    "collections.get": _Signature(Collection),
    "deployments.list": _Signature(PageData[Deployment]),
    "deployments.create": _Signature(Deployment, _account.CreateDeployment, errors=(409,)),
    "deployments.get": _Signature(Deployment),
    "deployments.update": _Signature(Deployment, _account.UpdateDeployment),
    "deployments.delete": _Signature(None, statuses=(204,)),
    "deployments.predictions.create": _RUN,
    "files.list": _Signature(PageData[File]),
    "files.create": _Signature(File, _uploads.Form, (201,)),
    "files.get": _Signature(File),
    "files.delete": _Signature(None, statuses=(204,)),
    "files.download": _Signature(bytes, parameters=("owner", "expiry", "signature"), errors=(403,), token=False),
    "hardware.list": _Signature(list[Hardware]),
    "models.list": _Signature(PageData[Model], parameters=("sort_by", "sort_direction")),
    "models.create": _Signature(Model, _catalog.CreateModel, (201,), errors=(403, 409)),
    "models.search": _Signature(PageData[Model], str),
    "models.get": _Signature(Model),
    "models.update": _Signature(Model, _catalog.UpdateModel, errors=(403,)),
    "models.delete": _Signature(None, statuses=(204,), errors=(403, 409)),
    "models.examples.list": _Signature(PageData[Prediction]),
    "models.predictions.create": _RUN,
    "models.readme.get": _Signature(str),
    "models.versions.list": _Signature(PageData[ModelVersion]),
    "models.versions.get": _Signature(ModelVersion),
    "models.versions.delete": _Signature(None, statuses=(202,), errors=(403, 409)),
    "predictions.create": _RUN._replace(body=_predictions.CreatePrediction),
    "predictions.list": _Signature(PageData[Prediction], parameters=("created_after", "created_before", "source")),
    "predictions.get": _Signature(Prediction),
    "predictions.cancel": _Signature(Prediction),
    "search": _Signature(SearchResults, parameters=("query", "limit")),
    "trainings.create": _Signature(Training, _trainings.CreateTraining, (201,), errors=(402, 403)),
    "trainings.list": _Signature(PageData[Training]),
    "trainings.get": _Signature(Training),
    "trainings.cancel": _Signature(Training),
    "webhooks.default.secret.get": _Signature(WebhookSecret),
}


class ProblemDocument(msgspec.Struct):
    """An error, in the format of RFC 9457."""

    detail: str
    status: int
    title: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    invalid_fields: list[dict[str, str]] | UnsetType = UNSET


def document(operations: Sequence[Operation]) -> _Json:
    """Return the document. The server's URL in it is relative to the document's own URL."""
    types: list[Any] = [ProblemDocument]
    types += [
        type_
        for signature in _SIGNATURES.values()
        for type_ in (signature.body, signature.response)
        if type_ is not None
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {repr(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, _Json] = {}
    for operation in operations:
        method = "x-query" if operation.method == "QUERY" else operation.method.lower()
        paths.setdefault(operation.path, {})[method] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Replicate on this machine", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/v1"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, operations))],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "An error, with its reason.",
                    "content": _content("application/problem+json", schema_of[repr(ProblemDocument)]),
                }
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[str, _Json]) -> _Json:
    signature = _SIGNATURES[operation.name]
    path_parameters = re.findall(r"{(\w+)}", operation.path)
    is_page = getattr(signature.response, "__origin__", None) is PageData
    takes_struct = signature.body not in {None, str}
    possible_errors = {
        # An invalid cursor, or a body that isn't JSON.
        400: is_page or takes_struct,
        401: signature.token,
        404: path_parameters,
        413: takes_struct,
        422: takes_struct or signature.parameters,
    }
    errors = sorted({429, *signature.errors, *(status for status, possible in possible_errors.items() if possible)})
    description: _Json = {
        "operationId": operation.name,
        "summary": (operation.handler.__doc__ or "").partition("\n")[0],
        "tags": [_tag(operation)],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in path_parameters),
            *(_parameter(name) for name in (*signature.parameters, *(["cursor"] if is_page else []))),
        ],
        "responses": {
            **{str(status): _response(signature, schema_of) for status in signature.statuses},
            **{str(status): {"$ref": "#/components/responses/Problem"} for status in errors},
        },
    }
    if signature.body is not None:
        fields = msgspec.structs.fields(signature.body) if takes_struct else ()
        media_type = _MEDIA_TYPES.get(signature.body, "application/json")
        description["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": _content(media_type, schema_of[repr(signature.body)]),
        }
    if not signature.token:
        description["security"] = []
    return description


def _tag(operation: Operation) -> str:
    return operation.name.partition(".")[0]


def _parameter(name: str) -> _Json:
    location, required, schema, description = _PARAMETERS[name]
    return {"name": name, "in": location, "required": required, "schema": schema, "description": description}


def _response(signature: _Signature, schema_of: dict[str, _Json]) -> _Json:
    """Return the description of a response without a body, or with a file, a text or a struct."""
    if signature.response is None:
        return {"description": "Success."}
    if signature.response is bytes:
        content = _content("*/*", {})
    elif signature.response is str:
        content = _content("text/plain", _TEXT)
    else:
        content = _content("application/json", schema_of[repr(signature.response)])
    return {"description": "Success.", "content": content}


def _content(media_type: str, schema: _Json) -> _Json:
    return {media_type: {"schema": schema}}
