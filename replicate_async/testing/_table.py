"""A table: a dict that numbers its entries in the order in which they were added."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

T = TypeVar("T")


class Table(dict[str, T]):
    """Entries by key, each with a number; lists are paginated by these numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}
        self._count = itertools.count(1)
        # Keeps the keys of removed entries.
        self._order: list[tuple[int, str]] = []

    def add(self, key: str, value: T) -> T:
        """Add an entry as the newest, or replace the one with the same key in its position."""
        if key not in self:
            self.numbers[key] = number = next(self._count)
            self._order.append((number, key))
        self[key] = value
        return value

    def remove(self, key: str) -> None:
        """Remove an entry."""
        del self[key], self.numbers[key]

    def newest_first(self) -> list[tuple[tuple[int], T]]:
        """Return the values, each with its sort key."""
        return list(self.older(math.inf))

    def older(self, number: float) -> Iterator[tuple[tuple[int], T]]:
        """Yield the entries before a number, newest first."""
        for position in range(bisect.bisect_left(self._order, (number,)) - 1, -1, -1):
            yield from self._at(position)

    def newer(self, number: float) -> Iterator[tuple[tuple[int], T]]:
        """Yield the entries from a number on, oldest first."""
        for position in range(bisect.bisect_left(self._order, (number,)), len(self._order)):
            yield from self._at(position)

    def view(self) -> Mapping[str, T]:
        """Return a read-only view for other threads."""
        return _View(self)

    def _at(self, position: int) -> Iterator[tuple[tuple[int], T]]:
        number, key = self._order[position]
        if key in self and self.numbers.get(key) == number:
            yield (number,), self[key]


class _View(Mapping[str, T]):
    """A view of a table. Iterating uses a copy, because the server may add entries meanwhile."""

    def __init__(self, table: Table[T]) -> None:
        self._table = table

    def __getitem__(self, key: str) -> T:
        return self._table[key]

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.copy())

    def values(self) -> ValuesView[T]:
        return self._table.copy().values()

    def items(self) -> ItemsView[str, T]:
        return self._table.copy().items()

    def __repr__(self) -> str:
        return repr(self._table.copy())
