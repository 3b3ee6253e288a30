"""What a model's OpenAPI document says of its inputs and its output: pure reading, no I/O."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, cast

_JSON_TYPES = (str, int, float, bool, list, dict)
_PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    schemas = document.get("components", {}).get("schemas", {})
    return resolve(document, schemas.get(name, {}))


def resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its reference followed, and what stands beside the reference kept."""
    found = dict(schema)
    parts = [*found.pop("allOf", []), *([{"$ref": found.pop("$ref")}] if "$ref" in found else [])]
    for part in parts:
        target: Any = part
        if "$ref" in part:
            target = document
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target.get(step, {})
        found = {**resolve(document, target), **found}
    return found


def inputs(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the inputs by name, in the order that the model's author gave them."""
    properties: Mapping[str, Any] = _part(document, "Input").get("properties", {})
    resolved = {name: resolve(document, schema) for name, schema in properties.items()}
    return dict(sorted(resolved.items(), key=lambda item: item[1].get("x-order", 1_000)))


def required(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs that must be given."""
    return list(_part(document, "Input").get("required", []))


def is_text(document: Mapping[str, Any]) -> bool:
    """Return whether a list of texts is one text that came in pieces."""
    output = _part(document, "Output")
    return output.get("type") == "array" and output.get("x-cog-array-display") == "concatenate"


def signature(document: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature of a model as a function."""
    needed = required(document)
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in needed else schema.get("default"),
                annotation=_PYTHON_TYPES.get(schema.get("type", ""), Any),
            )
            for name, schema in inputs(document).items()
            if name.isidentifier()
        ]
    )


def documentation(name: str, document: Mapping[str, Any]) -> str:
    """Return a docstring that lists the inputs."""
    needed = required(document)
    lines = [f"Run {name}.", "", "Args:"]
    for input_name, schema in inputs(document).items():
        facts = [schema.get("type", "any")]
        if "enum" in schema:
            facts.append("one of " + ", ".join(map(repr, schema["enum"])))
        for bound, word in (("minimum", "from"), ("maximum", "to")):
            if bound in schema:
                facts.append(f"{word} {schema[bound]}")
        facts.append("required" if input_name in needed else f"default {schema.get('default')!r}")
        text = re.sub(r"\s+", " ", schema.get("description") or schema.get("title") or "").strip()
        lines.append(f"    {input_name} ({', '.join(facts)}): {text}".rstrip())
    return "\n".join(lines)


def problems(document: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return all that is wrong with some inputs."""
    known = inputs(document)
    if not known:
        return []  # a model that tells nothing of its inputs
    found = [f"{name} is missing" for name in required(document) if name not in given]
    for name, value in given.items():
        if name not in known:
            found.append(f"{name} is not an input; there are {', '.join(known)}")
        elif problem := _problem(document, name, value, known[name]):
            found.append(problem)
    return found


def _problem(document: Mapping[str, Any], name: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    if value is None:
        return None if schema.get("nullable") or "default" not in schema else f"{name} must not be None"
    kind = schema.get("type", "")
    if schema.get("format") in {"uri", "binary"} or type(value) not in _JSON_TYPES:
        return None  # a file, or another model's output: what it becomes is not known yet
    if "enum" in schema and value not in schema["enum"]:
        return f"{name}={value!r} is not one of {', '.join(map(repr, schema['enum']))}"
    if not _fits(value, kind):
        return f"{name} must be of type {kind}, not {type(value).__name__}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            limits = " and ".join(
                f"{word} {limit}" for word, limit in (("at least", low), ("at most", high)) if limit is not None
            )
            return f"{name}={value!r} must be {limits}"
    if isinstance(value, list) and "items" in schema:
        items = resolve(document, schema["items"])
        each = enumerate(cast("list[Any]", value))  # type: ignore[redundant-cast]  # pyright needs it
        return next((found for i, one in each if (found := _problem(document, f"{name}[{i}]", one, items))), None)
    return None


def _fits(value: Any, kind: str) -> bool:
    if kind in {"integer", "number"}:
        whole = isinstance(value, int) or (isinstance(value, float) and (kind == "number" or value.is_integer()))
        return whole and not isinstance(value, bool)
    expected = _PYTHON_TYPES.get(kind)
    return expected is None or isinstance(value, expected)
