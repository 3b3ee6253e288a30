"""Schemas of models: what an OpenAPI document says about inputs and outputs, without I/O."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from keyword import iskeyword
from typing import Any

from replicate_async._json import is_list, is_mapping
from replicate_async._logging import logger

_JSON_TYPES = (str, int, float, bool, list, dict)
_PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}

_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("minimum", "at least", operator.ge),
    ("maximum", "at most", operator.le),
    ("exclusiveMinimum", "more than", operator.gt),
    ("exclusiveMaximum", "less than", operator.lt),
)


# References that are nested deeper lead in a circle.
_MAX_REFERENCES = 50


def usable(document: dict[str, Any]) -> dict[str, Any]:
    """Return a model's OpenAPI document; an empty one if it is malformed, because it describes nothing then."""
    try:
        signature(document)
        documentation("", document)
        problems(document, dict.fromkeys(inputs(document), 1))
        below(document, output(document))
    except Exception as error:  # noqa: BLE001 - anything may be wrong with it
        logger.info("a model's schema is malformed, and ignored: %r", error)
        return {}
    return document


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    components: dict[str, Any] = document.get("components") or {}
    schemas: dict[str, Any] = components.get("schemas") or {}
    return resolve(document, schemas.get(name) or {})


def resolve(document: Mapping[str, Any], schema: object, references: int = 0) -> dict[str, Any]:
    """Return a schema with its references resolved; its own members take precedence.

    Since OpenAPI 3.1 a schema may be true or false, which counts as empty.
    """
    if not is_mapping(schema) or references > _MAX_REFERENCES:
        return {}
    resolved = dict(schema)
    all_of = resolved.pop("allOf", None)
    parts = [*(all_of if is_list(all_of) else ()), *([{"$ref": resolved.pop("$ref")}] if "$ref" in resolved else [])]
    for part in parts:
        target: Any = part
        if is_mapping(part) and "$ref" in part:
            target = document
            for step in str(part["$ref"]).removeprefix("#/").split("/"):
                target = target.get(step) if is_mapping(target) else None
        resolved = {**resolve(document, target, references + 1), **resolved}
    return resolved


def inputs(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the inputs by name, in the order of the model's author."""
    properties: Mapping[str, Any] = _part(document, "Input").get("properties", {})
    resolved = {name: resolve(document, schema) for name, schema in properties.items()}
    return dict(sorted(resolved.items(), key=lambda item: item[1].get("x-order", 1_000)))


def required(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the required inputs."""
    return list(_part(document, "Input").get("required", []))


def is_text(document: Mapping[str, Any]) -> bool:
    """Return whether a list of texts is one text in pieces."""
    output = _part(document, "Output")
    return output.get("type") == "array" and output.get("x-cog-array-display") == "concatenate"


def output(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the output."""
    return _part(document, "Output")


def is_file(schema: Mapping[str, Any]) -> bool | None:
    """Return whether a text is the URL of a file; None if the schema doesn't say."""
    return schema.get("format") in {"uri", "binary"} if _kind(schema) == "string" else None


def below(document: Mapping[str, Any], schema: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return the schema of an object's part, or of a list's items."""
    properties: Any = schema.get("properties")
    part: Any = schema.get("items") if name is None else properties.get(name) if is_mapping(properties) else None
    if part is None and name is not None:
        part = schema.get("additionalProperties")
    return resolve(document, part) if is_mapping(part) else {}


def _kind(schema: Mapping[str, Any]) -> str:
    kind: Any = schema.get("type")
    # Since OpenAPI 3.1 there may be several types, null among them.
    if is_list(kind):
        kind = next((name for name in kind if name != "null"), "")
    return kind if isinstance(kind, str) else ""


def _nullable(schema: Mapping[str, Any]) -> bool:
    kind: Any = schema.get("type")
    return bool(schema.get("nullable")) or (isinstance(kind, list) and "null" in kind)


def signature(document: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature of a model as a function."""
    required_names = required(document)
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in required_names else schema.get("default"),
                annotation=_PYTHON_TYPES.get(_kind(schema), Any),
            )
            for name, schema in inputs(document).items()
            if name.isidentifier() and not iskeyword(name)
        ]
    )


