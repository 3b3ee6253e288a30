"""Schemas of models: what an OpenAPI document says about inputs and outputs, without I/O."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from keyword import iskeyword
from typing import Any

from replicate_async._json import is_dict, is_list, is_mapping

_JSON_TYPES = (str, int, float, bool, list, dict)
_PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")

_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("minimum", "at least", operator.ge),
    ("maximum", "at most", operator.le),
    ("exclusiveMinimum", "more than", operator.gt),
    ("exclusiveMaximum", "less than", operator.lt),
)


def _at(value: Any, *path: str) -> Any:
    """Return a part of plain data; None if there is none."""
    for step in path:
        value = value.get(step) if is_mapping(value) else None
    return value


def _dict(value: object) -> dict[str, Any]:
    return value if is_dict(value) else {}


def _list(value: object) -> list[Any]:
    return value if is_list(value) else []


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return resolve(document, _at(document, "components", "schemas", name))


def resolve(document: Mapping[str, Any], schema: object) -> dict[str, Any]:
    """Return a schema with its references resolved; its own members take precedence.

    What is not a schema counts as empty. Since OpenAPI 3.1 it may also be true or false.
    """
    resolved: dict[str, Any] = {}
    # References may lead in a circle. Following one again adds nothing: the members of its target are there already.
    followed: set[str] = set()
    pending = [schema]
    while pending:
        part = dict(_dict(pending.pop()))
        parts, reference = _list(part.pop("allOf", None)), part.pop("$ref", None)
        if isinstance(reference, str) and reference not in followed:
            followed.add(reference)
            parts = [*parts, _at(document, *reference.removeprefix("#/").split("/"))]
        pending += reversed(parts)
        for name, value in part.items():
            resolved.setdefault(name, value)
    return resolved


def inputs(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the inputs by name, in the order of the model's author."""
    properties = _dict(_part(document, "Input").get("properties"))
    resolved = {name: resolve(document, schema) for name, schema in properties.items()}

    def order(item: tuple[str, dict[str, Any]]) -> float:
        position = item[1].get("x-order")
        return position if isinstance(position, (int, float)) else 1_000

    return dict(sorted(resolved.items(), key=order))


