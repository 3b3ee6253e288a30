"""A model's inputs on their way to JSON: files become URLs, wherever in the input they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
from collections.abc import Awaitable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
import anyio.to_thread
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http import clock
from replicate_async._http.options import check_choice
from replicate_async._http.request import encode_json
from replicate_async._predictions.uploads import Upload, open_upload, upload_request
from replicate_async.errors import ReplicateError

if TYPE_CHECKING:
    from replicate_async._http.request import Request
    from replicate_async._http.transport import Transport
    from replicate_async.types import File, Prediction

# How files get into an input: in the JSON itself, or uploaded before.
FileEncodingStrategy = Literal["base64", "url"]

_INLINE_MAX = 256_000  # bytes; above that, Replicate wants a URL
_AT_ONCE = 8

_PLAIN = frozenset({str, int, float, bool, type(None)})


async def encode_files(
    transport: Transport, request: Request[Prediction], strategy: FileEncodingStrategy | UnsetType
) -> None:
    """Make the input of a create, described and so checked before, what JSON can express. It may be that already.

    Every file is looked at before the first is sent, and if one can't be sent the others are stopped.
    """
    check_choice("file_encoding_strategy", strategy, ("base64", "url"))
    value = request.json["input"]
    try:
        if _is_plain(value):
            return
        pending: list[_Pending] = []
        with clock.busy():  # files are looked at in threads
            encoded = cast("dict[str, Any]", await _encode(value, "input", pending))
    except RecursionError:
        raise ValueError("input is nested too deeply, or contains itself") from None
    failures: list[Exception] = []
    limiter = anyio.Semaphore(_AT_ONCE)

    async def place(one: _Pending) -> None:
        try:
            if isinstance(one.thing, Upload):
                async with limiter:
                    one.container[one.key] = await _url_of(transport, one.thing, strategy)
                return
            one.container[one.key] = await _value_of(one.thing)
            further: list[_Pending] = []
            await _encode_item(one.container, one.key, one.thing.place, further)
            for another in further:
                await place(another)
        except Exception as error:  # noqa: BLE001 - it is raised below, without the group around it
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for one in pending:
            group.start_soon(place, one)
    if failures:
        raise failures[0]
    request.json["input"] = encoded


class _Awaited(msgspec.Struct):
    """The output of another model, still under way."""

    output: Awaitable[Any]
    place: str


async def _value_of(awaited: _Awaited) -> Any:
    try:
        return await awaited.output
    except asyncio.CancelledError as error:
        # A task's own end, which is not the caller's: as that, nobody would be told of it.
        if isinstance(awaited.output, asyncio.Future) and awaited.output.cancelled():
            raise ReplicateError(f"{awaited.place}: what makes it was cancelled") from error
        raise


class _Pending(msgspec.Struct):
    """What is to be sent or awaited, and where its URL or its value goes."""

    container: Any
    key: Any
    thing: Upload | _Awaited


def _is_plain(value: Any) -> bool:
    if type(value) in _PLAIN:
        return type(value) is not float or math.isfinite(value)
    if type(value) is dict:
        return all(map(_is_plain, cast("dict[Any, Any]", value).values()))  # type: ignore[redundant-cast]  # pyright needs it
    if type(value) is list:
        return all(map(_is_plain, cast("list[Any]", value)))  # type: ignore[redundant-cast]  # pyright needs it
    return False


async def _encode(value: Any, place: str, pending: list[_Pending]) -> Any:
    """Copy an input, with every file in it noted as pending; errors name the place."""
    value = getattr(value, "_async", value)  # what blocking code passes has the asynchronous object inside
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()  # scalars and arrays alike
    if type(value) in _PLAIN:
        if type(value) is float:
            encode_json(value, place)  # tells what isn't finite
        return value
    if isinstance(value, str) and not isinstance(value, Enum):
        return str.__str__(value)  # the encoder knows no subclasses, such as our own events
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        made = dict(mapping)
        for key in made:
            await _encode_item(made, key, f"{place}.{key}", pending)
        return made
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(cast("list[Any]", value))
        for index in range(len(items)):
            await _encode_item(items, index, f"{place}[{index}]", pending)
        return items
    return await _encode_object(value, place)


async def _encode_item(container: Any, key: Any, place: str, pending: list[_Pending]) -> None:
    """Encode one item of a container in its place, or note what is to come there."""
    encoded = container[key] = await _encode(container[key], place, pending)
    if isinstance(encoded, (Upload, _Awaited)):
        pending.append(_Pending(container, key, encoded))


async def _encode_object(value: Any, place: str) -> Any:
    try:
        if (url := _own_url(value)) is not None:
            return url
        if hasattr(value, "__await__"):
            return _Awaited(value, place)  # awaited when all else has been looked at
        if isinstance(value, (bytes, bytearray, memoryview, os.PathLike)) or hasattr(value, "read"):
            return await open_upload(cast("Any", value))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from error
    except OSError as error:
        if error.errno is None:
            raise type(error)(f"{place}: {error}") from error
        raise type(error)(error.errno, f"{place}: {error.strerror}", error.filename) from error
    encode_json(value, place)
    return value


def _own_url(value: Any) -> str | None:
    """Return where a model can fetch a value itself: that of a file output, of this SDK or another."""
    if hasattr(value, "seek"):
        # An open file has its content here. If it has a URL besides, as Django's do, that may be one of the site's
        # own, or for its users only.
        return None
    url = getattr(value, "url", None)
    whole = isinstance(url, str) and (url.startswith("data:") or "://" in url or not hasattr(value, "read"))
    return url if whole else None


async def _url_of(transport: Transport, upload: Upload, strategy: FileEncodingStrategy | UnsetType) -> str:
    with clock.busy():
        if strategy == "base64" or (strategy is UNSET and upload.size <= _INLINE_MAX):
            content = b"".join([piece async for piece in upload.pieces()])
            return f"data:{upload.type};base64,{(await anyio.to_thread.run_sync(base64.b64encode, content)).decode()}"
        identity = await _identity(upload)
    account = transport.settings.base_url, transport.settings.token
    return await transport.pool.uploads.url((*account, *identity), lambda: _upload(transport, upload))


async def _identity(upload: Upload) -> tuple[object, ...]:
    """Return what tells a content from others: a file on disk by its place and time, anything else by its digest."""
    if upload.identity is not None:
        return (*upload.identity, upload.name, upload.type)
    digest = hashlib.sha256()
    async for piece in upload.pieces():
        await anyio.to_thread.run_sync(digest.update, piece)
    return digest.digest(), upload.name, upload.type


async def _upload(transport: Transport, upload: Upload) -> File:
    return await transport.call(upload_request(upload, {}))
