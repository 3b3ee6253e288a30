"""Python source of typed functions for models, made from their OpenAPI documents, without I/O."""

from __future__ import annotations

import ast
import builtins
import json
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import msgspec

from replicate_async import _schema as schemas
from replicate_async._json import is_dict, is_list
from replicate_async._predictions.requests import ModelRef

_WIDTH = 120
# References and lists may be nested without an end.
_MAX_LEVELS = 8
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_LITERALS = {"string": str, "integer": int, "boolean": bool}

_HEADER = '''"""Functions of models on Replicate: each takes a client, and returns the model as a typed function.

Written by ``replicate-async codegen``, which updates it with ``-o`` and the name of this file. Don't edit it.
"""

'''
_IMPORTS = """
from __future__ import annotations

import sys
from collections.abc import Coroutine{abstract}
from typing import {typing}

from replicate_async import (
{replicate})

if sys.version_info >= (3, 11):
    from typing import {extensions}
else:
    from typing_extensions import {extensions}

"""
_TYPE_VARIABLE = 'T_co = TypeVar("T_co", covariant=True)\n'
_FILE_INPUT = "FileInput: TypeAlias = str | bytes | PathLike[str] | BinaryIO | FileOutput | AsyncFileOutput\n"
_RENAME = '''

def _rename(function: Any, names: dict[str, str]) -> Any:
    """Return a function that passes arguments on under the model's own names, which Python does not allow."""

    def call(**inputs: Any) -> Any:
        return function(**{names.get(name, name): value for name, value in inputs.items()})

    return call
'''
_TITLE = "# Models:"
_PINNED_TITLE = "# Models, pinned to their latest versions:"
_TYPING_NAMES = ("Any", "BinaryIO", "Literal", "Protocol", "TypeAlias", "TypedDict", "TypeVar", "overload")
_PUBLIC_NAMES = (
    *("AsyncFileOutput", "AsyncOutputStream", "AsyncReplicate"),
    *("FileOutput", "FunctionOptions", "OutputStream", "Replicate"),
)
# Names that the module uses itself. A model named so gets another name.
_RESERVED = {
    *dir(builtins),
    *("Coroutine", "FileInput", "Mapping", "NotRequired", "PathLike", "Sequence", "T_co", "Unpack", "sys"),
    *_TYPING_NAMES,
    *_PUBLIC_NAMES,
}


class TypedModel(msgspec.Struct, frozen=True):
    """A model to write a function for: what to run, and its OpenAPI document, which may be empty."""

    ref: ModelRef
    document: dict[str, Any]


def generate(models: Sequence[TypedModel], arguments: Sequence[str], *, pin: bool) -> str:
    """Return the source of a module with a function for each model.

    Args:
        models: The models.
        arguments: The models as the caller named them, to be recorded in the module.
        pin: Whether the caller asked for the latest versions.
    """
    used = set(_RESERVED)
    names = _function_names([model.ref for model in models])
    body = "".join(_Function(model, name, used).source() for model, name in zip(models, names, strict=True))
    title = _PINNED_TITLE if pin else _TITLE
    recorded = "".join(f"{line}\n" for line in (title, *(f"#   {argument}" for argument in arguments)))
    helpers = _TYPE_VARIABLE + _FILE_INPUT * ("FileInput" in body) + _RENAME * ("_rename(" in body)

    def import_list(*names: str) -> str:
        return ", ".join(name for name in names if re.search(rf"\b{name}\b", body + helpers))

    imports = _IMPORTS.format(
        abstract="".join(f", {name}" for name in ("Mapping", "Sequence") if f"{name}[" in body),
        typing=import_list(*_TYPING_NAMES),
        replicate="".join(f"    {name},\n" for name in _PUBLIC_NAMES if re.search(rf"\b{name}\b", body + helpers)),
        extensions=import_list("NotRequired", "Unpack"),
    )
    if "PathLike" in helpers:
        imports = imports.replace("\nfrom typing import", "\nfrom os import PathLike\nfrom typing import", 1)
    return _HEADER + recorded + imports + helpers + body