def required(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the required inputs."""
    return [name for name in _list(_part(document, "Input").get("required")) if isinstance(name, str)]


def other_inputs(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of inputs that are not declared; None if there should be none."""
    additional: Any = _part(document, "Input").get("additionalProperties")
    return None if additional is None or additional is False else resolve(document, additional)


def is_text(document: Mapping[str, Any]) -> bool:
    """Return whether a list of texts is one text in pieces."""
    output = _part(document, "Output")
    return output.get("type") == "array" and output.get("x-cog-array-display") == "concatenate"


def output(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the output."""
    return _part(document, "Output")


def is_file(schema: Mapping[str, Any]) -> bool | None:
    """Return whether a text is the URL of a file; None if the schema doesn't say."""
    return schema.get("format") in {"uri", "binary"} if kind_of(schema) == "string" else None


def below(document: Mapping[str, Any], schema: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return the schema of an object's part, or of a list's items."""
    part: Any = schema.get("items") if name is None else _at(schema, "properties", name)
    if part is None and name is not None:
        part = schema.get("additionalProperties")
    return resolve(document, part)


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return the JSON type that a schema names; empty if it names none."""
    kind: Any = schema.get("type")
    # Since OpenAPI 3.1 there may be several types, null among them.
    if is_list(kind):
        kind = next((name for name in kind if name != "null"), "")
    return kind if isinstance(kind, str) else ""


def is_nullable(schema: Mapping[str, Any]) -> bool:
    """Return whether a value may be null."""
    kind: Any = schema.get("type")
    alternatives = _list(schema.get("anyOf")) + _list(schema.get("oneOf"))
    if schema.get("nullable") or kind == "null" or (is_list(kind) and "null" in kind):
        return True
    if alternatives:
        return any(is_nullable(_dict(alternative)) for alternative in alternatives)
    # A schema without a type takes anything.
    return kind is None and None in _list(schema.get("enum", [None]))


def signature(document: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature of a model as a function."""
    required_names = required(document)
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in required_names else schema.get("default"),
                annotation=_PYTHON_TYPES.get(kind_of(schema), Any),
            )
            for name, schema in inputs(document).items()
            if name.isidentifier() and not iskeyword(name)
        ]
    )


def documentation(name: str, document: Mapping[str, Any]) -> str:
    """Return a docstring that lists the inputs."""
    names = required(document)
    lines = [
        f"    {input_name} {describe(schema, required=input_name in names)}".rstrip()
        for input_name, schema in inputs(document).items()
    ]
    return "\n".join([f"Run {name}.", "", "Args:", *lines])


def describe(schema: Mapping[str, Any], *, required: bool) -> str:
    """Return what a schema says about an input, in one line."""
    facts = [kind_of(schema) or "any"]
    if is_list(schema.get("enum")):
        facts.append("one of " + ", ".join(map(repr, schema["enum"])))
    for bound, word in (("minimum", "from"), ("maximum", "to")):
        if bound in schema:
            facts.append(f"{word} {schema[bound]}")
    facts.append("required" if required else f"default {schema.get('default')!r}")
    text = re.sub(r"\s+", " ", str(schema.get("description") or schema.get("title") or "")).strip()
    return f"({', '.join(facts)}): {text}"


def problems(document: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the values of the inputs."""
    declared = inputs(document)
    if not declared and not _at(document, "components", "schemas", "Input"):
        return ["the API has no schema to check them with"]
    required_names = required(document)
    # Without a schema for additional inputs, an unknown name is probably misspelled.
    default = other_inputs(document)
    messages = [f"{name} is missing" for name in required_names if name not in values]
    for name, value in values.items():
        if value is None and name in required_names and not is_nullable(declared.get(name, {})):
            messages.append(f"{name} must not be None")
        elif (schema := declared.get(name, default)) is None:
            messages.append(f"{name} is not an input; the inputs are {', '.join(declared)}")
        elif problem := _problem(document, name, value, schema):
            messages.append(problem)
    return messages


def _problem(document: Mapping[str, Any], name: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    if value is None:
        return None if is_nullable(schema) else f"{name} must not be None: omit it"
    # It is not yet known what a file, or another model's output, becomes.
    if type(value) not in _JSON_TYPES:
        return None
    kind = kind_of(schema)
    if is_list(schema.get("enum")) and value not in schema["enum"]:
        return f"{name}={value!r} is not one of {', '.join(map(repr, schema['enum']))}"
    if not _fits(value, kind):
        wanted = "a file or its URL" if is_file(schema) else f"of type {kind}"
        return f"{name} must be {wanted}, not {type(value).__name__}"
    if is_file(schema) and not _URL.match(value):
        shown = repr(value[:40]) + ("..." if len(value) > 40 else "")
        return f"{name} must be a file or its URL, not {shown}: pass pathlib.Path(...) for a local file"
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
    low, high, pattern = schema.get("minLength"), schema.get("maxLength"), schema.get("pattern")
    if isinstance(low, int) and len(value) < low:
        return f"{name} must have at least {low} characters, not {len(value)}"
    if isinstance(high, int) and len(value) > high:
        return f"{name} must have at most {high} characters, not {len(value)}"
    if isinstance(pattern, str) and not matches(pattern, value):
        return f"{name}={value!r} doesn't match the pattern {pattern}"
    return None


def matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern; True also if that cannot be checked."""
    # The pattern may be written in another dialect, or be too much for Python's compiler.
    with suppress(re.error, OverflowError, RecursionError):
        return re.search(pattern, text) is not None
    return True


def _fits(value: Any, kind: str) -> bool:
    if kind in {"integer", "number"}:
        whole = isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
        return whole and not isinstance(value, bool)
    expected = _PYTHON_TYPES.get(kind)
    return expected is None or isinstance(value, expected)
