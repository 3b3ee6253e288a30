"""The kinds of hardware that models run on."""

from __future__ import annotations

import builtins

from replicate_async._http.options import RequestOptions
from replicate_async._http.request import Request
from replicate_async._typing import Unpack
from replicate_async._views import AsyncHardwareKindsRaw, AsyncHardwareKindsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Hardware


class AsyncHardwareKinds(AsyncResource):
    """Kinds of hardware for models and deployments."""

    with_raw_response: View[AsyncHardwareKindsRaw] = View(AsyncHardwareKindsRaw)
    with_streaming_response: View[AsyncHardwareKindsStreaming] = View(AsyncHardwareKindsStreaming)

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
