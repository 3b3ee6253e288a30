"""Lists by the page, with opaque cursors."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from replicate_async.types import PageData

from ._calls import Answer, Call, Problem, json_answer
from ._store import Store
from ._table import Table

T = TypeVar("T")
Key = float


class _Cursor(msgspec.Struct, array_like=True):
    """A place between two entries: after the one with the key, or before it."""

    key: list[Key]
    backwards: bool = False

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()


def _read(text: str) -> _Cursor:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Cursor)
    except (ValueError, msgspec.MsgspecError):  # broken base64, broken JSON, or JSON of another shape
        raise Problem(400, f"The cursor {text!r} is not one of this API") from None


def page(
    store: Store,
    call: Call,
    entries: Iterable[tuple[Sequence[Key], T]],
    *,
    descending: bool = True,
    **filters: str,
) -> Answer:
    """Answer with the page that the call's cursor names.

    ``entries`` come sorted, with the key that they are sorted by. A cursor names a key, not a place in the list, so
    things that come or go between two pages are neither shown twice nor hide others. ``filters`` go into the query of
    the URLs of other pages.
    """
    keyed = [(list(key), thing) for key, thing in entries]
    first, last = 0, store.page_size
    if text := call.query.get("cursor"):
        cursor = _read(text)
        try:
            before = sum(1 for key, _ in keyed if (key > cursor.key if descending else key < cursor.key))
        except TypeError:
            raise Problem(400, f"The cursor {text!r} is of another list") from None
        at = any(key == cursor.key for key, _ in keyed)
        first = max(0, before - store.page_size) if cursor.backwards else before + at
        last = before if cursor.backwards else first + store.page_size
    window = keyed[first:last]
    return json_answer(
        PageData(
            results=[thing for _, thing in window],
            next=_url(store, call, _Cursor(window[-1][0]), filters) if window and last < len(keyed) else None,
            previous=_url(store, call, _Cursor(window[0][0], backwards=True), filters)
            if window and first > 0
            else None,
        )
    )


def around(store: Store, call: Call, table: Table[T], keep: Callable[[T], object]) -> Iterator[tuple[Sequence[Key], T]]:
    """Yield those of a table's entries, newest first, that ``page`` needs for the page that the call's cursor names.

    A table may be long, and whoever waits for many predictions asks for many pages.
    """
    cursor = _read(call.query["cursor"]) if call.query.get("cursor") else _Cursor([math.inf])
    number = cursor.key[0] if cursor.key else math.inf
    size = store.page_size + 1  # one more tells that there is another page
    newer = (entry for entry in table.newer(number) if keep(entry[1]))
    older = (entry for entry in table.older(number) if keep(entry[1]))
    # The first of the newer ones is what the cursor names, if that is still there.
    yield from reversed(list(itertools.islice(newer, size + 1 if cursor.backwards else 2)))
    yield from itertools.islice(older, 1 if cursor.backwards else size)


def _url(store: Store, call: Call, cursor: _Cursor, filters: dict[str, str]) -> str:
    query = {**call.query, **filters, "cursor": str(cursor)}
    return f"{store.url}{call.path}?{urlencode(query)}"
