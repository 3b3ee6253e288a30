"""What objects and groups of operations have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeAlias, TypeVar

import msgspec

from replicate_async._json import is_dict, is_list, is_mapping
from replicate_async._typing import Self
from replicate_async.compat.settings import BaseClient
from replicate_async.types import OpenStruct, Struct

R = TypeVar("R", bound="Resource")
N = TypeVar("N", bound="Namespace")
# Aliases, because objects have a method ``dict``.
JSONObject: TypeAlias = dict[str, Any]
Kinds: TypeAlias = dict[str, Any]


class Time(str):
    """A time: the API's text, as in 1.x, which also has the attributes of its ``datetime``, as in 2.x."""

    __slots__ = ()

    @property
    def datetime(self) -> datetime:
        """The time as a timezone-aware ``datetime``."""
        return msgspec.convert(str(self), datetime)

    def replace(self, *args: Any, **fields: Any) -> Any:
        """Replace text, or fields of the ``datetime``."""
        return self.datetime.replace(*args, **fields) if fields else str.replace(self, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.datetime, name)

    def __format__(self, spec: str) -> str:
        return format(self.datetime if "%" in spec else str(self), spec)

    def __sub__(self, value: Any) -> Any:
        return self.datetime - (value.datetime if isinstance(value, Time) else value)

    def __rsub__(self, value: Any) -> Any:
        return value - self.datetime

    def __add__(self, value: Any) -> Any:
        return str.__add__(self, value) if isinstance(value, str) else self.datetime + value

    def __lt__(self, value: Any) -> bool:
        return str.__lt__(self, value) if isinstance(value, str) else self.datetime < value

    def __le__(self, value: Any) -> bool:
        return str.__le__(self, value) if isinstance(value, str) else self.datetime <= value

    def __gt__(self, value: Any) -> bool:
        return str.__gt__(self, value) if isinstance(value, str) else self.datetime > value

    def __ge__(self, value: Any) -> bool:
        return str.__ge__(self, value) if isinstance(value, str) else self.datetime >= value

    def __eq__(self, value: object) -> bool:
        return str.__eq__(self, value) if isinstance(value, str) else self.datetime == value

    def __hash__(self) -> int:
        return str.__hash__(self)


class Members(OpenStruct):
    """An object whose members are keys, as in 1.x, and attributes, as in 2.x."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _PYDANTIC:
            raise AttributeError(name)
        return self[name] if name in self else None  # noqa: SIM401 - ``get`` may be a URL


class UrlOrLookup(str):  # noqa: SLOT000 - as its base
    """The URL ``urls.get`` of 2.x, which is also the method ``urls.get(key)`` of a dict, as in 1.x."""

    _urls: JSONObject

    def __new__(cls, url: str, urls: Mapping[str, Any]) -> Self:
        """Create the URL of an object that has these URLs."""
        self = super().__new__(cls, url)
        self._urls = dict(urls)
        return self

    def __call__(self, key: str, default: Any = None) -> Any:
        """Return the URL of a key."""
        return self._urls.get(key, default)

    def __reduce__(self) -> tuple[type[UrlOrLookup], tuple[str, dict[str, Any]]]:
        return UrlOrLookup, (str(self), self._urls)


class Urls(Members):
    """The URLs of an object, as keys and as attributes."""

    cancel: str | None
    stream: str | None
    web: str | None

    @property
    def get(self) -> UrlOrLookup:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The URL of the object itself; called with a key, the URL of that key."""
        return UrlOrLookup(self["get"] if "get" in self else "", self)  # noqa: SIM401 - this is that method


_PYDANTIC = frozenset(
    {
        *("model_fields", "model_json_schema", "model_config", "model_fields_set", "model_extra", "model_post_init"),
        *("model_rebuild", "model_parametrized_name", "model_computed_fields", "schema", "schema_json"),
    }
)


