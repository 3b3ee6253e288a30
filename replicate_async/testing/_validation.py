"""Checks a JSON value against a JSON schema, and describes what is invalid in the words of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from replicate_async._schema import matches

_JSON_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, (int, float)) and value == value // 1,
    "number": lambda value: not isinstance(value, bool) and isinstance(value, (int, float)),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
# Keyword, kind of error, whether a value is within the bound, and the API's words.
_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", "number_gte", lambda value, bound: value >= bound, "Must be greater than or equal to {}"),
    ("maximum", "number_lte", lambda value, bound: value <= bound, "Must be less than or equal to {}"),
    ("exclusiveMinimum", "number_gt", lambda value, bound: value > bound, "Must be greater than {}"),
    ("exclusiveMaximum", "number_lt", lambda value, bound: value < bound, "Must be less than {}"),
)
_LENGTHS: tuple[tuple[str, type[Any], str, Callable[[int, int], bool], str], ...] = (
    ("minLength", str, "string_gte", int.__ge__, "String length must be greater than or equal to {}"),
    ("maxLength", str, "string_lte", int.__le__, "String length must be less than or equal to {}"),
    ("minItems", list, "array_min_items", int.__ge__, "Array must have at least {} items"),
    ("maxItems", list, "array_max_items", int.__le__, "Array must have at most {} items"),
)


class InvalidField(NamedTuple):
    """A field of a body that is invalid, as a 422 of the API describes it."""

    type: str
    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class _Context(NamedTuple):
    """What schemas refer to by name."""

    components: Mapping[str, Any]

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema with the parts that it refers to."""
        for part in (schema, *schema.get("allOf", ())):
            if "$ref" in part:
                target = self.components.get(part["$ref"].rpartition("/")[2], {})
                schema = {**target, **{key: value for key, value in schema.items() if key not in {"$ref", "allOf"}}}
        return schema


def invalid_fields(
    value: Any, schema: Mapping[str, Any], components: Mapping[str, Any], field: str = ""
) -> list[InvalidField]:
    """Return what is invalid in a value; ``field`` is its name."""
    return list(_check(value, schema, _Context(components), field))


@lru_cache
def schema_of(shape: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of a type, and the components that it refers to."""
    (schema,), components = msgspec.json.schema_components((shape,), ref_template="#/components/schemas/{name}")
    return schema, components


def _check(value: Any, schema: Mapping[str, Any], context: _Context, field: str) -> Iterator[InvalidField]:
    schema = context.resolve(schema)
    if value is None and schema.get("nullable"):
        return
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        results = [list(_check(value, choice, context, field)) for choice in choices]
        if all(results):
            # The only choice besides null explains best what is wrong.
            others = [errors for choice, errors in zip(choices, results, strict=True) if choice != {"type": "null"}]
            any_of = [InvalidField("number_any_of", field, "Must validate at least one schema (anyOf)")]
            yield from others[0] if len(others) == 1 else any_of
        return
    types = schema.get("type", list(_JSON_TYPES))
    types = cast("list[str]", types) if isinstance(types, list) else [types]
    if not any(_JSON_TYPES[type_](value) for type_ in types if type_ in _JSON_TYPES):
        description = f"Invalid type. Expected: {'/'.join(types)}, given: {_type_name(value)}"
        yield InvalidField("invalid_type", field, description)
        return
    yield from _check_bounds(value, schema, field)
    if isinstance(value, list):
        items = cast("list[Any]", value)  # type: ignore[redundant-cast]  # for pyright
        for number, item in enumerate(items):
            yield from _check(item, schema.get("items") or {}, context, f"{field}.{number}")
    if isinstance(value, dict):
        yield from _check_members(cast("dict[str, Any]", value), schema, context, field)


def _check_bounds(value: Any, schema: Mapping[str, Any], field: str) -> Iterator[InvalidField]:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        words = ", ".join(msgspec.json.encode(choice).decode() for choice in allowed)
        yield InvalidField("enum", field, f"{field} must be one of the following: {words}")
    for keyword, kind, is_within, words in _BOUNDS if _JSON_TYPES["number"](value) else ():
        # In older schemas, exclusive bounds are flags.
        if keyword in schema and not isinstance(schema[keyword], bool) and not is_within(value, schema[keyword]):
            yield InvalidField(kind, field, words.format(_without_zeros(schema[keyword])))
    for keyword, type_, kind, is_within, words in _LENGTHS:
        if keyword in schema and type(value) is type_ and not is_within(len(value), schema[keyword]):
            yield InvalidField(kind, field, words.format(schema[keyword]))
    if isinstance(value, str) and "pattern" in schema and not matches(schema["pattern"], value):
        yield InvalidField("pattern", field, f"Does not match pattern '{schema['pattern']}'")


def _without_zeros(number: float) -> str:
    """Return a number; an integer without the fraction that msgspec's schemas may have."""
    return str(int(number) if number == int(number) else number)


def _check_members(
    value: dict[str, Any], schema: Mapping[str, Any], context: _Context, field: str
) -> Iterator[InvalidField]:
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield InvalidField("required", field, f"{name} is required")
    for name, member in value.items():
        path = f"{field}.{name}" if field else name
        if name in properties:
            yield from _check(member, properties[name], context, path)
        elif additional is False:
            words = f"Additional property {name} is not allowed"
            yield InvalidField("additional_property_not_allowed", field, words)
        elif isinstance(additional, dict):
            yield from _check(member, cast("dict[str, Any]", additional), context, path)


def _type_name(value: Any) -> str:
    return next((name for name, matches in _JSON_TYPES.items() if matches(value)), "unknown")
