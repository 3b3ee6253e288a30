"""State that higher layers keep for as long as an account, a session or a pool of sessions exists."""

from __future__ import annotations

from typing import Any, TypeVar

S = TypeVar("S")


class StateOwner:
    """Keeps one instance of each class that is asked for, so that a module's state stays in its own class."""

    def __init__(self) -> None:
        self._states: dict[type, Any] = {}

    def state(self, kind: type[S]) -> S:
        """Return the instance of a class, created without arguments on first use."""
        instance: S | None = self._states.get(kind)
        return self._states.setdefault(kind, kind()) if instance is None else instance
