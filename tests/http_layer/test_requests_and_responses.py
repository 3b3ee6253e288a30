"""The protocol without I/O: encoding requests, and decoding responses and errors."""

from __future__ import annotations

import json
from collections import ChainMap
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from enum import Enum
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from multidict import CIMultiDict

from replicate_async import errors
from replicate_async._http.problem import snippet, status_error
from replicate_async._http.request import Request, encode_body, encode_query, full_url, origin
from replicate_async._http.response import APIResponse, decoder_for
from replicate_async._json import encode_json
from replicate_async.types import Account, ModelVersion, PageData, Prediction

BASE = "https://api.replicate.com/v1"
URL = f"{BASE}/account"


def get(path: str = "/account", response_type: Any = Account, **options: Any) -> Request[Any]:
    return Request("GET", path, response_type, options)


def response(body: bytes, response_type: Any = Account, status: int = 200, **headers: str) -> APIResponse[Any]:
    return APIResponse(get(response_type=response_type), URL, status, headers, body, 0.25)


# --- URLs and queries ---


def test_a_path_is_relative_to_the_base_url():
    """With or without a leading slash, a path is relative to the base URL; an absolute URL is not changed."""
    assert full_url(BASE, get("/account"), None) == f"{BASE}/account"
    assert full_url(BASE, get("account"), None) == f"{BASE}/account"
    assert full_url(BASE, get("http://other.example/x?y=z"), None) == "http://other.example/x?y=z"
    assert full_url(BASE, get("/search?query=http://x"), None) == f"{BASE}/search?query=http://x"


def test_queries_are_merged():
    """The call's query takes precedence over the client's, and ``extra_query`` over both."""
    request = Request[Any]("GET", "/x", None, {"extra_query": {"c": 3, "b": "extra"}}, query={"b": 2, "a": "own"})
    assert full_url(BASE, request, {"a": "default", "d": 4}) == f"{BASE}/x?a=own&d=4&b=extra&c=3"


def test_a_query_is_added_to_the_urls_own():
    """Parameters are appended to the query of a URL with an ampersand."""
    assert full_url(BASE, get("/x?a=1", extra_query={"b": 2}), None) == f"{BASE}/x?a=1&b=2"


def test_an_empty_query_adds_no_question_mark():
    """If all parameters are None, the URL does not change."""
    assert full_url(BASE, get("/x", extra_query={"a": None}), {}) == f"{BASE}/x"


def test_query_values():
    """None is omitted, booleans are lower case, lists repeat the name, times are ISO 8601, the rest is text."""
    moment = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=timezone(timedelta(hours=2)))
    query = {"none": None, "yes": True, "no": False, "n": 5, "f": 0.5, "many": ["a", None, 1], "at": moment, "e": ""}
    assert parse_qsl(encode_query(query), keep_blank_values=True) == [
        ("yes", "true"),
        ("no", "false"),
        ("n", "5"),
        ("f", "0.5"),
        ("many", "a"),
        ("many", "1"),
        ("at", "2025-01-02T03:04:05.678000+02:00"),
        ("e", ""),
    ]


def test_naive_times_are_invalid():
    """A time without a time zone raises an error that names the parameter."""
    with pytest.raises(ValueError, match="created_after must be a timezone-aware datetime"):
        encode_query({"created_after": datetime(2025, 1, 1)})  # noqa: DTZ001


@pytest.mark.parametrize("value", [b"x", {"a": 1}, {1}, object()])
def test_invalid_query_values(value):
    """A value without an obvious text raises TypeError, which names the parameter."""
    with pytest.raises(TypeError, match=f"x can't be sent in a query: {type(value).__name__}"):
        encode_query({"x": value})


# Examples may be slow on slow machines.
patient = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

words = st.text(st.characters(exclude_categories=["Cs"]))