def recorded_arguments(source: str) -> tuple[list[str], bool]:
    """Return the models that are recorded in a module, and whether they are pinned; no models if it is another's."""
    match = re.search(rf"^({_TITLE}|{_PINNED_TITLE})\n((?:#   .+\n)+)", source, re.MULTILINE)
    if match is None:
        return [], False
    return [line[4:] for line in match[2].splitlines()], match[1] == _PINNED_TITLE


def _function_names(refs: Sequence[ModelRef]) -> list[str]:
    """Return a name for each model: as short as possible, and independent of the order of the models."""

    def candidates(ref: ModelRef) -> Iterator[str]:
        yield ref.name or ""
        yield f"{ref.owner}_{ref.name}"
        yield f"{ref.owner}_{ref.name}_{(ref.version or '')[:8]}"
        yield f"{ref.owner}_{ref.name}_{ref.version or ''}"

    levels = [[_identifier(name.lower(), "model") for name in candidates(ref)] for ref in refs]

    def choose(index: int) -> str:
        for level, name in enumerate(levels[index]):
            if name not in _RESERVED and all(names[level] != name for names in levels[:index] + levels[index + 1 :]):
                return name
        return levels[index][-1]

    return [choose(index) for index in range(len(refs))]


def _identifier(name: str, prefix: str) -> str:
    """Return a name that Python allows and leaves alone."""
    # Python normalizes names, and those in classes that begin with two underscores.
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", name)).lstrip("_")
    if not name.isidentifier():
        name = f"{prefix}_{name}".rstrip("_")
    return f"{name}_" if iskeyword(name) or name == "self" else name


def _unused(name: str, used: set[str]) -> str:
    """Return a name that is not used yet, and note it."""
    candidate, number = name, 2
    while candidate in used:
        candidate, number = f"{name}_{number}", number + 1
    used.add(candidate)
    return candidate


