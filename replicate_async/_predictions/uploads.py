"""Files on their way in and out: read and written in worker threads, a piece at a time."""

from __future__ import annotations

import errno
import inspect
import io
import mimetypes
import os
import re
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import anyio.to_thread
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http import clock
from replicate_async._http.locks import KeyedLock
from replicate_async._http.request import Request, encode_json
from replicate_async.types import File

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from typing import BinaryIO, TypeAlias

    import aiohttp

    from replicate_async._http.options import RequestOptions

MAX_UPLOAD = 100 * 2**20
_PIECE = 2**18
_WEBP = "image/webp"
_EXPIRY_MARGIN = timedelta(minutes=5)  # a file must outlive the time that its prediction waits in the queue
_SLOWEST = 2**17  # bytes per second that an upload may fall to before it times out


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
    identity: tuple[object, ...] | None = None  # of a file on disk: what is unchanged needn't be sent again


async def open_upload(
    content: FileInput, *, filename: str | UnsetType = UNSET, type: str | UnsetType = UNSET
) -> Upload:
    """Look at what is to be uploaded; every problem with it shows here, before anything is sent."""
    if isinstance(content, tuple):
        if len(content) not in {2, 3}:
            raise TypeError("content as a tuple must be (name, content) or (name, content, type)")
        name, content, *rest = content
        filename = name if filename is UNSET else filename
        type = rest[0] if rest and type is UNSET else type
    upload = await _look_at(content)
    upload.name = upload.name if filename is UNSET else filename
    if not isinstance(upload.name, str) or not upload.name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("filename must not be empty")
    if not upload.name.isprintable():  # nor are names that aren't Unicode
        raise ValueError(f"filename={upload.name!r} has characters that can't be sent: pass filename=")
    if len(upload.name.encode()) > 255:
        raise ValueError(f"filename={upload.name[:40]!r}... must be at most 255 bytes long in UTF-8")
    upload.type = (mime_type(upload.name) or "application/octet-stream") if type is UNSET else type
    if not isinstance(upload.type, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"type must be a str such as 'image/png', not {upload.type!r}")
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;.*)?", upload.type, re.ASCII):
        raise ValueError(f"type={upload.type!r} is not a MIME type such as 'image/png'")
    if upload.size == 0:
        raise ValueError(f"{upload.name} is empty: there is nothing to upload")
    if upload.size > MAX_UPLOAD:
        raise ValueError(
            f"{upload.name} has {upload.size:,} bytes, and uploads are limited to {MAX_UPLOAD:,}: "
            "host it elsewhere and pass its URL"
        )
    return upload


async def _look_at(content: FileContent) -> Upload:
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _in_memory("upload", bytes(content))
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        status = await anyio.to_thread.run_sync(_status_of, path)
        pieces = partial(_reading, partial(_read_path_at, path), 0, status.st_size)
        return Upload(path.name, "", status.st_size, pieces, _identity(status, 0))
    read = getattr(content, "read", None)
    if read is None:
        raise TypeError(f"content must be bytes, a path or a binary file, not {type(content).__name__}")
    file = cast("Any", content)
    # Uploads of web frameworks have a filename; the names of temporary files are no str.
    names = (getattr(file, "name", None), getattr(file, "filename", None))
    name = next((Path(one).name for one in names if isinstance(one, str) and one), "upload")
    if getattr(file, "closed", False):
        raise ValueError(f"{name} is closed: pass an open file, or its path")
    if inspect.iscoroutinefunction(read):
        # Read here: its position and size may be coroutines, properties, or nothing at all.
        return _in_memory(name, await _read_all(read, name))
    reading = partial(anyio.to_thread.run_sync, read)
    _check_binary(await reading(0), name)  # a file for writing only says so here
    # Not every seekable file says that it is one: Python 3.10's spooled temporary files don't.
    if not getattr(file, "seekable", lambda: hasattr(file, "seek"))():
        return _in_memory(name, await _read_all(reading, name))
    start, size = await anyio.to_thread.run_sync(_extent, file)
    try:
        identity = _identity(os.fstat(file.fileno()), start)
    except (AttributeError, OSError):  # a file of Python's, not of the system's
        identity = None
    return Upload(name, "", size, lambda: _reading(partial(_read_at, file), start, size), identity)