def documentation(name: str, document: Mapping[str, Any]) -> str:
    """Return a docstring that lists the inputs."""
    required_names = required(document)
    lines = [f"Run {name}.", "", "Args:"]
    for input_name, schema in inputs(document).items():
        facts = [_kind(schema) or "any"]
        if "enum" in schema:
            facts.append("one of " + ", ".join(map(repr, schema["enum"])))
        for bound, word in (("minimum", "from"), ("maximum", "to")):
            if bound in schema:
                facts.append(f"{word} {schema[bound]}")
        facts.append("required" if input_name in required_names else f"default {schema.get('default')!r}")
        text = re.sub(r"\s+", " ", schema.get("description") or schema.get("title") or "").strip()
        lines.append(f"    {input_name} ({', '.join(facts)}): {text}".rstrip())
    return "\n".join(lines)


def problems(document: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the values of the inputs."""
    declared = inputs(document)
    if not declared:
        # The model does not describe its inputs.
        return []
    required_names = required(document)
    # Without a schema for additional inputs, an unknown name is probably misspelled.
    additional: Any = _part(document, "Input").get("additionalProperties")
    default = None if additional is None or additional is False else resolve(document, additional)
    messages = [f"{name} is missing" for name in required_names if name not in values]
    for name, value in values.items():
        if value is None and name in required_names and not _nullable(declared.get(name, {})):
            messages.append(f"{name} must not be None")
        elif (schema := declared.get(name, default)) is None:
            messages.append(f"{name} is not an input; the inputs are {', '.join(declared)}")
        elif problem := _problem(document, name, value, schema):
            messages.append(problem)
    return messages


def _problem(document: Mapping[str, Any], name: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    if value is None:
        return None if _nullable(schema) or "default" not in schema else f"{name} must not be None"
    # It is not yet known what a file, or another model's output, becomes.
    if type(value) not in _JSON_TYPES:
        return None
    kind = _kind(schema)
    if "enum" in schema and value not in schema["enum"]:
        return f"{name}={value!r} is not one of {', '.join(map(repr, schema['enum']))}"
    if not _fits(value, kind):
        wanted = "a file or its URL" if is_file(schema) else f"of type {kind}"
        return f"{name} must be {wanted}, not {type(value).__name__}"
    if isinstance(value, str):
        return _text_problem(name, value, schema)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_problem(name, value, schema)
    if is_list(value) and "items" in schema:
        items = resolve(document, schema["items"])
        nested = (_problem(document, f"{name}[{index}]", item, items) for index, item in enumerate(value))
        return next(filter(None, nested), None)
    return None


def _number_problem(name: str, value: float, schema: Mapping[str, Any]) -> str | None:
    limits = [
        (word, schema[key], fits(value, schema[key]))
        for key, word, fits in _BOUNDS
        if isinstance(schema.get(key), (int, float)) and not isinstance(schema[key], bool)
    ]
    if all(holds for _, _, holds in limits):
        return None
    return f"{name}={value!r} must be {' and '.join(f'{word} {limit}' for word, limit, _ in limits)}"


def _text_problem(name: str, value: str, schema: Mapping[str, Any]) -> str | None:
    low, high, pattern = schema.get("minLength", 0), schema.get("maxLength"), schema.get("pattern")
    if len(value) < low:
        return f"{name} must have at least {low} characters, not {len(value)}"
    if high is not None and len(value) > high:
        return f"{name} must have at most {high} characters, not {len(value)}"
    # The pattern may be written in another dialect.
    with suppress(re.error):
        if pattern is not None and not re.search(pattern, value):
            return f"{name}={value!r} doesn't match the pattern {pattern}"
    return None


def _fits(value: Any, kind: str) -> bool:
    if kind in {"integer", "number"}:
        whole = isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
        return whole and not isinstance(value, bool)
    expected = _PYTHON_TYPES.get(kind)
    return expected is None or isinstance(value, expected)
