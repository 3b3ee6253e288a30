"""What all clients of a process share that have the same token and base URL."""

from __future__ import annotations

from weakref import WeakValueDictionary

from replicate_async._creates import Ledger
from replicate_async._limits import Limits


class Shared:
    """The API's limits, and the creates."""

    def __init__(self) -> None:
        self.limits: Limits = Limits()
        self.ledger: Ledger = Ledger()


_all: WeakValueDictionary[tuple[str, str], Shared] = WeakValueDictionary()


def shared(base_url: str, token: str) -> Shared:
    """Return what a client shares with others like it."""
    return _all.setdefault((base_url, token), Shared())
