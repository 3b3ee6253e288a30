"""Files: opened in all the forms that callers have them, read and written in worker threads chunk by chunk."""

from __future__ import annotations

import atexit
import errno
import inspect
import io
import mimetypes
import os
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import anyio.to_thread
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._fork import after_fork_in_child

if TYPE_CHECKING:
    from typing import TypeAlias

# The API's limit for a file, in bytes. https://replicate.com/docs/reference/http#files.create
MAX_UPLOAD = 100 * 2**20
CHUNK_SIZE = 2**18
_WEBP = "image/webp"


class AsyncBinaryFile(Protocol):
    """An open file whose methods are coroutines, such as the files of ``anyio.open_file``."""

    def read(self, size: int = -1, /) -> Awaitable[bytes]:
        """Read up to ``size`` bytes, or all."""
        ...


if TYPE_CHECKING:
    FileContent: TypeAlias = bytes | str | os.PathLike[str] | BinaryIO | AsyncBinaryFile
    FileInput: TypeAlias = FileContent | tuple[str, FileContent] | tuple[str, FileContent, str]


class Upload(msgspec.Struct):
    """A file that is ready to be sent, as often as necessary.

    ``identity`` is equal for a file on disk that has not changed, which need not be sent again.
    """

    name: str
    type: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]
    identity: tuple[object, ...] | None = None


async def open_upload(
    content: FileInput, *, filename: str | UnsetType = UNSET, type: str | UnsetType = UNSET
) -> Upload:
    """Prepare a file for upload; every problem with it raises here, before anything is sent."""
    if isinstance(content, tuple):
        if len(content) not in {2, 3}:
            raise TypeError("content as a tuple must be (name, content) or (name, content, type)")
        name, content, *rest = content
        filename = name if filename is UNSET else filename
        type = rest[0] if rest and type is UNSET else type
    upload = await _open_content(content)
    upload.name = _check_name(upload.name if filename is UNSET else filename)
    upload.type = _check_type((mime_type(upload.name) or "application/octet-stream") if type is UNSET else type)
    if upload.size == 0:
        raise ValueError(f"{upload.name} is empty: there is nothing to upload")
    if upload.size > MAX_UPLOAD:
        raise ValueError(
            f"{upload.name} has {upload.size:,} bytes, and uploads are limited to {MAX_UPLOAD:,}: "
            "host it elsewhere and pass its URL"
        )
    return upload


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError("filename must not be empty")
    # Names that are not valid Unicode are not printable either.
    if not name.isprintable():
        raise ValueError(f"filename={name!r} has unprintable characters: pass filename=")
    if len(name.encode()) > 255:
        raise ValueError(f"filename={name[:40]!r}... must be at most 255 bytes long in UTF-8")
    return name


def _check_type(type: object) -> str:
    if not isinstance(type, str):
        raise TypeError(f"type must be a str such as 'image/png', not {type!r}")
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;.*)?", type, re.ASCII):
        raise ValueError(f"type={type!r} is not a MIME type such as 'image/png'")
    return type


async def _open_content(content: FileContent) -> Upload:
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _from_bytes("upload", bytes(content))
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        status = await anyio.to_thread.run_sync(_stat, path)
        chunks = partial(_iter_chunks, partial(_read_path_at, path), 0, status.st_size)
        return Upload(path.name, "", status.st_size, chunks, _identity(status, 0))
    read = getattr(content, "read", None)
    if read is None:
        raise TypeError(f"content must be bytes, a path or a binary file, not {type(content).__name__}")
    file = cast("Any", content)
    # Uploads of web frameworks have a filename. The name of a temporary file may be an int.
    names = (getattr(file, "name", None), getattr(file, "filename", None))
    name = next((Path(candidate).name for candidate in names if isinstance(candidate, str) and candidate), "upload")
    if getattr(file, "closed", False):
        raise ValueError(f"{name} is closed: pass an open file, or its path")
    if inspect.iscoroutinefunction(read):
        # Its position and size may be coroutines or properties, or it may have none. So it is read now.
        return _from_bytes(name, await _read_all(read, name))
    read_in_thread = partial(anyio.to_thread.run_sync, read)
    # A file that is open for writing only raises here.
    _check_binary(await read_in_thread(0), name)
    # Python 3.10's spooled temporary files are seekable, but have no method that says so.
    if not getattr(file, "seekable", lambda: hasattr(file, "seek"))():
        return _from_bytes(name, await _read_all(read_in_thread, name))
    start, size = await anyio.to_thread.run_sync(_measure, file)
    try:
        identity = _identity(os.fstat(file.fileno()), start)
    except (AttributeError, OSError):
        # The file exists in Python only.
        identity = None
    return Upload(name, "", size, lambda: _iter_chunks(partial(_read_at, file), start, size), identity)


