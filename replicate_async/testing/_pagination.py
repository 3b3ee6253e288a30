"""Paginated lists with opaque cursors."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from replicate_async.types import PageData

from ._calls import Call, Problem, Response, json_response
from ._store import Store
from ._table import Table

T = TypeVar("T")
Key = float


class _Cursor(msgspec.Struct, array_like=True):
    """A position between two entries: after the one with the key, or before it."""

    key: list[Key]
    backwards: bool = False

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()


def _parse_cursor(text: str) -> _Cursor:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Cursor)
    # Invalid base64, invalid JSON, or JSON of another type.
    except (ValueError, msgspec.MsgspecError):
        raise Problem(400, f"The cursor {text!r} is invalid") from None


def _identity(entry: object) -> object:
    return entry


def paginate(
    store: Store,
    call: Call,
    entries: Iterable[tuple[Sequence[Key], T]],
    *,
    descending: bool = True,
    page_size: int = 100,
    encode: Callable[[T], object] = _identity,
    **filters: str,
) -> Response:
    """Return the page that the call's cursor selects.

    ``entries`` are sorted, and come with their sort keys. A cursor contains a key instead of an index, so entries that
    are added or removed between two pages neither repeat nor hide others. ``filters`` are added to the query of the
    URLs of other pages. ``page_size`` is that of the API, and ``encode`` returns an entry as the API sends it.
    """
    keyed = [(list(key), entry) for key, entry in entries]
    size = store.page_size or page_size
    first, last = 0, size
    if text := call.query.get("cursor"):
        cursor = _parse_cursor(text)
        try:
            before = sum(1 for key, _ in keyed if (key > cursor.key if descending else key < cursor.key))
        except TypeError:
            raise Problem(400, f"The cursor {text!r} belongs to another list") from None
        exists = any(key == cursor.key for key, _ in keyed)
        first = max(0, before - size) if cursor.backwards else before + exists
        last = before if cursor.backwards else first + size
    window = keyed[first:last]
    return json_response(
        PageData(
            results=[encode(entry) for _, entry in window],
            next=_url(store, call, _Cursor(window[-1][0]), filters) if window and last < len(keyed) else None,
            previous=_url(store, call, _Cursor(window[0][0], backwards=True), filters)
            if window and first > 0
            else None,
        )
    )


def entries_near_cursor(
    store: Store, call: Call, table: Table[T], keep: Callable[[T], object]
) -> Iterator[tuple[Sequence[Key], T]]:
    """Yield only the entries, newest first, that ``paginate`` needs for the page that the call's cursor selects.

    A table may be long, and clients that wait for many predictions request many pages.
    """
    cursor = _parse_cursor(call.query["cursor"]) if call.query.get("cursor") else _Cursor([math.inf])
    number = cursor.key[0] if cursor.key else math.inf
    # One entry more shows that there is another page.
    size = (store.page_size or 100) + 1
    newer = (entry for entry in table.newer(number) if keep(entry[1]))
    older = (entry for entry in table.older(number) if keep(entry[1]))
    # The first of the newer entries is the one with the cursor's key, if it still exists.
    yield from reversed(list(itertools.islice(newer, size + 1 if cursor.backwards else 2)))
    yield from itertools.islice(older, 1 if cursor.backwards else size)


def _url(store: Store, call: Call, cursor: _Cursor, filters: dict[str, str]) -> str:
    query = {**call.query, **filters, "cursor": str(cursor)}
    return f"{store.api_url}{call.path}?{urlencode(query)}"
