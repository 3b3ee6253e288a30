"""A model's inputs on their way to JSON: files become URLs, wherever in the input they are."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
import anyio.to_thread
from msgspec import UNSET, UnsetType

from replicate_async._arguments import check_choice, check_input
from replicate_async._fileio import Upload, open_upload, upload_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicate_async._transport import Transport
    from replicate_async.types import File

# How files get into an input: in the JSON itself, or uploaded before.
FileEncodingStrategy = Literal["base64", "url"]

_INLINE_MAX = 256_000  # bytes; above that, Replicate wants a URL
_AT_ONCE = 8

_PLAIN = (str, int, float, bool, type(None))


async def encode_input(
    transport: Transport, value: Mapping[str, Any], strategy: FileEncodingStrategy | UnsetType = UNSET
) -> Mapping[str, Any]:
    """Return an input that JSON can express. One that already is comes back as it is.

    Every file is looked at before the first is sent, and if one can't be sent the others are stopped.
    """
    check_choice("file_encoding_strategy", strategy, ("base64", "url"))
    if _is_plain(check_input(value)):
        return value
    pending: list[tuple[Callable[[Any], None], Upload]] = []
    encoded = cast("dict[str, Any]", await _encode(value, "input", pending))
    failures: list[Exception] = []
    limiter = anyio.Semaphore(_AT_ONCE)

    async def place(put: Callable[[Any], None], upload: Upload) -> None:
        try:
            async with limiter:
                put(await _url_of(transport, upload, strategy))
        except Exception as error:  # noqa: BLE001 - it is raised below, without the group around it
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for put, upload in pending:
            group.start_soon(place, put, upload)
    if failures:
        raise failures[0]
    return encoded


def _is_plain(value: Any) -> bool:
    if isinstance(value, _PLAIN):
        return type(value).__module__ != "numpy"  # numpy's float64 is a float
    if type(value) is dict:
        return all(map(_is_plain, cast("dict[Any, Any]", value).values()))  # type: ignore[redundant-cast]  # pyright needs it
    if type(value) is list:
        return all(map(_is_plain, cast("list[Any]", value)))  # type: ignore[redundant-cast]  # pyright needs it
    return False


async def _encode(value: Any, place: str, pending: list[tuple[Callable[[Any], None], Upload]]) -> Any:
    """Copy an input, with every file in it noted as pending; errors name the place."""
    value = getattr(value, "_async", value)  # what blocking code passes has the asynchronous object inside
    kind = type(value).__module__.partition(".")[0]
    if kind == "numpy" and hasattr(value, "tolist"):
        return value.tolist()  # scalars and arrays alike
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        made: dict[Any, Any] = {}
        for key, child in mapping.items():
            made[key] = await _encode(child, f"{place}.{key}", pending)
            _note(made, key, pending)
        return made
    if isinstance(value, (list, tuple, set, frozenset)):
        items: list[Any] = []
        for index, child in enumerate(cast("list[Any]", value)):
            items.append(await _encode(child, f"{place}[{index}]", pending))
            _note(items, index, pending)
        return items
    return await _encode_object(value, place, pending)


async def _encode_object(value: Any, place: str, pending: list[tuple[Callable[[Any], None], Upload]]) -> Any:
    if isinstance(url := getattr(value, "url", None), str):
        return url  # a file output: the model fetches it itself
    if hasattr(value, "__await__"):
        # The output of another model, still under way.
        return await _encode(await cast("Awaitable[Any]", value), place, pending)
    if isinstance(value, (bytes, bytearray, memoryview, os.PathLike)) or hasattr(value, "read"):
        try:
            return await open_upload(cast("Any", value))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{place}: {error}") from error
        except OSError as error:
            raise type(error)(error.errno, f"{place}: {error.strerror}", error.filename) from error
    return value  # the encoder knows it, or names its place


def _note(container: Any, key: Any, pending: list[tuple[Callable[[Any], None], Upload]]) -> None:
    upload = container[key]
    if isinstance(upload, Upload):

        def put(url: str) -> None:
            container[key] = url

        pending.append((put, upload))


async def _url_of(transport: Transport, upload: Upload, strategy: FileEncodingStrategy | UnsetType) -> str:
    if strategy == "base64" or (strategy is UNSET and upload.size <= _INLINE_MAX):
        content = b"".join([piece async for piece in upload.pieces()])
        return f"data:{upload.type};base64,{(await anyio.to_thread.run_sync(base64.b64encode, content)).decode()}"
    return await transport.pool.uploads.url(await _identity(upload), lambda: _upload(transport, upload))


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