class _Function:
    """The source of one model's function."""

    def __init__(self, model: TypedModel, name: str, used: set[str]) -> None:
        self._ref = str(model.ref)
        self._document = model.document
        self._used = used
        self._name = _unused(name, used)
        self._title = _camel(name)
        output = schemas.output(self._document)
        self._streams = not output or output.get("x-cog-array-type") == "iterator"
        # Names of classes by the content of their schemas: a schema may contain itself.
        self._classes: dict[str, str] = {}
        self._class_sources: list[str] = []

    def source(self) -> str:
        """Return the source of the function and of the classes that it needs."""
        protocol = _unused(f"{self._title}Function", self._used)
        call, names = self._call()
        overloads = "".join(self._overloads(protocol))
        use = f"client.use({_literal(self._ref)}{', streaming=streaming' * self._streams}, **options)"
        if names:
            pairs = "".join(
                f"            {_literal(name)}: {_literal(input_name)},\n" for name, input_name in names.items()
            )
            use = f"_rename(\n        {use},\n        {{\n{pairs}        }},\n    )"
        return (
            "".join(self._class_sources)
            + f'\n\nclass {protocol}(Protocol[T_co]):\n    """``{self._ref}`` as a function."""\n\n{call}{overloads}'
            + _signature(self._name, "AsyncReplicate | Replicate", "streaming: bool = False" * self._streams, "Any")
            + f':\n    """Return ``{self._ref}`` as a function; the options are those of the client\'s ``use``."""\n'
            + f"    return {use}\n"
        )

    def _call(self) -> tuple[str, dict[str, str]]:
        """Return the source of the protocol's method, and the inputs' own names by allowed names."""
        required = schemas.required(self._document)
        names: dict[str, str] = {}
        parameters, descriptions = ["*,"], list[str]()
        declared = schemas.inputs(self._document)
        for input_name, schema in declared.items():
            name = _identifier(input_name, "input")
            while name != input_name and (name in names or name in declared):
                name += "_"
            names[name] = input_name
            type_ = self._type(schema, "FileInput", f"{self._title}{_camel(name)}")
            parameters += _parameter(name, type_, optional=input_name not in required)
            descriptions.append(f"{name} {schemas.describe(schema, required=input_name in required)}")
        if not names or schemas.other_inputs(self._document) is not None:
            others = next(name for name in ("inputs", "inputs_", "inputs__") if name not in names)
            parameters = [*parameters[not names :], f"**{others}: Any,"]
            descriptions.append(f"**{others}: Inputs that the model's schema does not name.")
        lines = "".join(f"        {line}\n" for line in ("self,", "/,", *parameters))
        docstring = _docstring(f"Run {self._ref}.", descriptions)
        renamed = {name: input_name for name, input_name in names.items() if name != input_name}
        return f"    def __call__(\n{lines}    ) -> T_co:\n{docstring}        ...\n", renamed

    def _overloads(self, protocol: str) -> Iterator[str]:
        for mode, result in (("Async", "Coroutine[Any, Any, {}]"), ("", "{}")):
            type_ = "str"
            if not schemas.is_text(self._document):
                output = schemas.output(self._document)
                type_ = self._type(output, f"{mode}FileOutput", f"{mode}{self._title}Output")
            results = [("streaming: Literal[False] = False" * self._streams, result.format(type_))]
            if self._streams:
                results.append(("streaming: Literal[True]", f"{mode}OutputStream"))
            for streaming, returned in results:
                fits = len(f") -> {protocol}[{returned}]: ...") <= _WIDTH
                function = f"{protocol}[{returned}]" if fits else f"{protocol}[\n    {returned}\n]"
                signature = _signature(self._name, f"{mode}Replicate", streaming, function)
                yield f"\n\n@overload\n{signature.lstrip()}: ...\n"

    def _type(self, schema: object, file: str, name: str, level: int = 0, *, guess: bool = False) -> str:
        """Return the Python type of a schema's values.

        Args:
            schema: The schema.
            file: Type of a file.
            name: Name of a class for the values.
            level: How deep in the schema of an input or an output this is.
            guess: Whether the schema leaves open which texts are files.
        """
        members = dict.fromkeys(self._members(schema, file, name, level, guess=guess))
        return "Any" if "Any" in members else " | ".join(sorted(members, key=lambda member: member == "None"))

    def _members(self, raw: object, file: str, name: str, level: int, *, guess: bool) -> list[str]:
        """Return the members of the union of types that a schema's values have."""
        schema = schemas.resolve(self._document, raw)
        if level > _MAX_LEVELS:
            return ["Any"]
        null = ["None"] if schemas.is_nullable(schema) else []
        alternatives = [item for key in ("anyOf", "oneOf") if is_list(schema.get(key)) for item in schema[key]]
        if alternatives:
            types = (
                self._members(item, file, f"{name}{index or ''}", level + 1, guess=True)
                for index, item in enumerate(alternatives)
            )
            return sum(types, null)
        if schema.get("type") == "null":
            return null
        if choices := _choices(schema):
            return [f"Literal[{', '.join([*choices, *null])}]"]
        if schemas.kind_of(schema) == "string" and guess and file != "FileInput":
            return [file, "str", *null]
        return [self._plain_type(schema, file, name, level, guess=guess), *null]

    def _plain_type(self, schema: Mapping[str, Any], file: str, name: str, level: int, *, guess: bool) -> str:
        kind = schemas.kind_of(schema)
        is_input = file == "FileInput"
        if kind == "string" and schemas.is_file(schema):
            return file
        if kind == "array":
            items = self._type(schema.get("items"), file, f"{name}Item", level + 1, guess=guess)
            return f"{'Sequence' if is_input else 'list'}[{items}]"
        if kind == "object":
            if is_dict(schema.get("properties")) and schema["properties"]:
                return self._class(schema, file, name, level, guess=guess)
            values = self._type(schema.get("additionalProperties"), file, f"{name}Value", level + 1, guess=guess)
            return f"{'Mapping' if is_input else 'dict'}[str, {values}]"
        return _SCALARS.get(kind, "Any")

    def _class(self, schema: Mapping[str, Any], file: str, name: str, level: int, *, guess: bool) -> str:
        """Return the name of the class for an object with known members, which is written once."""
        properties: dict[str, Any] = schema["properties"]
        required: Any = schema.get("required")
        key = json.dumps([properties, required, file, guess], sort_keys=True)
        if key in self._classes:
            return self._classes[key]
        class_name = self._classes[key] = _unused(name, self._used)
        members: dict[str, str] = {}
        for member, member_schema in properties.items():
            member_name = f"{name}{_camel(_identifier(member, 'member'))}"
            members[member] = self._type(member_schema, file, member_name, level + 1, guess=guess)
            if not (is_list(required) and member in required):
                # Models return null for members without a value.
                null = "" if file == "FileInput" or members[member].endswith(("None", "Any")) else " | None"
                members[member] = f"NotRequired[{members[member]}{null}]"
        self._class_sources.append(_class_source(class_name, self._ref, members))
        return class_name


