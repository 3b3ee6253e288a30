"""Arguments and options are checked before anything is sent."""

from __future__ import annotations

import asyncio
from datetime import datetime
from operator import attrgetter
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callers import transport_of
from replicate_async import AsyncReplicate, Replicate, ReplicateError
from replicate_async._http.options import Settings, check_choice, check_options, check_token, drop_unset
from replicate_async._http.request import format_path, prefer_wait_seconds
from replicate_async._predictions.requests import (
    ModelRef,
    check_events,
    check_input,
    create_request,
    model_path,
    prefer_header,
)
from replicate_async.types import Model, ModelVersion

TOKEN = "r8_ThisMustNeverBeSeenAnywhere"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


# --- paths ---


@pytest.mark.parametrize(
    "value", ["/", "a/b", ".", "..", "?", "a?b", "#", "a#b", "a\rb", "a\nb", "a\r\nX: y", "\0", "a\tb", "\x7f"]
)
def test_a_path_argument_cannot_leave_its_segment(value):
    """Slashes, dot segments, queries, fragments and control characters raise ValueError, which names the argument."""
    with pytest.raises(ValueError, match="prediction_id="):
        format_path("/predictions/{prediction_id}", prediction_id=value)


def test_an_empty_path_argument_is_named():
    """An empty path argument, which would call another operation, raises an error that names it."""
    with pytest.raises(ValueError, match="prediction_id must not be empty"):
        format_path("/predictions/{prediction_id}", prediction_id="")


@pytest.mark.parametrize("value", [None, 5, b"abc", ["a"]])
def test_a_path_argument_of_another_type_is_named(value):
    """A path argument must be a str; None must not become the segment "None"."""
    with pytest.raises(TypeError, match=f"prediction_id must be a str, not {type(value).__name__}"):
        format_path("/predictions/{prediction_id}", prediction_id=value)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("abc-DEF_1.2~3", "abc-DEF_1.2~3"),
        ("...", "..."),
        ("a..b", "a..b"),
        (".hidden", ".hidden"),
        ("two words", "two%20words"),
        ("50%", "50%25"),
        ("%2e%2e", "%252e%252e"),
        ("%2F", "%252F"),
        ("a\\b", "a%5Cb"),
        ("a;b=c&d", "a%3Bb%3Dc%26d"),
        ("{x}", "%7Bx%7D"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("猫", "%E7%8C%AB"),
    ],
)
def test_valid_path_arguments_are_percent_encoded(value, sent):
    """A valid id is sent as one segment, and a percent sign is encoded again."""
    assert format_path("/files/{file_id}", file_id=value) == f"/files/{sent}"


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_paths_round_trip(value):
    """An argument arrives as exactly one segment with the same text, or is invalid."""
    try:
        path = format_path("/a/{b}/c", b=value)
    except ValueError:
        assert not value or value in {".", ".."} or set(value) & {"/", "?", "#", "\x7f", *map(chr, range(32))}
        return
    parts = urlsplit(f"https://api.replicate.com/v1{path}")
    assert (parts.netloc, parts.query, parts.fragment) == ("api.replicate.com", "", "")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "v1", "a", value, "c"]


def test_surrogates_in_a_path_are_a_value_error():
    """A lone surrogate can't be encoded."""
    with pytest.raises(ValueError, match="surrogate"):
        format_path("/files/{file_id}", file_id="\ud800")


def test_models_by_one_argument_or_two():
    """A model is named by owner and name, or by both in one argument."""
    assert model_path("owner", "name", tail="/versions") == "/models/owner/name/versions"
    assert model_path("owner/name") == model_path("owner/name", None) == "/models/owner/name"
    assert model_path("owner/name", kind="deployment") == "/deployments/owner/name"


@pytest.mark.parametrize(
    ("owner", "name", "error", "named"),
    [
        ("owner", None, TypeError, "model_name"),
        ("owner/name", "again", ValueError, "model_owner"),
        ("owner/name/more", None, ValueError, "model_name"),
        ("/name", None, ValueError, "model_owner"),
        ("owner/", None, ValueError, "model_name"),
        ("owner", "", ValueError, "model_name"),
        ("..", "name", ValueError, "model_owner"),
    ],
)
def test_half_a_model_is_an_error(owner, name, error, named):
    """The error names the part that is missing or invalid."""
    with pytest.raises(error, match=named):
        model_path(owner, name)