class Resource:
    """The base of objects of the API. They have a client, and so can be reloaded.

    They are no pydantic models, but have the methods that read, copy and make those.
    """

    # The types of members that are objects themselves.
    _members: ClassVar[Kinds] = {}
    _names: ClassVar[tuple[str, ...]] = ()
    _client: BaseClient | None

    def __init_subclass__(cls) -> None:
        """Collect the names of the members."""
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._names = tuple(dict.fromkeys([*cls._names, *own]))

    def __init__(self, /, **members: Any) -> None:
        self.__dict__["_client"] = None
        self._set({**dict.fromkeys(self._names), **members})

    def _set(self, members: Mapping[str, Any]) -> None:
        for name, value in members.items():
            kind = self._members.get(name)
            self.__dict__[name] = value if kind is None else _convert(kind, value, self._client)

    @property
    def _api(self) -> BaseClient:
        """The client of this object.

        Raises:
            RuntimeError: the object was made by the program.
        """
        if self._client is None:
            raise RuntimeError(f"this {type(self).__name__} was not fetched by a client: it can't make calls")
        return self._client

    def _update(self, struct: Struct | Mapping[str, Any]) -> None:
        """Take over the state that a call has returned."""
        self._set(struct.to_dict() if isinstance(struct, Struct) else struct)

    # --- the methods of pydantic models, versions 1 and 2 ---

    def dict(self, **_options: Any) -> JSONObject:
        """Return the members as a dict of JSON-compatible values."""
        return {name: _plain(value) for name, value in self.__dict__.items() if not name.startswith("_")}

    def json(self, *, indent: int | None = None, **_options: Any) -> str:
        """Return the object as a JSON document."""
        return json.dumps(self.dict(), indent=indent)

    def model_dump(self, **options: Any) -> JSONObject:
        """Return the members as a dict; see ``dict``."""
        return self.dict(**options)

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the object as a JSON document; see ``json``."""
        return self.json(indent=indent, **options)

    def to_dict(self, **options: Any) -> JSONObject:
        """Return the members as a dict; see ``dict``."""
        return self.dict(**options)

    def to_json(self, *, indent: int | None = 2, **options: Any) -> str:
        """Return the object as a JSON document; see ``json``."""
        return self.json(indent=indent, **options)

    def copy(self, *, update: Mapping[str, Any] | None = None, **_options: Any) -> Self:
        """Return a copy with other members."""
        return attach(type(self)(**{**self.dict(), **(update or {})}), self._client)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other members; see ``copy``."""
        return self.copy(update=update, deep=deep)

    @classmethod
    def construct(cls, _fields_set: set[str] | None = None, **members: Any) -> Self:
        """Return an object with these members."""
        return cls(**members)

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **members: Any) -> Self:
        """Return an object with these members."""
        return cls(**members)

    @classmethod
    def parse_obj(cls, obj: Any) -> Self:
        """Return an object for a dict of its members, such as the body of a webhook."""
        return obj if isinstance(obj, cls) else cls(**obj)

    @classmethod
    def model_validate(cls, obj: Any, **_options: Any) -> Self:
        """Return an object for a dict of its members; see ``parse_obj``."""
        return cls.parse_obj(obj)

    @classmethod
    def parse_raw(cls, b: str | bytes, **_options: Any) -> Self:
        """Return an object for a JSON document."""
        return cls(**json.loads(b))

    @classmethod
    def model_validate_json(cls, json_data: str | bytes, **_options: Any) -> Self:
        """Return an object for a JSON document; see ``parse_raw``."""
        return cls.parse_raw(json_data)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        """Let pydantic, and so FastAPI, use the object as a field or a result."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse_obj,
            json_schema_input_schema=core_schema.dict_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.dict),
        )

    # --- the object as a value ---

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in _PYDANTIC:
                text += ": replicate_async.compat's objects are no pydantic models"
            raise AttributeError(text, name=name, obj=self)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values, so that ``dict(object)`` works."""
        yield from ((name, value) for name, value in self.__dict__.items() if not name.startswith("_"))

    def __eq__(self, value: object) -> bool:
        return isinstance(value, type(self)) and self.dict() == value.dict()

    def __hash__(self) -> int:
        return hash(self.__dict__.get("id"))

    def __getstate__(self) -> JSONObject:
        # The client has the token.
        return {**self.__dict__, "_client": None}

    def __repr__(self) -> str:
        members = [f"{name}={value!r}" for name, value in self.__dict__.items() if not name.startswith("_")]
        return f"{type(self).__name__}({', '.join(members)})"


def _convert(kind: Any, value: Any, client: BaseClient | None) -> Any:
    """Return a member in its type: a text as a time, a dict as an object."""
    if is_list(kind):
        return [_convert(kind[0], each, client) for each in value] if is_list(value) else value
    if kind is Time:
        if isinstance(value, datetime):
            value = value.isoformat().replace("+00:00", "Z")
        return Time(value) if isinstance(value, str) else value
    if not is_dict(value):
        return value
    if not issubclass(kind, Resource):
        return kind(value)
    member = kind(**value)
    attach(member, client)
    return member


def attach(resource: R, client: BaseClient | None) -> R:
    """Return an object after giving it, and the objects in it, a client."""
    resource.__dict__["_client"] = client
    for member in resource.__dict__.values():
        for each in member if is_list(member) else [member]:
            if isinstance(each, Resource):
                attach(each, client)
    return resource


def wrap(kind: type[R], struct: Struct | Mapping[str, Any], client: BaseClient | None) -> R:
    """Return the object of a type for a native one; an item of a list that is not an object stays what it is."""
    members: Any = struct.to_dict() if isinstance(struct, Struct) else struct
    return attach(kind(**members), client) if is_mapping(members) else members


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Resource):
        return value.dict()
    if is_list(value):
        return [_plain(item) for item in value]
    if is_dict(value):
        return {name: _plain(item) for name, item in value.items()}
    return str(value) if isinstance(value, Time) else value


class Namespace:
    """The base of groups of operations, such as ``client.predictions``."""

    # Where the native client has the same group.
    _path: ClassVar[str] = ""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    @property
    def native_group(self) -> Any:
        """The same operations of the asynchronous native client."""
        return attrgetter(self._path)(self._client.native)

    @property
    def with_raw_response(self) -> Any:
        """The same operations of the native client, which return the whole response."""
        return self._client.native_view(self._path).with_raw_response

    @property
    def with_streaming_response(self) -> Any:
        """The same operations of the native client, which return the response before its body is read."""
        return self._client.native_view(self._path).with_streaming_response


class AsyncNamespace(Generic[N]):
    """The base of the same groups of ``AsyncReplicate``."""

    def __init__(self, namespace: N, client: BaseClient) -> None:
        self._namespace = namespace
        self._client = client

    @property
    def with_raw_response(self) -> Any:
        """The same operations of the native client, which return the whole response."""
        return self._namespace.native_group.with_raw_response

    @property
    def with_streaming_response(self) -> Any:
        """The same operations of the native client, which return the response before its body is read."""
        return self._namespace.native_group.with_streaming_response


__all__ = ["AsyncNamespace", "Members", "Namespace", "Resource", "Time", "Urls"]
