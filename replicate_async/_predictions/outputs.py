"""A model's outputs: files among them can be read, saved and shown."""

from __future__ import annotations

import atexit
import base64
import binascii
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import anyio.to_thread

from replicate_async import errors
from replicate_async._http.request import Request
from replicate_async._http.response import AsyncStreamedResponse, OpenResponse, save
from replicate_async._http.sessions import Pool
from replicate_async._http.transport import Settings, Transport
from replicate_async._predictions import schema as schemas
from replicate_async._predictions.uploads import mime_type, suffix_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

T = TypeVar("T")

# No two repetitions that could share a character: a long text of a model must not be tried in all divisions.
_WHOLE_URL = re.compile(r"https?://[^\s/]\S*|data:[\w.+-]+/[\w.+-][^\s,]*,\S*")
_GONE = frozenset({403, 404, 410})


class AsyncFileOutput:
    """A file that a model made. Reading it fetches it, an hour after the prediction at the latest.

    Passed to another model, it goes there by its URL. It can be pickled (the token stays behind), and read after the
    client is closed.
    """

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        self.url: str = url
        """Where it is: an address on the web, or a data URI with the content itself."""
        self._transport = transport
        self._content_type: str | None = None
        self._size: int | None = None

    @property
    def content_type(self) -> str | None:
        """The MIME type: what the URL suggests, or once it was read, what the server said."""
        if self.url.startswith("data:"):
            return self.url[5:].partition(",")[0].partition(";")[0] or "text/plain"
        return self._content_type or mime_type(urlsplit(self.url).path)

    @property
    def size(self) -> int | None:
        """The number of bytes, as far as it is known."""
        if not self.url.startswith("data:"):
            return self._size
        try:
            return len(_decode_data(self.url))
        except errors.APIResponseValidationError:
            return None

    async def read(self) -> bytes:
        """Return the content.

        Raises:
            NotFoundError: it is gone; files are deleted an hour after their prediction.
            APIError: it couldn't be fetched.
        """
        if self.url.startswith("data:"):
            return _decode_data(self.url)
        return await self._fetch(lambda response: response.read())

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the content in pieces as they arrive.

        Args:
            chunk_size: The most bytes that a piece has.

        Raises:
            NotFoundError: it is gone; files are deleted an hour after their prediction.
            APIError: it couldn't be fetched.
        """
        if self.url.startswith("data:"):
            content = _decode_data(self.url)
            for start in range(0, len(content), chunk_size):
                yield content[start : start + chunk_size]
            return
        async with self._fetching() as (transport, request):
            response = self._noted(await transport.open(request))
            try:
                async for piece in response.iter_bytes(chunk_size):
                    yield piece
            finally:
                await response.close()

    async def _fetch(self, use: Callable[[AsyncStreamedResponse[bytes]], Awaitable[T]]) -> T:
        """Fetch it, and return what is made of the answer: once more, where that breaks off."""
        made: list[T] = []

        async def whole(opened: OpenResponse[bytes]) -> None:
            response = self._noted(opened)
            try:
                made.append(await use(response))
            finally:
                await response.close()

        async with self._fetching() as (transport, request):
            await transport.open(request, whole)
        return made[0]

    @asynccontextmanager
    async def _fetching(self) -> AsyncGenerator[tuple[Transport, Request[bytes]], None]:
        """Give what fetches it, and the request for it."""
        transport, own = self._transport, None
        if transport is None or transport.pool.closed:
            own = Pool(None, 1)
            settings = Settings(base_url="https://api.replicate.com/v1") if transport is None else transport.settings
            transport = Transport(settings, own)
        try:
            yield transport, Request[bytes]("GET", self.url, bytes, {}, headers={"Accept": "*/*"})
        except errors.APIStatusError as error:
            if error.status_code in _GONE:
                gone = f"the file is gone: outputs are deleted an hour after their prediction ({error.args[0]})"
                error.args = (gone,)
            raise
        finally:
            if own is not None:
                await own.close()

    def _noted(self, opened: OpenResponse[bytes]) -> AsyncStreamedResponse[bytes]:
        """Take note of what an answer says of the file."""
        response = AsyncStreamedResponse(opened)
        self._content_type = response.headers.get("Content-Type", "").partition(";")[0].strip() or None
        length = response.headers.get("Content-Length", "")
        packed = "Content-Encoding" in response.headers  # then it is the packed content's length
        self._size = int(length) if length.isdecimal() and not packed else None
        return response

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in pieces as they arrive."""
        async for piece in self.iter_bytes():
            yield piece

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the content to disk as it arrives. An incomplete file never has the name.

        Args:
            path: The file to write, or a folder; there it gets the name that its URL has. One that exists is
                replaced.

        Returns:
            The file's path.

        Raises:
            NotFoundError: it is gone; files are deleted an hour after their prediction.
            APIError: it couldn't be fetched.
            OSError: the file can't be written.
        """
        target = Path(path)
        folder = await anyio.to_thread.run_sync(target.is_dir)

        async def write(pieces: AsyncGenerator[bytes, None]) -> Path:
            # With the answer comes the content type, which may decide the suffix.
            return await save(pieces, target / self._name() if folder else target)

        if self.url.startswith("data:"):
            return await write(self.iter_bytes())
        return await self._fetch(lambda response: write(response.iter_bytes()))

    async def local_path(self) -> str:
        """Return the path of a copy on this machine, fetched once into a private folder that goes with the process.

        Returns:
            The copy's path.

        Raises:
            NotFoundError: it is gone; files are deleted an hour after their prediction.
            APIError: it couldn't be fetched.
        """
        return await _cached(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show pictures, sound and films in notebooks; the text is the repr, as for any object."""
        import html

        bundle: dict[str, str] = {}
        kind, source = (self.content_type or "").partition("/")[0], html.escape(self.url, quote=True)
        if kind == "image":
            bundle["text/html"] = f'<img src="{source}">'
        elif kind in {"audio", "video"}:
            bundle["text/html"] = f'<{kind} controls src="{source}"></{kind}>'
        return bundle

    def _name(self) -> str:
        """Return a file name that can't lead out of its folder."""
        last = "" if self.url.startswith("data:") else unquote(urlsplit(self.url).path).rpartition("/")[2]
        # Whatever the server calls it: no separators, no leading dots, nothing that a shell or a terminal minds.
        name = re.sub(r"[^\w.+-]", "_", last).encode()[-200:].decode(errors="ignore").lstrip(".+-") or "output"
        if not Path(name).suffix and self.content_type:
            name += suffix_for(self.content_type)
        return name

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        shown = self.url if len(self.url) <= 100 else f"{self.url[:60]}...{self.url[-10:]}"
        known = "".join(f", {fact}" for fact in (self.content_type, self.size and f"{self.size:,} bytes") if fact)
        return f"<{type(self).__name__} {shown}{known}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncFileOutput) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[type[AsyncFileOutput], tuple[str]]:
        return AsyncFileOutput, (self.url,)


