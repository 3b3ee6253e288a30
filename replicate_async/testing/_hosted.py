"""Models that the server hosts, with their versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from replicate_async.types import Model, ModelVersion, Prediction

from ._calls import Call, not_found
from ._functions import ModelFunction
from ._jobs import to_wire
from ._table import Table


@dataclass
class Version:
    """A version of a model, with the function that it runs."""

    record: ModelVersion
    function: ModelFunction
    train: ModelFunction | None = None
    startup: float = 0
    output_delay: float = 0
    setup: ModelFunction | None = None
    list_lag: float = 0
    read_lag: float = 0


@dataclass
class HostedModel:
    """A model, with its versions in order of creation, its examples and its README."""

    record: Model
    created_at: datetime
    hardware: str = "cpu"
    # Whether clients see the latest version of an official model, as of some at Replicate.
    shows_version: bool = False
    readme: str = ""
    versions: Table[Version] = field(default_factory=Table[Version])
    examples: Table[Prediction] = field(default_factory=Table[Prediction])

    @property
    def name(self) -> str:
        """The model as owner/name."""
        return f"{self.record.owner}/{self.record.name}"

    @property
    def latest(self) -> Version | None:
        """The version that was added last."""
        return next(reversed(self.versions.values()), None)

    def version(self, call: Call) -> Version:
        """Return the version that the path of a call names, or raise the API's 404."""
        version_id = call.path_arguments["version_id"]
        if version_id not in self.versions:
            raise not_found()
        return self.versions[version_id]

    def to_wire(self) -> dict[str, Any]:
        """Return the model as the API sends it."""
        fields = {**msgspec.to_builtins(self.record), "created_at": msgspec.to_builtins(self.created_at)}
        if self.record.default_example is not None:
            fields["default_example"] = to_wire(self.record.default_example)
        return fields
