"""The reference has an entry for every public name, and a description of every field.

mkdocstrings lists the members of classes by itself.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest

import replicate_async
from replicate_async import AsyncReplicate, errors, types

ROOT = Path(__file__).parents[2]
PAGE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "reference").glob("*.md")))
# Each entry: the path of what it documents, and the options that it is shown with.
ENTRIES = dict(re.findall(r"^::: (\S+)\n((?:    .*\n)*)", PAGE, re.MULTILINE))
HEADINGS = {
    match[1]: path for path, options in ENTRIES.items() if (match := re.search(r"heading: (client\.\S+)", options))
}
# The table at the top: a blocking class, and the asynchronous ones that are described in its place.
DESCRIBED_AS = {
    blocking: asynchronous
    for before, after in re.findall(r"^\| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    for blocking in re.findall(r"`([A-Z]\w+)`", after)
    for asynchronous in re.findall(r"`(Async\w+)`", before)
}


def named(path: str) -> Any:
    """Return the object that a dotted path names."""
    return pkgutil.resolve_name(path)


def covered(thing: Any) -> bool:
    """Return whether a class, function or module has an entry, of its own or as part of its module's."""
    objects = [named(path) for path in ENTRIES]
    return any(thing is one or (inspect.ismodule(one) and thing in vars(one).values()) for one in objects)


def resources(owner: type, name: str = "client") -> Iterator[tuple[str, type]]:
    """Yield the resources of the client, and theirs, with the names by which they are called."""
    module = inspect.getmodule(owner)
    for attribute, member in vars(owner).items():
        if isinstance(member, cached_property):
            kind = getattr(module, member.func.__annotations__["return"])
            yield f"{name}.{attribute}", kind
            yield from resources(kind, f"{name}.{attribute}")


def test_every_entry_is_there_and_complete():
    """Each entry names an object that exists, and leaves out no part of it."""
    for path, options in ENTRIES.items():
        assert inspect.getdoc(named(path)), path
        assert not re.search(r"^ +members:", options, re.MULTILINE), path


@pytest.mark.parametrize("name", replicate_async.__all__)
def test_every_public_name_is_on_the_page(name):
    """Each exported name has an entry, or is the blocking name or an alias of one that has."""
    if name in {"default_client", "use", "verify_webhook"} or name[0].isupper() or name in {"errors", "hooks", "types"}:
        thing = getattr(replicate_async, DESCRIBED_AS.get(name, name))
        if thing is types:
            # Aliases of literals are not classes of the module.
            members = [getattr(types, each) for each in types.__all__]
            classes = [each for each in members if getattr(each, "__module__", "") == types.__name__]
            assert len(classes) > 20
            assert [each for each in classes if not covered(each)] == []
        else:
            assert covered(thing), name
    else:
        assert f"`{name}`" in PAGE or f"`replicate_async.{name}`" in PAGE
        assert hasattr(AsyncReplicate, name) or name == "__version__"


def test_every_resource_is_on_the_page():
    """Each resource has an entry under the name by which it is called."""
    wanted = dict(resources(AsyncReplicate))
    assert len(wanted) > 12
    assert {name: named(path) for name, path in HEADINGS.items()} == wanted


def test_returned_classes_are_on_the_page():
    """Asynchronous classes that documented methods return have entries too, except for views of the same calls."""
    classes = [thing for path in ENTRIES if inspect.isclass(thing := named(path))]
    assert AsyncReplicate in classes
    returned = {
        name
        for kind in classes
        for member in vars(kind).values()
        for function in [getattr(member, "fget", None) or getattr(member, "func", None) or member]
        if inspect.isfunction(function)
        for name in re.findall(r"\bAsync\w+", str(function.__annotations__.get("return")))
        if not name.endswith(("Raw", "Streaming"))
    }
    assert "AsyncRun" in returned
    assert returned - {"AsyncGenerator"} <= {kind.__name__ for kind in classes}


# --- fields ---


