"""File outputs, and how inputs and outputs are converted."""

from __future__ import annotations

import base64
import io
import mimetypes
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeVar

from replicate_async import _bridge
from replicate_async import _sync as native
from replicate_async._http.request import Request
from replicate_async._json import is_dict, is_list
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.outputs import AsyncFileOutput, with_files
from replicate_async._typing import Self
from replicate_async.compat._arguments import FileEncodingStrategy
from replicate_async.compat.settings import BaseClient
from replicate_async.types import Prediction

T = TypeVar("T")


class FileOutput(native.FileOutput):
    """A file that a model made, for blocking and for asynchronous code.

    Args:
        url: URL of the file, or a native file output.
        client: Client that fetches it. If omitted, it is fetched without a token.
    """

    def __init__(self, url: str | AsyncFileOutput, client: BaseClient | None = None) -> None:
        if isinstance(url, str):
            url = AsyncFileOutput(url, None if client is None else client.transport)
        super().__init__(url)

    @property
    def __url__(self) -> str:
        """The URL, for ``get_path_url``."""
        return self.url

    async def aread(self) -> bytes:
        """Return the content."""
        return await self._async.read()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks as they arrive."""
        async for chunk in self._async:
            yield chunk

    def __reduce__(self) -> tuple[type[FileOutput], tuple[str]]:
        return FileOutput, (self.url,)


class OutputList(list[Any]):
    """An output that is a list. Like the iterators of the official SDK, it also has its next item."""

    _position = 0

    def __next__(self) -> Any:
        """Return the next item."""
        if self._position >= len(self):
            raise StopIteration
        self._position += 1
        return self[self._position - 1]

    def __aiter__(self) -> Self:
        """Return this list, for ``async for``."""
        return self

    async def __anext__(self) -> Any:
        """Return the next item."""
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


def convert_output(value: Any) -> Any:
    """Return a native output with the file outputs and lists of this package in it."""
    if type(value) is AsyncFileOutput:
        return FileOutput(value)
    if is_list(value):
        return OutputList(convert_output(item) for item in value)
    if is_dict(value):
        return {name: convert_output(item) for name, item in value.items()}
    return value


def rewind(value: T) -> T:
    """Return an input after moving its open files to their beginnings, so that a call can be repeated."""
    if isinstance(value, io.IOBase):
        if not value.closed and value.seekable():
            value.seek(0)
    elif is_dict(value):
        rewind(list(value.values()))
    elif is_list(value):
        for item in value:
            rewind(item)
    return value


def transform_output(value: Any, client: BaseClient) -> Any:
    """Return an output with file outputs in place of URLs."""
    return convert_output(with_files(client.transport, value))


async def async_encode_json(
    obj: Any, client: BaseClient, file_encoding_strategy: FileEncodingStrategy | None = None
) -> Any:
    """Return a value that JSON can express; files in it are embedded or uploaded."""
    request = Request[Any]("POST", "/predictions", Prediction, {}, json={"input": rewind(obj)})
    strategy: dict[str, Any] = {} if file_encoding_strategy is None else {"strategy": file_encoding_strategy}
    return (await encode_files(client.transport, request, **strategy)).json["input"]


def encode_json(obj: Any, client: BaseClient, file_encoding_strategy: FileEncodingStrategy | None = None) -> Any:
    """Return a value that JSON can express; files in it are embedded or uploaded."""
    return _bridge.run(async_encode_json(obj, client, file_encoding_strategy))


def base64_encode_file(file: io.IOBase) -> str:
    """Return an open file as a data URI."""
    content: Any = rewind(file).read()
    kind = mimetypes.guess_type(str(getattr(file, "name", "")))[0] or "application/octet-stream"
    encoded = base64.b64encode(content.encode() if isinstance(content, str) else content)
    return f"data:{kind};base64,{encoded.decode()}"


def file_from_path(path: str) -> tuple[str, bytes]:
    """Return a file's name and content, for ``files.create(content=...)``."""
    return Path(path).name, Path(path).read_bytes()


def get_path_url(path: Any) -> str | None:
    """Return the URL of a file output; None for other values."""
    url = getattr(path, "__url__", None) or (path.url if isinstance(path, native.FileOutput) else None)
    return url if isinstance(url, str) else None


__all__ = [
    "FileOutput",
    "async_encode_json",
    "base64_encode_file",
    "encode_json",
    "get_path_url",
    "transform_output",
]
