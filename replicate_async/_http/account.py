"""State that all clients of a process share if they have the same token and base URL."""

from __future__ import annotations

from collections import deque
from weakref import WeakValueDictionary

from replicate_async._http import clock
from replicate_async._http.ratelimit import Limits, RateLimit
from replicate_async._http.state import StateOwner


class AccountState(StateOwner):
    """The rate limits of an account, and what other modules keep for it."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: Limits = Limits()


_accounts: WeakValueDictionary[tuple[str, str, clock.Clock], AccountState] = WeakValueDictionary()

# Keeps explicit limits alive between clients that are created one after another.
_recently_limited: deque[AccountState] = deque(maxlen=100)


def account_state(base_url: str, token: str, rate_limit: RateLimit | None) -> AccountState:
    """Return the state that a client shares; an explicit limit then applies to all clients that share it."""
    # Virtual clocks have accounts of their own: a limit that virtual time has filled would never drain in real time.
    account = _accounts.setdefault((base_url, token, clock.current), AccountState())
    if rate_limit is not None:
        account.limits.set_rates(rate_limit)
        if account not in _recently_limited:
            _recently_limited.append(account)
    return account
