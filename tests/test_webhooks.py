"""Webhooks: requests that Replicate signed are accepted, and all others are refused.

The PyPI package ``standardwebhooks`` signs the genuine ones here, and must agree about the others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import pickle
import subprocess
import sys
import time
from collections import UserDict
from collections.abc import Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
import standardwebhooks
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

import replicate_async
from replicate_async import WebhookVerificationError, verify_webhook
from replicate_async.types import Prediction, Training, WebhookSecret

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ID = "msg_2mKlvjsBDcIuG6pAmGbFtrMKQuM"
PREDICTION = {
    "id": "ufawqhfynnddngldkgtslldrkq",
    "model": "replicate/hello-world",
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "input": {"text": "Alice"},
    "output": "hello Alice",
    "error": None,
    "logs": "",
    "status": "succeeded",
    "created_at": "2024-01-01T00:00:00.123456Z",
    "completed_at": "2024-01-01T00:00:01.123456Z",
    "data_removed": False,
    "urls": {
        "get": "https://api.replicate.com/v1/predictions/ufawqhfynnddngldkgtslldrkq",
        "cancel": "https://api.replicate.com/v1/predictions/ufawqhfynnddngldkgtslldrkq/cancel",
    },
}
TRAINING = {
    "id": "zz4ibbonubfz7carwiefibzgga",
    "model": "stability-ai/sdxl",
    "version": "da77bc59ee60423279fd632efb4795ab731d9e3ca9705ef3341091fb989b7eaf",
    "input": {"input_images": "https://example.com/my-input-images.zip"},
    "output": {"version": "acme/mine:abc", "weights": "https://example.com/w.tar"},
    "error": None,
    "logs": "",
    "status": "succeeded",
    "created_at": "2023-09-08T16:32:57.018467Z",
    "urls": {
        "get": "https://api.replicate.com/v1/trainings/zz4ibbonubfz7carwiefibzgga",
        "cancel": "https://api.replicate.com/v1/trainings/zz4ibbonubfz7carwiefibzgga/cancel",
    },
}
BODY = json.dumps(PREDICTION)


def signature(body: str = BODY, *, secret: str = SECRET, webhook_id: str = ID, at: int | None = None) -> str:
    """Return the signature that the oracle computes."""
    moment = datetime.fromtimestamp(int(time.time()) if at is None else at, timezone.utc)
    return standardwebhooks.Webhook(secret).sign(webhook_id, moment, body)


def signed(body: str = BODY, *, secret: str = SECRET, age: int = 0, **changes: str) -> dict[str, str]:
    """Return the headers of a genuine webhook with some changes; None omits a header."""
    at = int(time.time()) - age
    return {
        "webhook-id": ID,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(body, secret=secret, at=at),
        **changes,
    }


def prediction() -> Prediction:
    return msgspec.convert(PREDICTION, Prediction)


def refused(body: Any, headers: Mapping[str, str], secret: Any = SECRET, **options: Any) -> str:
    """Return why a webhook is refused."""
    with pytest.raises(WebhookVerificationError) as caught:
        verify_webhook(body, headers, secret, **options)
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
    assert isinstance(caught.value, replicate_async.ReplicateError)
    return str(caught.value)


def refused_by_oracle(body: str, headers: dict[str, str]) -> None:
    with pytest.raises((standardwebhooks.WebhookVerificationError, ValueError)):
        standardwebhooks.Webhook(SECRET).verify(body, headers)


# --- webhooks that are refused ---


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_missing_headers(name: str, how: str) -> None:
    """Each header that is missing or empty is named."""
    headers = signed()
    if how == "missing":
        del headers[name]
    else:
        headers[name] = ""
    assert refused(BODY, headers) == f"{name}: the header is missing"
    refused_by_oracle(BODY, headers)


def test_no_headers() -> None:
    """A request without any of the headers is not a webhook."""
    assert "webhook-id: the header is missing" in refused(BODY, {})
    assert "webhook-id: the header is missing" in refused(BODY, {"svix-id": "x", "Content-Type": "application/json"})


@pytest.mark.parametrize(
    "tampered",
    [
        BODY.replace("Alice", "Malice"),
        BODY.replace(": ", ":"),
        BODY + "\n",
        " " + BODY,
        BODY[:-1],
        "",
        json.dumps(PREDICTION, indent=1),
    ],
    ids=["changed", "reformatted", "newline", "space", "cut", "empty", "indented"],
)
@pytest.mark.parametrize("as_type", [str, str.encode], ids=["str", "bytes"])
def test_a_tampered_body(tampered: str, as_type: Any) -> None:
    """A body that differs from the signed one is refused, and the message says what may have happened."""
    headers = signed()
    message = refused(as_type(tampered), headers)
    assert message.startswith("webhook-signature: none matches")
    assert "raw bytes" in message
    refused_by_oracle(tampered, headers)


def test_a_tampered_id() -> None:
    """The id is signed too: a delivery can't be passed off as another one."""
    headers = signed(**{"webhook-id": "msg_other"})
    assert "webhook-signature: none matches" in refused(BODY, headers)
    refused_by_oracle(BODY, headers)