@patient
@given(st.dictionaries(words, words | st.integers() | st.none() | st.lists(words)))
def test_queries_round_trip(query):
    """Whatever the names and values are, the server reads the same ones, and no others."""
    expected = [
        (name, str(item))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    text = encode_query(query)
    assert not set(text) & {"#", "?", " ", "/", "\n"}
    assert parse_qsl(text, keep_blank_values=True) == expected


def test_an_origin_is_scheme_host_and_port():
    """An origin includes the default port, and ignores the case of letters."""
    assert origin("https://API.replicate.com/v1") == origin("HTTPS://api.replicate.com:443/x")
    assert origin("http://h") == ("http", "h", 80)
    assert origin("http://h") != origin("https://h")
    assert origin("http://h") != origin("http://h:8080")


# --- bodies ---


def body_of(value: Any = UNSET, **options: Any) -> Any:
    return encode_body(Request("POST", "/x", None, options, json=value))


def test_bodies():
    """JSON has its content type, a missing body has none, and falsy values are sent."""
    assert body_of() == (None, None)
    assert body_of({"a": 0, "b": None, "c": "", "d": []}) == (b'{"a":0,"b":null,"c":"","d":[]}', "application/json")
    assert body_of({}) == (b"{}", "application/json")
    assert encode_body(Request("POST", "/x", None, {}, content=b"raw")) == (b"raw", None)


def test_extra_body_is_merged():
    """``extra_body`` is added to the body and takes precedence; without a body, it is the body."""
    body, _ = body_of({"a": 1, "b": 1}, extra_body={"b": 2, "c": 3})
    assert json.loads(body) == {"a": 1, "b": 2, "c": 3}
    assert body_of(extra_body={"c": 3}) == (b'{"c":3}', "application/json")
    with pytest.raises(TypeError, match="extra_body can only be added to a JSON object"):
        body_of([1], extra_body={"c": 3})


def test_extra_body_does_not_change_the_arguments():
    """Merging does not change the caller's mappings."""
    own, extra = {"a": 1}, {"b": 2}
    body_of(own, extra_body=extra)
    assert (own, extra) == ({"a": 1}, {"b": 2})


class Unencodable:
    def __repr__(self) -> str:
        return "<secret>"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"input": {"images": ["a", "b", Unencodable()]}}, "input.images[2]"),
        ({"input": {"image": Unencodable()}}, "input.image"),
        ({"input": {"a": ({"b": Unencodable()},)}}, "input.a[0].b"),
        ({"input": {"text": "\ud800"}}, "input.text"),
        ({"input": {"number": 1j}}, "input.number"),
        ({"input": {"f": len}}, "input.f"),
    ],
)
def test_unencodable_values_are_named_by_their_place(value, place):
    """The error says where in the body the unencodable value is, and does not show it."""
    with pytest.raises(TypeError) as caught:
        encode_json(value)
    assert str(caught.value).startswith(f"{place} can't be encoded as JSON: ")
    assert "<secret>" not in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_numbers_are_invalid(number):
    """NaN and infinities, which the encoder would write as null, raise ValueError."""
    with pytest.raises(ValueError, match=r"input\.sigma\[1\] is not a finite number"):
        encode_json({"input": {"none": None, "sigma": [0.5, number]}})


@dataclass
class Settings:
    sigma: Any
    seed: int | None = None


class Sampling(msgspec.Struct, rename="camel"):
    noise_level: float


class Level(Enum):
    NONE = float("nan")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Settings(float("nan")), "input.sigma"),
        ([Settings([Sampling(float("inf"))])], r"input\[0\].sigma\[0\].noiseLevel"),
        ({float("nan")}, r"input\[0\]"),
        (frozenset({float("-inf")}), r"input\[0\]"),
        (MappingProxyType({"level": Level.NONE}), "input.level"),
    ],
)
def test_non_finite_numbers_in_any_container_are_invalid(value, place):
    """They are found in dataclasses, structs, sets and enums as well."""
    with pytest.raises(ValueError, match=f"{place} is not a finite number"):
        encode_json({"input": value})


def test_none_is_sent_as_null():
    """None is sent as null from any container, and encoded JSON is sent unchanged."""
    value = {"a": Settings(None), "b": {None}, "c": msgspec.Raw(b"[null]"), "d": MappingProxyType({"e": None})}
    expected = {"a": {"sigma": None, "seed": None}, "b": [None], "c": [None], "d": {"e": None}}
    assert json.loads(encode_json(value)) == expected


