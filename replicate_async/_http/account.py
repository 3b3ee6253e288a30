"""What all clients of a process share that have the same token and base URL."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from replicate_async._http import clock
from replicate_async._http.ratelimit import Limits
from replicate_async._predictions.creates import Ledger

if TYPE_CHECKING:
    from replicate_async._http.ratelimit import RateLimit


class AccountState:
    """The API's limits, and the creates."""

    def __init__(self) -> None:
        self.limits: Limits = Limits()
        self.ledger: Ledger = Ledger()


_all: WeakValueDictionary[tuple[str, str, clock.Clock], AccountState] = WeakValueDictionary()
_recently_limited: deque[AccountState] = deque(
    maxlen=100
)  # those with explicit limits, which hold for the next client too


def shared(base_url: str, token: str, rate_limit: RateLimit | None) -> AccountState:
    """Return what a client shares with others like it; an explicit limit holds for them as well."""
    # By the clock, too: a limit that was kept by virtual time would never be used up in another.
    found = _all.setdefault((base_url, token, clock.current), AccountState())
    if rate_limit is not None:
        found.limits.set(rate_limit)
        if found not in _recently_limited:
            _recently_limited.append(found)
    return found


def _after_fork() -> None:
    for one in list(_all.values()):
        one.ledger.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