async def _cached(output: AsyncFileOutput) -> str:
    """Return the path of a file's copy on this machine, fetched once."""
    folder = await anyio.to_thread.run_sync(_cache_folder)
    # One folder for each URL: two outputs may have the same name.
    target = folder / hashlib.sha256(output.url.encode()).hexdigest()[:32]
    await anyio.to_thread.run_sync(lambda: target.mkdir(mode=0o700, exist_ok=True))
    for known in await anyio.to_thread.run_sync(lambda: list(target.glob("[!.]*"))):
        return str(known)
    return str(await output.save(target))


_folder: tuple[int, Path] | None = None


def _cache_folder() -> Path:
    """Return a private folder that goes with the process: not with a forked child, which gets one of its own."""
    global _folder
    mine = os.getpid()
    if _folder is None or _folder[0] != mine:
        _folder = mine, Path(tempfile.mkdtemp(prefix="replicate-async-"))
        atexit.register(_remove, *_folder)
    return _folder[1]


def _remove(owner: int, folder: Path) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _decode_data(url: str) -> bytes:
    head, _, payload = url.partition(",")
    if not head.endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode(unquote(payload), validate=True)
    except binascii.Error as error:
        raise errors.APIResponseValidationError(f"the output is a malformed data URI: {error}") from error


def with_files(
    transport: Transport, value: Any, document: Mapping[str, Any] | None = None, schema: Mapping[str, Any] | None = None
) -> Any:
    """Return an output with its files as files: every text that is a URL from its beginning to its end.

    Where a schema tells which texts are files, it counts.
    """
    document, schema = document or {}, schema or {}
    if isinstance(value, str):
        is_file = is_file_url(value, transport) and schemas.is_file(schema) is not False
        return AsyncFileOutput(value, transport) if is_file else value
    if isinstance(value, list):
        below = schemas.below(document, schema)
        return [with_files(transport, one, document, below) for one in cast("list[Any]", value)]  # type: ignore[redundant-cast]
    if isinstance(value, dict):
        return {
            key: with_files(transport, one, document, schemas.below(document, schema, key))
            for key, one in cast("dict[str, Any]", value).items()
        }
    return value


def has_files(value: Any, transport: Transport) -> bool:
    """Return whether something in an output may be a file."""
    if isinstance(value, str):
        return is_file_url(value, transport)
    if isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    return isinstance(value, list) and any(has_files(one, transport) for one in cast("list[Any]", value))  # type: ignore[redundant-cast]


def is_file_url(text: str, transport: Transport) -> bool:
    """Return whether a text is the URL of a file: https, or http where the API itself is on http."""
    if not text.startswith(("https://", "http://", "data:")) or not _WHOLE_URL.fullmatch(text):
        return False
    return not text.startswith("http://") or transport.settings.base_url.startswith("http://")
