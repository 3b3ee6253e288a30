"""The kinds of hardware that models run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_async._http.request import Request
from replicate_async._views import AsyncHardwareKindsRaw, AsyncHardwareKindsStreaming
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import Hardware

if TYPE_CHECKING:
    import builtins

    from typing_extensions import Unpack

    from replicate_async._http.options import RequestOptions


class AsyncHardwareKinds(AsyncResource):
    """Kinds of hardware for models and deployments."""

    @property
    def with_raw_response(self) -> AsyncHardwareKindsRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncHardwareKindsRaw(self)

    @property
    def with_streaming_response(self) -> AsyncHardwareKindsStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncHardwareKindsStreaming(self)

    async def list(self, **options: Unpack[RequestOptions]) -> builtins.list[Hardware]:
        """List the kinds of hardware.

        Args:
            **options: Options of the request.

        Returns:
            All kinds of hardware. ``models.create`` and ``deployments.create`` accept their ``sku``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#hardware.list
        """
        return await self._transport.call(Request("GET", "/hardware", list[Hardware], options))
