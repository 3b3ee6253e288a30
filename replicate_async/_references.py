"""References: the texts that stand for objects of the API in paths and bodies."""

from __future__ import annotations

from typing import Any

from replicate_async import types

# The objects that an argument accepts in place of a name or id, each with the text that stands for it.
_REFERENCES: dict[str, dict[type[types.Struct], str]] = {
    "prediction_id": {types.Prediction: "{0.id}"},
    "training_id": {types.Training: "{0.id}"},
    "file_id": {types.File: "{0.id}"},
    "version_id": {types.ModelVersion: "{0.id}"},
    "collection_slug": {types.Collection: "{0.slug}"},
    "model_owner": {types.Model: "{0.owner}"},
    "model_name": {types.Model: "{0.name}"},
    "deployment_owner": {types.Deployment: "{0.owner}"},
    "deployment_name": {types.Deployment: "{0.name}"},
    "model": {types.Model: "{0.owner}/{0.name}"},
    "destination": {types.Model: "{0.owner}/{0.name}"},
    "version": {types.ModelVersion: "{0.id}", types.Model: "{0.owner}/{0.name}"},
    "hardware": {types.Hardware: "{0.sku}"},
    "owner": {types.Account: "{0.username}"},
}


def to_reference(name: str, value: Any) -> Any:
    """Return the text that stands for an object of the API in a path or a body; other values as they are.

    Raises:
        TypeError: the argument does not accept objects of this type.
    """
    if not isinstance(value, types.Struct):
        return value
    for kind, text in _REFERENCES.get(name, {}).items():
        if isinstance(value, kind):
            return text.format(value)
    raise TypeError(f"{name} must be a str, not {type(value).__name__}")