# --- model references ---


@pytest.mark.parametrize(
    ("ref", "parsed"),
    [
        ("owner/name", ModelRef("owner", "name")),
        ("stability-ai/sdxl-1.0_x", ModelRef("stability-ai", "sdxl-1.0_x")),
        (f"owner/name:{VERSION}", ModelRef("owner", "name", VERSION)),
        (VERSION, ModelRef(version=VERSION)),
    ],
)
def test_model_references(ref, parsed):
    """The three kinds of reference are distinguished."""
    assert ModelRef.parse(ref) == parsed


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "owner",
        "owner/",
        "/name",
        "owner//name",
        "owner/name/more",
        "owner/name:",
        "owner/name:a:b",
        ":" + VERSION,
        "../name",
        "owner/..",
        "owner/name:..",
        "owner/name?x=1",
        "owner/na me",
        " owner/name",
        "owner/name\n",
        "owner/naïve",
        f"{VERSION}\n",
        "https://replicate.com/owner/name",
    ],
)
def test_invalid_references(ref):
    """An invalid reference raises ValueError, which shows it and the valid forms."""
    with pytest.raises(ValueError, match=r"is not a model: (use|did you mean) 'owner/name'") as caught:
        ModelRef.parse(ref)
    assert f"ref={ref!r}" in str(caught.value)


@pytest.mark.parametrize("ref", [None, 5, b"owner/name", ("owner", "name")])
def test_references_of_another_type(ref):
    """A reference must be a str."""
    with pytest.raises(TypeError, match=f"not {type(ref).__name__}"):
        ModelRef.parse(ref)


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_references_parse_or_are_invalid(ref):
    """No text crashes the parser, and a valid reference needs no encoding in a URL."""
    try:
        parsed = ModelRef.parse(ref)
    except ValueError:
        return
    parts = [part for part in (parsed.owner, parsed.name, parsed.version) if part is not None]
    assert all(format_path("/{part}", part=part) == f"/{part}" for part in parts)


def test_models_and_versions_are_references():
    """The results of models.get and models.versions.get can be run."""
    assert ModelRef.parse(Model(owner="owner", name="name")) == ModelRef("owner", "name")
    version = ModelVersion(id=VERSION, created_at=datetime.fromisoformat("2025-01-01T00:00:00+00:00"))
    assert ModelRef.parse(version) == ModelRef(version=VERSION)


# --- waiting ---


@pytest.mark.parametrize(
    ("wait", "prefer"), [(False, None), (True, "wait"), (1, "wait=1"), (60, "wait=60"), (5, "wait=5")]
)
def test_wait_becomes_prefer(wait, prefer):
    """``wait`` determines the Prefer header."""
    assert prefer_header(wait) == prefer


@pytest.mark.parametrize("wait", [0, -1, 61, 10**20])
def test_waits_out_of_range(wait):
    """The API holds responses for 1 to 60 seconds."""
    with pytest.raises(ValueError, match=f"wait={wait} must be from 1 to 60"):
        prefer_header(wait)


@pytest.mark.parametrize("wait", [1.5, "5", None])
def test_waits_of_another_type(wait):
    """``wait`` must be a bool or an int."""
    with pytest.raises(TypeError, match=f"wait must be a bool or an int, not {type(wait).__name__}"):
        prefer_header(wait)


def headers_of(*, prefer: Any = None, **options: Any) -> Any:
    """Return the headers of a create."""
    request = create_request("/predictions", options, {}, prefer=prefer)
    return request.headers


@pytest.mark.parametrize(("prefer", "seconds"), [("wait", 60.0), ("wait=1", 1.0), ("wait=60", 60.0)])
def test_prefer(prefer, seconds):
    """The header is sent unchanged, and says for how long the response may be held."""
    assert headers_of(prefer=prefer) == {"Prefer": prefer}
    assert prefer_wait_seconds(prefer) == seconds


def test_no_headers_by_default():
    """Headers of omitted options are not sent."""
    assert headers_of() == {}


