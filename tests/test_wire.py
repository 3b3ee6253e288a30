"""The protocol without I/O: how requests are written, and how answers and errors are read."""

from __future__ import annotations

import json
from collections import ChainMap
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
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
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse, reader
from replicate_async._json import encode_json, encode_query, full_body, full_url, origin
from replicate_async.types import Account, ModelVersion, PageData, Prediction

BASE = "https://api.replicate.com/v1"
URL = f"{BASE}/account"


def get(path: str = "/account", as_type: Any = Account, **options: Any) -> Request[Any]:
    return Request("GET", path, as_type, options)


def response(body: bytes, as_type: Any = Account, status: int = 200, **headers: str) -> APIResponse[Any]:
    return APIResponse(get(as_type=as_type), URL, status, headers, body, 0.25)


# --- URLs and queries ---


def test_a_path_is_relative_to_the_base_url():
    """With or without a slash in front, a path goes below the base URL; an absolute URL stays as it is."""
    assert full_url(BASE, get("/account"), None) == f"{BASE}/account"
    assert full_url(BASE, get("account"), None) == f"{BASE}/account"
    assert full_url(BASE, get("http://other.example/x?y=z"), None) == "http://other.example/x?y=z"
    assert full_url(BASE, get("/search?query=http://x"), None) == f"{BASE}/search?query=http://x"


def test_queries_are_merged():
    """The client's query comes first, then the call's own, then extra_query; the later one wins."""
    request = Request[Any]("GET", "/x", None, {"extra_query": {"c": 3, "b": "extra"}}, query={"b": 2, "a": "own"})
    assert full_url(BASE, request, {"a": "default", "d": 4}) == f"{BASE}/x?a=own&d=4&b=extra&c=3"


def test_a_query_is_added_to_one_that_is_there():
    """Extra parameters of a call whose URL has a query already don't make a second question mark."""
    assert full_url(BASE, get("/x?a=1", extra_query={"b": 2}), None) == f"{BASE}/x?a=1&b=2"


def test_nothing_to_ask_leaves_no_question_mark():
    """Parameters that are all None leave the URL alone."""
    assert full_url(BASE, get("/x", extra_query={"a": None}), {}) == f"{BASE}/x"


def test_query_values():
    """None is left out, booleans are lower case, lists repeat the name, times are ISO 8601, the rest is text."""
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


def test_times_without_zone_are_refused():
    """A naive time would mean something else on each machine; the error names the parameter."""
    with pytest.raises(ValueError, match="created_after must be a timezone-aware datetime"):
        encode_query({"created_after": datetime(2025, 1, 1)})  # noqa: DTZ001


@pytest.mark.parametrize("value", [b"x", {"a": 1}, {1}, object()])
def test_what_a_query_cannot_say(value):
    """A value without an obvious text is a TypeError that names the parameter."""
    with pytest.raises(TypeError, match=f"x can't be sent in a query: {type(value).__name__}"):
        encode_query({"x": value})


# Slow machines are no failures.
patient = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

words = st.text(st.characters(exclude_categories=["Cs"]))


