"""Verifies webhooks by the Standard Webhooks scheme, without I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from replicate_async._decoding import json_decoder
from replicate_async._http import clock
from replicate_async.errors import WebhookVerificationError
from replicate_async.types import Prediction, Training, WebhookSecret

_decode_prediction, _decode_training = json_decoder(Prediction), json_decoder(Training)


def verify_webhook(
    body: bytes | str, headers: Mapping[str, str], secret: WebhookSecret | str, *, tolerance: float = 300.0
) -> Prediction | Training:
    """Check that Replicate sent a webhook, and return its prediction or training.

    Webhooks may arrive more than once and out of order. For each id, keep the newest state.

    Args:
        body: Raw body of the request.
        headers: Headers of the request. The case of their names doesn't matter.
        secret: Secret from ``webhooks.default.secret.get()``, or its key.
        tolerance: Maximum difference between the webhook's time and now, in seconds.

    Returns:
        The prediction or the training.

    Raises:
        WebhookVerificationError: a part is missing or malformed, the time is out of tolerance, no signature matches, or
            the body is neither a prediction nor a training.

    Source: https://replicate.com/docs/topics/webhooks/verify-webhook
    """
    # The header objects of some frameworks are not Mappings.
    items: Any = getattr(headers, "items", None)
    if items is None:
        raise WebhookVerificationError(f"headers: expected a mapping, not {type(headers).__name__}")
    lower = {name.lower(): value for name, value in items() if isinstance(name, str)}
    webhook_id, timestamp, signatures = (_header(lower, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    _check_time(timestamp, tolerance)
    if not isinstance(body, (bytes, bytearray, memoryview, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise WebhookVerificationError(f"body: expected the request's raw bytes or str, not {type(body).__name__}")
    # Some frameworks decode invalid UTF-8 as surrogates. The signature decides whether they are right.
    content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    signed = f"{webhook_id}.{timestamp}.".encode("utf-8", "surrogatepass") + content
    expected = hmac.new(secret_key(secret), signed, hashlib.sha256).digest()
    _check_signatures(signatures, expected)
    try:
        content.decode()
        prediction: Prediction = _decode_prediction(content)
        if not isinstance(prediction.status, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise msgspec.ValidationError("Expected `str` - at `$.status`")
        # Predictions and trainings have the same form, but different URLs.
        url = getattr(prediction.urls, "get", None) or getattr(prediction.urls, "cancel", None)
        job: Prediction | Training = _decode_training(content) if "/trainings/" in str(url) else prediction
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookVerificationError(f"body: neither a prediction nor a training: {error}") from error
    return job


def _header(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WebhookVerificationError(f"{name}: the header is missing")
    if not isinstance(value, str):
        raise WebhookVerificationError(f"{name}: the header must be a str, not {type(value).__name__}")
    return value


def _check_time(timestamp: str, tolerance: float) -> None:
    try:
        age = clock.current.now().timestamp() - int(timestamp[:20])
    except ValueError:
        raise WebhookVerificationError(f"webhook-timestamp: {timestamp[:20]!r} is not a time in seconds") from None
    if not math.fabs(age) <= tolerance:
        direction = "old" if age > 0 else "in the future"
        raise WebhookVerificationError(
            f"webhook-timestamp: {abs(age):.0f} s {direction}, and at most {tolerance:.0f} s are allowed"
        )


def secret_key(secret: WebhookSecret | str) -> bytes:
    text = secret.key if isinstance(secret, WebhookSecret) else secret
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise WebhookVerificationError(f"secret: expected a WebhookSecret or a str, not {type(text).__name__}")
    text = text.strip().removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise WebhookVerificationError("secret: expected 'whsec_' followed by base64")
    return key


def _check_signatures(header: str, expected: bytes) -> None:
    """Raise an error unless a signature of version 1 matches. Others are ignored: versions may be added."""
    problem = "none matches; pass the raw bytes of the body, and the secret of the account"
    for entry in header.split():
        version, comma, value = entry.partition(",")
        if not comma:
            problem = f"{entry[:8]!r}... is not 'version,signature'"
        elif version == "v1":
            try:
                signature = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                problem = "a signature is not base64"
            else:
                if hmac.compare_digest(expected, signature):
                    return
    raise WebhookVerificationError(f"webhook-signature: {problem}")
