"""Outputs of models: the files in them can be read, saved and shown."""

from __future__ import annotations

import base64
import hashlib
import os
import posixpath
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from replicate_async import _schema as schemas
from replicate_async import errors
from replicate_async._files import (
    CHUNK_SIZE,
    ReadChunk,
    mime_type,
    private_folder,
    reader_of,
    save_file,
    suffix_for,
)
from replicate_async._hints import HintedObject
from replicate_async._http import clock
from replicate_async._http.body import Body
from replicate_async._http.options import Settings
from replicate_async._http.request import Request, is_valid_url, origin
from replicate_async._http.sessions import SessionPool
from replicate_async._http.transport import Transport
from replicate_async._json import is_dict, is_list
from replicate_async._predictions import display
from replicate_async._threads import run_in_thread
from replicate_async._typing import PydanticType

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

# No two repetitions can match the same character, so that a long text takes linear time.
_WHOLE_URL = re.compile(r"https?://[^\s/]\S*|data:[\w.+-]+/[\w.+-][^\s,]*,\S*")
_GONE = frozenset({403, 404, 410})
# https://replicate.com/docs/reference/http#files.download
_FILE_PATH = re.compile(r"/files/[\w-]+(?:/download)?(?:\?[^#\s]*)?", re.ASCII)


class BaseFileOutput(PydanticType, HintedObject):
    """What both kinds of file outputs are to pydantic and FastAPI: their URL."""

    def __init__(self, _wrapped: Any) -> None: ...

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        # Only pydantic calls this, so pydantic_core is installed.
        from pydantic_core import core_schema

        def convert(value: object) -> object:
            if isinstance(value, cls):
                return value
            if not isinstance(value, str):
                raise ValueError("not a file output or its URL")  # noqa: TRY004 - pydantic expects a ValueError
            file = AsyncFileOutput(value)
            return file if cls is AsyncFileOutput else cls(file)

        return core_schema.no_info_plain_validator_function(
            convert,
            json_schema_input_schema=core_schema.str_schema(),
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: object) -> dict[str, Any]:
        return {"type": "string", "format": "uri"}


def _register_with_fastapi() -> None:
    """Let FastAPI send file outputs as their URLs, also in responses whose type is not declared."""
    if (encoders := sys.modules.get("fastapi.encoders")) is not None:
        for kind in BaseFileOutput.__subclasses__():
            encoders.ENCODERS_BY_TYPE.setdefault(kind, str)