@pytest.mark.parametrize(
    "prefer", ["", "wait=", "wait=0", "wait=61", "wait=-1", "wait=1.5", "wait=5\r\nX: y", "wait=٣", "WAIT", "respond"]
)
def test_invalid_prefers(prefer):
    """Values that the API does not document are invalid, line breaks included."""
    with pytest.raises(ValueError, match="prefer="):
        headers_of(prefer=prefer)


@pytest.mark.parametrize("prefer", [5, True])
def test_prefer_of_the_wrong_type_is_named(prefer):
    """``prefer=5``, a likely mistake for ``"wait=5"``, raises an error that names the argument."""
    with pytest.raises(TypeError, match="prefer"):
        headers_of(prefer=prefer)


@pytest.mark.parametrize(
    ("value", "sent"), [(5, "5"), (30, "30"), ("30", "30"), ("90s", "90s"), ("5m", "5m"), ("1h30m", "1h30m")]
)
def test_cancel_after_is_sent(value, sent):
    """Seconds and durations are sent in the API's format."""
    assert headers_of(cancel_after=value) == {"Cancel-After": sent}


@pytest.mark.parametrize("value", [0, 4, -5, "0s", "4s", "0m", "0h4s"])
def test_cancel_after_has_a_minimum(value):
    """The API accepts no less than five seconds."""
    with pytest.raises(ValueError, match="cancel_after="):
        headers_of(cancel_after=value)


@pytest.mark.parametrize("value", ["", "soon", "5d", "m5", "1.5h", 30.5, True, "5m\n", "٣٠", "30m1h"])
def test_cancel_after_is_a_duration(value):
    """Other values are invalid, and the error shows a valid duration."""
    with pytest.raises((ValueError, TypeError), match=r"cancel_after.*1h30m"):
        headers_of(cancel_after=value)


# --- inputs and choices ---


@pytest.mark.parametrize("value", [None, "text", 5, [("a", 1)], {"a"}])
def test_an_input_is_a_mapping(value):
    """A model's input must be a mapping."""
    with pytest.raises(TypeError, match=f"input must be a mapping.*not {type(value).__name__}"):
        check_input(value)


def test_choices_are_listed_in_the_error():
    """The error shows the value and the valid ones."""
    check_choice("visibility", "public", ("public", "private"))
    check_choice("visibility", None, ("public", "private"))
    check_choice("visibility", None, ("public", "private"))
    with pytest.raises(ValueError, match="visibility='secret' is not one of 'public', 'private'"):
        check_choice("visibility", "secret", ("public", "private"))


def test_webhook_events_are_checked():
    """Events must be a list of known names; one str would be read as a list of letters."""
    check_events(None)
    check_events(None)
    check_events([])
    check_events(["start", "output", "logs", "completed"])
    with pytest.raises(TypeError, match="not one str"):
        check_events("completed")
    with pytest.raises(ValueError, match="'done' is not one of"):
        check_events(["completed", "done"])


def test_falsy_arguments_are_kept():
    """Only omitted arguments, and those that are None, are dropped."""
    assert drop_unset(a=0, b=None, c="", d=False, e=[]) == {
        "a": 0,
        "c": "",
        "d": False,
        "e": [],
    }


# --- options ---


@pytest.mark.parametrize("name", ["timout", "extra_header", "input_", "webhook_event_filter"])
def test_misspelled_options_are_named(name):
    """A misspelled argument, which ends up among the options, raises TypeError, which names it."""
    with pytest.raises(TypeError, match=f"unexpected argument '{name}'"):
        check_options({name: 1})


@pytest.mark.parametrize("timeout", [0, -1, 0.0, -0.5, float("nan"), float("inf"), True, False])
def test_invalid_timeouts(timeout):
    """The client and each call accept a positive, finite number of seconds, or None for no limit."""
    with pytest.raises(ValueError, match="timeout="):
        check_options({"timeout": timeout})
    with pytest.raises(ValueError, match="timeout="):
        AsyncReplicate(timeout=timeout)


