"""Files: opened in all the forms that callers have them, read and written in worker threads chunk by chunk."""

from __future__ import annotations

import atexit
import errno
import inspect
import io
import mimetypes
import os
import re
import stat
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast

import msgspec

from replicate_async._foreign_files import unwrap
from replicate_async._fork import after_fork_in_child
from replicate_async._threads import run_in_thread

# The API's limit for a file, in bytes. https://replicate.com/docs/reference/http#files.create
MAX_UPLOAD = 100 * 2**20
CHUNK_SIZE = 2**18
# Clocks of file systems are coarse: a file that changed less than this many seconds ago may change again unnoticed.
_MIN_AGE = 2.0
_WEBP = "image/webp"


class AsyncBinaryFile(Protocol):
    """An open file whose methods are coroutines, such as the files of ``anyio.open_file``."""

    def read(self, size: int = -1, /) -> Awaitable[bytes]:
        """Read up to ``size`` bytes, or all."""
        ...


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


async def open_upload(content: FileInput, *, filename: str | None = None, type: str | None = None) -> Upload:
    """Prepare a file for upload; every problem with it raises here, before anything is sent."""
    if isinstance(content, tuple):
        if len(content) not in {2, 3}:
            raise TypeError("content as a tuple must be (name, content) or (name, content, type)")
        name, content, *rest = content
        filename = name if filename is None else filename
        type = rest[0] if rest and type is None else type
    upload = await _open_content(content)
    upload.name = _check_name(upload.name if filename is None else filename)
    guessed = upload.type or mime_type(upload.name) or "application/octet-stream"
    upload.type = _check_type(guessed if type is None else type)
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
    # The API accepts anything else that a header can carry.
    if not type or re.search(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", type):
        raise ValueError(f"type={type!r} must be text that HTTP can carry, such as 'image/png'")
    return type


async def _open_content(content: FileContent) -> Upload:
    # Objects of the blocking client wrap asynchronous ones.
    content = getattr(content, "_async", content)
    if (foreign := unwrap(content)) is not None:
        content = foreign.content if foreign.make is None else await run_in_thread(foreign.make)
    upload = await _open_plain(content)
    if foreign is not None:
        upload.name, upload.type = foreign.name or upload.name, foreign.type or ""
    return upload


async def _open_plain(content: FileContent) -> Upload:
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _from_bytes("upload", bytes(content))
    if isinstance(content, (str, os.PathLike)):
        path = Path(content)
        status = await run_in_thread(_stat, path)
        if not stat.S_ISREG(status.st_mode):
            # A pipe or a device can be read only once.
            return _from_bytes(path.name, await run_in_thread(_read_whole, path))
        chunks = partial(_iter_chunks, partial(_read_path_at, path), 0, status.st_size)
        return Upload(path.name, "", status.st_size, chunks, _identity(status, 0))
    read = getattr(content, "read", None)
    if read is None:
        raise TypeError(f"content must be bytes, a path or a binary file, not {type(content).__name__}")
    file = cast("Any", content)
    # The name of a temporary file may be an int.
    name = getattr(file, "name", None)
    name = (Path(name).name if isinstance(name, str) else "") or "upload"
    if getattr(file, "closed", False):
        raise ValueError(f"{name} is closed: pass an open file, or its path")
    if inspect.iscoroutinefunction(read):
        # Its position and size may be coroutines or properties, or it may have none. So it is read now.
        return _from_bytes(name, await _read_all(read, name))
    read_in_thread = partial(run_in_thread, read)
    # A file that is open for writing only raises here.
    _as_bytes(await read_in_thread(0), name)
    # Python 3.10's spooled temporary files are seekable, but have no method that says so.
    if not (hasattr(file, "tell") and getattr(file, "seekable", lambda: hasattr(file, "seek"))()):
        return _from_bytes(name, await _read_all(read_in_thread, name))
    start, size = await run_in_thread(_measure, file)
    if start and not size:
        raise ValueError(f"{name} is empty from its current position: call seek(0) to send all of it")
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
    while remaining > 0 and (chunk := _as_bytes(await read(CHUNK_SIZE), name)):
        chunks.append(chunk)
        remaining -= len(chunk)
    return b"".join(chunks)


def _as_bytes(chunk: object, name: str) -> bytes:
    """Return what a file has returned as bytes. Some have nothing at their end, or return other buffers."""
    if isinstance(chunk, str):
        raise TypeError(f"{name} is open as text: open it in binary mode ('rb')")
    if chunk is None:
        return b""
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(cast("bytes", chunk))
    raise TypeError(f"{name} is no binary file: its read() returns {type(chunk).__name__}")


def _from_bytes(name: str, data: bytes) -> Upload:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), CHUNK_SIZE):
            yield data[start : start + CHUNK_SIZE]

    return Upload(name, "", len(data), chunks)


