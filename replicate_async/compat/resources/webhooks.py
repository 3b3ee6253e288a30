"""The groups of operations on webhooks by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat.asynchronous import AsyncNamespace
from replicate_async.compat.webhook import DefaultWebhook as DefaultResource
from replicate_async.compat.webhook import DefaultWebhookSecret as SecretResource
from replicate_async.compat.webhook import Webhooks as WebhooksResource

AsyncDefaultResource = AsyncSecretResource = AsyncWebhooksResource = AsyncNamespace

__all__ = [
    "AsyncDefaultResource",
    "AsyncSecretResource",
    "AsyncWebhooksResource",
    "DefaultResource",
    "SecretResource",
    "WebhooksResource",
]
