"""Outputs of models: the files in them can be read, saved and shown."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import anyio.to_thread

from replicate_async import _schema as schemas
from replicate_async import errors
from replicate_async._files import mime_type, private_folder, save_chunks, suffix_for
from replicate_async._http.options import Settings
from replicate_async._http.request import Request, is_valid_url
from replicate_async._http.response import AsyncStreamedResponse
from replicate_async._http.sessions import SessionPool
from replicate_async._http.transport import Transport
from replicate_async._json import is_dict, is_list

T = TypeVar("T")

# No two repetitions can match the same character, so that a long text takes linear time.
_WHOLE_URL = re.compile(r"https?://[^\s/]\S*|data:[\w.+-]+/[\w.+-][^\s,]*,\S*")
_GONE = frozenset({403, 404, 410})


class AsyncFileOutput:
    """A file that a model made. Reading fetches it, which is possible for an hour after the prediction.

    As an input of another model, it is passed by its URL. It can be pickled (without the token), and read after its
    client is closed.
    """

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        self.url: str = url
        """The file's address: on the web, or a data URI with the content itself."""
        self._transport = transport
        self._content_type: str | None = None
        self._size: int | None = None

    @property
    def content_type(self) -> str | None:
        """The MIME type: as the URL suggests, or as the server said once the file was read."""
        if self.url.startswith("data:"):
            return self.url[5:].partition(",")[0].partition(";")[0] or "text/plain"
        return self._content_type or mime_type(urlsplit(self.url).path)

    @property
    def size(self) -> int | None:
        """The size in bytes, if it is known."""
        if not self.url.startswith("data:"):
            return self._size
        try:
            return len(_decode_data(self.url))
        except errors.APIResponseValidationError:
            return None

    async def read(self) -> bytes:
        """Return the content.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
        """
        if self.url.startswith("data:"):
            return _decode_data(self.url)
        return await self._fetch(lambda response: response.read())

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks as they arrive.

        Args:
            chunk_size: The maximum size of a chunk, in bytes.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
        """
        if self.url.startswith("data:"):
            content = _decode_data(self.url)
            for start in range(0, len(content), chunk_size):
                yield content[start : start + chunk_size]
            return
        async with self._request() as (transport, request):
            response = await transport.open(request)
            self._learn_from(response)
            try:
                async for chunk in response.iter_bytes(chunk_size):
                    yield chunk
            finally:
                await response.close()

    async def _fetch(self, use: Callable[[AsyncStreamedResponse[bytes]], Awaitable[T]]) -> T:
        """Fetch the file and return what is made of the response, starting again if the body breaks off."""
        results: list[T] = []

        async def use_and_close(response: AsyncStreamedResponse[bytes]) -> None:
            self._learn_from(response)
            try:
                results.append(await use(response))
            finally:
                await response.close()

        async with self._request() as (transport, request):
            await transport.open(request, use_and_close)
        return results[0]

    @asynccontextmanager
    async def _request(self) -> AsyncGenerator[tuple[Transport, Request[bytes]], None]:
        """Give the request for the file, and a transport for it."""
        transport, own_pool = self._transport, None
        if transport is None or transport.pool.closed:
            own_pool = SessionPool(None, 1)
            settings = Settings(base_url="https://api.replicate.com/v1") if transport is None else transport.settings
            transport = Transport(settings, own_pool)
        try:
            yield transport, Request[bytes]("GET", self.url, bytes, {}, headers={"Accept": "*/*"})
        except errors.APIStatusError as error:
            if error.status_code in _GONE:
                reason = f"the file is gone: outputs are deleted an hour after their prediction ({error.args[0]})"
                error.args = (reason,)
            raise
        finally:
            if own_pool is not None:
                await own_pool.close()

    def _learn_from(self, response: AsyncStreamedResponse[bytes]) -> None:
        self._content_type = response.headers.get("Content-Type", "").partition(";")[0].strip() or None
        length = response.headers.get("Content-Length", "")
        # The length of an encoded body is not the length of the content.
        encoded = "Content-Encoding" in response.headers
        self._size = int(length) if length.isdecimal() and not encoded else None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks as they arrive."""
        async for chunk in self.iter_bytes():
            yield chunk

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the content to disk as it arrives. An incomplete file never has the final name.

        Args:
            path: The file to write, or a folder, in which the file gets the name from its URL. An existing file is
                replaced.

        Returns:
            The file's path.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
            OSError: the file can't be written.
        """
        target = Path(path)
        is_folder = await anyio.to_thread.run_sync(target.is_dir)

        async def write(chunks: AsyncGenerator[bytes, None]) -> Path:
            # The name may depend on the content type, which comes with the response.
            return await save_chunks(chunks, target / self._file_name() if is_folder else target)

        if self.url.startswith("data:"):
            return await write(self.iter_bytes())
        return await self._fetch(lambda response: write(response.iter_bytes()))

    async def local_path(self) -> str:
        """Return the path of a local copy, fetched once into a private folder that is deleted with the process.

        Returns:
            The copy's path.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
        """
        folder = await anyio.to_thread.run_sync(private_folder)
        # A folder for each URL, because two outputs may have the same name.
        target = folder / hashlib.sha256(self.url.encode()).hexdigest()[:32]
        await anyio.to_thread.run_sync(lambda: target.mkdir(mode=0o700, exist_ok=True))
        for cached in await anyio.to_thread.run_sync(lambda: list(target.glob("[!.]*"))):
            return str(cached)
        return str(await self.save(target))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show images, audio and video in notebooks; the text is the repr, as for any object."""
        import html

        bundle: dict[str, str] = {}
        kind, source = (self.content_type or "").partition("/")[0], html.escape(self.url, quote=True)
        if kind == "image":
            bundle["text/html"] = f'<img src="{source}">'
        elif kind in {"audio", "video"}:
            bundle["text/html"] = f'<{kind} controls src="{source}"></{kind}>'
        return bundle

    def _file_name(self) -> str:
        """Return a safe file name: without separators, leading dots, and characters special to shells."""
        last = "" if self.url.startswith("data:") else unquote(urlsplit(self.url).path).rpartition("/")[2]
        name = re.sub(r"[^\w.+-]", "_", last).encode()[-200:].decode(errors="ignore").lstrip(".+-") or "output"
        if not Path(name).suffix and self.content_type:
            name += suffix_for(self.content_type)
        return name

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        url = self.url if len(self.url) <= 100 else f"{self.url[:60]}...{self.url[-10:]}"
        facts = "".join(f", {fact}" for fact in (self.content_type, self.size and f"{self.size:,} bytes") if fact)
        return f"<{type(self).__name__} {url}{facts}>"

    def __eq__(self, value: object) -> bool:
        return isinstance(value, AsyncFileOutput) and self.url == value.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[type[AsyncFileOutput], tuple[str]]:
        return AsyncFileOutput, (self.url,)


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
    """Return an output with file outputs in place of URLs: of every text that is a URL from beginning to end.

    If a schema says which texts are files, it decides.
    """
    document, schema = document or {}, schema or {}
    if isinstance(value, str):
        is_file = is_file_url(value, transport) and schemas.is_file(schema) is not False
        return AsyncFileOutput(value, transport) if is_file else value
    if is_list(value):
        items = schemas.below(document, schema)
        return [with_files(transport, item, document, items) for item in value]
    if is_dict(value):
        return {
            key: with_files(transport, member, document, schemas.below(document, schema, key))
            for key, member in value.items()
        }
    return value


def has_files(value: Any, transport: Transport) -> bool:
    """Return whether something in an output may be a file."""
    if isinstance(value, str):
        return is_file_url(value, transport)
    items = list(value.values()) if is_dict(value) else value
    return is_list(items) and any(has_files(item, transport) for item in items)


def is_file_url(text: str, transport: Transport) -> bool:
    """Return whether a text is the URL of a file: https, or http if the API itself is on http."""
    if not text.startswith(("https://", "http://", "data:")) or not _WHOLE_URL.fullmatch(text):
        return False
    if not text.startswith("data:") and not is_valid_url(text):
        return False
    return not text.startswith("http://") or transport.settings.base_url.startswith("http://")