@pytest.mark.parametrize("seconds", [-1, 1, 60])
def test_a_tampered_timestamp(seconds: int) -> None:
    """The time is signed too: an old webhook can't be made new."""
    headers = signed()
    headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + seconds)
    assert "webhook-signature: none matches" in refused(BODY, headers)
    refused_by_oracle(BODY, headers)


@pytest.mark.parametrize(
    ("age", "message"),
    [
        (305, r"webhook-timestamp: 30\d s old, and at most 300 s are allowed"),
        (-305, r"webhook-timestamp: 30\d s in the future, and at most 300 s are allowed"),
        (10**6, "webhook-timestamp: .* s old"),
        (-(10**6), "webhook-timestamp: .* s in the future"),
    ],
)
def test_at_another_time(age: int, message: str) -> None:
    """A signed webhook that is too old, or from the future, is refused, and the message has the difference."""
    headers = signed(age=age)
    with pytest.raises(WebhookVerificationError, match=message):
        verify_webhook(BODY, headers, SECRET)
    refused_by_oracle(BODY, headers)


@pytest.mark.parametrize("age", [0, 1, 290, -290])
def test_within_the_customary_tolerance(age: int) -> None:
    """Clocks may differ by five minutes, either way."""
    headers = signed(age=age)
    assert verify_webhook(BODY, headers, SECRET) == prediction()
    standardwebhooks.Webhook(SECRET).verify(BODY, headers)


def test_tolerance() -> None:
    """The caller sets the tolerance: zero, or without a bound."""
    assert verify_webhook(BODY, signed(age=500), SECRET, tolerance=600.0) == prediction()
    assert verify_webhook(BODY, signed(age=10**8), SECRET, tolerance=math.inf) == prediction()
    assert "at most 5 s" in refused(BODY, signed(age=10), tolerance=5)
    assert "at most 5 s" in refused(BODY, signed(age=-10), tolerance=5)
    assert "webhook-timestamp" in refused(BODY, signed(age=1), tolerance=0)
    assert "webhook-timestamp" in refused(BODY, signed(), tolerance=math.nan), "nothing is within what isn't a number"


