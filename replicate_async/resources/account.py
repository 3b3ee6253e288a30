"""The account that the token belongs to."""

from __future__ import annotations

from replicate_async._http.options import RequestOptions
from replicate_async._http.request import Request
from replicate_async._typing import Unpack
from replicate_async._views import AsyncAccountsRaw, AsyncAccountsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Account


class AsyncAccounts(AsyncResource):
    """The authenticated account."""

    with_raw_response: View[AsyncAccountsRaw] = View(AsyncAccountsRaw)
    with_streaming_response: View[AsyncAccountsStreaming] = View(AsyncAccountsStreaming)

    async def get(self, **options: Unpack[RequestOptions]) -> Account:
        """Fetch the user or organization that the token belongs to.

        Args:
            **options: Options of the request.

        Returns:
            The account.

        Raises:
            AuthenticationError: the token is invalid.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#account.get
        """
        return await self._transport.call(Request("GET", "/account", Account, options))