def described_fields(kind: type) -> set[str]:
    """Return the fields of a class that have a description: a text below them, or a mention in the docstring."""
    source = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    (definition,) = [node for node in ast.walk(source) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    below = {
        field.target.id
        for field, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
    # Either ``name`` in a sentence, or an entry below "Attributes:".
    docstring = ast.get_docstring(definition, clean=False) or ""
    return below | set(re.findall(r"``(\w+)``", docstring)) | set(re.findall(r"^ {8}(\w+):", docstring, re.MULTILINE))


STRUCTS = [
    kind
    for module in (types, replicate_async)
    for name in module.__all__
    if inspect.isclass(kind := getattr(module, name))
    and (issubclass(kind, (msgspec.Struct, types.OpenStruct)) or hasattr(kind, "__optional_keys__"))
]


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_every_field_has_a_description(kind):
    """Each field of a public struct, or option of calls, is described where it is defined."""
    owners = [owner for owner in kind.__mro__ if owner.__module__.startswith("replicate_async")]
    fields = {name for owner in owners for name in vars(owner).get("__annotations__", {}) if not name.startswith("_")}
    fields |= set(getattr(kind, "__optional_keys__", ()))
    # The bases of a TypedDict are not among its ancestors.
    options = (replicate_async.RequestOptions, replicate_async.PredictionOptions)
    bases = options if hasattr(kind, "__optional_keys__") else ()
    assert fields - {field for owner in (*owners, *bases) for field in described_fields(owner)} == set()


def test_structs_are_checked():
    """The test above sees the classes that it is for."""
    assert len(STRUCTS) > 25
    assert {"Prediction", "RateLimit", "MapProgress", "RequestOptions"} <= {kind.__name__ for kind in STRUCTS}


# --- errors ---


def public_functions() -> Iterator[tuple[str, Any]]:
    """Yield the functions and methods of all entries, each with its name."""
    for path in ENTRIES:
        thing = named(path)
        members = vars(thing).items() if inspect.isclass(thing) or inspect.ismodule(thing) else [("", thing)]
        for name, member in members:
            function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            is_public = not name.startswith("_") or name in {"__call__", "__init__", "__await__", "__aiter__"}
            if is_public and inspect.isfunction(function) and function.__module__.startswith("replicate_async"):
                yield f"{path}.{name}".removesuffix("."), function


def listed_errors(function: Any) -> list[str]:
    """Return the names below "Raises:" in a docstring."""
    _, _, section = (inspect.getdoc(function) or "").partition("\nRaises:\n")
    return re.findall(r"^    ([\w.]+): ", section.partition("\n\n")[0], re.MULTILINE)


FUNCTIONS = dict(public_functions())
# Other methods take their options when they are made, or create trainings.
CREATES = {name for name, function in FUNCTIONS.items() if "PredictionOptions" in str(function.__annotations__)} | {
    "replicate_async.resources.trainings.AsyncTrainings.create",
    "replicate_async.AsyncModelFunction.__call__",
    "replicate_async.AsyncModelFunction.create",
    "replicate_async.AsyncOutputStream.read",
}


@pytest.mark.parametrize("name", sorted(CREATES))
def test_creates_list_their_errors(name):
    """What creates a prediction or training lists the errors of its input, of a lost response and of the API."""
    function = FUNCTIONS.get(name) or named(name)
    assert {"TypeError", "ValueError", "OSError", "CreateOutcomeUnknown", "APIError"} <= set(listed_errors(function))


def test_creates_are_checked():
    """The test above sees all methods that create predictions."""
    assert {name.rpartition(".")[2] for name in CREATES} == {
        "run",
        "stream",
        "submit",
        "map",
        "create",
        "__call__",
        "read",
    }
    assert len(CREATES) == 11


def test_calls_list_their_errors_and_their_source():
    """Each operation of the API says that the call may fail, and links to its documentation."""
    calls = {
        name: function for name, function in FUNCTIONS.items() if "RequestOptions" in str(function.__annotations__)
    }
    assert len(calls) > 30
    assert [name for name, function in calls.items() if "APIError" not in listed_errors(function)] == []
    assert [name for name, function in calls.items() if "\nSource: https://" not in inspect.getdoc(function)] == []


def test_listed_errors_exist():
    """Each name below "Raises:" is an error of Python, of this package or of a library."""
    names = {error for function in FUNCTIONS.values() for error in listed_errors(function)}
    assert {"ReplicateError", "KeyError", "sqlite3.OperationalError"} <= names
    unknown = {
        name
        for name in names
        if not name.startswith("asyncpg.")
        and not hasattr(builtins, name)
        and name not in errors.__all__
        and name not in {"RateLimited", "HTTPException", "msgspec.DecodeError", "sqlite3.OperationalError"}
    }
    assert unknown == set()
