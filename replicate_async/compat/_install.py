"""Puts this package in the place of the official SDK."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from types import ModuleType

_PACKAGE = "replicate_async.compat"
# The public modules of 1.x and 2.x.
_MODULES = (
    *("account", "client", "collection", "deployment", "exceptions", "file", "hardware", "helpers", "identifier"),
    *("model", "pagination", "prediction", "resource", "resources", "run", "schema", "stream", "training", "types"),
    *("version", "webhook"),
)
# Modules of 2.x whose names are found in one module here.
_TYPES = ("models", "deployments", "webhooks", "webhooks.default")
_RESOURCES = (
    *("account", "collections", "deployments", "deployments.deployments", "deployments.predictions", "files"),
    *("hardware", "models", "models.models", "models.predictions", "models.versions", "predictions", "trainings"),
    *("webhooks", "webhooks.webhooks"),
)


def install() -> None:
    """Make ``import replicate`` import ``replicate_async.compat``, here and in all libraries.

    Call it before anything imports the official SDK, which need not be installed.

    Raises:
        RuntimeError: the official SDK was imported before.
    """
    modules = module_names()
    for name in modules:
        if sys.modules.get(name, modules[name]) is not modules[name]:
            raise RuntimeError(
                "the official SDK 'replicate' was imported before replicate_async.compat.install(), and what imported "
                "it would keep it: call install() first"
            )
    sys.modules.update(modules)


def module_names() -> dict[str, ModuleType]:
    """Return the modules of this package by their names in the official SDK."""
    # Not by attribute: some modules have the name of a function.
    modules = {name: import_module(f"{_PACKAGE}.{name}") for name in _MODULES}
    names = [f"types.{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}" for name in modules["types"].__all__]
    aliases = [*names, *(f"types.{name}" for name in _TYPES), *(f"resources.{name}" for name in _RESOURCES)]
    modules.update({name: modules[name.partition(".")[0]] for name in aliases})
    return {"replicate": sys.modules[_PACKAGE], **{f"replicate.{name}": module for name, module in modules.items()}}
