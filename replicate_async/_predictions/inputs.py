"""Inputs of models: everything that JSON cannot express becomes JSON, and files become URLs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
from collections.abc import Awaitable
from enum import Enum
from typing import Any, cast

import anyio
import anyio.to_thread
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._files import Upload, open_upload
from replicate_async._http import clock
from replicate_async._http.options import check_choice
from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async._json import encode_json, is_dict, is_list, is_mapping
from replicate_async._predictions.requests import FileEncodingStrategy
from replicate_async._predictions.uploads import UploadCache, upload_request
from replicate_async.errors import ReplicateError
from replicate_async.types import Prediction

# Larger files are uploaded, in bytes.
# https://replicate.com/docs/topics/predictions/input-files
_MAX_INLINE = 256_000
_MAX_CONCURRENT_UPLOADS = 8

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


async def encode_files(
    transport: Transport, request: Request[Prediction], strategy: FileEncodingStrategy | UnsetType
) -> Request[Prediction]:
    """Return a create with an input that JSON can express.

    All files are opened before the first is sent. If one can't be sent, the others are stopped.
    """
    check_choice("file_encoding_strategy", strategy, ("base64", "url"))
    value = request.json["input"]
    pending: list[_Pending] = []
    try:
        if _is_plain(value):
            return request
        # Files are opened in threads.
        with clock.busy():
            encoded = await _encode(value, "input", pending)
    except RecursionError:
        raise ValueError("input is nested too deeply, or contains itself") from None
    failures: list[Exception] = []
    limiter = anyio.Semaphore(_MAX_CONCURRENT_UPLOADS)

    async def resolve(item: _Pending) -> None:
        try:
            if isinstance(item.source, Upload):
                async with limiter:
                    item.container[item.key] = await _url_of(transport, item.source, strategy)
                return
            item.container[item.key] = await _value_of(item.source)
            nested: list[_Pending] = []
            await _encode_item(item.container, item.key, item.source.place, nested)
            for nested_item in nested:
                await resolve(nested_item)
        except Exception as error:  # noqa: BLE001 - raised below, without an exception group
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for item in pending:
            group.start_soon(resolve, item)
    if failures:
        raise failures[0]
    return msgspec.structs.replace(request, json={**request.json, "input": encoded})


class _AwaitedOutput(msgspec.Struct):
    """The output of another model that is still running."""

    output: Awaitable[Any]
    place: str


class _Pending(msgspec.Struct):
    """A file to send or an output to await, and where its URL or value belongs."""

    container: Any
    key: Any
    source: Upload | _AwaitedOutput


async def _value_of(awaited: _AwaitedOutput) -> Any:
    try:
        return await awaited.output
    except asyncio.CancelledError as error:
        # It is the task in the input that was canceled, not the caller. A cancellation would go unnoticed.
        if isinstance(awaited.output, asyncio.Future) and awaited.output.cancelled():
            raise ReplicateError(f"{awaited.place}: the task that makes it was cancelled") from error
        raise


def _is_plain(value: Any) -> bool:
    if type(value) in _PLAIN_TYPES:
        return type(value) is not float or math.isfinite(value)
    if is_dict(value):
        return type(value) is dict and all(map(_is_plain, value.values()))
    return is_list(value) and type(value) is list and all(map(_is_plain, value))


async def _encode(value: Any, place: str, pending: list[_Pending]) -> Any:
    """Copy an input and collect the files in it; errors name the place."""
    # Objects of the blocking client wrap asynchronous ones.
    value = getattr(value, "_async", value)
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if type(value) in _PLAIN_TYPES:
        if type(value) is float:
            # This raises if the number is not finite.
            encode_json(value, place)
        return value
    if isinstance(value, str) and not isinstance(value, Enum):
        # The encoder supports no subclasses of str, such as StreamEvent.
        return str.__str__(value)
    if is_mapping(value):
        members = dict(value)
        for key in members:
            await _encode_item(members, key, f"{place}.{key}", pending)
        return members
    if isinstance(value, (list, tuple, set, frozenset)):
        items: list[Any] = [*value]
        for index in range(len(items)):
            await _encode_item(items, index, f"{place}[{index}]", pending)
        return items
    return await _encode_object(value, place)


async def _encode_item(container: Any, key: Any, place: str, pending: list[_Pending]) -> None:
    """Encode an item of a container in its place, or add it to the pending ones."""
    encoded = container[key] = await _encode(container[key], place, pending)
    if isinstance(encoded, (Upload, _AwaitedOutput)):
        pending.append(_Pending(container, key, encoded))


async def _encode_object(value: Any, place: str) -> Any:
    try:
        if (url := _url_attribute(value)) is not None:
            return url
        if hasattr(value, "__await__"):
            # Awaited when the whole input has been checked.
            return _AwaitedOutput(value, place)
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


def _url_attribute(value: Any) -> str | None:
    """Return the URL from which a model can fetch a value, such as a file output of this or another SDK."""
    if hasattr(value, "seek"):
        # An open file has its content at hand. Its URL, if any, may be private or relative, as in Django.
        return None
    url = getattr(value, "url", None)
    usable = isinstance(url, str) and (url.startswith("data:") or "://" in url or not hasattr(value, "read"))
    return url if usable else None


async def _url_of(transport: Transport, upload: Upload, strategy: FileEncodingStrategy | UnsetType) -> str:
    with clock.busy():
        if strategy == "base64" or (strategy is UNSET and upload.size <= _MAX_INLINE):
            content = b"".join([chunk async for chunk in upload.chunks()])
            return f"data:{upload.type};base64,{(await anyio.to_thread.run_sync(base64.b64encode, content)).decode()}"
        identity = await _identity(upload)
    key = transport.settings.base_url, transport.settings.token, *identity
    return await transport.pool.state(UploadCache).url(key, lambda: transport.call(upload_request(upload, {})))


async def _identity(upload: Upload) -> tuple[object, ...]:
    """Return a key for an upload's content: a file's location and time of change, or a digest."""
    if upload.identity is not None:
        return (*upload.identity, upload.name, upload.type)
    digest = hashlib.sha256()
    async for chunk in upload.chunks():
        await anyio.to_thread.run_sync(digest.update, chunk)
    return digest.digest(), upload.name, upload.type
