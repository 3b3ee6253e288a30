"""A model's schema: the OpenAPI document of a function's signature, and the function's arguments for an input."""

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

from ._calls import invalid_body
from ._files import OutputFile
from ._validation import InvalidField, invalid_fields

_FILE_SCHEMA = {"type": "string", "format": "uri"}
_REF = "#/components/schemas/{name}"
# The types of choices.
_TYPE_NAMES: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}
_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)

# Returns the path of a file on disk with the content of a URL in the input.
OpenFile = Callable[[str], pathlib.Path]


class Signature:
    """The inputs and the output of a model function.

    Raises ``TypeError`` if the function can't be a model; the message says why.
    """

    def __init__(
        self, function: Callable[..., Any], *, streams: bool, document: Mapping[str, Any] | None = None
    ) -> None:
        self.streams = streams
        hints = _hints(function)
        self._types: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        parameters = _signature(function).parameters.values()
        self._accepts_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            # A wrapper or a mock, with *args and **kwargs.
            if parameter.kind is parameter.VAR_POSITIONAL and self._accepts_any:
                continue
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
                raise TypeError(f"{_name(function)}: inputs are passed by name, which {parameter} doesn't accept")
            self._types[parameter.name] = hints.get(parameter.name, Any)
            if parameter.default is not parameter.empty:
                self._defaults[parameter.name] = parameter.default
        self._assumes_text = streams and not document and hints.get("return") is None
        self._given = document
        self.document = dict(document or self._document(function, hints.get("return")))
        fields = [
            (name, type_, msgspec.field(default=None)) if name in self._defaults else (name, type_)
            for name, type_ in self._types.items()
        ]
        self._struct = msgspec.defstruct("Input", fields, kw_only=True)

    def learn_from(self, item: object) -> None:
        """Learn from an item of a generator without a return annotation, which is assumed to yield text."""
        if self._assumes_text and not isinstance(item, str):
            self._assumes_text = False
            output = self.document["components"]["schemas"]["Output"]
            output.pop("x-cog-array-display", None)
            output["items"] = {}

    def arguments(self, inputs: Mapping[str, Any], open_file: OpenFile) -> dict[str, Any]:
        """Return the function's arguments, or raise the API's 422 with all invalid fields.

        Inputs that are omitted are omitted from the arguments as well: the function has its own defaults.
        """

        def decode(type_: Any, value: Any) -> Any:
            # A pydantic model.
            if hasattr(type_, "model_validate"):
                return type_.model_validate(value)
            if not isinstance(value, str):
                raise ValueError("Expected a URL or data URI")  # noqa: TRY004  (msgspec reports a ValueError)
            path = open_file(value)
            return OutputFile.coerce(path) if issubclass(type_, OutputFile) else path

        if self._given is not None and (problems := self._mismatches(inputs)):
            raise invalid_body(problems)
        try:
            struct = msgspec.convert(inputs, self._struct, dec_hook=decode)
        except Exception:  # noqa: BLE001  (classes may raise anything)
            raise invalid_body(self._mismatches(inputs) or self._errors(inputs, decode)) from None
        arguments = {name: getattr(struct, name) for name in self._types if name in inputs}
        return {**inputs, **arguments} if self._accepts_any else arguments

    def _mismatches(self, inputs: Mapping[str, Any]) -> list[InvalidField]:
        """Return what contradicts the schema."""
        components = self.document.get("components", {}).get("schemas", {})
        return invalid_fields(inputs, components.get("Input", {}), components, "input")

    def _errors(self, inputs: Mapping[str, Any], decode: Callable[[Any, Any], Any]) -> list[InvalidField]:
        """Return the inputs that match the schema, but can't become arguments, such as a file that doesn't exist."""
        errors: list[InvalidField] = []
        for name, type_ in self._types.items():
            if name not in inputs:
                continue
            try:
                msgspec.convert(inputs[name], type_, dec_hook=decode)
            except msgspec.ValidationError as error:
                text, _, path = str(error).partition(" - at `$")
                errors.append(InvalidField("invalid", f"input.{name}{path.rstrip('`')}", text))
            except Exception as error:  # noqa: BLE001
                errors.append(InvalidField("invalid", f"input.{name}", f"{type(error).__name__}: {error}"))
        return errors

    def _document(self, function: Callable[..., Any], return_type: Any) -> dict[str, Any]:
        output_type = _item_type(return_type) if self.streams else Any if return_type is None else return_type
        types_ = [*self._types.values(), output_type]
        components: dict[str, Any] = {}

        def describe(type_: Any) -> dict[str, Any]:
            if issubclass(type_, (pathlib.PurePath, OutputFile)):
                return dict(_FILE_SCHEMA)
            # A pydantic model, without depending on pydantic.
            if hasattr(type_, "model_json_schema"):
                schema: dict[str, Any] = type_.model_json_schema(ref_template=_REF.replace("name", "model"))
                components.update(schema.pop("$defs", {}))
                return schema
            raise TypeError(f"{type_!r} is neither JSON, nor a struct, dataclass or pydantic model, nor pathlib.Path")

        try:
            schemas, named_schemas = msgspec.json.schema_components(types_, schema_hook=describe, ref_template=_REF)
            if b'"contentEncoding"' in msgspec.json.encode(schemas[:-1]):
                raise TypeError("bytes can't be an input; use pathlib.Path, which receives a file")
            *inputs, output = [_to_openapi_3_0(schema) for schema in schemas]
            components.update(named_schemas)
            properties = {
                name: self._property(order, name, schema, components)
                for order, (name, schema) in enumerate(zip(self._types, inputs, strict=True))
            }
        except TypeError as error:
            raise TypeError(f"{_name(function)}: {error}") from None
        output = self._output(output, components)
        if reserved := {"Input", "Output"} & components.keys():
            raise TypeError(f"{_name(function)}: a class in the signature can't be named {reserved.pop()}")
        schema: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
        if required := [name for name in self._types if name not in self._defaults]:
            schema["required"] = required
        if self._accepts_any:
            schema["additionalProperties"] = True
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "paths": {"/predictions": {"post": {"summary": "Predict", "operationId": "predict"}}},
            "components": {"schemas": {"Input": schema, "Output": output, **_to_openapi_3_0(components)}},
        }

    def _output(self, schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        output = schema
        if self.streams:
            output = {"type": "array", "items": schema, "x-cog-array-type": "iterator"}
            if schema == {"type": "string"}:
                output["x-cog-array-display"] = "concatenate"
        elif "$ref" in schema:
            # The returned class may be called Output as well; its schema takes the place of the reference.
            name = schema["$ref"].rpartition("/")[2]
            output = _to_openapi_3_0(components.pop(name) if name == "Output" else components[name])
        return {**output, "title": "Output"}

    def _property(self, order: int, name: str, schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        prop: dict[str, Any] = {**schema, "title": name.replace("_", " ").title(), "x-order": order}
        if "enum" in prop:
            # Cog puts choices into a component of their own and refers to it.
            choices = _choices(self._types[name]) or prop["enum"]
            if None in choices:
                choices, prop["nullable"] = [choice for choice in choices if choice is not None], True
            choice_types: set[Any] = set(map(type, choices))
            type_name = _TYPE_NAMES.get(choice_types.pop()) if len(choice_types) == 1 else None
            components[name] = {
                "title": name,
                "description": "An enumeration.",
                **({"type": type_name} if type_name else {}),
                "enum": choices,
            }
            del prop["enum"], prop["title"]
            prop["$ref"] = _REF.format(name=name)
        # OpenAPI 3.0 ignores whatever is next to a $ref, so the reference goes into allOf.
        if "$ref" in prop:
            prop["allOf"] = [{"$ref": prop.pop("$ref")}]
        if name in self._defaults:
            prop["default"] = msgspec.to_builtins(self._defaults[name], enc_hook=_encode_default)
        return prop


def is_pydantic(value: object) -> bool:
    """Return whether a value is a pydantic model, without depending on pydantic."""
    return hasattr(type(value), "model_dump")


def _encode_default(value: Any) -> Any:
    return value.model_dump(by_alias=True) if is_pydantic(value) else str(value)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except TypeError:
        # Until Python 3.11 an AsyncMock looks like a function, but isn't one.
        return inspect.signature(cast("Any", function).__call__)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    while isinstance(target, functools.partial):
        target = cast("Any", target).func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        # Models are often defined inside a test, so annotations may use local names of the enclosing function.
        nonlocals: Mapping[str, Any] = inspect.getclosurevars(target).nonlocals if inspect.isfunction(target) else {}
        hints = typing.get_type_hints(target, localns=dict(nonlocals), include_extras=True)
    except NameError as error:
        raise TypeError(f"{_name(function)}: an annotation can't be resolved: {error}") from None
    return {name: Any if hint is object else hint for name, hint in hints.items()}


def _item_type(return_type: Any) -> Any:
    """Return the type of the items that a generator yields: by its return annotation, else text."""
    if return_type is None:
        return str
    if typing.get_origin(return_type) in _ITERATORS:
        return (typing.get_args(return_type) or (Any,))[0]
    return Any


def _to_openapi_3_0(schema: object) -> Any:
    """Return a schema in terms of OpenAPI 3.0: without the null type and tuples; bytes become files."""
    if isinstance(schema, list):
        return [_to_openapi_3_0(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    converted: dict[str, Any] = {
        key: _to_openapi_3_0(value) for key, value in cast("dict[str, object]", schema).items()
    }
    if converted.get("contentEncoding") == "base64":
        return dict(_FILE_SCHEMA)
    if isinstance(converted.get("prefixItems"), list):
        converted["items"] = _any_of(converted.pop("prefixItems")) if "maxItems" in converted else {}
    if converted == {"type": "null"}:
        return {"nullable": True}
    if {"nullable": True} in converted.get("anyOf", ()):
        rest = [choice for choice in converted.pop("anyOf") if choice != {"nullable": True}]
        converted.update(rest[0] if len(rest) == 1 else {"anyOf": rest}, nullable=True)
    return converted


def _any_of(schemas: list[Any]) -> dict[str, Any]:
    distinct = [schema for number, schema in enumerate(schemas) if schema not in schemas[:number]]
    return {"anyOf": distinct} if len(distinct) > 1 else distinct[0]


def _choices(type_: Any) -> list[Any]:
    """Return the choices of a ``Literal`` in the order of the source, because msgspec sorts them."""
    if typing.get_origin(type_) is typing.Literal:
        return list(typing.get_args(type_))
    if typing.get_origin(type_) in {typing.Annotated, typing.Union, types.UnionType}:
        for argument in typing.get_args(type_):
            if choices := _choices(argument):
                return choices
    return []
