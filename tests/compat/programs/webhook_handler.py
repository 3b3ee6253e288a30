"""1.x, no network: a handler verifies a webhook and reads its prediction."""

import base64
import hashlib
import hmac
import json

from replicate.prediction import Prediction
from replicate.webhook import InvalidSignatureError, MissingWebhookHeaderError, Webhooks, WebhookSigningSecret

secret = WebhookSigningSecret(key="whsec_" + base64.b64encode(b"secret").decode())
payload = {
    **{"id": "p1", "model": "owner/text", "version": "v1", "status": "succeeded", "input": {"text": "hi"}},
    **{"output": ["a", "b"], "logs": "", "error": None, "metrics": {"predict_time": 1.5}},
    **{"created_at": "2025-01-01T00:00:00Z", "started_at": None, "completed_at": None},
    "urls": {"get": "https://api.replicate.com/v1/predictions/p1", "cancel": "https://x.example/cancel"},
}
body = json.dumps(payload)
signed = f"msg_1.1700000000.{body}".encode()
signature = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": "1700000000", "Webhook-Signature": f"v1,{signature}"}
Webhooks.validate(headers=headers, body=body, secret=secret)
prediction = Prediction(**json.loads(body))
assert (prediction.id, prediction.status, prediction.output) == ("p1", "succeeded", ["a", "b"])
assert prediction.metrics["predict_time"] == 1.5
assert prediction.urls["get"].endswith("/p1")
assert prediction.dict()["input"] == {"text": "hi"}
for bad, kind in [
    ({**headers, "Webhook-Signature": "v1," + base64.b64encode(b"x" * 32).decode()}, InvalidSignatureError),
    ({"Webhook-Id": "msg_1"}, MissingWebhookHeaderError),
]:
    try:
        Webhooks.validate(headers=bad, body=body, secret=secret)
    except ValueError as error:
        assert isinstance(error, kind), repr(error)
    else:
        raise AssertionError("it should not be valid")