def _class_source(name: str, ref: str, members: Mapping[str, str]) -> str:
    """Return the source of a TypedDict."""
    if all(_identifier(member, "member") == member for member in members):
        lines = "".join(f"    {member}: {type_}\n" for member, type_ in members.items())
        return f'\n\nclass {name}(TypedDict):\n    """Data of ``{ref}``."""\n\n{lines}'
    # Only a call can have names that Python does not allow. Its types may be classes that follow.
    lines = "".join(f"        {_literal(member)}: {_literal(type_)},\n" for member, type_ in members.items())
    return f'\n\n{name} = TypedDict(\n    "{name}",\n    {{\n{lines}    }},\n)\n'


def _signature(name: str, client: str, streaming: str, result: str) -> str:
    """Return the first lines of a function that takes a client."""
    parameters = ["/", *(["*", streaming] if streaming else []), "**options: Unpack[FunctionOptions]"]
    lines = "".join(f"    {parameter},\n" for parameter in (f"client: {client}", *parameters))
    return f"\n\ndef {name}(\n{lines}) -> {result}"


def _parameter(name: str, type_: str, *, optional: bool) -> list[str]:
    """Return the lines of a parameter."""
    default = " = ..." if optional else ""
    line = f"{name}: {type_}{default},"
    if len(line) <= _WIDTH - 8 or "Literal[" not in type_:
        return [line]
    members = [ast.parse(type_, mode="eval").body]
    while isinstance(union := members[0], ast.BinOp):
        members[:1] = [union.left, union.right]
    lines: list[str] = []
    for member in members:
        source = ast.get_source_segment(type_, member) or ""
        lead = "| " if lines else f"{name}: "
        if source.startswith("Literal["):
            choices = ast.literal_eval(source.removeprefix("Literal"))
            lines += [f"{lead}Literal[", *(f"    {_literal(choice)}," for choice in choices), "]"]
        else:
            lines.append(f"{lead}{source}")
    return [*lines[:-1], f"{lines[-1]}{default},"]


def _docstring(summary: str, arguments: Sequence[str]) -> str:
    """Return the docstring of a method."""
    lines = [summary, "", "Args:"]
    for argument in arguments:
        lines += textwrap.wrap(
            _escape(argument),
            _WIDTH - 8,
            initial_indent="    ",
            subsequent_indent="        ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return textwrap.indent('"""' + "\n".join(lines) + '\n"""\n', "        ")


def _escape(text: str) -> str:
    """Return a text as it stands between triple quotes."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _literal(value: object) -> str:
    """Return a value as a literal, in double quotes if that needs no escapes."""
    text = repr(value)
    if not isinstance(value, str) or text[0] == '"' or value.count('"') > value.count("'"):
        return text
    # Only a text with quotes of both kinds has escaped ones.
    return '"' + text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def _camel(name: str) -> str:
    return re.sub(r"(?:^|_)(.?)", lambda match: match[1].upper(), name)


def _choices(schema: Mapping[str, Any]) -> list[str]:
    """Return the choices of a schema as literals; empty if it has none that Python can express."""
    kind = _LITERALS.get(schemas.kind_of(schema), (str, int, bool))
    choices: Any = schema.get("enum")
    values = [value for value in choices if value is not None] if is_list(choices) else []
    # Choices of another type than the schema's say nothing about what to pass.
    fits = all(isinstance(value, kind) for value in values)
    return list(dict.fromkeys(map(_literal, values))) if fits else []