def test_a_structure_that_contains_itself():
    """A recursive structure raises TypeError instead of crashing."""
    endless: dict[str, Any] = {"input": {}}
    endless["input"]["again"] = endless
    with pytest.raises(TypeError, match="can't be encoded as JSON"):
        encode_json(endless)


def test_mappings_of_any_kind_are_objects():
    """An input, and any value in it, may be any mapping."""
    value = {"input": MappingProxyType({"a": ChainMap({"b": 1}, {"c": 2})})}
    assert json.loads(encode_json(value)) == {"input": {"a": {"b": 1, "c": 2}}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=8,
)


@patient
@given(st.dictionaries(words, json_values))
def test_json_round_trips(value):
    """The standard library reads the same values from the encoded body, including integers of any size."""
    assert json.loads(encode_json(value)) == value


# --- responses ---


def test_a_response():
    """A response describes the request, and has its body in every form."""
    api_response = response(b'{"type":"user","username":"m\xc3\xa4x"}', **{"Content-Type": "application/json"})
    assert (api_response.status_code, api_response.method, api_response.url, api_response.retries_taken) == (
        200,
        "GET",
        URL,
        0,
    )
    assert api_response.elapsed == timedelta(seconds=0.25)
    assert api_response.read() == api_response.content == b'{"type":"user","username":"m\xc3\xa4x"}'
    assert api_response.text() == '{"type":"user","username":"mäx"}'
    assert api_response.json() == {"type": "user", "username": "mäx"}
    assert api_response.parse() == Account(type="user", username="mäx")
    assert repr(api_response) == f"<APIResponse [200] GET {URL}>"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"\xe4", "ä"),
        ('text/plain; charset="utf-8"', b"\xc3\xa4", "ä"),
        ("text/plain", b"\xc3\xa4", "ä"),
        ("text/plain", b"\xe4", "\ufffd"),
        ("text/plain; charset=nonsense", b"\xc3\xa4", "ä"),
        ("text/plain; charset=hex", b"ab", "ab"),
    ],
)
def test_text_uses_the_responses_charset(content_type, body, text):
    """Text uses the charset of the response if it is a valid one, and UTF-8 otherwise."""
    assert response(body, **{"Content-Type": content_type}).text() == text


def test_bodies_that_are_not_json():
    """``bytes`` and ``str`` return the body itself, and None ignores it."""
    assert response(b"\xff", bytes).parse() == b"\xff"
    assert response("# ä".encode(), str).parse() == "# ä"
    assert response(b"anything", None).parse() is None
    with pytest.raises(errors.APIResponseValidationError, match="the response is not str"):
        response(b"\xff", str).parse()


def test_transform_makes_the_result():
    """The request's ``transform`` is applied to the decoded body."""
    request = Request("GET", "/account", Account, {}, transform=lambda account: account.username.upper())
    api_response = APIResponse(request, URL, 200, {}, b'{"type":"user","username":"x"}', 0.0)
    assert api_response.parse() == "X"
    assert api_response.map(lambda name: name * 2).parse() == "XX"


@pytest.mark.parametrize(
    ("body", "response_type", "problem"),
    [
        (b"", Account, "truncated"),
        (b"<html>nope</html>", Account, "malformed"),
        (b'{"type":"user"}', Account, "username"),
        (b'{"type":"user","username":5}', Account, r"\$\.username"),
        (b"[]", Account, "Expected `object`, got `array`"),
        (b"null", Account, "got `null`"),
        (b'{"results":{"id":1}}', PageData[Prediction], r"\$\.results"),
        (b'{"type":"\xff"}', Account, "UTF-8|utf-8"),
        (b'{"type":"user","username":"x"} and more', Account, "trailing"),
    ],
)
def test_responses_of_another_shape(body, response_type, problem):
    """If decoding fails, the error has the expected type, the place of the difference and the body's beginning."""
    with pytest.raises(errors.APIResponseValidationError, match=problem) as caught:
        response(body, response_type).parse()
    error = caught.value
    assert (error.status_code, error.method, error.url, error.body) == (200, "GET", URL, body)
    assert snippet(body) in str(error)
    assert str(error).startswith(f"the response is not {getattr(response_type, '__name__', response_type)}: ")
    assert error.__cause__ is not None


