"""Things in the order in which they came."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

T = TypeVar("T")


class Table(dict[str, T]):
    """Things by key, each with a number that says when it came; pages go by these numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}
        self._count = itertools.count(1)
        self._order: list[tuple[int, str]] = []  # what was removed stays in it

    def add(self, key: str, thing: T) -> T:
        """Add a thing as the newest, or in the place of one with its key."""
        if key not in self:
            self.numbers[key] = number = next(self._count)
            self._order.append((number, key))
        self[key] = thing
        return thing

    def remove(self, key: str) -> None:
        """Remove a thing."""
        del self[key], self.numbers[key]

    def newest_first(self) -> list[tuple[tuple[int], T]]:
        """Return the things, each with what it is sorted by."""
        return list(self.older(math.inf))

    def older(self, number: float) -> Iterator[tuple[tuple[int], T]]:
        """Yield what came before a number, the newest first."""
        for place in range(bisect.bisect_left(self._order, (number,)) - 1, -1, -1):
            yield from self._at(place)

    def newer(self, number: float) -> Iterator[tuple[tuple[int], T]]:
        """Yield what came with a number or later, the oldest first."""
        for place in range(bisect.bisect_left(self._order, (number,)), len(self._order)):
            yield from self._at(place)

    def view(self) -> Mapping[str, T]:
        """Return the table as other threads may read it."""
        return _View(self)

    def _at(self, place: int) -> Iterator[tuple[tuple[int], T]]:
        number, key = self._order[place]
        if key in self and self.numbers.get(key) == number:
            yield (number,), self[key]


class _View(Mapping[str, T]):
    """A table as it is now; who goes through it goes through a copy, as the server may add to it meanwhile."""

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
