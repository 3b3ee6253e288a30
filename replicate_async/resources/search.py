"""Search: models, collections and pages of the documentation."""

from __future__ import annotations

from replicate_async._http.options import RequestOptions, drop_unset
from replicate_async._http.request import Request
from replicate_async._typing import Unpack
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import SearchResults

_MAX_LIMIT = 50


class AsyncSearch(AsyncResource):
    """The search of a client."""

    async def search(self, query: str, *, limit: int | None = None, **options: Unpack[RequestOptions]) -> SearchResults:
        """Search public models, collections and pages of the documentation. This API is in beta.

        Args:
            query: Text to search for.
            limit: Maximum number of models, from 1 to 50; 20 if omitted.
            **options: Options of the request.

        Returns:
            The results.

        Raises:
            TypeError: ``query`` is not a str, or ``limit`` not an int.
            ValueError: ``query`` is empty, or ``limit`` is not from 1 to 50.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#search
        """
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        if not query:
            raise ValueError("query must not be empty")
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"limit must be an int, not {type(limit).__name__}")
            if not 1 <= limit <= _MAX_LIMIT:
                raise ValueError(f"limit={limit} must be from 1 to {_MAX_LIMIT}")
        params = drop_unset(query=query, limit=limit)
        return await self._transport.call(Request("GET", "/search", SearchResults, options, query=params))
