"""Files that Replicate stores temporarily, as inputs for models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicate_async._files import FileInput, open_upload
from replicate_async._http.options import RequestOptions, check_mapping, check_options, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._http.response import AsyncStreamedResponse
from replicate_async._predictions.uploads import UploadCache, upload_request
from replicate_async._references import to_reference
from replicate_async._typing import Unpack
from replicate_async._views import AsyncFilesRaw, AsyncFilesStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Account, File, PageData


class AsyncFiles(AsyncResource):
    """Upload, fetch and delete files."""

    with_raw_response: View[AsyncFilesRaw] = View(AsyncFilesRaw)
    with_streaming_response: View[AsyncFilesStreaming] = View(AsyncFilesStreaming)

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[File]:
        """List the account's files.

        Args:
            **options: Options of the request.

        Returns:
            The files: iterate over all of them, or read the first page's ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.list
        """
        return paginate(self._transport, "/files", PageData[File], options)

    async def create(
        self,
        content: FileInput,
        *,
        filename: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        type: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> File:
        """Upload a file of at most 100 MB.

        Args:
            content: Bytes, a path, an open binary file (synchronous or asynchronous, read from its current position),
                or a tuple ``(name, content)`` or ``(name, content, type)``.
            filename: File name, at most 255 bytes in UTF-8. If omitted, the name of the path or of the open file.
            metadata: JSON object to store with the file.
            type: Content type, as any text. If omitted, it is guessed from the file name.
            **options: Options of the request. Large files extend its timeout.

        Returns:
            The file. Models accept its ``urls.get``; it is deleted at ``expires_at``.

        Raises:
            TypeError: the content is not a file, is open in text mode, or ``metadata`` is not a JSON object.
            ValueError: the file is closed, too large or read to its end, or its name or type is invalid.
            OSError: the file can't be read, for example because it does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.create
        """
        check_options(options)
        if metadata is not None:
            check_mapping("metadata", metadata)
        upload = await open_upload(content, **drop_unset(filename=filename, type=type))
        form = drop_unset(filename=filename, type=type, metadata=metadata)
        return await self._transport.call(upload_request(upload, options, **form))

    async def get(self, file_id: str | File, **options: Unpack[RequestOptions]) -> File:
        """Fetch a file's metadata.

        Args:
            file_id: File, or its id.
            **options: Options of the request.

        Returns:
            The file.

        Raises:
            TypeError: ``file_id`` is neither a str nor a ``File``.
            ValueError: ``file_id`` is empty, or can't be part of a URL path.
            NotFoundError: the file does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.get
        """
        return await self._transport.call(
            Request("GET", format_path("/files/{file_id}", file_id=file_id), File, options)
        )

    async def delete(self, file_id: str | File, **options: Unpack[RequestOptions]) -> None:
        """Delete a file.

        Args:
            file_id: File, or its id.
            **options: Options of the request.

        Raises:
            TypeError: ``file_id`` is neither a str nor a ``File``.
            ValueError: ``file_id`` is empty, or can't be part of a URL path.
            NotFoundError: the file does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.delete
        """
        path = format_path("/files/{file_id}", file_id=file_id)
        self._transport.pool.state(UploadCache).forget(to_reference("file_id", file_id))
        return await self._transport.call(Request[None]("DELETE", path, None, options))

    async def download(
        self,
        file_id: str | File,
        *,
        owner: str | Account,
        expiry: int,
        signature: str,
        **options: Unpack[RequestOptions],
    ) -> AsyncStreamedResponse[bytes]:
        """Download the content of a file, authorized by a signature of its owner.

        Args:
            file_id: File, or its id.
            owner: User or organization that owns the file.
            expiry: Time when the signature expires, in Unix seconds.
            signature: Signature of owner, id and expiry.
            **options: Options of the request. The timeout applies to the time between bytes.

        Returns:
            The response, with its body not yet read. Read it at once with ``read()`` or in chunks with
            ``iter_bytes()``, or write it to a file with ``save()``. It continues on another connection if one breaks.

        Raises:
            TypeError: ``file_id`` is neither a str nor a ``File``.
            ValueError: ``file_id`` is empty, or can't be part of a URL path.
            NotFoundError: the file does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#files.download
        """
        query = drop_unset(owner=owner, expiry=expiry, signature=signature)
        path = format_path("/files/{file_id}/download", file_id=file_id)
        request = Request[bytes]("GET", path, bytes, options, query=query, headers={"Accept": "*/*"}, resumable=True)
        return await self._transport.open(request)
