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
    *("model", "pagination", "prediction", "resource", "resources", "resources.deployments", "resources.models"),
    *("resources.webhooks", "run", "schema", "stream", "training", "types", "version", "webhook"),
)
# The modules of 2.x whose names are in one module here.
_ALIASES = {
    "resources": ("account", "collections", "files", "hardware", "predictions", "trainings"),
    "resources.deployments": ("deployments", "predictions"),
    "resources.models": ("examples", "models", "predictions", "readme", "versions"),
    "resources.webhooks": ("default", "default.default", "default.secret", "webhooks"),
    "types": (
        *("deployments", "deployments.prediction_create_params", "models", "models.prediction_create_params"),
        *("models.readme_get_response", "models.version_get_response", "models.version_list_response", "webhooks"),
        *("webhooks.default", "webhooks.default.secret_get_response"),
    ),
}


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
    for name, aliases in _ALIASES.items():
        modules.update({f"{name}.{alias}": modules[name] for alias in aliases})
    for name in modules["types"].__all__:
        # In 2.x, each type has a module of its own.
        modules[f"types.{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}"] = modules["types"]
    return {"replicate": sys.modules[_PACKAGE], **{f"replicate.{name}": module for name, module in modules.items()}}
