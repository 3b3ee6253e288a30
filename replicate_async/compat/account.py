"""The account that the token belongs to."""

from __future__ import annotations

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async.compat._arguments import Options, native_options
from replicate_async.compat.resource import Namespace, Resource, wrap


class Account(Resource):
    """A user or an organization."""

    type: str
    username: str
    name: str | None
    github_url: str | None
    avatar_url: str | None


class Accounts(Namespace):
    """Operations on the account."""

    _path = "account"

    async def async_current(self, **options: Unpack[Options]) -> Account:
        """Fetch the account."""
        return wrap(Account, await self._client.native.account.get(**native_options(options)), self._client)

    def current(self, **options: Unpack[Options]) -> Account:
        """Fetch the account."""
        return _bridge.run(self.async_current(**options))

    async def async_get(self, **options: Unpack[Options]) -> Account:
        """Fetch the account, by the name of this call in 2.x."""
        return await self.async_current(**options)

    def get(self, **options: Unpack[Options]) -> Account:
        """Fetch the account, by the name of this call in 2.x."""
        return _bridge.run(self.async_get(**options))


__all__ = ["Account", "Accounts"]
