"""Lists of the API, which come in pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Generic, TypeVar

from replicate_async._hints import HintedPage
from replicate_async._http.options import QueryValue, RequestOptions
from replicate_async._http.request import Request, next_page
from replicate_async._http.transport import Transport
from replicate_async.errors import APIResponseValidationError
from replicate_async.types import PageData

T = TypeVar("T")

# A page's number, and the URL of an earlier page by which circles are noticed.
Position = tuple[int, str | None]


class AsyncPage(HintedPage, Generic[T]):
    """One page of a list; iterating it continues through the pages that follow."""

    def __init__(
        self, transport: Transport, request: Request[PageData[T]], data: PageData[T], position: Position
    ) -> None:
        self._transport = transport
        self._request = request
        self.results: list[T] = data.results
        """The items on this page."""
        self.next: str | None = data.next
        """The URL of the next page, or None."""
        self.previous: str | None = data.previous
        """The URL of the previous page, or None."""
        self._position = position

    def has_next_page(self) -> bool:
        """Return whether another page follows."""
        return self.next is not None

    async def get_next_page(self) -> AsyncPage[T]:
        """Fetch the next page.

        Returns:
            The page.

        Raises:
            RuntimeError: this is the last page.
            APIError: the call failed, or the list leads in circles.
        """
        if self.next is None:
            raise RuntimeError("this is the last page: check has_next_page() first")
        number, landmark = self._position
        if self.next == landmark:
            raise APIResponseValidationError(
                "the next page of the list is one that was read before: the list leads in circles",
                method="GET",
                url=self._request.path,
            )
        # Brent's algorithm: every circle comes back to a page whose number is a power of two.
        position = number + 1, self.next if number & (number - 1) == 0 else landmark
        return await AsyncPaginator(self._transport, next_page(self._request, self.next), position)

    async def iter_pages(self) -> AsyncGenerator[AsyncPage[T], None]:
        """Yield this page and the pages that follow; each is fetched on demand.

        Raises:
            APIError: a call failed, or the list leads in circles.
        """
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = await page.get_next_page()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of this page and of the pages that follow.

        Raises:
            APIError: a call failed, or the list leads in circles.
        """
        page = self
        while True:
            for item in page.results:
                yield item
            if not page.has_next_page():
                return
            page = await page.get_next_page()

    def __repr__(self) -> str:
        more = ", more follow" if self.has_next_page() else ""
        return f"<{type(self).__name__} of {len(self.results)}{more}>"


class AsyncPaginator(HintedPage, Generic[T]):
    """A list that has not been fetched yet: await it for its first page, or iterate it for the items of all pages."""

    def __init__(self, transport: Transport, request: Request[PageData[T]], position: Position = (1, None)) -> None:
        self._transport = transport
        self._request = request
        self._position = position

    def _to_page(self, data: PageData[T]) -> AsyncPage[T]:
        return AsyncPage(self._transport.decoding, self._request, data, self._position)

    def __await__(self) -> Generator[Any, None, AsyncPage[T]]:
        """Fetch the first page.

        Raises:
            TypeError: an option is unknown or has the wrong type.
            ValueError: an option is invalid.
            APIError: the call failed.
        """
        return self._transport.call(self._request.map(self._to_page)).__await__()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of all pages; each page is fetched on demand.

        Raises:
            TypeError: an option is unknown or has the wrong type.
            ValueError: an option is invalid.
            APIError: a call failed, or the list leads in circles.
        """
        page = await self
        while True:
            for item in page.results:
                yield item
            if not page.has_next_page():
                return
            page = await page.get_next_page()


def paginate(
    transport: Transport,
    path: str,
    page_type: type[PageData[T]],
    options: RequestOptions,
    query: Mapping[str, QueryValue] | None = None,
) -> AsyncPaginator[T]:
    """Return the list at a path."""
    return AsyncPaginator(transport, Request("GET", path, page_type, options, query=query))