def _stat(path: Path) -> os.stat_result:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder can't be uploaded", str(path))
    if not stat.S_ISREG(status.st_mode):
        return status
    # Opening raises if the file can't be read.
    with path.open("rb") as file:
        return os.fstat(file.fileno())


def _read_whole(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_UPLOAD + 1)


def _identity(status: os.stat_result, start: int) -> tuple[object, ...] | None:
    """Return what changes with a file's content, or None if a change may go unnoticed."""
    # A copy may keep the size and the time of modification, but not st_ctime, which Windows does not have.
    if os.name == "nt" or time.time() - status.st_ctime < _MIN_AGE:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size, start


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
            return _as_bytes(file.read(size), "the file")
        finally:
            file.seek(before)


def _read_path_at(path: Path, start: int, size: int) -> bytes:
    # The file is opened for each chunk, so that an abandoned upload leaves no file open.
    with path.open("rb") as file:
        return _read_at(file, start, size)


async def _iter_chunks(read_at: Callable[[int, int], bytes], start: int, size: int) -> AsyncGenerator[bytes, None]:
    """Yield exactly as many bytes as were announced, even if the file changes."""
    end = start + size
    while start < end and (chunk := await run_in_thread(read_at, start, min(CHUNK_SIZE, end - start))):
        start += len(chunk)
        yield chunk
    if start < end:
        raise ValueError("the file became shorter while it was being uploaded")


def mime_type(name: str) -> str | None:
    """Guess a MIME type from a file name or a path."""
    # A path such as "//[" would be taken for a malformed URL.
    name = name.rpartition("/")[2]
    # Python 3.10 does not know WebP, which most image models make, unless the system does.
    return mimetypes.guess_type(name, strict=False)[0] or (_WEBP if name.lower().endswith(".webp") else None)


def suffix_for(type: str) -> str:
    """Guess a file name's suffix from a MIME type."""
    return mimetypes.guess_extension(type, strict=False) or (".webp" if type == _WEBP else "")


class ReadChunk(Protocol):
    """Reads the next chunk of a content."""

    async def __call__(self, size: int, on_restart: Callable[[], object] | None = None, /) -> bytes:
        """Return at most ``size`` bytes, or ``b""`` at the end; calls ``on_restart`` if the content starts over."""
        ...


def reader_of(content: bytes) -> ReadChunk:
    """Return a function that reads bytes in memory."""
    file = io.BytesIO(content)

    async def read(size: int, _on_restart: Callable[[], object] | None = None, /) -> bytes:
        return file.read(size)

    return read


async def save_file(read: ReadChunk, path: Path, *, numbered: bool = False) -> Path:
    """Write a file as its chunks arrive. It gets its name when it is complete.

    Args:
        read: Reads the content.
        path: The file, which is replaced. The content of a link, a device or a pipe is written to it.
        numbered: Whether the name gets a number if it is taken.

    Returns:
        The path under which the file was saved.
    """
    import secrets

    name = f".{secrets.token_hex(8)}.part"
    with _errors_name(path):
        special = not numbered and await run_in_thread(_is_special, path)
        partial = (await run_in_thread(private_folder)) / name if special else path.with_name(name)
        # Not in a thread: one that still opens the file when the caller is canceled would leave it behind.
        file = partial.open("xb")

    def restart() -> None:
        file.seek(0)
        file.truncate()

    try:
        with file:
            while chunk := await read(CHUNK_SIZE, restart):
                with _errors_name(path):
                    await run_in_thread(file.write, chunk, abandon=False)
        with _errors_name(path):
            if special:
                # Opening a pipe may block forever.
                await run_in_thread(_copy, partial, path)
                return path
            return await run_in_thread(_publish, partial, path, numbered, abandon=False)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _errors_name(path: Path) -> Generator[None]:
    """Let errors of the file system name the path that the caller knows."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise FileNotFoundError(error.errno, f"create the folder {str(path.parent)!r} first", str(path)) from None
        raise (OSError(error.errno, error.strerror, str(path)) if error.errno else error) from None


def _is_special(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.is_file())


def _copy(source: Path, target: Path) -> None:
    import shutil

    with source.open("rb") as read_from, target.open("wb") as write_to:
        shutil.copyfileobj(read_from, write_to)


def _publish(partial: Path, path: Path, numbered: bool) -> Path:
    """Give a complete file its name, or the first numbered one that is free."""
    if not numbered:
        return partial.replace(path)
    number, target = 0, path
    while not _rename_to_new(partial, target):
        number += 1
        target = path.with_stem(f"{path.stem}-{number}")
    return target


def _rename_to_new(partial: Path, target: Path) -> bool:
    """Give a file a name; return False if there is such a file."""
    try:
        try:
            os.link(partial, target)
        except FileExistsError:
            return False
        except OSError:
            # The file system has no hard links. The name is taken first.
            target.open("xb").close()
            partial.replace(target)
    except FileExistsError:
        return False
    return True


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
