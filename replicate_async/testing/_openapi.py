"""The server's own OpenAPI document, made of the table of operations and of the structs that go in and out."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._version import __version__
from replicate_async.types import PageData

from . import _uploads
from ._routes import OPERATIONS, Operation

_Json = dict[str, Any]

_ABOUT = """Replicate's HTTP API on this machine, with the models that were registered.

Event streams and output files come from another origin, by URLs that are in the answers. `models.search` is under
`x-query`, because its method `QUERY` has no place in OpenAPI 3.1."""

_REF = "#/components/schemas/{name}"
_TEXT: _Json = {"type": "string"}
_TIME: _Json = {"type": "string", "format": "date-time"}
_MEDIA_TYPES = {str: "text/plain", _uploads.Form: "multipart/form-data"}

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
    shapes += [shape for operation in OPERATIONS for shape in (operation.takes, operation.gives) if shape is not None]
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
    described: _Json = {
        "operationId": operation.name,
        "summary": (operation.handler.__doc__ or "").partition("\n")[0],
        "tags": [_tag(operation)],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _in_path(operation)),
            *(_parameter(name) for name in operation.parameters),
            *([_parameter("cursor")] if _is_page(operation) else []),
        ],
        "responses": {
            **{str(status): _answer(operation, schema_of) for status in operation.statuses},
            **{str(status): {"$ref": "#/components/responses/Problem"} for status in _refusals(operation)},
        },
    }
    if operation.takes is not None:
        schema = schema_of[repr(operation.takes)]
        fields = () if operation.takes is str else msgspec.structs.fields(operation.takes)
        described["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": _content(_MEDIA_TYPES.get(operation.takes, "application/json"), schema),
        }
    if operation.open:
        described["security"] = []
    return described


def _tag(operation: Operation) -> str:
    return operation.name.partition(".")[0]


def _in_path(operation: Operation) -> list[str]:
    return re.findall(r"{(\w+)}", operation.path)


def _is_page(operation: Operation) -> bool:
    return getattr(operation.gives, "__origin__", None) is PageData


def _parameter(name: str) -> _Json:
    where, required, schema, about = _PARAMETERS[name]
    return {"name": name, "in": where, "required": required, "schema": schema, "description": about}


def _answer(operation: Operation, schema_of: dict[str, _Json]) -> _Json:
    """Return an answer's description: the struct's, a text's or a file's."""
    if operation.gives is None:
        return {"description": "Done."}
    if operation.gives is bytes:
        content = _content("*/*", {})
    elif operation.gives is str:
        content = _content("text/plain", _TEXT)
    else:
        content = _content("application/json", schema_of[repr(operation.gives)])
    return {"description": "Done.", "content": content}


def _refusals(operation: Operation) -> list[int]:
    """Return the statuses with which an operation may be refused."""
    refusals = {*operation.refusals, 429}
    if not operation.open:
        refusals.add(401)
    if _in_path(operation):
        refusals.add(404)
    if operation.parameters:
        refusals.add(422)
    if operation.takes not in {None, str}:
        refusals |= {400, 413, 422}
    if _is_page(operation):
        refusals.add(400)  # a cursor that is none
    return sorted(refusals)


def _content(media_type: str, schema: _Json) -> _Json:
    return {media_type: {"schema": schema}}
