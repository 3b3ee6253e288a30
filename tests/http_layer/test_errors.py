"""The tree of errors, and their attributes, also after pickling and copying."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
from datetime import datetime, timezone
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy

import replicate_async
from replicate_async import AsyncReplicate, errors
from replicate_async._http.problem import connection_error, status_error
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse
from replicate_async.types import Account, Prediction, PredictionUrls

URL = "https://api.replicate.com/v1/predictions"

TREE = {
    "ReplicateError": "Exception",
    "APIError": "ReplicateError",
    "APIConnectionError": "APIError",
    "APITimeoutError": "APIConnectionError",
    "CreateOutcomeUnknown": "APIConnectionError",
    "APIStatusError": "APIError",
    "BadRequestError": "APIStatusError",
    "AuthenticationError": "APIStatusError",
    "PaymentRequiredError": "APIStatusError",
    "PermissionDeniedError": "APIStatusError",
    "NotFoundError": "APIStatusError",
    "ConflictError": "APIStatusError",
    "UnprocessableEntityError": "APIStatusError",
    "RateLimitError": "APIStatusError",
    "InternalServerError": "APIStatusError",
    "APIResponseValidationError": "APIError",
    "ModelError": "ReplicateError",
    "PredictionCanceledError": "ModelError",
    "WebhookVerificationError": "ReplicateError",
}


FIELD = {"type": "required", "field": "input.prompt", "description": "prompt is required"}


def failed_prediction(status: str = "failed", error: str | None = "out of memory") -> Prediction:
    return Prediction(
        id="abc",
        model="owner/name",
        status=status,
        error=error,
        created_at=datetime(2025, 1, 1, tzinfo=timezone.utc),
        urls=PredictionUrls(),
    )


def all_errors() -> list[errors.ReplicateError]:
    """Return one error of each class, with a value other than the default for every attribute."""
    call: dict[str, Any] = {"method": "POST", "url": URL, "prediction_id": "abc"}
    response = {**call, "status_code": 499, "headers": {"X-Request-Id": "r"}, "body": b"\xff{}"}
    problem = {**response, "title": "Nope", "detail": "Because.", "retry_after": 2.5, "invalid_fields": [FIELD]}
    instances: list[errors.ReplicateError] = []
    for name in TREE:
        kind = getattr(errors, name)
        if issubclass(kind, errors.APIStatusError):
            instances.append(kind("message", **problem))
        elif issubclass(kind, errors.APIResponseValidationError):
            instances.append(kind("message", **response))
        elif issubclass(kind, errors.APIConnectionError):
            instances.append(kind("message", **call, sent=False))
        elif issubclass(kind, errors.APIError):
            instances.append(kind("message", **call))
        elif issubclass(kind, errors.ModelError):
            instances.append(kind(failed_prediction()))
        else:
            instances.append(kind("message"))
    return instances


def test_the_tree():
    """Every error has its documented parent, and there is no other error."""
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }
    assert {name: kind.__mro__[1].__name__ for name, kind in classes.items() if name != "ReplicateError"} == {
        name: parent for name, parent in TREE.items() if name != "ReplicateError"
    }
    assert issubclass(errors.ReplicateError, Exception)
    assert set(errors.__all__) == set(TREE)


def test_errors_are_exported_at_the_top():
    """The package and its module ``errors`` have the same classes."""
    for name in TREE:
        assert getattr(replicate_async, name) is getattr(errors, name)
        assert name in replicate_async.__all__


def test_the_tree_in_the_documentation():
    """The drawing in the module's docstring shows the actual tree."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        indent, _, rest = line.removeprefix("    ").rpartition("─ ")
        name = rest.split(" ")[0]
        if name not in TREE:
            continue
        depth = (len(indent) + 2) // 4 if indent else 0
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else "Exception"
    assert drawn == TREE


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "duplicate",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deep"],
)
def test_errors_survive_pickle_and_copy(error, duplicate):
    """An error keeps its class, text and attributes when it is pickled or copied, for example by a process pool."""
    copied = duplicate(error)
    assert copied is not error
    assert type(copied) is type(error)
    assert (str(copied), repr(copied), copied.args, vars(copied)) == (str(error), repr(error), error.args, vars(error))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_pickle_with_every_protocol(protocol):
    """Errors support older protocols, which Celery and others choose."""
    for error in all_errors():
        copied = pickle.loads(pickle.dumps(error, protocol))
        assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_every_error_has_a_message_and_a_status():
    """Programs that log errors need not know which class they have: ``message`` and ``status`` are always there."""
    for error in all_errors():
        has_response = isinstance(error, (errors.APIStatusError, errors.APIResponseValidationError))
        assert error.status == (499 if has_response else None)
        assert error.message == ("message" if not isinstance(error, errors.ModelError) else str(error))
        assert error.message in str(error)