class AsyncFileOutput(BaseFileOutput):
    """A file that a model made. Reading fetches it, which is possible for an hour after the prediction.

    As an input of another model, it is passed by its URL. It can be pickled (without the token), and read after its
    client is closed.
    """

    def __init__(self, url: str, transport: Transport | None = None) -> None:
        self.url: str = url
        """The file's address: on the web, or a data URI with the content itself."""
        self._transport = transport
        self._parts: ReadChunk | None = None
        _register_with_fastapi()
        self._content_type: str | None = None
        self._size: int | None = None

    @property
    def content_type(self) -> str | None:
        """The MIME type: as the URL suggests, or as the server said once the file was read."""
        if self.url.startswith("data:"):
            return self.url[5:].partition(",")[0].partition(";")[0] or "text/plain"
        return self._content_type or mime_type(_path_of(self.url))

    @property
    def size(self) -> int | None:
        """The size in bytes, if it is known."""
        if not self.url.startswith("data:"):
            return self._size
        try:
            return len(decode_data_uri(self.url))
        except errors.APIResponseValidationError:
            return None

    async def read(self, size: int | None = -1) -> bytes:
        """Return the content, or the next part of it.

        Args:
            size: The maximum size of a part in bytes, for libraries that read files in parts. After the last part
                comes an empty one, and then the content starts over. If negative or None, all of it is returned.

        Returns:
            The content.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
        """
        if size is not None and size >= 0:
            self._parts = self._parts or reader_of(await self.read())
            part = await self._parts(size)
            self._parts = self._parts if part or not size else None
            return part
        chunks: list[bytes] = []
        async with self._open() as read:
            while chunk := await read(CHUNK_SIZE, chunks.clear):
                chunks.append(chunk)
        return b"".join(chunks)

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks as they arrive.

        Args:
            chunk_size: The maximum size of a chunk, in bytes.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
        """
        async with self._open() as read:
            while chunk := await read(chunk_size):
                yield chunk

    def _open(self) -> _Content:
        return _Content(self)

    def _learn_from(self, headers: Mapping[str, str]) -> None:
        self._content_type = headers.get("Content-Type", "").partition(";")[0].strip() or None
        length = headers.get("Content-Length", "")
        # The length of an encoded body is not the length of the content.
        is_size = re.fullmatch(r"[0-9]{1,18}", length) and "Content-Encoding" not in headers
        self._size = int(length) if is_size else None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks as they arrive, as ``iter_bytes`` does."""
        async with self._open() as read:
            while chunk := await read(65536):
                yield chunk

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the content to disk as it arrives. An incomplete file never has the final name.

        Args:
            path: The file to write, or a folder. In a folder, the file gets the name from its URL, with a number if
                there is such a file. A path to an existing file replaces it; a link, a device or a pipe is written to.

        Returns:
            The file's path.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
            OSError: the file can't be written.
        """
        if not isinstance(path, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"path must be a str or a Path, of a file or a folder, not {type(path).__name__}")
        target = Path(path)
        is_folder = await run_in_thread(target.is_dir)
        async with self._open() as read:
            # The name may depend on the content type, which comes with the response.
            return await save_file(read, target / self._file_name() if is_folder else target, numbered=is_folder)

    async def local_path(self) -> str:
        """Return the path of a local copy, fetched once into a private folder that is deleted with the process.

        Returns:
            The copy's path.

        Raises:
            NotFoundError: the file is gone; files are deleted an hour after their prediction.
            APIError: the file couldn't be fetched.
            OSError: the copy can't be written.
        """
        folder = await run_in_thread(private_folder)
        # A folder for each URL, because two outputs may have the same name.
        target = folder / hashlib.sha256(self.url.encode(errors="surrogatepass")).hexdigest()[:32]
        await run_in_thread(lambda: target.mkdir(mode=0o700, exist_ok=True))
        for cached in await run_in_thread(lambda: list(target.glob("[!.]*"))):
            return str(cached)
        async with self._open() as read:
            return str(await save_file(read, target / self._file_name()))

    def _repr_html_(self) -> str | None:
        """Show pictures, audio and video in notebooks: with their content, unless that is large or gone."""
        content = None if self.url.startswith("data:") else display.fetch(self._read_media)
        source = self.url if content is None else display.data_uri(content, self.content_type)
        return None if len(source) > 2 * display.MAX_EMBEDDED else display.media_html(source, self.content_type)

    async def _read_media(self) -> bytes | None:
        """Return the content if it is small, and something that a browser shows."""
        chunks: list[bytes] = []
        with clock.time_limit(display.MAX_SECONDS):
            async with self._open() as read:
                while display.is_media(self.content_type) and sum(map(len, chunks)) <= display.MAX_EMBEDDED:
                    if not (chunk := await read(CHUNK_SIZE, chunks.clear)):
                        return b"".join(chunks)
                    chunks.append(chunk)
        return None

    def _file_name(self) -> str:
        """Return a safe file name: without separators, leading dots, and characters special to shells."""
        last = "" if self.url.startswith("data:") else unquote(_path_of(self.url)).rpartition("/")[2]
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


class _Content:
    """The content of a file, opened: a context manager that gives the function that reads it."""

    # Not a generator: the event loop would close it at its end while the reader's own generator still needs it.

    def __init__(self, file: AsyncFileOutput) -> None:
        self._file = file
        self._body: Body | None = None
        self._own_pool: SessionPool | None = None

    async def __aenter__(self) -> ReadChunk:
        file = self._file
        if file.url.startswith("data:"):
            return reader_of(decode_data_uri(file.url))
        transport = file._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if transport is None or transport.pool.closed:
            self._own_pool = SessionPool(None, 1)
            settings = Settings(base_url="https://api.replicate.com/v1") if transport is None else transport.settings
            transport = Transport(settings, self._own_pool)
        request = Request[bytes](
            "GET",
            file.url,
            bytes,
            {},
            headers={"Accept": "*/*"},
            # A model may return any URL, such as that of a secret.
            anonymous=not _is_api_file(file.url, transport.settings.base_url),
            resumable=True,
        )
        try:
            self._body, _, _ = await transport.open_body(request)
        except BaseException as error:
            await self.__aexit__(type(error), error)
            if isinstance(error, ValueError):
                # The URL is the model's.
                raise errors.APIConnectionError(f"no connection: {error}", method="GET", sent=False) from error
            raise
        file._learn_from(self._body.headers)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return self._body.read

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object = None) -> None:
        if self._body is not None:
            self._body.close()
        if self._own_pool is not None:
            await self._own_pool.close()
        if isinstance(error, errors.APIStatusError) and error.status_code in _GONE:
            reason = f"the file is gone: outputs are deleted an hour after their prediction ({error.args[0]})"
            error.args = (reason,)


class FileList(list[Any]):
    """A list with files in it, which a notebook shows."""

    def _repr_html_(self) -> str | None:
        """Show the pictures, audio and video in the list."""
        return display.gallery_html(self)


def decode_data_uri(url: str) -> bytes:
    """Return the content of a data URI.

    Raises:
        APIResponseValidationError: it is malformed.
    """
    head, _, payload = url.partition(",")
    try:
        if not head.endswith(";base64"):
            return unquote_to_bytes(payload)
        return base64.b64decode(unquote(payload), validate=True)
    except ValueError as error:
        raise errors.APIResponseValidationError(f"the output is a malformed data URI: {error}") from error


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


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
    try:
        if is_list(value):
            items = schemas.below(document, schema)
            converted = [with_files(transport, item, document, items) for item in value]
            has_file = any(isinstance(item, AsyncFileOutput) for item in converted)
            return FileList(converted) if has_file else converted
        if is_dict(value):
            return {
                key: with_files(transport, member, document, schemas.below(document, schema, key))
                for key, member in value.items()
            }
    except RecursionError:
        # What is nested too deeply stays as it is.
        pass
    return value


def has_files(value: Any, transport: Transport) -> bool:
    """Return whether something in an output may be a file."""
    if isinstance(value, str):
        return is_file_url(value, transport)
    items = list(value.values()) if is_dict(value) else value
    try:
        return is_list(items) and any(has_files(item, transport) for item in items)
    except RecursionError:
        return False


def is_file_url(text: str, transport: Transport) -> bool:
    """Return whether a text is the URL of a file: https, or http if the API itself is on http.

    URLs of the API are none, but for its files.
    """
    if not text.startswith(("https://", "http://", "data:")) or not _WHOLE_URL.fullmatch(text):
        return False
    if not text.startswith("data:") and not is_valid_url(text):
        return False
    base_url = transport.settings.base_url
    if text.startswith("data:") or _is_api_file(text, base_url):
        return True
    host, path = origin(text), urlsplit(text).path
    # Servers read a path as normalized.
    path = posixpath.normpath(f"/{unquote(path).lstrip('/')}/")
    is_api = host[1:] == origin(base_url)[1:] and f"{path}/".startswith(f"{urlsplit(base_url).path}/")
    return not is_api and (host[0] == "https" or base_url.startswith("http://"))


def _is_api_file(url: str, base_url: str) -> bool:
    """Return whether a URL is that of a file which the API keeps. Only there may the token be sent."""
    return url.startswith(f"{base_url}/files/") and _FILE_PATH.fullmatch(url, len(base_url)) is not None
