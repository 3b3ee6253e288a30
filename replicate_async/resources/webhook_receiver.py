"""The receiver of webhooks that a client's callers wait for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async._predictions.deliveries import Deliveries, OpenReceivers
from replicate_async._predictions.webhook_app import WebhookApp
from replicate_async._typing import Self
from replicate_async._webhooks import secret_key, verify_webhook
from replicate_async.errors import WebhookVerificationError
from replicate_async.types import Prediction, Training, WebhookSecret


class AsyncWebhookReceiver:
    """Receives the webhooks of the predictions that a client waits for. It is a context manager.

    In its block, the client's creates register its URL, unless they have a ``webhook`` of their own. A webhook wakes
    the callers that wait for its prediction, on whatever thread and event loop they are. Predictions whose webhook does
    not come are polled, less often.
    """

    def __init__(self, transport: Transport, url: str, secret: WebhookSecret | str | None) -> None:
        if not str(url).startswith(("https://", "http://")):
            raise ValueError(f"url={url!r} must be the https URL at which Replicate reaches this server")
        if secret is not None:
            try:
                secret_key(secret)
            except WebhookVerificationError as error:
                raise ValueError(str(error)) from None
        # The parameter distinguishes the receivers of several processes behind one address.
        self._parameter = f"receiver={secrets.token_hex(8)}"
        self.url: str = f"{url}{'&' if '?' in url else '?'}{self._parameter}"
        """The URL that creates register: yours, with a parameter that names this receiver."""
        self._transport = transport
        self._secret = secret
        self._deliveries = Deliveries(transport, self.url)

    @property
    def app(self) -> WebhookApp:
        """ASGI application that receives the webhooks, for the path of the URL."""
        return WebhookApp(self.deliver, self._parameter)

    async def deliver(self, body: bytes | str, headers: Mapping[str, str]) -> Prediction | Training:
        """Take a webhook that your web framework has received, and wake the callers that wait for its prediction.

        Webhooks may come more than once and out of order. Callers get no state twice, and none that is older than the
        one before.

        Args:
            body: Raw body of the request.
            headers: Headers of the request. The case of their names doesn't matter.

        Returns:
            The prediction or the training in the webhook.

        Raises:
            WebhookVerificationError: the webhook is malformed or not from Replicate, or the secret was neither passed
                nor fetched yet.

        Source: https://replicate.com/docs/topics/webhooks/verify-webhook
        """
        job = verify_webhook(body, headers, self._secret or "")
        self._deliveries.publish(job)
        return job

    async def __aenter__(self) -> Self:
        """Fetch the secret if it was not passed, and register the receiver with the client.

        Raises:
            APIError: the secret can't be fetched.
        """
        if self._secret is None:
            request = Request[WebhookSecret]("GET", "/webhooks/default/secret", WebhookSecret, {})
            self._secret = await self._transport.call(request)
        self._deliveries.reliable = True
        self._transport.pool.state(OpenReceivers).append(self._deliveries)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Let the client poll again."""
        self._transport.pool.state(OpenReceivers).remove(self._deliveries)
        self._deliveries.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"
