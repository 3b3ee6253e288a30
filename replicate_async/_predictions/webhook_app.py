"""An ASGI application that receives webhooks, for all frameworks that can mount one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from replicate_async._logging import logger
from replicate_async.errors import WebhookVerificationError

# As ASGI has them.
# https://asgi.readthedocs.io/en/latest/specs/www.html
Message: TypeAlias = MutableMapping[str, Any]

_MAX_BODY_BYTES = 32 * 1024 * 1024


class WebhookApp:
    """ASGI application that receives webhooks."""

    def __init__(self, deliver: Callable[[bytes, Mapping[str, str]], Awaitable[object]], parameter: str) -> None:
        self._deliver = deliver
        self._parameter = parameter

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Respond to a request.

        The status is 204 if the webhook was accepted, 400 if it is not from Replicate, 405 if the method is not POST,
        413 if the body is larger than 32 MiB, and 503 if the webhook belongs to the receiver of another process, so
        that Replicate delivers it again.
        """
        if scope["type"] == "http":
            status = await self._status(scope, receive)
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    async def _status(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> int:
        if scope["method"] != "POST":
            return 405
        body = bytearray()
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return 400
            body += message.get("body", b"")
            if len(body) > _MAX_BODY_BYTES:
                return 413
        query = scope.get("query_string", b"").decode("latin-1")
        if "receiver=" in query and self._parameter not in query:
            return 503
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            await self._deliver(bytes(body), headers)
        except WebhookVerificationError as error:
            logger.warning("a webhook was refused: %s", error)
            return 400
        return 204
