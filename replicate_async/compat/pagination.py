"""Pages of lists."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from types import EllipsisType
from typing import Any, Generic, TypeAlias, TypeVar, cast, overload

from replicate_async import _bridge
from replicate_async._http.pages import AsyncPage as NativePage
from replicate_async._http.pages import AsyncPaginator as NativePaginator
from replicate_async.types import PageData

T = TypeVar("T")
# The URL of a page; ``...`` is the first one.
Cursor: TypeAlias = str | EllipsisType | None


class BasePage(Generic[T]):
    """One page of a list: what blocking and asynchronous pages have in common."""

    def __init__(
        self, results: list[T] | None = None, next: str | None = None, previous: str | None = None, **_members: Any
    ) -> None:
        self.results: list[T] = [] if results is None else results
        """The items on this page."""
        self.next: str | None = next
        """The URL of the next page, or None."""
        self.previous: str | None = previous
        """The URL of the previous page, or None."""
        self._fetch_next: Callable[[], Awaitable[Any]] | None = None

    def has_next_page(self) -> bool:
        """Return whether another page follows."""
        return self.next is not None

    async def _next(self) -> Any:
        if self._fetch_next is None:
            raise RuntimeError("this is the last page: check has_next_page() first")
        return await self._fetch_next()

    def dict(self, **_options: Any) -> builtins.dict[str, Any]:
        """Return the page as a dict of JSON-compatible values."""
        # What the API calls an item may be anything.
        results = [item.dict() if hasattr(item, "dict") else item for item in cast("list[Any]", self.results)]
        return {"previous": self.previous, "next": self.next, "results": results}

    def model_dump(self, **options: Any) -> builtins.dict[str, Any]:
        """Return the page as a dict; see ``dict``."""
        return self.dict(**options)

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.results[index]

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of this page and of the pages that follow."""
        page = self
        while True:
            for item in page.results:
                yield item
            if not page.has_next_page():
                return
            page = await page._next()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.results)}{', more follow' if self.has_next_page() else ''}>"


class Page(BasePage[T]):
    """One page of a list, as in 1.x: iterating it ends with the page."""

    def get_next_page(self) -> Page[T]:
        """Fetch the next page."""
        page: Page[T] = _bridge.run(self._next())
        return page

    def iter_pages(self) -> Generator[Page[T], None, None]:
        """Yield this page and the pages that follow; each is fetched on demand."""
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = page.get_next_page()

    def __iter__(self) -> Iterator[T]:
        """Yield the items of this page."""
        return iter(self.results)


class SyncCursorURLPage(Page[T]):
    """One page of a list, as in 2.x: iterating it continues through the pages that follow."""

    def __iter__(self) -> Generator[T, None, None]:
        """Yield the items of this page and of the pages that follow."""
        for page in self.iter_pages():
            yield from page.results


class AsyncCursorURLPage(BasePage[T]):
    """One page of a list of the asynchronous client."""

    async def get_next_page(self) -> AsyncCursorURLPage[T]:
        """Fetch the next page."""
        page: AsyncCursorURLPage[T] = await self._next()
        return page

    async def iter_pages(self) -> AsyncGenerator[AsyncCursorURLPage[T], None]:
        """Yield this page and the pages that follow; each is fetched on demand."""
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = await page.get_next_page()


class AsyncPaginator(Generic[T]):
    """A list that has not been fetched yet: await it for its first page, or iterate it for the items of all pages."""

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, Page[T]]]) -> None:
        self._fetch: Callable[[], Coroutine[Any, Any, Any]] = fetch

    def __await__(self) -> Generator[Any, None, AsyncCursorURLPage[T]]:
        """Fetch the first page."""
        return self._fetch().__await__()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield the items of all pages; each page is fetched on demand."""
        page = await self
        async for item in page:
            yield item


SyncCursorURLPageWithCreatedFilters = SyncCursorURLPage
AsyncCursorURLPageWithCreatedFilters = AsyncCursorURLPage


async def fetch_page(
    paginator: NativePaginator[Any], convert: Callable[[Any], T], cursor: Cursor, kind: type[BasePage[Any]]
) -> Page[T]:
    """Fetch the first page of a list, or the one at a cursor."""
    if cursor is None:
        raise ValueError("cursor must not be None: the page before was the last one")
    if isinstance(cursor, str):
        parts = vars(paginator)
        before = NativePage[Any](parts["_transport"], parts["_request"], PageData(results=[], next=cursor), (1, None))
        page = await before.get_next_page()
    else:
        page = await paginator
    converted: Page[T] = _to_page(page, convert, kind)
    return converted


def _to_page(native: NativePage[Any], convert: Callable[[Any], T], kind: type[BasePage[Any]]) -> Any:
    page = kind([convert(item) for item in native.results], native.next, native.previous)

    async def fetch_next() -> Any:
        return _to_page(await native.get_next_page(), convert, kind)

    page._fetch_next = fetch_next if native.has_next_page() else None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return page


def paginate(list_method: Callable[[Any], Page[T]]) -> Generator[Page[T], None, None]:
    """Yield the pages of a list.

    Args:
        list_method: Function that returns a page, such as ``replicate.models.list``.
    """
    cursor: Cursor = ...
    while cursor is not None:
        page = list_method(cursor)
        yield page
        cursor = page.next


async def async_paginate(list_method: Callable[[Any], Awaitable[Page[T]]]) -> AsyncGenerator[Page[T], None]:
    """Yield the pages of a list.

    Args:
        list_method: Asynchronous function that returns a page, such as ``replicate.models.async_list``.
    """
    cursor: Cursor = ...
    while cursor is not None:
        page = await list_method(cursor)
        yield page
        cursor = page.next


__all__ = [
    "AsyncCursorURLPage",
    "AsyncCursorURLPageWithCreatedFilters",
    "AsyncPaginator",
    "Page",
    "SyncCursorURLPage",
    "SyncCursorURLPageWithCreatedFilters",
    "async_paginate",
    "paginate",
]