@pytest.mark.parametrize(
    "timestamp",
    [
        *("yesterday", "2024-01-01T00:00:00Z", "1.7e9", "nan", "inf", "-inf", " ", "0x10", "1,700,000", "\udcff"),
        *("9" * 30, "9" * 400, "9" * 5000, "-" + "9" * 400, "1" * 100 + ".5"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_malformed_timestamps(timestamp: str) -> None:
    """A header that is not a time, or not a possible one, is refused by its name, without a crash."""
    message = refused(BODY, signed(**{"webhook-timestamp": timestamp}))
    assert message.startswith("webhook-timestamp: ")
    assert len(message) < 500, "what a stranger sends doesn't fill the log"


def test_a_timestamp_in_other_units() -> None:
    """Milliseconds are far in the future."""
    headers = signed(**{"webhook-timestamp": str(int(time.time() * 1000))})
    assert "in the future" in refused(BODY, headers)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("v1,", "none matches"),
        ("v1,!!!!", "not base64"),
        ("v1,{other}", "none matches"),
        ("v1", "not 'version,signature'"),
        ("{genuine_without_version}", "not 'version,signature'"),
        ("v2,{genuine_without_version}", "none matches"),
        ("v1a,{genuine_without_version}", "none matches"),
        ("V1,{genuine_without_version}", "none matches"),
        (",{genuine_without_version}", "none matches"),
        ("v1,{truncated}", ""),
        ("v1={genuine_without_version}", "not 'version,signature'"),
        ("v1,é", "not base64"),
        ("v1,\udcff", "not base64"),
        ("   ", "none matches"),
    ],
    ids=[
        *(
            "empty",
            "not base64",
            "of something else",
            "no comma",
            "no version",
            "version 2",
            "asymmetric",
            "upper case",
        ),
        *("empty version", "truncated", "equals sign", "not ASCII", "not Unicode", "spaces"),
    ],
)
def test_bad_signatures(value: str, message: str) -> None:
    """A header without a matching signature of the known version is refused, by its name."""
    genuine = signature().removeprefix("v1,")
    parts = {
        "other": signature("something else").removeprefix("v1,"),
        "genuine_without_version": genuine,
        "truncated": genuine[:-4],
    }
    headers = signed(**{"webhook-signature": value.format(**parts)})
    message_shown = refused(BODY, headers)
    assert message_shown.startswith("webhook-signature: ")
    assert message in message_shown
    assert genuine not in message_shown, "the error must not show the right signature"


def test_several_signatures() -> None:
    """While secrets are rotated there are several signatures: one match is enough, at any place."""
    genuine = signature()
    others = [signature(secret="whsec_" + base64.b64encode(b"older").decode()), "v1a,abc", "v2,####"]
    for headers in (
        signed(**{"webhook-signature": " ".join([genuine, *others])}),
        signed(**{"webhook-signature": " ".join([*others, genuine])}),
        signed(**{"webhook-signature": "  ".join([others[0], genuine, others[1]])}),
    ):
        assert verify_webhook(BODY, headers, SECRET) == prediction()
    for malformed in ("nonsense", "v1", "v1,!!!!", "v1,é", ",", "v1a"):
        for header in (f"{malformed} {genuine}", f"{genuine} {malformed}"):
            assert verify_webhook(BODY, signed(**{"webhook-signature": header}), SECRET) == prediction()
    headers = signed(**{"webhook-signature": " ".join(others)})
    assert "none matches" in refused(BODY, headers)
    refused_by_oracle(BODY, headers)


def test_another_accounts_secret() -> None:
    """A signature by another secret is refused."""
    other = "whsec_" + base64.b64encode(b"somebody else's key").decode()
    assert "none matches" in refused(BODY, signed(secret=other))
    assert "none matches" in refused(BODY, signed(), other)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!", "whsec_é", "not a secret", "r8_ABC-DEF", WebhookSecret(key=""), "whsec_="]
)
def test_malformed_secrets(secret: Any) -> None:
    """A malformed secret is reported as such, and not shown."""
    message = refused(BODY, signed(), secret)
    assert message.startswith("secret: ")
    assert "!!!" not in message


@pytest.mark.parametrize("secret", [None, SECRET.encode(), 5])
def test_secrets_of_another_type(secret: Any) -> None:
    """A secret of another type, such as None from a missing environment variable, is not a verification error."""
    with pytest.raises((WebhookVerificationError, TypeError), match="secret"):
        verify_webhook(BODY, signed(), secret)


@pytest.mark.parametrize("kind", [int, list, str.encode])
@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_headers_of_another_type(name: str, kind: Any) -> None:
    """A header that is not text, as in some frameworks, is named in a verification error."""
    value = 5 if kind is int else kind(signed()[name])
    assert refused(BODY, {**signed(), name: value}).startswith(f"{name}: the header must be a str, not ")


@pytest.mark.parametrize("headers", [None, [], {None: "x", b"webhook-id": b"x"}])
def test_no_mapping_of_headers(headers: Any) -> None:
    """So are headers that are not a mapping, or have no names."""
    assert "header" in refused(BODY, headers)


@pytest.mark.parametrize("body", [PREDICTION, None, 5, [BODY]], ids=["dict", "None", "int", "list"])
def test_bodies_of_another_type(body: Any) -> None:
    """A body that was parsed already can't be verified: the error asks for the raw bytes."""
    with pytest.raises((WebhookVerificationError, TypeError), match=r"body.*(bytes|str)"):
        verify_webhook(body, signed(), SECRET)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "null",
        "5",
        "[]",
        "{}",
        '{"id": 5}',
        '"' + "x" * 1000 + '"',
        json.dumps({**PREDICTION, "status": None}),
        "[" * 100_000,
    ],
    ids=["empty", "text", "null", "5", "list", "object", "other", "string", "no status", "nested"],
)
def test_signed_but_something_else(body: str) -> None:
    """A signed body that is neither a prediction nor a training raises an error of the same class."""
    message = refused(body, signed(body))
    assert message.startswith("body: neither a prediction nor a training")
    assert len(message) < 500


