"""Collections: lists of models for a task, curated by Replicate."""

from __future__ import annotations

from replicate_async._http.options import RequestOptions
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._typing import Unpack
from replicate_async._views import AsyncCollectionsRaw, AsyncCollectionsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Collection, PageData


class AsyncCollections(AsyncResource):
    """List and fetch collections."""

    with_raw_response: View[AsyncCollectionsRaw] = View(AsyncCollectionsRaw)
    with_streaming_response: View[AsyncCollectionsStreaming] = View(AsyncCollectionsStreaming)

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[Collection]:
        """List the collections, without their models.

        Args:
            **options: Options of the request.

        Returns:
            The collections: iterate over all of them, or read the first page's ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#collections.list
        """
        return paginate(self._transport, "/collections", PageData[Collection], options)

    async def get(self, collection_slug: str | Collection, **options: Unpack[RequestOptions]) -> Collection:
        """Fetch a collection with its models.

        Args:
            collection_slug: Collection, or its name in URLs, for example ``"super-resolution"``.
            **options: Options of the request.

        Returns:
            The collection.

        Raises:
            TypeError: ``collection_slug`` is neither a str nor a ``Collection``.
            ValueError: ``collection_slug`` is empty, or can't be part of a URL path.
            NotFoundError: the collection does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#collections.get
        """
        path = format_path("/collections/{collection_slug}", collection_slug=collection_slug)
        return await self._transport.call(Request("GET", path, Collection, options))
