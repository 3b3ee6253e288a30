"""Names for annotations, which tools evaluate at run time."""

from __future__ import annotations

import sys

# pydantic can't read the TypedDict of older versions. There, aiohttp needs typing_extensions as well.
if sys.version_info >= (3, 12):
    from typing import Self, TypedDict, Unpack
else:
    from typing_extensions import Self, TypedDict, Unpack

__all__ = ["Self", "TypedDict", "Unpack"]
