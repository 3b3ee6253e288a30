"""Webhooks: their secret, and whether Replicate sent them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async._webhooks import verify_webhook
from replicate_async.compat._arguments import Options, native_options
from replicate_async.compat.resource import Namespace, Resource, wrap
from replicate_async.errors import WebhookVerificationError


class WebhookSigningSecret(Resource):
    """The key that signs webhooks."""

    key: str

    def __repr__(self) -> str:
        return "WebhookSigningSecret(key='whsec_...')"


class WebhookValidationError(WebhookVerificationError, ValueError):
    """The webhook is not valid."""


class MissingWebhookHeaderError(WebhookValidationError):
    """A header is missing."""


class InvalidSecretKeyError(WebhookValidationError):
    """The secret is malformed."""


class MissingWebhookBodyError(WebhookValidationError):
    """The body is missing."""


class InvalidTimestampError(WebhookValidationError):
    """The time is malformed, or out of tolerance."""


class InvalidSignatureError(WebhookValidationError):
    """No signature matches."""


# The errors by the part that the native error names.
_ERRORS = {"secret": InvalidSecretKeyError, "webhook-timestamp": InvalidTimestampError}


class DefaultWebhookSecret(Namespace):
    """The secret, by its call in 1.x, ``secret()``, and in 2.x, ``secret.get()``."""

    _path = "webhooks.default.secret"

    async def async_get(self, **options: Unpack[Options]) -> WebhookSigningSecret:
        """Fetch the secret."""
        secret = await self._client.native.webhooks.default.secret.get(**native_options(options))
        return wrap(WebhookSigningSecret, secret, self._client)

    def get(self, **options: Unpack[Options]) -> WebhookSigningSecret:
        """Fetch the secret."""
        return _bridge.run(self.async_get(**options))

    def __call__(self, **options: Unpack[Options]) -> WebhookSigningSecret:
        """Fetch the secret."""
        return self.get(**options)


class DefaultWebhook(Namespace):
    """Operations on the default webhook."""

    _path = "webhooks.default"

    @cached_property
    def secret(self) -> DefaultWebhookSecret:
        """The secret."""
        return DefaultWebhookSecret(self._client)

    async def async_secret(self, **options: Unpack[Options]) -> WebhookSigningSecret:
        """Fetch the secret."""
        return await self.secret.async_get(**options)


class Webhooks(Namespace):
    """Operations on webhooks."""

    _path = "webhooks"

    Default = DefaultWebhook

    @cached_property
    def default(self) -> DefaultWebhook:
        """The default webhook."""
        return DefaultWebhook(self._client)

    @staticmethod
    def validate(
        request: Any = None,
        headers: Any = None,
        body: str | bytes | None = None,
        secret: WebhookSigningSecret | str | None = None,
        tolerance: int | None = None,
    ) -> None:
        """Check that Replicate sent a webhook.

        Args:
            request: Request with ``headers`` and ``content``.
            headers: Headers, if there is no request.
            body: Raw body, if there is no request.
            secret: Secret of the account, or its key.
            tolerance: Maximum difference between the webhook's time and now, in seconds. If omitted, any.

        Raises:
            WebhookValidationError: the webhook is not valid.
            ValueError: an argument is missing.
        """
        if not secret:
            raise ValueError("pass secret, the signing secret of the account")
        if request is not None and (headers or body):
            raise ValueError("pass request, or headers and body, not both")
        if request is not None:
            headers, body = request.headers, request.content
        if not headers:
            raise MissingWebhookHeaderError("headers: they are missing")
        if not body:
            raise MissingWebhookBodyError("body: it is missing")
        if not isinstance(body, (str, bytes, bytearray)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"body must be the raw body, not {type(body).__name__}")
        key = secret if isinstance(secret, str) else secret.key
        if not key.startswith("whsec_"):
            raise InvalidSecretKeyError("secret: expected 'whsec_' followed by base64")
        try:
            verify_webhook(body, headers, key, tolerance=float("inf") if tolerance is None else tolerance)
        except WebhookVerificationError as error:
            part, _, reason = str(error).partition(": ")
            # The body is looked at last: it may be anything that Replicate has signed.
            if part == "body":
                return
            kind = MissingWebhookHeaderError if "missing" in reason else _ERRORS.get(part, InvalidSignatureError)
            raise kind(str(error)) from error


__all__ = [
    "InvalidSecretKeyError",
    "InvalidSignatureError",
    "InvalidTimestampError",
    "MissingWebhookBodyError",
    "MissingWebhookHeaderError",
    "WebhookSigningSecret",
    "WebhookValidationError",
    "Webhooks",
]
