"""From a Python function's signature to a model's OpenAPI document, and from an input to arguments."""

from __future__ import annotations

import collections.abc
import inspect
import pathlib
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ._calls import Problem
from ._files import OutputFile

_FILE = {"type": "string", "format": "uri"}
_REF = "#/components/schemas/{name}"
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
        self._open = False  # has **kwargs: takes what isn't declared, too
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._open = True
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

        def hook(kind: type, value: Any) -> Any:
            if not isinstance(value, str):
                raise ValueError("Expected a URL or data URI")  # noqa: TRY004  (what the decoder reports)
            return open_file(value)

        try:
            struct = msgspec.convert(inputs, self._struct, dec_hook=hook)
        except msgspec.ValidationError:
            raise self._problem(inputs, hook) from None
        arguments = {name: getattr(struct, name) for name in self._types if name in inputs}
        return {**inputs, **arguments} if self._open else arguments

    def _problem(self, inputs: Mapping[str, Any], hook: Callable[[type, Any], Any]) -> Problem:
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
        detail = "".join(f"- {field['field']}: {field['description']}\n" for field in invalid)
        return Problem(422, detail, title="Input validation failed", invalid_fields=invalid)

    def _document(self, function: Callable[..., Any], returned: Any) -> dict[str, Any]:
        kinds = [*self._types.values(), _item(returned) if self.streams else returned]
        try:
            schemas, components = msgspec.json.schema_components(kinds, schema_hook=_hook, ref_template=_REF)
        except (TypeError, NotImplementedError) as error:
            raise TypeError(f"{_name(function)}: {error}") from None
        properties: dict[str, Any] = {}
        for order, (name, schema) in enumerate(zip(self._types, schemas, strict=False)):
            described = {"title": name.replace("_", " ").title(), "x-order": order, **_plain(schema)}
            choices = described.pop("enum", None)
            if choices is not None:
                # Cog keeps the choices apart, so a reader of these documents has to follow references.
                components[name] = _enumeration(name, self._types[name], choices)
                described.pop("type", None)
                described.pop("title")
                described["allOf"] = [{"$ref": _REF.format(name=name)}]
            if name in self._defaults:
                described["default"] = _default(self._defaults[name])
            properties[name] = described
        inputs: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
        if required := [name for name in self._types if name not in self._defaults]:
            inputs["required"] = required
        output = {"title": "Output", **_plain(schemas[-1])}
        if self.streams:
            output = {"title": "Output", "type": "array", "items": _plain(schemas[-1]), "x-cog-array-type": "iterator"}
            if output["items"] == {"type": "string"}:
                output["x-cog-array-display"] = "concatenate"
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {"/predictions": {"post": {"summary": "Predict", "operationId": "predict"}}},
            "components": {"schemas": {"Input": inputs, "Output": output, **_plain(components)}},
        }


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    while hasattr(target, "func"):  # functools.partial
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        # Names of an enclosing function count, too: models are often defined inside a test.
        nonlocals = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
        return typing.get_type_hints(target, localns=dict(nonlocals), include_extras=True)
    except NameError as error:
        raise TypeError(f"{_name(function)}: an annotation can't be resolved: {error}") from None


def _item(returned: Any) -> Any:
    """Return what a generator yields, by its return annotation."""
    if typing.get_origin(returned) in _ITERATORS:
        return (typing.get_args(returned) or (Any,))[0]
    return Any


def _hook(kind: type) -> dict[str, Any]:
    if issubclass(kind, pathlib.PurePath | OutputFile):
        return dict(_FILE)
    if hasattr(kind, "model_json_schema"):  # pydantic, without depending on it
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    raise NotImplementedError


def _plain(schema: object) -> Any:
    """Return a schema as OpenAPI 3.0 spells it: no null type, and bytes are files."""
    if isinstance(schema, list):
        return [_plain(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, Any] = {key: _plain(value) for key, value in cast("dict[str, object]", schema).items()}
    if plain.get("contentEncoding") == "base64":
        return dict(_FILE)
    if {"type": "null"} in plain.get("anyOf", ()):
        rest = [choice for choice in plain.pop("anyOf") if choice != {"type": "null"}]
        plain.update(rest[0] if len(rest) == 1 else {"anyOf": rest}, nullable=True)
    return plain


def _enumeration(name: str, kind: Any, choices: list[Any]) -> dict[str, Any]:
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        choices = list(typing.get_args(kind))  # in the order of the source
    type_ = "integer" if all(type(choice) is int for choice in choices) else "string"
    return {"title": name, "description": "An enumeration.", "type": type_, "enum": choices}


def _default(value: Any) -> Any:
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return msgspec.to_builtins(value)
