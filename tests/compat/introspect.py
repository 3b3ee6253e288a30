"""Prints the public surface of the installed official SDK as JSON: modules, names, members and parameters."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

OWN = "replicate"


def is_own(value: object) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == OWN


def modules() -> Iterator[ModuleType]:
    package = importlib.import_module(OWN)
    yield package
    for info in pkgutil.walk_packages(package.__path__, f"{OWN}."):
        # ``lib`` holds what the clients are made of.
        if "._" not in info.name and ".lib" not in info.name:
            yield importlib.import_module(info.name)


def typed_dict(annotation: Any, scope: dict[str, Any]) -> Any:
    """Return the TypedDict in ``Unpack[...]``; None for any other annotation."""
    if isinstance(annotation, str):
        match = re.fullmatch(r"Unpack\[(.+)\]", annotation)
        return eval(match[1], scope) if match else None
    (argument,) = getattr(annotation, "__args__", None) or (None,)
    name = getattr(argument, "__forward_arg__", None)
    return eval(name, scope) if name else argument


def parameters(function: Callable[..., Any], scope: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the names of a function's parameters, and whether it accepts any other."""
    names, accepts_any = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = typed_dict(parameter.annotation, {**vars(inspect.getmodule(function)), **scope})
            names += [*options.__annotations__] if options else []
            for base in getattr(options, "__orig_bases__", ()):
                names += getattr(base, "__annotations__", ())
            accepts_any = accepts_any or options is None
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name != "self":
            names.append(parameter.name)
    return list(dict.fromkeys(names)), accepts_any


def members(cls: type) -> Iterator[tuple[str, Any]]:
    names: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if is_own(base) and base.__name__ not in {"BaseModel", "GenericModel"}:
            names.update(dict.fromkeys(getattr(base, "__annotations__", ())))
            names.update(vars(base))
    yield from ((name, value) for name, value in names.items() if not name.startswith("_") and name != "model_config")


def describe(path: str, value: Any, scope: dict[str, Any]) -> Iterator[str]:
    yield path
    if inspect.isclass(value):
        if value.__init__ is not object.__init__ and is_own(inspect.unwrap(value.__init__)):
            yield from (f"{path}({name})" for name in parameters(value.__init__, scope)[0])
        for name, member in members(value):
            if not (inspect.isclass(member) and member is value):
                yield from describe(f"{path}.{name}", member, scope)
    elif inspect.isfunction(value) or isinstance(value, (staticmethod, classmethod)):
        function = getattr(value, "__func__", value)
        names = parameters(function, scope)[0]
        yield from (f"{path}({name})" for name in names if name not in {"cls", "__pydantic_self__"})


def surface() -> Iterator[str]:
    scope: dict[str, Any] = {}
    found = list(modules())
    for module in found:
        scope.update({name: value for name, value in vars(module).items() if inspect.isclass(value) and is_own(value)})
    for module in found:
        yield module.__name__
        is_package = module.__name__ == OWN
        for name, value in sorted(vars(module).items()):
            defined_here = getattr(value, "__module__", None) == module.__name__
            listed = name in getattr(module, "__all__", ())
            # The package itself has what users import; elsewhere, names from other modules are only used.
            own_value = is_own(value) or is_own(type(value)) or not hasattr(value, "__module__")
            if name.startswith("_") or isinstance(value, ModuleType):
                continue
            if (is_package and (own_value or listed)) or defined_here or listed:
                yield from describe(f"{module.__name__}:{name}", value, scope)


if __name__ == "__main__":
    print(json.dumps(sorted(set(surface()))))
