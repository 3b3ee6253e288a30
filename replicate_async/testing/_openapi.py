"""The server's own OpenAPI document, made of the table of operations and of the structs that go in and out."""

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
from ._routes import OPERATIONS, Operation

_Json = dict[str, Any]

_ABOUT = """Replicate's HTTP API on this machine, with the models that were registered.

Event streams and output files come from another origin, by URLs that are in the answers. `models.search` is under
`x-query`, because its method `QUERY` has no place in OpenAPI 3.1."""

_REF = "#/components/schemas/{name}"
_TEXT: _Json = {"type": "string"}
_TIME: _Json = {"type": "string", "format": "date-time"}
_MEDIA_TYPES: dict[Any, str] = {str: "text/plain", _uploads.Form: "multipart/form-data"}

# What isn't in the path: where it is, whether it is required, what it may be and what it is for.
_PARAMETERS: dict[str, tuple[str, bool, _Json, str]] = {
    "created_after": ("query", False, _TIME, "Only what was created at that time or later."),
    "created_before": ("query", False, _TIME, "Only what was created before that time."),
    "cursor": ("query", False, _TEXT, "A place in the list; the URLs `next` and `previous` of a page have it."),
    "expiry": (
        "query",
        True,
        {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        "The Unix time at which the URL expires.",
    ),
    "limit": ("query", False, {"type": "integer", "minimum": 1, "maximum": 50, "default": 20}, "At most so many."),
    "owner": ("query", True, _TEXT, "Whose file it is."),
    "query": ("query", True, _TEXT, "Words; what has all of them is found."),
    "signature": ("query", True, _TEXT, "The signature of owner, file and expiry."),
    "sort_by": ("query", False, {"enum": ["latest_version_created_at", "model_created_at"]}, "By default the first."),
    "sort_direction": ("query", False, {"enum": ["desc", "asc"]}, "By default the first."),
    "source": ("query", False, {"enum": ["web", "api"]}, "Only what came from the web site, or from the API."),
    "Cancel-After": (
        "header",
        False,
        {"type": "string", "pattern": "^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s?)?$", "examples": ["90s", "1h30m"]},
        "When the prediction is canceled, counted from its creation; 5 seconds at least.",
    ),
    "Prefer": (
        "header",
        False,
        {"type": "string", "examples": ["wait", "wait=5"]},
        "With `wait` the answer waits for the end of the prediction, with `wait=n` for 1 to 60 seconds.",
    ),
}


class _Shape(NamedTuple):
    """What an operation takes and gives, beyond what all have in common.

    ``gives`` is what it answers with where it succeeds: a struct, ``str``, ``bytes`` for a file, None for nothing.
    ``parameters`` are those in the query and the headers, ``refusals`` statuses that can't be told from the rest.
    """

    gives: Any
    takes: Any = None
    statuses: Sequence[int] = (200,)
    parameters: Sequence[str] = ()
    refusals: Sequence[int] = ()
    token: bool = True


_RUN = _Shape(Prediction, _predictions.PredictionInput, (201, 202), ("Prefer", "Cancel-After"))

_SHAPES = {
    "account.get": _Shape(Account),
    "collections.list": _Shape(PageData[Collection]),
    "collections.get": _Shape(Collection),
    "deployments.list": _Shape(PageData[Deployment]),
    "deployments.create": _Shape(Deployment, _account.CreateDeployment, refusals=(409,)),
    "deployments.get": _Shape(Deployment),
    "deployments.update": _Shape(Deployment, _account.UpdateDeployment),
    "deployments.delete": _Shape(None, statuses=(204,)),
    "deployments.predictions.create": _RUN,
    "files.list": _Shape(PageData[File]),
    "files.create": _Shape(File, _uploads.Form, (201,)),
    "files.get": _Shape(File),
    "files.delete": _Shape(None, statuses=(204,)),
    "files.download": _Shape(bytes, parameters=("owner", "expiry", "signature"), refusals=(403,), token=False),
    "hardware.list": _Shape(list[Hardware]),
    "models.list": _Shape(PageData[Model], parameters=("sort_by", "sort_direction")),
    "models.create": _Shape(Model, _catalog.CreateModel, (201,), refusals=(403, 409)),
    "models.search": _Shape(PageData[Model], str),
    "models.get": _Shape(Model),
    "models.update": _Shape(Model, _catalog.UpdateModel, refusals=(403,)),
    "models.delete": _Shape(None, statuses=(204,), refusals=(403, 409)),
    "models.examples.list": _Shape(PageData[Prediction]),
    "models.predictions.create": _RUN,
    "models.readme.get": _Shape(str),
    "models.versions.list": _Shape(PageData[ModelVersion]),
    "models.versions.get": _Shape(ModelVersion),
    "models.versions.delete": _Shape(None, statuses=(202,), refusals=(403, 409)),
    "predictions.create": _RUN._replace(takes=_predictions.CreatePrediction, refusals=(404,)),
    "predictions.list": _Shape(PageData[Prediction], parameters=("created_after", "created_before", "source")),
    "predictions.get": _Shape(Prediction),
    "predictions.cancel": _Shape(Prediction),
    "search": _Shape(SearchResults, parameters=("query", "limit")),
    "trainings.create": _Shape(Training, _trainings.CreateTraining, (201,), refusals=(403,)),
    "trainings.list": _Shape(PageData[Training]),
    "trainings.get": _Shape(Training),
    "trainings.cancel": _Shape(Training),
    "webhooks.default.secret.get": _Shape(WebhookSecret),
}


class ProblemDocument(msgspec.Struct):
    """What is wrong, in the form of RFC 9457."""

    title: str
    detail: str
    status: int
    retry_after: float | UnsetType = UNSET
    invalid_fields: list[dict[str, str]] | UnsetType = UNSET


def document() -> _Json:
    """Return the document; the server's URL in it is relative to where the document is."""
    shapes: list[Any] = [ProblemDocument]
    shapes += [shape for each in _SHAPES.values() for shape in (each.takes, each.gives) if shape is not None]
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    schema_of = {repr(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
    paths: dict[str, _Json] = {}
    for operation in OPERATIONS:
        method = "x-query" if operation.method == "QUERY" else operation.method.lower()
        paths.setdefault(operation.path, {})[method] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Replicate on this machine", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/v1"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, OPERATIONS))],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "A refusal, with its reason.",
                    "content": _content("application/problem+json", schema_of[repr(ProblemDocument)]),
                }
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[str, _Json]) -> _Json:
    shape = _SHAPES[operation.name]
    in_path = re.findall(r"{(\w+)}", operation.path)
    is_page = getattr(shape.gives, "__origin__", None) is PageData
    is_struct = shape.takes not in {None, str}
    possible = {
        400: is_page or is_struct,  # a cursor that is none, a body that is no JSON
        401: shape.token,
        404: in_path,
        413: is_struct,
        422: is_struct or shape.parameters,
    }
    refusals = sorted({429, *shape.refusals, *(status for status, may_be in possible.items() if may_be)})
    described: _Json = {
        "operationId": operation.name,
        "summary": (operation.handler.__doc__ or "").partition("\n")[0],
        "tags": [_tag(operation)],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in in_path),
            *(_parameter(name) for name in (*shape.parameters, *(["cursor"] if is_page else []))),
        ],
        "responses": {
            **{str(status): _answer(shape, schema_of) for status in shape.statuses},
            **{str(status): {"$ref": "#/components/responses/Problem"} for status in refusals},
        },
    }
    if shape.takes is not None:
        fields = msgspec.structs.fields(shape.takes) if is_struct else ()
        described["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": _content(_MEDIA_TYPES.get(shape.takes, "application/json"), schema_of[repr(shape.takes)]),
        }
    if not shape.token:
        described["security"] = []
    return described


def _tag(operation: Operation) -> str:
    return operation.name.partition(".")[0]


def _parameter(name: str) -> _Json:
    where, required, schema, about = _PARAMETERS[name]
    return {"name": name, "in": where, "required": required, "schema": schema, "description": about}


def _answer(shape: _Shape, schema_of: dict[str, _Json]) -> _Json:
    """Return an answer's description: nothing's, a file's, a text's or a struct's."""
    if shape.gives is None:
        return {"description": "Done."}
    if shape.gives is bytes:
        content = _content("*/*", {})
    elif shape.gives is str:
        content = _content("text/plain", _TEXT)
    else:
        content = _content("application/json", schema_of[repr(shape.gives)])
    return {"description": "Done.", "content": content}


def _content(media_type: str, schema: _Json) -> _Json:
    return {media_type: {"schema": schema}}
