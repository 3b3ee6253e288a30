"""Files kept by Replicate for a while, as inputs of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, check_mapping, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, path
from replicate_async._http.response import AsyncStreamedResponse
from replicate_async._http.views import View
from replicate_async._predictions.uploads import open_upload, upload_request
from replicate_async._views import AsyncFilesRaw, AsyncFilesStreaming
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import File, PageData

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from replicate_async._predictions.uploads import FileInput


class AsyncFiles(AsyncResource):
    """Upload and look after files."""

    with_raw_response: View[AsyncFilesRaw] = View(AsyncFilesRaw)
    with_streaming_response: View[AsyncFilesStreaming] = View(AsyncFilesStreaming)

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[File]:
        """List one's files.

        Args:
            **options: Options of the request.

        Returns:
            The list: iterate it for all its files; its first page has ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.list
        """
        return paginate(self._transport, "/files", PageData[File], options)

    async def create(
        self,
        content: FileInput,
        *,
        filename: str | UnsetType = UNSET,
        metadata: Mapping[str, Any] | UnsetType = UNSET,
        type: str | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> File:
        """Upload a file, of at most 100 MB.

        Args:
            content: Bytes, a path, an open binary file (asynchronous ones too; a file is read from where it is), or
                a tuple ``(name, content)`` or ``(name, content, type)``.
            filename: Its name, at most 255 bytes in UTF-8; otherwise the path's or the file's own.
            metadata: A JSON object to keep beside it.
            type: Its MIME type; otherwise guessed from the name.
            **options: Options of the request. The time limit is made longer for large files.

        Returns:
            The file; ``urls.get`` is what models take, ``expires_at`` when it is deleted.

        Raises:
            FileNotFoundError: there is nothing at the path. Other errors of the operating system likewise.
            TypeError: the content is not a file, or one open as text.
            ValueError: the file is empty, closed or too large, or its name too long.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.create
        """
        if metadata is not UNSET:
            check_mapping("metadata", metadata)
        upload = await open_upload(content, filename=filename, type=type)
        return await self._transport.call(
            upload_request(upload, options, filename=filename, type=type, metadata=metadata)
        )

    async def get(self, file_id: str, **options: Unpack[RequestOptions]) -> File:
        """Fetch what is known of a file.

        Args:
            file_id: The file's id.
            **options: Options of the request.

        Returns:
            The file.

        Raises:
            NotFoundError: there is no such file.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.get
        """
        return await self._transport.call(Request("GET", path("/files/{file_id}", file_id=file_id), File, options))

    async def delete(self, file_id: str, **options: Unpack[RequestOptions]) -> None:
        """Delete a file.

        Args:
            file_id: The file's id.
            **options: Options of the request.

        Raises:
            NotFoundError: there is no such file.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.delete
        """
        at = path("/files/{file_id}", file_id=file_id)
        self._transport.pool.uploads.forget(file_id)
        return await self._transport.call(Request[None]("DELETE", at, None, options))

    async def download(
        self, file_id: str, *, owner: str, expiry: int, signature: str, **options: Unpack[RequestOptions]
    ) -> AsyncStreamedResponse[bytes]:
        """Fetch the content of a file, with the signature of its owner.

        Args:
            file_id: The file's id.
            owner: The user or organization that owns it.
            expiry: Until when the signature holds, in Unix seconds.
            signature: The signature of owner, id and expiry.
            **options: Options of the request.

        Returns:
            The answer, still to be read: all of it with ``read()``, in pieces with ``iter_bytes()``, or straight to
            disk with ``save()``.

        Raises:
            NotFoundError: there is no such file.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.download
        """
        query = drop_unset(owner=owner, expiry=expiry, signature=signature)
        at = path("/files/{file_id}/download", file_id=file_id)
        request = Request[bytes]("GET", at, bytes, options, query=query, headers={"Accept": "*/*"})
        return AsyncStreamedResponse(await self._transport.open(request))