async def _read_all(read: Callable[[int], Awaitable[bytes]], name: str) -> bytes:
    """Read a file to its end, or beyond the limit for uploads; one read may return less than there is."""
    chunks: list[bytes] = []
    remaining = MAX_UPLOAD + 1
    while remaining > 0 and (chunk := await read(CHUNK_SIZE)):
        _check_binary(chunk, name)
        chunks.append(chunk)
        remaining -= len(chunk)
    return b"".join(chunks)


def _check_binary(chunk: object, name: str) -> None:
    if not isinstance(chunk, bytes):
        raise TypeError(f"{name} is open as text: open it in binary mode ('rb')")


def _from_bytes(name: str, data: bytes) -> Upload:
    chunks = partial(_iter_chunks, lambda start, size: data[start : start + size], 0, len(data))
    return Upload(name, "", len(data), chunks)


def _stat(path: Path) -> os.stat_result:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder can't be uploaded", str(path))
    # Opening raises if the file can't be read.
    with path.open("rb") as file:
        return os.fstat(file.fileno())


def _identity(status: os.stat_result, start: int) -> tuple[object, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, start


# An open file may be in several inputs at once. A thread that moves its position restores it before it releases the
# lock.
_file_locks = [threading.Lock() for _ in range(61)]


@after_fork_in_child
def _renew_locks() -> None:
    # A lock that another thread of the parent held would never be released in the child.
    _file_locks[:] = [threading.Lock() for _ in _file_locks]


def _measure(file: BinaryIO) -> tuple[int, int]:
    """Return the position of a file, and the number of bytes that follow."""
    with _file_locks[id(file) % len(_file_locks)]:
        start = file.tell()
        file.seek(0, io.SEEK_END)
        size = file.tell() - start
        file.seek(start)
    return start, size


def _read_at(file: BinaryIO, position: int, size: int) -> bytes:
    with _file_locks[id(file) % len(_file_locks)]:
        before = file.tell()
        file.seek(position)
        try:
            return file.read(size)
        finally:
            file.seek(before)


def _read_path_at(path: Path, start: int, size: int) -> bytes:
    # The file is opened for each chunk, so that an abandoned upload leaves no file open.
    with path.open("rb") as file:
        return _read_at(file, start, size)


async def _iter_chunks(read_at: Callable[[int, int], bytes], start: int, size: int) -> AsyncGenerator[bytes, None]:
    """Yield exactly as many bytes as were announced, even if the file changes."""
    end = start + size
    while start < end and (chunk := await anyio.to_thread.run_sync(read_at, start, min(CHUNK_SIZE, end - start))):
        start += len(chunk)
        yield chunk
    if start < end:
        raise ValueError("the file became shorter while it was being uploaded")


def mime_type(name: str) -> str | None:
    """Guess a MIME type from a file name."""
    # Python 3.10 does not know WebP, which most image models make, unless the system does.
    return mimetypes.guess_type(name, strict=False)[0] or (_WEBP if name.lower().endswith(".webp") else None)


def suffix_for(type: str) -> str:
    """Guess a file name's suffix from a MIME type."""
    return mimetypes.guess_extension(type, strict=False) or (".webp" if type == _WEBP else "")


async def save_chunks(chunks: AsyncIterator[bytes], path: Path) -> Path:
    """Write a file as its chunks arrive. It gets its name when it is complete."""
    import secrets

    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Not in a thread: one that still opens the file when the caller is canceled would leave it behind.
        with partial.open("xb") as file:
            async for chunk in chunks:
                await anyio.to_thread.run_sync(file.write, chunk)
        await anyio.to_thread.run_sync(os.replace, partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


_folder: tuple[int, Path] | None = None


def private_folder() -> Path:
    """Return a private folder that is deleted with the process; a forked child gets its own."""
    global _folder
    pid = os.getpid()
    if _folder is None or _folder[0] != pid:
        # Imported here, to keep the import of this module light.
        import tempfile

        _folder = pid, Path(tempfile.mkdtemp(prefix="replicate-async-"))
        atexit.register(_remove_folder, *_folder)
    return _folder[1]


def _remove_folder(owner_pid: int, folder: Path) -> None:
    if os.getpid() == owner_pid:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
