"""The groups of operations on webhooks by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat._async_groups import AsyncDefaultWebhook as AsyncDefaultResource
from replicate_async.compat._async_groups import AsyncDefaultWebhookSecret as AsyncSecretResource
from replicate_async.compat._async_groups import AsyncWebhooks as AsyncWebhooksResource
from replicate_async.compat.webhook import DefaultWebhook as DefaultResource
from replicate_async.compat.webhook import DefaultWebhookSecret as SecretResource
from replicate_async.compat.webhook import Webhooks as WebhooksResource

__all__ = [
    "AsyncDefaultResource",
    "AsyncSecretResource",
    "AsyncWebhooksResource",
    "DefaultResource",
    "SecretResource",
    "WebhooksResource",
]