def test_a_long_response_is_shown_in_part():
    """The error's text has 200 characters of the body, and ``body`` has all of it."""
    body = b'{"type":"' + b"x" * 100_000
    with pytest.raises(errors.APIResponseValidationError) as caught:
        response(body).parse()
    assert len(str(caught.value)) < 600
    assert "..." in str(caught.value)
    assert caught.value.body == body


def test_deep_nesting_is_a_validation_error():
    """A body that exhausts the decoder's stack raises APIResponseValidationError."""
    for read in (response(b"[" * 200_000).parse, response(b"[" * 200_000).json):
        with pytest.raises(errors.APIResponseValidationError):
            read()


@patient
@given(st.binary())
def test_any_body_is_decoded_or_invalid(body):
    """No body makes a response raise any other error."""
    api_response = response(body)
    api_response.text()
    for read in (api_response.json, api_response.parse):
        with suppress(errors.APIResponseValidationError):
            read()


@patient
@given(
    st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),  # noqa: DTZ001
    st.integers(6, 9),
    st.sampled_from(["Z", "+00:00"]),
)
def test_timestamps_have_six_to_nine_digits(moment, digits, zone):
    """Timestamps with up to nine fractional digits, as Go sends them, become timezone-aware datetimes."""
    sent = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + f".{moment.microsecond:06}".ljust(digits + 1, "0")
    body = json.dumps({"id": "v", "created_at": sent + zone}).encode()
    decoded = decoder_for(ModelVersion)(body).created_at
    assert decoded == moment.replace(tzinfo=timezone.utc)
    assert decoded.utcoffset() == timedelta(0)


# --- errors ---

CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.APIStatusError,
    409: errors.ConflictError,
    413: errors.APIStatusError,
    418: errors.APIStatusError,
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
    500: errors.InternalServerError,
    502: errors.InternalServerError,
    503: errors.InternalServerError,
    504: errors.InternalServerError,
    599: errors.InternalServerError,
}


def error_of(body: Any = b"", status: int = 429, **headers: str) -> errors.APIStatusError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return status_error("POST", URL, status, fields, content)


@pytest.mark.parametrize(("status", "kind"), CLASSES.items())
def test_each_status_has_its_class(status, kind):
    """Documented statuses have their own class, all 5xx share one, and the rest are APIStatusError."""
    error = error_of(status=status)
    assert type(error) is kind
    assert error.status_code == error.status == status


def test_a_problem_document():
    """Title and detail are in the message and in attributes, with everything else that describes the response."""
    problem = {"title": "Input validation failed", "detail": "- input.text: is required", "status": 422, "more": 1}
    error = error_of(problem, 422, X_Request_Id="abc")
    assert (error.title, error.detail) == ("Input validation failed", "- input.text: is required")
    assert str(error) == f"422 Input validation failed: - input.text: is required (POST {URL})"
    assert (error.method, error.url, error.headers["X-Request-Id"]) == ("POST", URL, "abc")
    assert json.loads(error.body) == problem


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "Not found."}, "404 Not found."),
        ({"title": "Nope"}, "404 Nope"),
        ({"title": None, "detail": "x"}, "404 x"),
        ({"title": "Invalid", "detail": [{"loc": ["a"]}]}, '404 Invalid: [{"loc":["a"]}]'),
        ({"detail": {"a": 1}}, '404 {"a":1}'),
        ({"title": 5, "detail": False}, "404 5: false"),
        (b"<html><h1>502 Bad Gateway</h1></html>", "404 '<html><h1>502 Bad Gateway</h1></html>'"),
        ([1, 2], "404 '[1, 2]'"),
        ("plain", "404 '\"plain\"'"),
        (b"", "404 no details"),
        (b" \r\n", "404 no details"),
        (b"\xff\xfe", "404 '\ufffd\ufffd'"),
    ],
)
def test_problems_without_title_or_form(body, message):
    """Any error body yields the best possible message."""
    assert str(error_of(body, 404)) == f"{message} (POST {URL})"