@pytest.mark.parametrize("time_limit", [-1, -0.5, float("nan"), True, "5"])
@pytest.mark.parametrize("call", ["run", "predictions.wait", "trainings.wait"])
def test_invalid_time_limits(call, time_limit):
    """An invalid time limit raises before anything is sent; NaN would stop the event loop's timers."""

    async def main() -> None:
        async with AsyncReplicate(bearer_token="r8_x", base_url="http://127.0.0.1:9") as client:
            with pytest.raises((TypeError, ValueError), match="time_limit"):
                await attrgetter(call)(client)("owner/name", time_limit=time_limit)

    asyncio.run(main())


def test_timeouts_of_another_type():
    """A timeout must be a number, an aiohttp.ClientTimeout or None."""
    with pytest.raises(TypeError, match="not str"):
        check_options({"timeout": "5"})
    for timeout in (0.001, 60, None, aiohttp.ClientTimeout(total=5)):
        check_options({"timeout": timeout})


def test_retries_are_a_natural_number():
    """Zero is valid; negative, fractional and boolean numbers are not."""
    check_options({"max_retries": 0})
    with pytest.raises(ValueError, match="max_retries=-1 must not be negative"):
        check_options({"max_retries": -1})
    for value in (1.5, True, "2"):
        with pytest.raises(TypeError, match="max_retries must be an int"):
            check_options({"max_retries": value})
    with pytest.raises(ValueError, match="max_retries=-1"):
        AsyncReplicate(max_retries=-1)


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nb"}, {"X": "a\nb"}, {"X": "\0"}, {"X\r\nY": "a"}, {"": "a"}, {"a b": "c"}, {"a:": "b"}, {"ä": "b"}],
)
def test_invalid_headers(headers):
    """Line breaks in a header, which would start another one, are invalid."""
    with pytest.raises(ValueError, match="extra_headers"):
        check_options({"extra_headers": headers})
    with pytest.raises(ValueError, match="default_headers"):
        AsyncReplicate(default_headers=headers)


def test_header_values_are_text_and_not_shown():
    """A number is not converted to text, and errors don't show values, which may be secret."""
    with pytest.raises(TypeError, match=r"extra_headers\['X-Retry'\] must be a str, not int"):
        check_options({"extra_headers": {"X-Retry": 1}})
    with pytest.raises(ValueError, match="X-Key") as caught:
        check_options({"extra_headers": {"X-Key": "secret\n"}})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["extra_headers", "extra_query", "extra_body"])
@pytest.mark.parametrize("value", [5, "text", [("a", "b")]])
def test_options_of_the_wrong_type_are_named(name, value):
    """The extra options must be mappings; the error names the option."""
    with pytest.raises(TypeError, match=name):
        check_options({name: value})


def test_default_headers_of_the_wrong_type_are_named():
    """A list of pairs is not a mapping."""
    with pytest.raises(TypeError, match="default_headers"):
        AsyncReplicate(default_headers=[("a", "b")])


# --- options of the client ---


@pytest.mark.parametrize("token", ["", " ", "\n\t"])
def test_empty_tokens(token):
    """An empty token is invalid under both names, and does not mean the environment's token."""
    with pytest.raises(ValueError, match="must not be empty"):
        AsyncReplicate(bearer_token=token)
    with pytest.raises(ValueError, match="must not be empty"):
        AsyncReplicate(api_token=token)
    with pytest.raises(ValueError, match="must not be empty"):
        Replicate(bearer_token=token)


@pytest.mark.parametrize("middle", ["\r\nX: y", " ", "\0", "é", "\u2028"])
def test_invalid_tokens_are_not_shown(middle):
    """The error for a token with spaces or line breaks inside does not show it."""
    with pytest.raises(ValueError, match="contains invalid characters") as caught:
        AsyncReplicate(bearer_token=f"{TOKEN}{middle}{TOKEN}")
    assert TOKEN not in str(caught.value)


def test_tokens_of_another_type():
    """A token must be a str, and the error does not show it."""
    with pytest.raises(TypeError, match="bearer_token must be a str, not bytes") as caught:
        AsyncReplicate(bearer_token=TOKEN.encode())
    assert TOKEN not in str(caught.value)


