"""Every public name, method and parameter of the official SDK is in ``compat``, or in the list of what is left out.

The list is the table in ``docs/migration.md``.
"""

from __future__ import annotations

import inspect
import json
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from official_programs import FOLDER, run_python
from replicate_async.compat import _arguments
from replicate_async.compat._install import module_names

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"


@cache
def absences() -> dict[str, str]:
    """Return the patterns of the names that are left out, with the reason."""
    table = PAGE.read_text(encoding="utf-8").partition("## What is left out")[2].partition("\n## ")[0]
    return {
        pattern: reason.strip()
        for cell, reason in re.findall(r"^\| (`.+?) \|(.+)\|$", table, re.MULTILINE)
        for pattern in re.findall(r"`([^`]+)`", cell)
    }


def reason_for(item: str) -> str | None:
    return next((pattern for pattern in absences() if fnmatchcase(item, pattern)), None)


# --- what compat has ---


def annotations(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in getattr(base, "__annotations__", ())}


def is_set(cls: type, name: str) -> bool:
    """Return whether a constructor sets an attribute."""
    own = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    return any(re.search(rf"self\.{name}\b", inspect.getsource(each)) for each in own if inspect.isfunction(each))


def typed_dict_names(annotation: str, scope: dict[str, Any]) -> set[str]:
    options = eval(annotation.removeprefix("Unpack[").removesuffix("]"), {**vars(_arguments), **scope})
    names: set[str] = set()
    pending = [options]
    while pending:
        current = pending.pop()
        names.update(current.__annotations__)
        pending += getattr(current, "__orig_bases__", ())
    return names


def accepts(function: Any, name: str) -> bool:
    """Return whether a function has a parameter, also among its typed options."""
    scope = {**vars(inspect.getmodule(function)), "CreateParams": _arguments.CreatePredictionParams}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            if parameter.name == name:
                return True
        elif str(parameter.annotation).startswith("Unpack["):
            if name in typed_dict_names(parameter.annotation, scope):
                return True
        elif parameter.name in {"_options", "_members", "options", "members"}:
            return True
    return False


def member(owner: Any, name: str) -> Any:
    """Return a member of a class or module; raises AttributeError if there is none."""
    if inspect.isclass(owner) and not hasattr(owner, name) and (name in annotations(owner) or is_set(owner, name)):
        return None
    if isinstance(owner, ModuleType) and name in annotations_of_module(owner):
        return getattr(owner, name)
    return inspect.getattr_static(owner, name) if inspect.isclass(owner) else getattr(owner, name)


def annotations_of_module(module: ModuleType) -> set[str]:
    return set(getattr(module, "__annotations__", ()))


def provides(item: str, modules: dict[str, ModuleType]) -> bool:
    module_name, _, path = item.partition(":")
    if module_name not in modules:
        return False
    if not path:
        return True
    path, _, parameter = path.removesuffix(")").partition("(")
    owner: Any = modules[module_name]
    names = path.split(".")
    try:
        for name in names:
            owner = member(owner, name)
    except AttributeError:
        return False
    return not parameter or accepts(owner.__init__ if inspect.isclass(owner) else callable_of(owner), parameter)


def callable_of(value: Any) -> Any:
    return getattr(value, "__func__", value)


# --- the tests ---


@pytest.fixture(scope="module")
def surfaces(version_2: Path) -> dict[str, list[str]]:
    """Return the public names of both official versions; 1.0.7 is installed."""
    found: dict[str, list[str]] = {}
    for version, path in (("1.0.7", None), ("2.0.0b4", version_2)):
        done = run_python([str(FOLDER / "introspect.py")], path=path)
        assert done.returncode == 0, done.stderr
        found[version] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("version", ["1.0.7", "2.0.0b4"])
def test_each_name_is_accounted_for(surfaces: dict[str, list[str]], version: str) -> None:
    """No public module, name, member or parameter is missing without a reason."""
    modules = module_names()
    names = surfaces[version]
    assert len(names) > 700
    missing = [item for item in names if not provides(item, modules)]
    assert [item for item in missing if reason_for(item) is None] == []


def test_the_list_is_not_longer_than_needed(surfaces: dict[str, list[str]]) -> None:
    """Each entry of the list stands for something that an official version has, and ``compat`` has not."""
    modules = module_names()
    missing = {item for names in surfaces.values() for item in names if not provides(item, modules)}
    assert [pattern for pattern in absences() if not any(fnmatchcase(item, pattern) for item in missing)] == []
    assert all(len(reason) > 10 for reason in absences().values())
