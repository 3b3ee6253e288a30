"""Lists of the API, which come in pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Generic, TypeVar

from replicate_async._http.options import QueryValue, RequestOptions
from replicate_async._http.request import Request, next_page
from replicate_async._http.transport import Transport
from replicate_async.types import PageData

T = TypeVar("T")


class AsyncPage(Generic[T]):
    """One page of a list; iterating it continues through the pages that follow."""

    def __init__(self, transport: Transport, request: Request[PageData[T]], data: PageData[T]) -> None:
        self._transport = transport
        self._request = request
        self.results: list[T] = data.results
        """The items on this page."""
        self.next: str | None = data.next
        """The URL of the next page, or None."""
        self.previous: str | None = data.previous
        """The URL of the previous page, or None."""

    def has_next_page(self) -> bool:
        """Return whether another page follows."""
        return self.next is not None

    async def get_next_page(self) -> AsyncPage[T]:
        """Fetch the next page.

        Raises:
            RuntimeError: this is the last page.
            APIError: the call failed.
        """
        if self.next is None:
            raise RuntimeError("this is the last page: check has_next_page() first")
        return await AsyncPaginator(self._transport, next_page(self._request, self.next))

    async def iter_pages(self) -> AsyncGenerator[AsyncPage[T], None]:
        """Yield this page and the pages that follow; each is fetched on demand."""
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = await page.get_next_page()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of this page and of the pages that follow."""
        async for page in self.iter_pages():
            for item in page.results:
                yield item

    def __repr__(self) -> str:
        more = ", more follow" if self.has_next_page() else ""
        return f"<{type(self).__name__} of {len(self.results)}{more}>"


class AsyncPaginator(Generic[T]):
    """A list that has not been fetched yet: await it for its first page, or iterate it for the items of all pages."""

    def __init__(self, transport: Transport, request: Request[PageData[T]]) -> None:
        self._transport = transport
        self._request = request

    def _to_page(self, data: PageData[T]) -> AsyncPage[T]:
        return AsyncPage(self._transport.decoding, self._request, data)

    def __await__(self) -> Generator[Any, None, AsyncPage[T]]:
        """Fetch the first page."""
        return self._transport.call(self._request.map(self._to_page)).__await__()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of all pages; each page is fetched on demand."""
        async for item in await self:
            yield item


def paginate(
    transport: Transport,
    path: str,
    page_type: type[PageData[T]],
    options: RequestOptions,
    query: Mapping[str, QueryValue] | None = None,
) -> AsyncPaginator[T]:
    """Return the list at a path."""
    return AsyncPaginator(transport, Request("GET", path, page_type, options, query=query))
