"""Files on their way in and out: read and written in worker threads, a piece at a time."""

from __future__ import annotations

import errno
import inspect
import io
import mimetypes
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import anyio.to_thread
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._wire import encode_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import BinaryIO, TypeAlias

    import aiohttp

MAX_UPLOAD = 100 * 2**20
_PIECE = 2**18


class AsyncBinaryFile(Protocol):
    """An open file whose methods are coroutines, such as ``anyio.open_file`` gives."""

    def read(self, size: int = -1, /) -> Awaitable[bytes]:
        """Read up to so many bytes, or all."""
        ...


if TYPE_CHECKING:
    FileContent: TypeAlias = bytes | str | os.PathLike[str] | BinaryIO | AsyncBinaryFile
    FileInput: TypeAlias = FileContent | tuple[str, FileContent] | tuple[str, FileContent, str]


class Upload(msgspec.Struct):
    """A file ready to be sent, as often as it takes."""

    name: str
    type: str
    size: int
    pieces: Callable[[], AsyncIterator[bytes]]


async def open_upload(
    content: FileInput, *, filename: str | UnsetType = UNSET, type: str | UnsetType = UNSET
) -> Upload:
    """Look at what is to be uploaded; every problem with it shows here, before anything is sent."""
    if isinstance(content, tuple):
        name, content, *rest = content
        filename = name if filename is UNSET else filename
        type = rest[0] if rest and type is UNSET else type
    found, size, pieces = await _source(content)
    name = found if filename is UNSET else filename
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("filename must not be empty")
    if len(name.encode()) > 255:
        raise ValueError(f"filename={name[:40]!r}... must be at most 255 bytes long in UTF-8")
    if size == 0:
        raise ValueError(f"{name} is empty: there is nothing to upload")
    if size > MAX_UPLOAD:
        raise ValueError(
            f"{name} has {size:,} bytes, and uploads are limited to {MAX_UPLOAD:,}: host it elsewhere and pass its URL"
        )
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Upload(name, guessed if type is UNSET else type, size, pieces)


async def _source(content: FileContent) -> tuple[str, int, Callable[[], AsyncIterator[bytes]]]:
    """Return a file's name and size, and what reads it from its start."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        data = bytes(content)
        return "upload", len(data), lambda: _reading(io.BytesIO(data), 0)
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        return path.name, await anyio.to_thread.run_sync(_size_of, path), lambda: _reading_path(path)
    read = getattr(content, "read", None)
    if read is None:
        raise TypeError(f"content must be bytes, a path or a binary file, not {type(content).__name__}")
    file = cast("Any", content)
    name = Path(file.name).name if isinstance(getattr(file, "name", None), str) else "upload"
    if getattr(file, "closed", False):
        raise ValueError(f"{name} is closed: pass an open file, or its path")
    if inspect.iscoroutinefunction(read):
        # Read here: its position and size may be coroutines, properties, or nothing at all.
        data = cast("bytes", await file.read(MAX_UPLOAD + 1))
        _check_binary(data, name)
        return name, len(data), lambda: _reading(io.BytesIO(data), 0)
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{name} is open as text: open it in binary mode ('rb')")
    if not file.seekable():
        data = await anyio.to_thread.run_sync(file.read, MAX_UPLOAD + 1)
        _check_binary(data, name)
        return name, len(data), lambda: _reading(io.BytesIO(data), 0)
    start = cast("int", file.tell())
    end = cast("int", file.seek(0, io.SEEK_END))
    file.seek(start)
    return name, end - start, lambda: _reading(file, start)


def _check_binary(data: object, name: str) -> None:
    if not isinstance(data, bytes):
        raise TypeError(f"{name} is open as text: open it in binary mode ('rb')")


def _size_of(path: Path) -> int:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder can't be uploaded", str(path))
    with path.open("rb") as file:  # says so if it can't be read
        return os.fstat(file.fileno()).st_size


async def _reading(file: BinaryIO, start: int) -> AsyncIterator[bytes]:
    await anyio.to_thread.run_sync(file.seek, start)
    while piece := await anyio.to_thread.run_sync(file.read, _PIECE):
        yield piece


async def _reading_path(path: Path) -> AsyncIterator[bytes]:
    with await anyio.to_thread.run_sync(path.open, "rb") as file:
        async for piece in _reading(cast("BinaryIO", file), 0):
            yield piece


def upload_form(
    upload: Upload,
    *,
    filename: str | UnsetType,
    type: str | UnsetType,
    metadata: Mapping[str, Any] | UnsetType,
) -> Callable[[], aiohttp.FormData]:
    """Return what makes the multipart body of an upload, anew for each attempt."""

    def make() -> aiohttp.FormData:
        import aiohttp
        from aiohttp.payload import AsyncIterablePayload

        class Pieces(AsyncIterablePayload):
            def __init__(self) -> None:
                super().__init__(upload.pieces(), content_type=upload.type)
                self._size = upload.size  # known, so that the request needn't be sent in chunks

        form = aiohttp.FormData(quote_fields=False)  # names as they are, not percent-encoded
        form.add_field("content", Pieces(), filename=upload.name, content_type=upload.type)
        if filename is not UNSET:
            form.add_field("filename", filename)
        if type is not UNSET:
            form.add_field("type", type)
        if metadata is not UNSET:
            form.add_field("metadata", encode_json(metadata).decode(), content_type="application/json")
        return form

    return make


async def save(pieces: AsyncIterator[bytes], target: Path) -> Path:
    """Write a file as its pieces arrive. Until it is complete, it doesn't have its name."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    file = await anyio.to_thread.run_sync(partial.open, "xb")
    try:
        with file:
            async for piece in pieces:
                await anyio.to_thread.run_sync(file.write, piece)
        await anyio.to_thread.run_sync(os.replace, partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target
