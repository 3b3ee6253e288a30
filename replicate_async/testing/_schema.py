"""From a Python function's signature to a model's OpenAPI document, and from an input to arguments."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ._calls import Problem
from ._files import OutputFile

_FILE = {"type": "string", "format": "uri"}
_REF = "#/components/schemas/{name}"
_KINDS: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}  # of choices
_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)

OpenFile = Callable[[str], pathlib.Path]  # from a URL in the input to a file on disk


class Signature:
    """A model function's inputs and output.

    Raises ``TypeError`` with the reason if the function can't be a model.
    """

    def __init__(self, function: Callable[..., Any], *, streams: bool) -> None:
        self.streams = streams
        hints = _hints(function)
        self._types: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        parameters = _signature(function).parameters.values()
        self._open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL and self._open:  # a wrapper or a mock: it takes names as well
                continue
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
                raise TypeError(f"{_name(function)}: inputs come by name, so the parameter {parameter} can't be filled")
            self._types[parameter.name] = hints.get(parameter.name, Any)
            if parameter.default is not parameter.empty:
                self._defaults[parameter.name] = parameter.default
        self.document = self._document(function, hints.get("return", Any))
        fields = [
            (name, kind, msgspec.field(default=None)) if name in self._defaults else (name, kind)
            for name, kind in self._types.items()
        ]
        self._struct = msgspec.defstruct("Input", fields, kw_only=True)

    def arguments(self, inputs: Mapping[str, Any], open_file: OpenFile) -> dict[str, Any]:
        """Return the function's arguments, or raise the API's 422 with everything that is wrong.

        What isn't in the input isn't in the arguments either: the function has its own defaults.
        """

        def hook(kind: Any, value: Any) -> Any:
            if hasattr(kind, "model_validate"):  # pydantic
                return kind.model_validate(value)
            if not isinstance(value, str):
                raise ValueError("Expected a URL or data URI")  # noqa: TRY004  (what the decoder reports)
            path = open_file(value)
            return OutputFile.of(path) if issubclass(kind, OutputFile) else path

        try:
            struct = msgspec.convert(inputs, self._struct, dec_hook=hook)
        except Exception:  # noqa: BLE001  (classes may have checks of their own)
            raise self._problem(inputs, hook) from None
        arguments = {name: getattr(struct, name) for name in self._types if name in inputs}
        return {**inputs, **arguments} if self._open else arguments

    def _problem(self, inputs: Mapping[str, Any], hook: Callable[[Any, Any], Any]) -> Problem:
        invalid: list[dict[str, str]] = []
        for name, kind in self._types.items():
            if name not in inputs:
                if name not in self._defaults:
                    invalid.append({"type": "required", "field": "input", "description": f"{name} is required"})
                continue
            try:
                msgspec.convert(inputs[name], kind, dec_hook=hook)
            except msgspec.ValidationError as error:
                text, _, place = str(error).partition(" - at `$")
                field = f"input.{name}{place.rstrip('`')}"
                invalid.append({"type": "invalid", "field": field, "description": text})
            except Exception as error:  # noqa: BLE001
                text = f"{type(error).__name__}: {error}"
                invalid.append({"type": "invalid", "field": f"input.{name}", "description": text})
        detail = "".join(f"- {field['field']}: {field['description']}\n" for field in invalid)
        return Problem(422, detail, title="Input validation failed", invalid_fields=invalid)

    def _document(self, function: Callable[..., Any], returned: Any) -> dict[str, Any]:
        kinds = [*self._types.values(), _item(returned) if self.streams else returned]
        components: dict[str, Any] = {}

        def hook(kind: Any) -> dict[str, Any]:
            if issubclass(kind, (pathlib.PurePath, OutputFile)):
                return dict(_FILE)
            if hasattr(kind, "model_json_schema"):  # pydantic, without depending on it
                schema: dict[str, Any] = kind.model_json_schema(ref_template=_REF.replace("name", "model"))
                components.update(schema.pop("$defs", {}))
                return schema
            raise TypeError(f"{kind!r} is neither JSON, nor a struct, dataclass or pydantic model, nor pathlib.Path")

        try:
            schemas, named = msgspec.json.schema_components(kinds, schema_hook=hook, ref_template=_REF)
            if b'"contentEncoding"' in msgspec.json.encode(schemas[:-1]):
                raise TypeError("bytes can't be an input; a pathlib.Path can, and a file is what it gets")
            *inputs, output = [_plain(schema) for schema in schemas]
            components.update(named)
            properties = {
                name: self._property(order, name, schema, components)
                for order, (name, schema) in enumerate(zip(self._types, inputs, strict=True))
            }
        except TypeError as error:
            raise TypeError(f"{_name(function)}: {error}") from None
        output = self._output(output, components)
        if clash := {"Input", "Output"} & components.keys():
            raise TypeError(f"{_name(function)}: a class in the signature can't be named {clash.pop()}")
        schema: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
        if required := [name for name in self._types if name not in self._defaults]:
            schema["required"] = required
        if self._open:
            schema["additionalProperties"] = True
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {"/predictions": {"post": {"summary": "Predict", "operationId": "predict"}}},
            "components": {"schemas": {"Input": schema, "Output": output, **_plain(components)}},
        }

    def _output(self, schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        output = schema
        if self.streams:
            output = {"type": "array", "items": schema, "x-cog-array-type": "iterator"}
            if schema == {"type": "string"}:
                output["x-cog-array-display"] = "concatenate"
        elif "$ref" in schema:
            # A function may well return a class called Output, so the class's own schema takes that place.
            name = schema["$ref"].rpartition("/")[2]
            output = _plain(components.pop(name) if name == "Output" else components[name])
        return {**output, "title": "Output"}

    def _property(self, order: int, name: str, schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        described: dict[str, Any] = {**schema, "title": name.replace("_", " ").title(), "x-order": order}
        if "enum" in described:
            # Cog keeps choices apart, so whoever reads these documents has to follow references.
            choices = _choices(self._types[name]) or described["enum"]
            if None in choices:
                choices, described["nullable"] = [choice for choice in choices if choice is not None], True
            kinds: set[Any] = set(map(type, choices))
            kind = _KINDS.get(kinds.pop()) if len(kinds) == 1 else None
            components[name] = {
                "title": name,
                "description": "An enumeration.",
                **({"type": kind} if kind else {}),
                "enum": choices,
            }
            del described["enum"], described["title"]
            described["$ref"] = _REF.format(name=name)
        if "$ref" in described:  # which may have no company
            described["allOf"] = [{"$ref": described.pop("$ref")}]
        if name in self._defaults:
            described["default"] = msgspec.to_builtins(self._defaults[name], enc_hook=_plain_default)
        return described


def is_pydantic(value: object) -> bool:
    """Return whether a value is one of a pydantic model, without depending on it."""
    return hasattr(type(value), "model_dump")


def _plain_default(value: Any) -> Any:
    return value.model_dump(by_alias=True) if is_pydantic(value) else str(value)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except TypeError:  # until Python 3.11 an AsyncMock looks like a function, and isn't one
        return inspect.signature(cast("Any", function).__call__)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    while isinstance(target, functools.partial):
        target = cast("Any", target).func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        # Names of an enclosing function count, too: models are often defined inside a test.
        nonlocals: Mapping[str, Any] = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
        hints = typing.get_type_hints(target, localns=dict(nonlocals), include_extras=True)
    except NameError as error:
        raise TypeError(f"{_name(function)}: an annotation can't be resolved: {error}") from None
    return {name: Any if hint is object else hint for name, hint in hints.items()}


def _item(returned: Any) -> Any:
    """Return what a generator yields, by its return annotation."""
    if typing.get_origin(returned) in _ITERATORS:
        return (typing.get_args(returned) or (Any,))[0]
    return Any


def _plain(schema: object) -> Any:
    """Return a schema as OpenAPI 3.0 spells it: no null type, no places of a tuple, and bytes are files."""
    if isinstance(schema, list):
        return [_plain(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {key: _plain(value) for key, value in cast("dict[str, object]", schema).items()}
    if plain.get("contentEncoding") == "base64":
        return dict(_FILE)
    if isinstance(plain.get("prefixItems"), list):
        plain["items"] = _any_of(plain.pop("prefixItems")) if "maxItems" in plain else {}
    if plain == {"type": "null"}:
        return {"nullable": True}
    if {"nullable": True} in plain.get("anyOf", ()):
        rest = [choice for choice in plain.pop("anyOf") if choice != {"nullable": True}]
        plain.update(rest[0] if len(rest) == 1 else {"anyOf": rest}, nullable=True)
    return plain


def _any_of(schemas: list[Any]) -> dict[str, Any]:
    distinct = [schema for number, schema in enumerate(schemas) if schema not in schemas[:number]]
    return {"anyOf": distinct} if len(distinct) > 1 else distinct[0]


def _choices(kind: Any) -> list[Any]:
    """Return the choices of a ``Literal`` in the order of the source; msgspec sorts them."""
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    if typing.get_origin(kind) in {typing.Annotated, typing.Union, types.UnionType}:
        for argument in typing.get_args(kind):
            if choices := _choices(argument):
                return choices
    return []
