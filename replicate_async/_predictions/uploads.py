"""Uploads of files, each once for a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_async._files import CHUNK_SIZE, Upload
from replicate_async._http import clock
from replicate_async._http.locks import KeyedLock
from replicate_async._http.options import RequestOptions
from replicate_async._http.request import Request
from replicate_async._json import encode_json
from replicate_async.errors import APIResponseValidationError
from replicate_async.types import File

if TYPE_CHECKING:
    import aiohttp

# A file must outlive the time that its prediction waits in the queue.
_EXPIRY_MARGIN = timedelta(minutes=5)
# In bytes per second. An upload that is slower times out.
_MIN_UPLOAD_RATE = 2**17


def upload_request(
    upload: Upload,
    options: RequestOptions,
    *,
    filename: str | None = None,
    type: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Request[File]:
    """Describe the call that uploads a file; its multipart body is created for each attempt."""

    def create_form() -> aiohttp.FormData:
        import aiohttp
        from aiohttp.payload import AsyncIterablePayload

        class Chunks(AsyncIterablePayload):
            def __init__(self) -> None:
                super().__init__(upload.chunks(), content_type=upload.type)
                # A known size avoids chunked transfer encoding.
                self._size = upload.size

        # File names are sent as they are, not percent-encoded.
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("content", Chunks(), filename=upload.name, content_type=upload.type)
        if filename is not None:
            form.add_field("filename", filename)
        if type is not None:
            form.add_field("type", type)
        if metadata is not None:
            form.add_field("metadata", encode_json(metadata).decode(), content_type="application/json")
        return form

    min_timeout = upload.size / _MIN_UPLOAD_RATE if upload.size > CHUNK_SIZE else 0.0
    return Request("POST", "/files", File, options, content=create_form, min_timeout=min_timeout)


class UploadCache:
    """The uploaded files of a client that have not expired: each is uploaded once."""

    def __init__(self) -> None:
        self._files: dict[tuple[object, ...], File] = {}
        self._lock = KeyedLock()

    async def url(self, identity: tuple[object, ...], upload: Callable[[], Awaitable[File]]) -> str:
        """Return a file's URL; callers that need it at the same time share one upload."""
        async with self._lock.hold(*identity):
            soon = clock.current.now() + _EXPIRY_MARGIN
            self._forget_if(lambda file: isinstance(file.expires_at, datetime) and file.expires_at < soon)
            file = self._files.get(identity)
            if file is None:
                file = self._files[identity] = await upload()
            url: object = getattr(file.urls, "get", None)
            if isinstance(url, str) and url:
                return url
            # Without it, the model would run with another input.
            self.forget(file.id)
            raise APIResponseValidationError("the response has no URL of the file", method="POST", url="/files")

    def forget(self, file_id: str) -> None:
        """Forget a file that is about to be deleted, so that it is uploaded again when it is needed."""
        self._forget_if(lambda file: file.id == file_id)

    def _forget_if(self, condition: Callable[[File], bool]) -> None:
        # Copied, because other threads change it at the same time.
        for identity, file in list(self._files.items()):
            if condition(file):
                self._files.pop(identity, None)