def test_spaces_around_a_token_are_dropped():
    """Surrounding whitespace is removed from a token, and its repr is asterisks."""
    assert str(check_token(f" {TOKEN}\n")) == TOKEN
    assert repr(check_token(TOKEN)) == "'***'"
    assert TOKEN not in repr(Settings(base_url="http://x", token=TOKEN).checked())


def test_one_token_under_two_names():
    """``api_token`` is an older name of ``bearer_token``; passing both is an error."""
    assert transport_of(AsyncReplicate(api_token=TOKEN)).settings.token == TOKEN
    with pytest.raises(TypeError, match="not both"):
        AsyncReplicate(api_token=TOKEN, bearer_token=TOKEN)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.replicate.com/v1",
        "//api.replicate.com",
        "ftp://api.replicate.com",
        "http://",
        "https:///v1",
        "https://api.replicate.com/v1?x=1",
        "https://api.replicate.com/v1#x",
        "https://user:password@api.replicate.com/v1",
        "http://[::1",
        "http://host:99999/v1",
        "http://host:port/v1",
        "http://ho st/v1",
        "http://host/v1\r\nX: y",
        "http://host/v 1",
        "http://a..b/v1",
        "http://.host/v1",
        f"http://{'a' * 64}.example/v1",
        "http://user:password@host:port/v1",
        "http://user:password@host /v1",
        "http://user:password@a..b/v1?query",
        "ftp://user:password@host/v1",
        "user:password@host/v1",
    ],
)
def test_invalid_base_urls(base_url):
    """A base URL must have a scheme and a host, and neither query nor credentials nor line breaks."""
    with pytest.raises(ValueError, match="base_url") as caught:
        AsyncReplicate(bearer_token=TOKEN, base_url=base_url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://gateway.example/replicate/v1/", "https://gateway.example/replicate/v1"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
        ("http://rooted.example./v1", "http://rooted.example./v1"),
    ],
)
def test_base_urls(base_url, kept):
    """A base URL may have a port and a path; a trailing slash makes no difference."""
    assert repr(AsyncReplicate(bearer_token=TOKEN, base_url=base_url)) == f"<AsyncReplicate {kept}>"


def test_the_environment_chooses_the_base_url(monkeypatch):
    """REPLICATE_BASE_URL is used if ``base_url`` is omitted, unless it is empty."""

    def base_url(**arguments: Any) -> str:
        return repr(AsyncReplicate(**arguments)).removeprefix("<AsyncReplicate ").removesuffix(">")

    monkeypatch.setenv("REPLICATE_BASE_URL", "http://localhost:1/v1")
    assert base_url() == "http://localhost:1/v1"
    assert base_url(base_url="http://localhost:2/v1") == "http://localhost:2/v1"
    monkeypatch.setenv("REPLICATE_BASE_URL", "")
    assert base_url() == "https://api.replicate.com/v1"
    monkeypatch.setenv("REPLICATE_BASE_URL", "localhost")
    with pytest.raises(ValueError, match="base_url='localhost'"):
        base_url()


def test_max_connections_must_be_positive():
    """A client needs at least one connection."""
    with pytest.raises(ValueError, match="max_connections=0"):
        AsyncReplicate(max_connections=0)


def test_with_options_checks_like_the_constructor():
    """``with_options`` checks its arguments like the constructor, and keeps the options that are omitted."""
    client = AsyncReplicate(bearer_token=TOKEN, base_url="http://localhost:1/v1", max_retries=7)
    for options in ({"base_url": "x"}, {"timeout": 0}, {"max_retries": -1}, {"bearer_token": ""}):
        with pytest.raises(ValueError, match=next(iter(options))):
            client.with_options(**options)
    changed = transport_of(client.with_options(timeout=5)).settings
    assert (changed.timeout, changed.max_retries, changed.token) == (5, 7, TOKEN)
    assert transport_of(client).settings.timeout == 60


def test_a_missing_token_raises_at_the_first_call(monkeypatch):
    """A client can be created without a token; its first call names the variable, and nothing is sent."""
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    with Replicate(base_url="http://127.0.0.1:9/v1") as client:
        for _ in range(2):
            with pytest.raises(ReplicateError, match="REPLICATE_API_TOKEN"):
                client.account.get()
