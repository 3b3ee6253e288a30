"""References to models and versions."""

from __future__ import annotations

import re
from typing import NamedTuple


class ModelVersionIdentifier(NamedTuple):
    """A model, ``owner/name``, or one of its versions, ``owner/name:version``."""

    owner: str
    name: str
    version: str | None = None

    @classmethod
    def parse(cls, ref: str) -> ModelVersionIdentifier:
        """Return the parts of a reference.

        Raises:
            ValueError: the text is not a reference.
        """
        match = re.fullmatch(r"([^/]+)/([^/:]+)(?::(.+))?", ref)
        if match is None:
            raise ValueError(f"{ref!r} is not a model or version: pass 'owner/name' or 'owner/name:version'")
        return cls(*match.groups())


__all__ = ["ModelVersionIdentifier"]
