"""Low-level calls: requests that no other resource has a method for."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast, overload

from msgspec import UNSET

from replicate_async._http.options import CallOptions, RequestOptions, check_headers, check_mapping
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse
from replicate_async._typing import Unpack
from replicate_async.resources._resource import AsyncResource

T = TypeVar("T")


class AsyncLowLevel(AsyncResource):
    """The low-level calls of a client."""

    @overload
    async def request(self, method: str, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def request(
        self, method: str, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]
    ) -> APIResponse[Any]: ...

    async def request(self, method: str, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a request that the resources have no method for.

        Args:
            method: HTTP method.
            url: Path below the base URL, or a whole URL. The token is sent only to the origin of the base URL.
            cast_to: Type to decode the response to: any type that msgspec supports, or ``str`` or ``bytes`` for the
                body.
            **call: ``json`` or ``content`` for the body, ``params`` for the query, ``headers``, and the options of
                every request.

        Returns:
            The decoded response; without ``cast_to``, the response itself.

        Raises:
            TypeError: the body can't be encoded as JSON, both ``json`` and ``content`` were passed, or an argument
                has the wrong type.
            ValueError: ``method`` is not an HTTP method, ``url`` is empty, or another argument is invalid.
            APIError: the call failed. Methods that are not idempotent are retried only if the request had no effect.

        Source: https://replicate.com/docs/reference/http
        """
        request = _describe(method, url, Any if cast_to is None else cast_to, call)
        if cast_to is None:
            return await self._transport.send(request)
        return await self._transport.call(request)

    @overload
    async def get(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def get(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def get(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a GET request; see ``request``."""
        return await self.request("GET", url, cast_to=cast_to, **call)

    @overload
    async def post(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def post(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def post(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a POST request, which is retried only if it had no effect; see ``request``."""
        return await self.request("POST", url, cast_to=cast_to, **call)

    @overload
    async def put(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def put(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def put(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a PUT request; see ``request``."""
        return await self.request("PUT", url, cast_to=cast_to, **call)

    @overload
    async def patch(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def patch(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def patch(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a PATCH request, which is retried only if it had no effect; see ``request``."""
        return await self.request("PATCH", url, cast_to=cast_to, **call)

    @overload
    async def delete(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def delete(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def delete(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a DELETE request; see ``request``."""
        return await self.request("DELETE", url, cast_to=cast_to, **call)


_CANCEL = re.compile(r"(?:^|/)(?:predictions|trainings)/[^/?#]+/cancel/?$")


def _describe(method: object, url: object, response_type: Any, call: CallOptions) -> Request[Any]:
    """Describe a call from the arguments of ``client.request``."""
    options = dict(call)
    json, content = options.pop("json", UNSET), options.pop("content", None)
    query, headers = options.pop("params", None), options.pop("headers", None)
    if json is not UNSET and content is not None:
        raise TypeError("pass json or content, not both: each is the whole body")
    if not isinstance(url, str) or not url:
        raise ValueError(f"url={url!r} must be a path below the base URL, or a whole URL")
    if not isinstance(method, str) or not re.fullmatch(r"[A-Za-z]+", method):
        raise ValueError(f"method={method!r} is not an HTTP method")
    if content is not None and not isinstance(content, (str, bytes, bytearray)):
        raise TypeError(f"content must be bytes or a str, not {type(content).__name__}")
    if query is not None:
        check_mapping("params", query)
    if headers is not None:
        check_headers("headers", headers)
    is_cancel = _CANCEL.search(url) is not None
    return Request[Any](
        method.upper(),
        url,
        response_type,
        cast("RequestOptions", options),
        query=cast("Any", query),
        headers=cast("Any", headers),
        json=json,
        content=content.encode() if isinstance(content, str) else content,
        # As a resource's own: it can be repeated, and saves money while other calls wait.
        idempotent=is_cancel or None,
        skips_queue=is_cancel,
    )
