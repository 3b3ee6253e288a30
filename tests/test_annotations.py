"""Annotations that tools evaluate at run time, and the stand-ins that they make from classes."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from unittest.mock import AsyncMock, create_autospec, patch

import pydantic
import pytest

import replicate_async
from replicate_async import AsyncReplicate, FileOutput, Replicate
from replicate_async.types import Prediction

MODULES = [
    "",
    ".errors",
    ".hooks",
    ".otel",
    ".testing",
    ".testing.models",
    ".types",
    "._sync",
    "._client",
    "._views",
    ".cli",
]


def public(names: Iterator[str] | list[str]) -> list[str]:
    return [
        name for name in names if not name.startswith("_") or name in {"__init__", "__call__", "__iter__", "__aiter__"}
    ]


def functions_of(cls: type) -> Iterator[tuple[str, Any]]:
    yield cls.__qualname__, cls
    for name in public(dir(cls)):
        member = inspect.getattr_static(cls, name)
        function = next(
            (found for key in ("fget", "func", "__func__") if (found := getattr(member, key, None)) is not None), member
        )
        if inspect.isfunction(function):
            yield f"{cls.__qualname__}.{name}", function


def annotated() -> dict[str, Any]:
    """Return everything public that has annotations: classes, functions, methods and properties."""
    found: dict[str, Any] = {}
    for module in [import_module(f"replicate_async{suffix}") for suffix in MODULES]:
        for name in public(getattr(module, "__all__", None) or dir(module)):
            thing = getattr(module, name, None)
            if str(getattr(thing, "__module__", "")).startswith("replicate_async"):
                if inspect.isclass(thing):
                    found.update(functions_of(thing))
                elif inspect.isfunction(thing):
                    found[name] = thing
    return found


def problem_of(name: str, thing: Any) -> str | None:
    try:
        typing.get_type_hints(thing, include_extras=True)
    except Exception as error:  # noqa: BLE001
        return f"{name}: {error!r}"
    return None


def test_all_annotations():
    """The annotations of everything public can be evaluated."""
    things = annotated()
    assert [problem for name, thing in things.items() if (problem := problem_of(name, thing))] == []
    assert len(things) > 800


def test_nothing_is_imported_for_annotations():
    """Aiohttp and tenacity are not imported before they are needed."""
    code = "import sys; from replicate_async import Replicate, AsyncReplicate; AsyncReplicate()\n"
    code += "print({'aiohttp', 'tenacity', 'pydantic', 'fastapi', 'PIL', 'opentelemetry'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], encoding="utf-8").strip() == "set()"


@pytest.mark.parametrize("method", ["run", "predictions.get", "predictions.create", "models.list", "submit"])
def test_validate_call(method: str):
    """Pydantic's ``validate_call`` takes the clients' methods as they are."""
    function: Any = Replicate(bearer_token="x")
    for name in method.split("."):
        function = getattr(function, name)
    validated = pydantic.validate_call(function)
    with pytest.raises(pydantic.ValidationError):
        validated(unexpected=1, timeout="soon")


def test_models_of_signatures():
    """Tools make models from the arguments of methods, as LangChain does."""
    hints = typing.get_type_hints(Replicate.run)
    assert hints["input"] == typing.Mapping[str, Any] | None or "Mapping" in str(hints["input"])
    model = pydantic.create_model("Arguments", ref=(hints["ref"], ...), wait=(hints["wait"], True))
    assert model(ref="owner/name").ref == "owner/name"  # type: ignore[attr-defined]
    assert inspect.signature(Replicate.run, eval_str=True).parameters["wait"].annotation == bool | int | None


@pytest.mark.parametrize("client_class", [Replicate, AsyncReplicate])
def test_autospec(client_class: Any):
    """A stand-in of a client has its resources, with their signatures."""
    client = create_autospec(client_class, instance=True)
    for function in (
        client.predictions.get,
        client.models.versions.get,
        client.deployments.predictions.create,
        client.with_raw_response.predictions.get,
        client.predictions.with_raw_response.get,
    ):
        with pytest.raises(TypeError):
            function(misspelled=1)
    assert isinstance(client.predictions.get, AsyncMock) == (client_class is AsyncReplicate)
    with pytest.raises(AttributeError):
        client.predictions.misspelled  # noqa: B018


def test_patch():
    """The class itself can be replaced by a stand-in."""
    with patch("replicate_async.Replicate", autospec=True) as stand_in:
        stand_in.return_value.predictions.get.return_value = "it"
        assert replicate_async.Replicate(bearer_token="x").predictions.get("p1") == "it"


def test_classes_of_resources():
    """Of a class, a resource is the resource's class; of a client, it is always the same object."""
    attribute: Callable[..., Any] = getattr(Replicate, "predictions")  # noqa: B009
    client = Replicate(bearer_token="x")
    assert isinstance(client.predictions, typing.cast("type", attribute))
    assert client.predictions is client.predictions


def test_pydantic_models_with_our_types():
    """Models and functions of pydantic have our types in their annotations."""

    @pydantic.validate_call(config={"arbitrary_types_allowed": True})
    def function(client: Replicate, file: FileOutput) -> Prediction | None:
        return None

    assert function(Replicate(bearer_token="x"), "https://example.org/x.png") is None  # type: ignore[arg-type]