@patient
@given(st.dictionaries(words, words | st.integers() | st.none() | st.lists(words)))
def test_queries_round_trip(query):
    """Whatever the names and values are, the server reads the same ones, and no others."""
    expected = [
        (name, str(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
        if one is not None
    ]
    text = encode_query(query)
    assert not set(text) & {"#", "?", " ", "/", "\n"}
    assert parse_qsl(text, keep_blank_values=True) == expected


def test_an_origin_is_scheme_host_and_port():
    """Default ports are filled in, and letter case makes no difference: these are what a token belongs to."""
    assert origin("https://API.replicate.com/v1") == origin("HTTPS://api.replicate.com:443/x")
    assert origin("http://h") == ("http", "h", 80)
    assert origin("http://h") != origin("https://h")
    assert origin("http://h") != origin("http://h:8080")


# --- bodies ---


def body_of(value: Any = UNSET, **options: Any) -> Any:
    return full_body(Request("POST", "/x", None, options, json=value))


def test_bodies():
    """JSON has its content type; no body has none; falsy values are sent."""
    assert body_of() == (None, None)
    assert body_of({"a": 0, "b": None, "c": "", "d": []}) == (b'{"a":0,"b":null,"c":"","d":[]}', "application/json")
    assert body_of({}) == (b"{}", "application/json")
    assert full_body(Request("POST", "/x", None, {}, content=b"raw")) == (b"raw", None)


def test_extra_body_is_merged():
    """extra_body adds to the body and wins over it; where there was no body, it is the body."""
    body, _ = body_of({"a": 1, "b": 1}, extra_body={"b": 2, "c": 3})
    assert json.loads(body) == {"a": 1, "b": 2, "c": 3}
    assert body_of(extra_body={"c": 3}) == (b'{"c":3}', "application/json")
    with pytest.raises(TypeError, match="extra_body can only be added to a JSON object"):
        body_of([1], extra_body={"c": 3})


def test_extra_body_leaves_the_arguments_alone():
    """The caller's mappings are not changed by merging."""
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
def test_what_json_cannot_say_is_named_with_its_place(value, place):
    """The error says where in the body the unencodable value is, and doesn't show it."""
    with pytest.raises(TypeError) as caught:
        encode_json(value)
    assert str(caught.value).startswith(f"{place} can't be encoded as JSON: ")
    assert "<secret>" not in str(caught.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(number):
    """NaN and the infinities would arrive as null, and run the model with another input."""
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
def test_numbers_that_are_none_are_found_wherever_json_takes_them(value, place):
    """Nor do they go as null out of dataclasses, structs, sets and enums, which the encoder looks into as well."""
    with pytest.raises(ValueError, match=f"{place} is not a finite number"):
        encode_json({"input": value})


def test_nulls_that_are_meant():
    """None goes as null out of all of these, and so does JSON that is written already."""
    value = {"a": Settings(None), "b": {None}, "c": msgspec.Raw(b"[null]"), "d": MappingProxyType({"e": None})}
    told = {"a": {"sigma": None, "seed": None}, "b": [None], "c": [None], "d": {"e": None}}
    assert json.loads(encode_json(value)) == told


def test_a_structure_that_contains_itself():
    """Endless structures are an error like others, not a crash."""
    endless: dict[str, Any] = {"input": {}}
    endless["input"]["again"] = endless
    with pytest.raises(TypeError, match="can't be encoded as JSON"):
        encode_json(endless)


def test_mappings_of_any_kind_are_objects():
    """An input may be any mapping, and so may what is in it."""
    value = {"input": MappingProxyType({"a": ChainMap({"b": 1}, {"c": 2})})}
    assert json.loads(encode_json(value)) == {"input": {"a": {"b": 1, "c": 2}}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=8,
)


@patient
@given(st.dictionaries(words, json_values))
def test_json_arrives_as_it_was_passed(value):
    """The standard library reads what is sent, integers of any size included."""
    assert json.loads(encode_json(value)) == value


# --- answers ---


def test_an_answer():
    """An answer tells what was asked, and has its body in every form."""
    made = response(b'{"type":"user","username":"m\xc3\xa4x"}', **{"Content-Type": "application/json"})
    assert (made.status_code, made.method, made.url, made.retries_taken) == (200, "GET", URL, 0)
    assert made.elapsed == timedelta(seconds=0.25)
    assert made.read() == made.content == b'{"type":"user","username":"m\xc3\xa4x"}'
    assert made.text() == '{"type":"user","username":"mäx"}'
    assert made.json() == {"type": "user", "username": "mäx"}
    assert made.parse() == Account(type="user", username="mäx")
    assert repr(made) == f"<APIResponse [200] GET {URL}>"


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
def test_text_is_decoded_as_the_answer_says(content_type, body, text):
    """The charset of the answer counts where it exists; otherwise it is UTF-8, and nothing crashes."""
    assert response(body, **{"Content-Type": content_type}).text() == text


def test_bodies_that_are_not_json():
    """Bytes and text come as they are, and None is no matter what the body is."""
    assert response(b"\xff", bytes).parse() == b"\xff"
    assert response("# ä".encode(), str).parse() == "# ä"
    assert response(b"anything", None).parse() is None
    with pytest.raises(errors.APIResponseValidationError, match="the answer is not str"):
        response(b"\xff", str).parse()


def test_then_makes_the_result():
    """What a method makes of the body is applied to what was decoded."""
    request = Request("GET", "/account", Account, {}, then=lambda account: account.username.upper())
    made = APIResponse(request, URL, 200, {}, b'{"type":"user","username":"x"}', 0.0)
    assert made.parse() == "X"


@pytest.mark.parametrize(
    ("body", "as_type", "problem"),
    [
        (b"", Account, "truncated"),
        (b"<html>nope</html>", Account, "malformed"),
        (b'{"type":"user"}', Account, "username"),
        (b'{"type":"user","username":5}', Account, r"\$\.username"),
        (b"[]", Account, "Expected `object`, got `array`"),
        (b"null", Account, "got `null`"),
        (b'{"results":[{"id":1}]}', PageData[Prediction], r"\$\.results\[0\]"),
        (b'{"type":"\xff"}', Account, "UTF-8|utf-8"),
        (b'{"type":"user","username":"x"} and more', Account, "trailing"),
    ],
)
def test_answers_of_another_shape(body, as_type, problem):
    """What can't be decoded is an error that says what was expected, where it differs, and how the body begins."""
    with pytest.raises(errors.APIResponseValidationError, match=problem) as caught:
        response(body, as_type).parse()
    error = caught.value
    assert (error.status_code, error.method, error.url, error.body) == (200, "GET", URL, body)
    assert snippet(body) in str(error)
    assert str(error).startswith(f"the answer is not {getattr(as_type, '__name__', as_type)}: ")
    assert error.__cause__ is not None


def test_a_long_answer_is_shown_in_part():
    """The error shows 200 characters of the body; all of it is in ``body``."""
    body = b'{"type":"' + b"x" * 100_000
    with pytest.raises(errors.APIResponseValidationError) as caught:
        response(body).parse()
    assert len(str(caught.value)) < 600
    assert "..." in str(caught.value)
    assert caught.value.body == body


def test_nesting_without_end_is_a_validation_error():
    """A body that exhausts the decoder's stack is a wrong answer, not a crash."""
    for read in (response(b"[" * 200_000).parse, response(b"[" * 200_000).json):
        with pytest.raises(errors.APIResponseValidationError):
            read()


@patient
@given(st.binary())
def test_any_body_is_decoded_or_refused(body):
    """No body makes reading an answer crash in another way."""
    made = response(body)
    made.text()
    for read in (made.json, made.parse):
        with suppress(errors.APIResponseValidationError):
            read()


@patient
@given(
    st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),  # noqa: DTZ001
    st.integers(6, 9),
    st.sampled_from(["Z", "+00:00"]),
)
def test_timestamps_have_six_to_nine_digits(moment, digits, zone):
    """Fractions of a second may have up to nine digits, as the API's Go parts send them; times are aware."""
    sent = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + f".{moment.microsecond:06}".ljust(digits + 1, "0")
    body = json.dumps({"id": "v", "created_at": sent + zone}).encode()
    decoded = reader(ModelVersion)(body).created_at
    assert decoded == moment.replace(tzinfo=timezone.utc)
    assert decoded.utcoffset() == timedelta(0)


# --- errors ---

CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.APIStatusError,
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


def error_of(body: Any = b"", status: int = 429, now: datetime | None = None, **headers: str) -> errors.APIStatusError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return status_error("POST", URL, status, fields, content, now)


@pytest.mark.parametrize(("status", "kind"), CLASSES.items())
def test_each_status_has_its_class(status, kind):
    """Statuses with a meaning of their own have their own class, all 5xx are the server's fault, the rest is plain."""
    error = error_of(status=status)
    assert type(error) is kind
    assert error.status_code == error.status == status


def test_a_problem_document():
    """Title and detail are in the message and in attributes, with everything else that tells what happened."""
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
    """Whatever the error's body is, the message says as much as there is to say."""
    assert str(error_of(body, 404)) == f"{message} (POST {URL})"


def test_a_long_error_page_is_shown_in_part():
    """A gateway's page doesn't fill the log; all of it is in ``body``."""
    page = b"<html>" + b"x" * 100_000
    error = error_of(page, 502)
    assert len(str(error)) < 400
    assert error.body == page


def test_a_redirect_that_is_not_followed():
    """The error of a redirect says where it would have led."""
    assert "redirected to 'https://evil.example/', which is not followed" in str(
        error_of(status=307, Location="https://evil.example/")
    )
    assert "'nowhere'" in str(error_of(status=307))


def test_header_names_of_errors_have_no_case():
    """As in answers, a header of an error is found however its name is written."""
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
    """No body, status or header makes the error path crash, and hints are never negative or endless."""
    error = status_error("GET", URL, status, headers, body)
    assert str(error).startswith(str(status))
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


# --- hints ---

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
        # The server's clock is an hour late: its date is meant relative to its own Date header.
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
def test_the_hint_is_read_wherever_it_stands(headers, body, wait):
    """Header in seconds or as a date, the body's field, the text of the detail: the longest wait counts."""
    assert error_of(body, 429, NOW, **headers).retry_after == wait


def test_hints_are_found_in_headers_of_any_case():
    """A gateway may write header names in lower case."""
    assert status_error("GET", URL, 503, CIMultiDict({"retry-after": "3"}), b"").retry_after == 3