def test_a_long_error_page_is_shown_in_part():
    """The message shows the beginning of a gateway's page, and ``body`` has all of it."""
    page = b"<html>" + b"x" * 100_000
    error = error_of(page, 502)
    assert len(str(error)) < 400
    assert error.body == page


def test_a_redirect_that_is_not_followed():
    """The error of a redirect names its location."""
    assert "redirected to 'https://evil.example/', which is not followed" in str(
        error_of(status=307, Location="https://evil.example/")
    )
    assert "'nowhere'" in str(error_of(status=307))


def test_header_names_of_errors_are_case_insensitive():
    """The headers of an error are found by names in any case."""
    error = error_of(status=429, X_Request_Id="abc")
    assert error.headers["x-request-id"] == error.headers["X-REQUEST-ID"] == "abc"


@patient
@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={"title": json_values, "detail": json_values, "retry_after": json_values, "status": json_values},
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(300, 599),
    st.dictionaries(st.sampled_from(["Retry-After", "Date", "Location", "Content-Type"]), words),
)
@example(b'{"retry_after":1' + b"0" * 400 + b"}", 429, {})
@example(b'{"retry_after":-1' + b"0" * 400 + b"}", 429, {})
@example(b'{"retry_after":true}', 429, {})
@example(b"[" * 200_000, 500, {})
@example(b'{"detail":' + b"[" * 500 + b"]" * 500 + b"}", 500, {})
@example(b"", 503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"})
@example(b"", 503, {"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"})
@example(b"", 503, {"Retry-After": "1e999"})
@example(b"", 503, {"Retry-After": "nan"})
@example(b"", 503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"})
def test_any_error_body_becomes_a_status_error(body, status, headers):
    """No body, status or header makes building the error fail, and ``retry_after`` is never negative or infinite."""
    error = status_error("GET", URL, status, headers, body)
    assert str(error).startswith(str(status))
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


# --- Retry-After ---

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({}, b"", None),
        ({"Retry_After": "7"}, b"", 7),
        ({"Retry_After": "0"}, b"", 0),
        ({"Retry_After": "0.5"}, b"", 0.5),
        ({"Retry_After": "-3"}, b"", 0),
        ({"Retry_After": "soon"}, b"", None),
        ({"Retry_After": "inf"}, b"", None),
        ({"Retry_After": ""}, b"", None),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT"}, b"", 30),
        ({"Retry_After": "Wed, 21 Oct 2026 07:27:00 GMT"}, b"", 0),
        ({"Retry_After": "Wed, 21 Oct 2026 09:28:05 +0200"}, b"", 5),
        # The server's clock is an hour slow: the date counts relative to the server's own Date header.
        ({"Retry_After": "Wed, 21 Oct 2026 06:28:20 GMT", "Date": "Wed, 21 Oct 2026 06:28:00 GMT"}, b"", 20),
        ({"Retry_After": "Wed, 21 Oct 2026 06:28:20 GMT", "Date": "yesterday"}, b"", None),
        ({}, {"retry_after": 4}, 4),
        ({}, {"retry_after": 2.5}, 2.5),
        ({}, {"retry_after": "4"}, None),
        ({}, {"retry_after": None}, None),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {"detail": "Your rate limit resets in 1.5s."}, 1.5),
        ({}, {"detail": "It resets in ~2m."}, 120),
        ({}, {"detail": "It resets in ~800ms."}, 0.8),
        ({}, {"detail": "It resets in ~12."}, 12),
        ({}, {"detail": "It resets in a while."}, None),
        ({"Retry_After": "1"}, {"retry_after": 3, "detail": "resets in ~2s"}, 3),
        ({"Retry_After": "9"}, {"retry_after": 3, "detail": "resets in ~2s"}, 9),
    ],
)
def test_retry_after(headers, body, wait):
    """The longest wait counts, of the header in seconds or as a date, the body's member, and the detail's text."""
    assert error_of(body, 429, **{"Date": format_datetime(NOW, usegmt=True), **headers}).retry_after == wait


def test_retry_after_in_a_lower_case_header():
    """A gateway may write header names in lower case."""
    assert status_error("GET", URL, 503, CIMultiDict({"retry-after": "3"}), b"").retry_after == 3
