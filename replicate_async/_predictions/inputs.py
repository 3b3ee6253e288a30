"""Inputs of models: everything that JSON cannot express becomes JSON, and files become URLs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any, cast
from urllib.parse import ParseResult, SplitResult
from weakref import WeakSet

import anyio
import msgspec

from replicate_async._files import CHUNK_SIZE, Upload, open_upload, suffix_for
from replicate_async._foreign_files import is_array, unwrap
from replicate_async._http import clock
from replicate_async._http.options import RequestOptions, follow_up_headers
from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async._json import encode_json, is_dict, is_list, is_mapping
from replicate_async._predictions.jobs import JobT
from replicate_async._predictions.outputs import decode_data_uri
from replicate_async._predictions.requests import FileEncodingStrategy
from replicate_async._predictions.uploads import UploadCache, upload_request
from replicate_async._tasks import for_each
from replicate_async._threads import run_in_thread
from replicate_async.errors import APIResponseValidationError, ReplicateError

# Larger files are uploaded, in bytes.
# https://replicate.com/docs/topics/predictions/input-files
_MAX_INLINE = 256_000
# In bytes of base64, for the files of all predictions in flight together: the API refuses larger requests, and each
# poll returns the inputs again, a hundred of them in a list.
_MAX_INLINE_TOTAL = 1_000_000
# Outputs that are longer data URIs are sent like other files.
_MAX_OUTPUT_URI = 10_000
_MAX_CONCURRENT_UPLOADS = 8

_REMEDY = "pass text, a number, a list, a dict, a time, a picture, an open file, its path or its bytes"
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


class _Inlined:
    """The files inside of a request. Their size counts as long as this object is held."""

    def __init__(self, in_flight: _InFlight, strategy: FileEncodingStrategy | None) -> None:
        self._in_flight = in_flight
        self._strategy = strategy
        self.size = 0
        in_flight.add(self)

    def choose(self, items: list[_Pending]) -> None:
        """Choose the files that are inlined: as many as fit, the smallest first."""
        files = [(item.source.size, item) for item in items if isinstance(item.source, Upload)]
        for size, item in sorted(files, key=itemgetter(0)):
            encoded_size = -(-size // 3) * 4
            room = _MAX_INLINE_TOTAL - sum(inlined.size for inlined in self._in_flight)
            fits = size <= _MAX_INLINE and encoded_size <= room
            item.inline = self._strategy == "base64" or (self._strategy is None and fits)
            self.size += encoded_size if item.inline else 0


class _InFlight(WeakSet[_Inlined]):
    """The files inside of all requests for predictions that are in flight on an event loop."""


async def encode_files(
    transport: Transport, request: Request[JobT], strategy: FileEncodingStrategy | None = None
) -> Request[JobT]:
    """Return a create with an input that JSON can express.

    All files are opened before the first is sent. If one can't be sent, the others are stopped. What the request
    ``holds`` stands for the files inside of it: as long as it lives, other requests have less room for theirs.
    """
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
    inlined = _Inlined(transport.pool.current().state(_InFlight), strategy)
    try:
        await _resolve_all(transport, pending, inlined, follow_up_headers(request.options))
    except BaseException:
        # The error may keep it alive.
        inlined.size = 0
        raise
    return msgspec.structs.replace(request, json={**request.json, "input": encoded}, holds=inlined)


async def _resolve_all(
    transport: Transport, pending: list[_Pending], inlined: _Inlined, options: RequestOptions
) -> None:
    """Put URLs and values in the places of all files and awaited outputs, at the same time."""
    limiter = anyio.Semaphore(_MAX_CONCURRENT_UPLOADS)
    inlined.choose(pending)
    await for_each(lambda item: _resolve(transport, item, inlined, limiter, options), pending, len(pending))


async def _resolve(
    transport: Transport, item: _Pending, inlined: _Inlined, limiter: anyio.Semaphore, options: RequestOptions
) -> None:
    if isinstance(item.source, Upload):
        async with limiter:
            item.container[item.key] = await _url_of(transport, item.source, options, inline=item.inline)
        return
    item.container[item.key] = await _value_of(item.source)
    nested: list[_Pending] = []
    await _encode_item(item.container, item.key, item.source.place, nested)
    inlined.choose(nested)
    for nested_item in nested:
        await _resolve(transport, nested_item, inlined, limiter, options)


class _AwaitedOutput(msgspec.Struct):
    """The output of another model that is still running."""

    output: Awaitable[Any]
    place: str


class _Pending(msgspec.Struct):
    """A file to send or an output to await, and where its URL or value belongs."""

    container: Any
    key: Any
    source: Upload | _AwaitedOutput
    inline: bool = False


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
        return type(value) is dict and {str}.issuperset(map(type, value)) and all(map(_is_plain, value.values()))
    return is_list(value) and type(value) is list and all(map(_is_plain, value))


_ENCODED_TYPES = _PLAIN_TYPES | {datetime, date, timedelta}
# Types whose subclasses, such as a Timestamp of pandas, the encoder does not support. They are sent as their base.
_BASES: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    datetime: methodcaller("isoformat"),
    date: methodcaller("isoformat"),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    Decimal: float,
    ParseResult: ParseResult.geturl,
    SplitResult: SplitResult.geturl,
}


def _to_plain(value: Any, place: str) -> Any:
    """Return what stands for an object in JSON, if that is simple."""
    # Objects of the blocking client wrap asynchronous ones.
    value = getattr(value, "_async", value)
    if type(value) in _ENCODED_TYPES:
        return value
    if isinstance(value, Enum):
        return _to_plain(value.value, place)
    try:
        if is_array(value):
            return value.tolist() if unwrap(value) is None else value
        for kind, to_base in _BASES.items():
            if isinstance(value, kind):
                # Only what is not a number, or not a time, differs from itself.
                return to_base(value) if value == value else math.nan  # noqa: PLR0124
    except TypeError as error:
        raise TypeError(f"{place}: {error}") from error
    return value


async def _encode(value: Any, place: str, pending: list[_Pending]) -> Any:
    """Copy an input and collect the files in it; errors name the place."""
    value = _to_plain(value, place)
    if type(value) in _PLAIN_TYPES:
        if type(value) is float:
            # This raises if the number is not finite.
            encode_json(value, place)
        return value
    if is_mapping(value):
        members = {_to_plain(key, place): value[key] for key in value}
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
        is_foreign = unwrap(value) is not None
        if not is_foreign and (url := _url_attribute(value)) is not None:
            return await _open_output(url) if url.startswith("data:") and len(url) > _MAX_OUTPUT_URI else url
        if hasattr(value, "__await__"):
            # Awaited when the whole input has been checked.
            return _AwaitedOutput(value, place)
        if is_foreign or isinstance(value, (bytes, bytearray, memoryview, os.PathLike)) or hasattr(value, "read"):
            upload = await open_upload(cast("Any", value))
            if upload.size == 0:
                raise ValueError(f"{upload.name} is empty: there is nothing to send")
            return upload
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from error
    except OSError as error:
        if error.errno is None:
            raise type(error)(f"{place}: {error}") from error
        raise type(error)(error.errno, f"{place}: {error.strerror}", error.filename) from error
    try:
        encode_json(value, place)
    except TypeError as error:
        raise TypeError(f"{error}; {_REMEDY}") from error
    return value


async def _open_output(uri: str) -> Upload | str:
    """Return an output that is a data URI as a file."""
    try:
        type = uri[5:].partition(",")[0].removesuffix(";base64")
        return await open_upload((f"output{suffix_for(type)}", decode_data_uri(uri), type))
    except APIResponseValidationError:
        # It is malformed, which the API may explain better.
        return uri


def _url_attribute(value: Any) -> str | None:
    """Return the URL from which a model can fetch a value, such as a file output of this or another SDK."""
    if hasattr(value, "scheme") and hasattr(value, "host"):
        # A URL of pydantic, yarl or httpx.
        return str(value)
    if hasattr(value, "seek"):
        # An open file has its content at hand. Its URL, if any, may be private or relative, as in Django.
        return None
    url = getattr(value, "url", None)
    usable = isinstance(url, str) and (url.startswith("data:") or "://" in url or not hasattr(value, "read"))
    return url if usable else None


async def _url_of(transport: Transport, upload: Upload, options: RequestOptions, *, inline: bool) -> str:
    with clock.busy():
        if inline:
            content = b"".join([chunk async for chunk in upload.chunks()])
            encode = partial(base64.b64encode, content)
            encoded = encode() if len(content) <= CHUNK_SIZE else await run_in_thread(encode)
            return f"data:{upload.type};base64,{encoded.decode()}"
        identity = await _identity(upload)
    key = *transport.account_key, *identity
    request = upload_request(upload, options)
    return await transport.pool.state(UploadCache).url(key, lambda: transport.decoding.call(request))


async def _identity(upload: Upload) -> tuple[object, ...]:
    """Return a key for an upload's content: a file's location and time of change, or a digest."""
    if upload.identity is not None:
        return (*upload.identity, upload.name, upload.type)
    digest = hashlib.sha256()
    async for chunk in upload.chunks():
        await run_in_thread(digest.update, chunk)
    return digest.digest(), upload.name, upload.type
