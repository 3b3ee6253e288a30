"""Schemas of models that were made with old versions of Cog."""

from __future__ import annotations

import re
from typing import Any

# Older versions of Cog do not mark the outputs that models write piece by piece.
_FIRST_WITH_ARRAY_TYPE = (0, 3, 9)


def version_has_no_array_type(cog_version: str) -> bool | None:
    """Return whether a version of Cog leaves out the kind of an array; None if the version is not a number."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", cog_version)
    return None if match is None else tuple(int(part or 0) for part in match.groups()) < _FIRST_WITH_ARRAY_TYPE


def make_schema_backwards_compatible(schema: dict[str, Any], cog_version: str) -> dict[str, Any]:
    """Return a schema whose output is marked as an iterator if an old version of Cog left that out."""
    if version_has_no_array_type(cog_version):
        output = schema["components"]["schemas"]["Output"]
        if output.get("type") == "array":
            output["x-cog-array-type"] = "iterator"
    return schema


__all__ = ["make_schema_backwards_compatible", "version_has_no_array_type"]