@pytest.mark.parametrize("fields", [[FIELD], [FIELD, {"field": 5}], [], None, {}, "x", [5], [None, FIELD]], ids=str)
def test_invalid_fields(fields):
    """A 422 has the fields that are refused; what is none is left out."""
    body = json.dumps({"title": "Input validation failed", "detail": "- x", "status": 422, "invalid_fields": fields})
    error = status_error("POST", URL, 422, {}, body.encode())
    expected = [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert each.invalid_fields == expected
        assert "Input validation failed" in each.message
    assert status_error("POST", URL, 422, {}, b"<html>").invalid_fields == []


def test_no_credit():
    """An account without credit gets a class of its own."""
    error = status_error("POST", URL, 402, {}, b'{"title": "Insufficient credit", "status": 402}')
    assert type(error) is errors.PaymentRequiredError
    assert (error.status, error.message) == (402, "402 Insufficient credit")


def test_errors_of_responses_pickle():
    """Errors with the headers of an actual response can be pickled, and keep the headers."""
    headers = CIMultiDictProxy(CIMultiDict({"Retry-After": "3", "Set-Cookie": "a"}))
    refused = status_error("GET", URL, 429, headers, b"{}")
    with pytest.raises(errors.APIResponseValidationError) as caught:
        APIResponse(Request("GET", "/account", Account, {}), URL, 200, headers, b"<html>", 0.0).parse()
    for error in (refused, caught.value):
        copied = pickle.loads(pickle.dumps(error))
        assert copied.headers == error.headers
        assert copied.headers["retry-after"] == "3"
        assert copy.deepcopy(error).body == error.body


def test_an_attribute_set_later_is_kept():
    """The prediction's id, which is set on an error on its way up, is in its text and in its pickle."""
    error = errors.APIError("broken", method="GET", url=URL)
    error.prediction_id = "abc"
    assert str(error) == f"broken (GET {URL}) [prediction abc]"
    assert pickle.loads(pickle.dumps(error)).prediction_id == "abc"


def test_messages():
    """The text describes the failure and the call, and omits what is unknown."""
    assert str(errors.APIError("broken")) == "broken"
    assert str(errors.APIError("broken", method="GET", url=URL)) == f"broken (GET {URL})"
    assert str(errors.APITimeoutError("late", prediction_id="abc")) == "late [prediction abc]"
    assert str(errors.ModelError(failed_prediction())) == "prediction abc failed: out of memory"
    assert str(errors.PredictionCanceledError(failed_prediction("aborted", None))) == (
        "prediction abc aborted: no reason given"
    )


def test_model_errors_carry_the_prediction():
    """Logs, metrics and input of the failed prediction are available without another request."""
    assert errors.ModelError(failed_prediction()).prediction == failed_prediction()


def test_defaults():
    """Every error of a class has all attributes, so that handlers need no getattr."""
    refused = errors.APIStatusError("x")
    assert (refused.title, refused.detail, refused.retry_after, refused.prediction_id) == (None, None, None, None)
    assert (refused.headers, refused.body, refused.status) == ({}, b"", 0)
    assert errors.APIConnectionError("x").sent


@pytest.mark.anyio
async def test_reasons_are_said_once():
    """The text of a connection error has the reason once, with the host."""
    async with AsyncReplicate(bearer_token="t", base_url="http://127.0.0.1:9/v1", max_retries=0) as client:
        with pytest.raises(errors.APIConnectionError) as caught:
            await client.account.get()
    assert str(caught.value).count("Connect call failed") == 1


def test_sent_is_false_only_without_a_connection():
    """``sent`` is False if there was no connection; otherwise the call may have been carried out."""
    key = ConnectionKey("localhost", 9, False, True, None, None, None)
    refused = aiohttp.ClientConnectorError(key, OSError(111, "refused"))
    cases = {
        refused: (errors.APIConnectionError, False),
        aiohttp.ConnectionTimeoutError("connect"): (errors.APITimeoutError, False),
        aiohttp.SocketTimeoutError("read"): (errors.APITimeoutError, True),
        aiohttp.ServerDisconnectedError(): (errors.APIConnectionError, True),
        aiohttp.ClientPayloadError("half"): (errors.APIConnectionError, True),
        aiohttp.ClientOSError(104, "reset"): (errors.APIConnectionError, True),
        asyncio.TimeoutError(): (errors.APITimeoutError, True),
        ConnectionResetError(): (errors.APIConnectionError, True),
    }
    for cause, (kind, sent) in cases.items():
        error = connection_error(cause, "POST", URL)
        assert (type(error), error.sent, error.method, error.url) == (kind, sent, "POST", URL), cause
        assert str(error)
