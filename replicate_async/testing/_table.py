"""Things in the order in which they came."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator
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

    def _at(self, place: int) -> Iterator[tuple[tuple[int], T]]:
        number, key = self._order[place]
        if key in self and self.numbers.get(key) == number:
            yield (number,), self[key]
