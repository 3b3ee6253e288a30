"""Files."""

from __future__ import annotations

from typing import Any, ClassVar

from replicate_async import _bridge, types
from replicate_async._http.response import AsyncStreamedResponse
from replicate_async._sync import StreamedResponse
from replicate_async._typing import Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import FileEncodingStrategy, Maybe, Options, native_options
from replicate_async.compat.helpers import rewind
from replicate_async.compat.pagination import Page, fetch_page
from replicate_async.compat.resource import JSONObject, Kinds, Members, Namespace, Resource, Time, Urls, wrap


class Checksums(Members):
    """Digests of a file's content."""

    sha256: str | None
    md5: str | None


class File(Resource):
    """A file uploaded to Replicate."""

    _members: ClassVar[Kinds] = {
        **dict.fromkeys(("created_at", "expires_at"), Time),
        "checksums": Checksums,
        "urls": Urls,
    }

    id: str
    name: str | None
    content_type: str
    size: int
    etag: str | None
    checksums: Checksums
    metadata: JSONObject
    created_at: Time
    expires_at: Time | None
    urls: Urls


class FileUpload(Options, total=False):
    """Options of ``files.create``, in 1.x."""

    filename: Maybe[str]
    content_type: Maybe[str]
    metadata: Maybe[dict[str, Any]]


class FileCreateCall(FileUpload, total=False):
    content: Any
    type: Maybe[str]


class Files(Namespace):
    """Operations on files."""

    _path = "files"

    CreateFileParams = FileUpload

    def _wrap(self, file: types.File) -> File:
        return wrap(File, file, self._client)

    async def async_create(self, file: Any = None, **params: Unpack[FileCreateCall]) -> File:
        """Upload a file.

        Args:
            file: Path, open file or bytes.
            **params: ``filename``, ``content_type`` and ``metadata``; in 2.x, ``content`` instead of file, and
                ``type`` instead of ``content_type``.
        """
        options = native_options(params)
        content = options.pop("content", None) if file is None else file
        if content_type := options.pop("content_type", None):
            options["type"] = content_type
        return self._wrap(await self._client.native.files.create(rewind(content), **options))

    def create(self, file: Any = None, **params: Unpack[FileCreateCall]) -> File:
        """Upload a file; see ``async_create``."""
        return _bridge.run(self.async_create(file, **params))

    async def async_get(self, file_id: str, **options: Unpack[Options]) -> File:
        """Fetch the metadata of a file."""
        return self._wrap(await self._client.native.files.get(arguments.to_id(file_id), **native_options(options)))

    def get(self, file_id: str, **options: Unpack[Options]) -> File:
        """Fetch the metadata of a file."""
        return _bridge.run(self.async_get(file_id, **options))

    async def async_list(self, **options: Unpack[Options]) -> Page[File]:
        """List files, newest first."""
        files = self._client.native.files.list(**native_options(options))
        return await fetch_page(files, self._wrap, ..., self._client.page)

    def list(self, **options: Unpack[Options]) -> Page[File]:
        """List files, newest first."""
        return _bridge.run(self.async_list(**options))

    async def async_delete(self, file_id: str, **options: Unpack[Options]) -> bool:
        """Delete a file; returns True."""
        await self._client.native.files.delete(arguments.to_id(file_id), **native_options(options))
        return True

    def delete(self, file_id: str, **options: Unpack[Options]) -> bool:
        """Delete a file; returns True."""
        return _bridge.run(self.async_delete(file_id, **options))

    async def async_download(
        self, file_id: str, *, expiry: int, owner: str, signature: str, **options: Unpack[Options]
    ) -> AsyncStreamedResponse[bytes]:
        """Download the content of a file, authorized by a signature of its owner."""
        return await self._client.native.files.download(
            arguments.to_id(file_id), owner=owner, expiry=expiry, signature=signature, **native_options(options)
        )

    def download(
        self, file_id: str, *, expiry: int, owner: str, signature: str, **options: Unpack[Options]
    ) -> StreamedResponse[bytes]:
        """Download the content of a file, authorized by a signature of its owner."""
        call = self.async_download(file_id, expiry=expiry, owner=owner, signature=signature, **options)
        return StreamedResponse(_bridge.run(call))


__all__ = ["File", "FileEncodingStrategy", "Files"]