def test_bodies_that_are_not_unicode() -> None:
    """Bytes that aren't UTF-8, and texts that can't be encoded, are refused even if they are signed."""
    body = BODY.replace("Alice", "\xff").encode("latin-1")
    headers = signed(body.decode("latin-1"))
    assert "webhook-signature" in refused(body, headers)
    assert refused(BODY.replace("Alice", "\udcff"), signed()).startswith(("body: ", "webhook-signature: "))
    # Signed as it is, which the oracle can't do.
    at = headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{ID}.{at}.".encode() + body, hashlib.sha256)
    headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    assert refused(body, headers).startswith("body: neither")


def test_an_id_that_is_not_unicode() -> None:
    """An id that can't have been signed is refused like one that wasn't."""
    assert refused(BODY, signed(**{"webhook-id": "msg_\udcff"})).startswith(("webhook-id: ", "webhook-signature: "))


# --- genuine webhooks ---


@pytest.mark.parametrize(
    "as_type",
    [str, str.encode, lambda text: bytearray(text.encode()), lambda text: memoryview(text.encode())],
    ids=["str", "bytes", "bytearray", "memoryview"],
)
def test_a_prediction(as_type: Any) -> None:
    """A genuine webhook becomes its prediction, whatever type of body the framework has."""
    found = verify_webhook(as_type(BODY), signed(), SECRET)
    assert type(found) is Prediction
    assert found == prediction()
    assert found.output == "hello Alice"


def test_a_training() -> None:
    """A training is distinguished from a prediction, although they have the same form."""
    body = json.dumps(TRAINING)
    found = verify_webhook(body, signed(body), SECRET)
    assert type(found) is Training
    assert found == msgspec.convert(TRAINING, Training)
    assert found.output is not None
    assert found.output.version == "acme/mine:abc"


@pytest.mark.parametrize(
    "changes",
    [{"output": None, "status": "processing"}, {"model": None}, {"created_at": None}, {"input": None}, {"metrics": {}}],
    ids=str,
)
def test_a_training_with_less(changes: dict[str, Any]) -> None:
    """A training may lack everything but its id and status, and may have nulls."""
    for thing in ({**TRAINING, **changes}, {key: value for key, value in TRAINING.items() if key not in changes}):
        body = json.dumps({"status": "starting", **thing})
        assert type(verify_webhook(body, signed(body), SECRET)) is Training


def test_a_prediction_that_only_mentions_trainings() -> None:
    """Texts in the input or output don't make a prediction a training."""
    body = json.dumps({**PREDICTION, "input": {"url": "https://api.replicate.com/v1/trainings/x"}})
    assert type(verify_webhook(body, signed(body), SECRET)) is Prediction


def test_the_documented_example() -> None:
    """The example on Replicate's own page about webhooks has neither a model nor URLs."""
    body = json.dumps({key: value for key, value in PREDICTION.items() if key not in {"model", "urls"}})
    found = verify_webhook(body, signed(body), SECRET)
    assert type(found) is Prediction
    assert (found.id, found.model, found.urls.get, found.output) == (PREDICTION["id"], None, None, "hello Alice")


@pytest.mark.parametrize(
    "changes",
    [
        {"error": {"detail": "x"}},
        {"logs": ["a"]},
        {"urls": None},
        {"urls": "https://a/trainings/x"},
        {"urls": {"get": 5}},
        {"created_at": "yesterday"},
        {"metrics": {"image_count": 1}},
    ],
    ids=str,
)
def test_odd_members(changes: dict[str, Any]) -> None:
    """A member of another type does not make a webhook less genuine, and is kept as it came."""
    body = json.dumps({**PREDICTION, **changes})
    found = verify_webhook(body, signed(body), SECRET)
    assert type(found) is Prediction
    for name, value in changes.items():
        kept = found.to_dict()[name]
        assert kept == value or kept.items() >= (value or {}).items()