async def _read_all(read: Callable[[int], Awaitable[bytes]], name: str) -> bytes:
    """Read to the end, or beyond what can be uploaded: one read may return less than there is."""
    pieces: list[bytes] = []
    left = MAX_UPLOAD + 1
    while left > 0 and (piece := await read(_PIECE)):
        _check_binary(piece, name)
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _check_binary(piece: object, name: str) -> None:
    if not isinstance(piece, bytes):
        raise TypeError(f"{name} is open as text: open it in binary mode ('rb')")


def _in_memory(name: str, data: bytes) -> Upload:
    return Upload(name, "", len(data), lambda: _reading(lambda start, size: data[start : start + size], 0, len(data)))


def _status_of(path: Path) -> os.stat_result:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder can't be uploaded", str(path))
    with path.open("rb") as file:  # says so if it can't be read
        return os.fstat(file.fileno())


def _identity(status: os.stat_result, start: int) -> tuple[object, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, start


# An open file may be in several inputs at once: whoever moves in it puts it back where it was before anyone else may.
_FILE_LOCKS = [threading.Lock() for _ in range(61)]


def _after_fork() -> None:
    # Held by a thread that isn't in the child, a lock would never be free again there.
    _FILE_LOCKS[:] = [threading.Lock() for _ in _FILE_LOCKS]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _extent(file: BinaryIO) -> tuple[int, int]:
    """Return where a file is, and how much of it follows."""
    with _FILE_LOCKS[id(file) % len(_FILE_LOCKS)]:
        start = file.tell()
        file.seek(0, io.SEEK_END)
        size = file.tell() - start
        file.seek(start)
    return start, size


def _read_at(file: BinaryIO, position: int, size: int) -> bytes:
    with _FILE_LOCKS[id(file) % len(_FILE_LOCKS)]:
        before = file.tell()
        file.seek(position)
        try:
            return file.read(size)
        finally:
            file.seek(before)


def mime_type(name: str) -> str | None:
    """Guess a type from a file name."""
    # WebP, which most image models make, is unknown to Python 3.10 where the system has no list of types.
    return mimetypes.guess_type(name, strict=False)[0] or (_WEBP if name.lower().endswith(".webp") else None)


def suffix_for(type: str) -> str:
    """Guess a file name's suffix from a type."""
    return mimetypes.guess_extension(type, strict=False) or (".webp" if type == _WEBP else "")


async def _reading(read_at: Callable[[int, int], bytes], start: int, size: int) -> AsyncGenerator[bytes, None]:
    """Yield exactly the bytes that were announced, whatever happens to the file meanwhile."""
    end = start + size
    while start < end and (piece := await anyio.to_thread.run_sync(read_at, start, min(_PIECE, end - start))):
        start += len(piece)
        yield piece
    if start < end:
        raise ValueError("the file became shorter while it was being uploaded")


def _read_path_at(path: Path, start: int, size: int) -> bytes:
    # Opened for each piece: an upload that is given up between two of them leaves nothing open.
    with path.open("rb") as file:
        return _read_at(file, start, size)


def upload_request(
    upload: Upload,
    options: RequestOptions,
    *,
    filename: str | UnsetType = UNSET,
    type: str | UnsetType = UNSET,
    metadata: Mapping[str, Any] | UnsetType = UNSET,
) -> Request[File]:
    """Describe the call that uploads a file; its multipart body is made anew for each attempt."""
    hold = upload.size / _SLOWEST if upload.size > _PIECE else 0.0

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

    return Request("POST", "/files", File, options, content=make, hold=hold)


class Uploads:
    """The files that a client has uploaded and that have not expired: each is uploaded once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], File] = {}
        self._locks = KeyedLock()

    async def url(self, identity: tuple[object, ...], upload: Callable[[], Awaitable[File]]) -> str:
        """Return a file's URL, after uploading it if need be; those that ask meanwhile wait for the same upload."""
        async with self._locks.of(*identity):
            soon = clock.current.now() + _EXPIRY_MARGIN
            self._forget_those(lambda file: file.expires_at is not None and file.expires_at < soon)
            file = self._known.get(identity)
            if file is None:
                file = self._known[identity] = await upload()
            return file.urls.get or ""

    def forget(self, file_id: str) -> None:
        """Upload it again when it is needed again: it is about to be deleted."""
        self._forget_those(lambda file: file.id == file_id)

    def _forget_those(self, condition: Callable[[File], bool]) -> None:
        for identity, file in list(self._known.items()):  # a list: other threads change it meanwhile
            if condition(file):
                self._known.pop(identity, None)
