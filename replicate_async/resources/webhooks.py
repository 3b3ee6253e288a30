"""The secret that verifies webhooks."""

from __future__ import annotations

from replicate_async._http.options import RequestOptions
from replicate_async._http.request import Request
from replicate_async._typing import Unpack
from replicate_async._views import (
    AsyncDefaultWebhookRaw,
    AsyncDefaultWebhookStreaming,
    AsyncWebhookSecretsRaw,
    AsyncWebhookSecretsStreaming,
    AsyncWebhooksRaw,
    AsyncWebhooksStreaming,
)
from replicate_async.resources._resource import AsyncResource, View, resource
from replicate_async.types import WebhookSecret


class AsyncWebhooks(AsyncResource):
    """Webhooks of the account."""

    with_raw_response: View[AsyncWebhooksRaw] = View(AsyncWebhooksRaw)
    with_streaming_response: View[AsyncWebhooksStreaming] = View(AsyncWebhooksStreaming)

    @resource
    def default(self) -> AsyncDefaultWebhook:
        """The webhook that predictions and trainings use."""
        return AsyncDefaultWebhook(self._transport)


class AsyncDefaultWebhook(AsyncResource):
    """The webhook that predictions and trainings use."""

    with_raw_response: View[AsyncDefaultWebhookRaw] = View(AsyncDefaultWebhookRaw)
    with_streaming_response: View[AsyncDefaultWebhookStreaming] = View(AsyncDefaultWebhookStreaming)

    @resource
    def secret(self) -> AsyncWebhookSecrets:
        """The secret that signs the webhook."""
        return AsyncWebhookSecrets(self._transport)


class AsyncWebhookSecrets(AsyncResource):
    """The secret that signs webhooks."""

    with_raw_response: View[AsyncWebhookSecretsRaw] = View(AsyncWebhookSecretsRaw)
    with_streaming_response: View[AsyncWebhookSecretsStreaming] = View(AsyncWebhookSecretsStreaming)

    async def get(self, **options: Unpack[RequestOptions]) -> WebhookSecret:
        """Fetch the secret that signs webhooks, for ``verify_webhook``.

        Args:
            **options: Options of the request.

        Returns:
            The secret. It changes rarely, so fetch it once rather than for each webhook.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#webhooks.default.secret.get
        """
        return await self._transport.call(Request("GET", "/webhooks/default/secret", WebhookSecret, options))