def test_unknown_fields_and_statuses() -> None:
    """New fields and statuses do not make a webhook less genuine."""
    body = json.dumps({**PREDICTION, "status": "paused", "new": {"a": 1}})
    assert verify_webhook(body, signed(body), SECRET).status == "paused"


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
@pytest.mark.parametrize(
    "mapping",
    [dict, UserDict, MappingProxyType, CIMultiDict, lambda headers: CIMultiDictProxy(CIMultiDict(headers))],
    ids=["dict", "UserDict", "proxy", "CIMultiDict", "CIMultiDictProxy"],
)
def test_headers(mapping: Any, change: Any) -> None:
    """Header names have no case, and any mapping is accepted."""
    headers = {change(name): value for name, value in signed().items()}
    assert verify_webhook(BODY, mapping({**headers, "Content-Type": "application/json"}), SECRET) == prediction()


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        SECRET.removeprefix("whsec_"),
        f"  {SECRET}\n",
        WebhookSecret(key=SECRET),
        WebhookSecret(key=SECRET.removeprefix("whsec_")),
    ],
    ids=["whole", "without prefix", "with spaces", "struct", "struct without prefix"],
)
def test_secrets(secret: Any) -> None:
    """The secret may be the one of the API, its key alone, or either with spaces from copying."""
    assert verify_webhook(BODY, signed(), secret) == prediction()


@given(key=st.binary(min_size=1, max_size=80), padded=st.booleans())
@example(key=b"1234", padded=False)
def test_keys_of_any_length(key: bytes, padded: bool) -> None:
    """Secrets of any length are accepted, with or without base64 padding, as by the oracle."""
    secret = "whsec_" + base64.b64encode(key).decode()
    secret = secret if padded else secret.rstrip("=")
    assert verify_webhook(BODY, signed(secret=secret), secret) == prediction()


texts = st.text(st.characters(exclude_categories=["Cs"]))
things = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
bodies = st.builds(
    lambda inputs, output, indent, ascii_only: json.dumps(
        {**PREDICTION, "input": inputs, "output": output}, indent=indent, ensure_ascii=ascii_only
    ),
    st.dictionaries(texts, things, max_size=4),
    things,
    st.none() | st.integers(0, 2),
    st.booleans(),
)


@given(body=bodies)
def test_any_genuine_webhook(body: str) -> None:
    """Any prediction, however it is written, is accepted with the oracle's signature."""
    headers = signed(body)
    verified = standardwebhooks.Webhook(SECRET).verify(body, headers)
    for given_body in (body, body.encode()):
        found = verify_webhook(given_body, headers, SECRET)
        assert isinstance(found, Prediction)
        assert (found.input, found.output) == (verified["input"], verified["output"])


@given(body=bodies, place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_no_tampered_webhook(body: str, place: int, change: int) -> None:
    """A change of any byte of the body is refused."""
    headers = signed(body)
    raw = bytearray(body.encode())
    raw[place % len(raw)] ^= change
    assert "webhook-signature" in refused(bytes(raw), headers)


now = int(time.time())
headers_of_strangers = st.fixed_dictionaries(
    {
        "webhook-id": st.sampled_from([ID, "msg_2", "", "."]) | texts,
        "webhook-timestamp": st.sampled_from([str(now), str(now + 1), f" {now}", f"{now}.0", f"+{now}", "0"]) | texts,
        "webhook-signature": st.lists(
            st.sampled_from([signature(at=now), signature(at=now + 1), signature(webhook_id="msg_2", at=now), "v1,"])
            | texts,
            max_size=3,
        ).map(" ".join),
    }
)


@given(headers=headers_of_strangers, body=st.sampled_from([BODY, BODY + " ", "{}"]))
def test_what_is_accepted_is_genuine(headers: dict[str, str], body: str) -> None:
    """Nothing is accepted that the oracle refuses, and every refusal is the same error."""
    why = ""
    try:
        verify_webhook(body, headers, SECRET)
    except WebhookVerificationError as error:
        why = str(error)
    else:
        # The oracle does not get beyond a malformed signature.
        well_formed = [part for part in headers["webhook-signature"].split(" ") if "," in part]
        standardwebhooks.Webhook(SECRET).verify(body, {**headers, "webhook-signature": " ".join(well_formed)})
    assert why.partition(": ")[0] in {"", "webhook-id", "webhook-timestamp", "webhook-signature", "body"}


def test_nothing_else_is_needed() -> None:
    """Verifying a webhook imports neither the HTTP client nor anything else that it does not need."""
    program = (
        "import sys; from replicate_async import verify_webhook; verify_webhook;"
        "print([name for name in ('aiohttp', 'anyio', 'asyncio', 'tenacity', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
