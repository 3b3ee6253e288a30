"""Names for annotations, which tools evaluate at run time, without the cost of importing libraries for them."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

# pydantic can't read the TypedDict of older versions.
if sys.version_info >= (3, 12):
    from typing import Never, Self, TypedDict, Unpack
else:
    from typing_extensions import Never, Self, TypedDict, Unpack

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, SchemaSerializer

__all__ = ["LazyModule", "Never", "PydanticType", "Self", "TypedDict", "UncheckedType", "Unpack", "aiohttp", "tenacity"]


class PydanticType:
    """The base of objects that pydantic, and so FastAPI, serializes also where their type is not declared."""

    __slots__ = ()

    if TYPE_CHECKING:

        @classmethod
        def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema: ...

    @property
    def __pydantic_serializer__(self) -> SchemaSerializer:
        kind: Any = type(self)
        return _serializer_of(kind)


@lru_cache(maxsize=64)
def _serializer_of(kind: type[PydanticType]) -> SchemaSerializer:
    # Only pydantic asks for it, so pydantic_core is installed.
    from pydantic_core import SchemaSerializer

    return SchemaSerializer(kind.__get_pydantic_core_schema__(kind, None))


class LazyModule:
    """Stands for a module that is imported when one of its attributes is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


class _LazyTypes(LazyModule):
    """Stands for a module of another library in annotations."""

    def __getattr__(self, name: str) -> Any:
        return Annotated[super().__getattr__(name), _ArbitraryType()]


class _ArbitraryType:
    """Lets pydantic take a type that it does not know: a value must be an instance of it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(source)


class UncheckedType:
    """Lets pydantic take a protocol, whose values it can't check."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.any_schema()


if TYPE_CHECKING:
    import aiohttp
    import tenacity
else:
    aiohttp = _LazyTypes("aiohttp")
    tenacity = _LazyTypes("tenacity")
