"""The official SDK and this one send the same requests for the same arguments.

Both blocking clients call a server that records requests. The asynchronous client sends the same, because the blocking
one runs its code. Deliberate differences are listed here with their reasons. A test fails if a listed difference does
not occur, or if there is another one.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
import replicate

from replicate_async import Replicate
from replicate_async.testing._routes import OPERATIONS

TOKEN = "r8_parity"

OWNER, NAME = "acme", "hot-dog-detector"
VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
MODEL = {"model_owner": OWNER, "model_name": NAME}
MODEL_VERSION = {**MODEL, "version_id": VERSION}
DEPLOYMENT = {"deployment_owner": OWNER, "deployment_name": NAME}
EVENTS = ["start", "output", "logs", "completed"]

# --- the server's responses: the minimum that both SDKs can read ---

TIME = "2025-01-02T03:04:05.678901Z"
PREDICTION_RESPONSE = {
    "id": "p1",
    "model": f"{OWNER}/{NAME}",
    "version": VERSION,
    "input": {},
    "output": None,
    "data_removed": False,
    "error": None,
    "status": "succeeded",
    "created_at": TIME,
    "urls": {},
}
TRAINING_RESPONSE = {"id": "t1", "status": "starting"}
DEPLOYMENT_RESPONSE = {"owner": OWNER, "name": NAME}
COLLECTION_RESPONSE = {"name": "Detectors", "slug": "detectors", "description": ""}
FILE_RESPONSE = {
    "id": "f1",
    "content_type": "text/plain",
    "size": 0,
    "checksums": {},
    "metadata": {},
    "created_at": TIME,
    "urls": {},
}
PAGE_RESPONSE = {"results": [], "next": None, "previous": None}
NOTHING = b""

RESPONSES: Mapping[str, Any] = {
    "account.get": {"type": "user", "username": OWNER},
    "collections.get": COLLECTION_RESPONSE,
    "deployments.create": DEPLOYMENT_RESPONSE,
    "deployments.delete": NOTHING,
    "deployments.get": DEPLOYMENT_RESPONSE,
    "deployments.predictions.create": PREDICTION_RESPONSE,
    "deployments.update": DEPLOYMENT_RESPONSE,
    "files.create": FILE_RESPONSE,
    "files.delete": NOTHING,
    "files.download": b"content",
    "files.get": FILE_RESPONSE,
    "hardware.list": [],
    "models.create": {"owner": OWNER, "name": NAME},
    "models.delete": NOTHING,
    "models.get": {"owner": OWNER, "name": NAME},
    "models.predictions.create": PREDICTION_RESPONSE,
    "models.readme.get": b"# Hot dogs",
    "models.search": PAGE_RESPONSE,
    "models.update": {"owner": OWNER, "name": NAME},
    "models.versions.delete": NOTHING,
    "models.versions.get": {"id": VERSION, "created_at": TIME},
    "predictions.cancel": PREDICTION_RESPONSE,
    "predictions.create": PREDICTION_RESPONSE,
    "predictions.get": PREDICTION_RESPONSE,
    "run": PREDICTION_RESPONSE,
    "search": {"query": "", "models": [], "collections": [], "pages": []},
    "trainings.cancel": TRAINING_RESPONSE,
    "trainings.create": TRAINING_RESPONSE,
    "trainings.get": TRAINING_RESPONSE,
    "webhooks.default.secret.get": {"key": "whsec_c2VjcmV0"},
}


# --- the server ---

# Headers that describe the HTTP client and the connection, not the call.
CONNECTION_HEADERS = ("accept-encoding", "connection", "content-length", "host", "user-agent", "x-stainless-")


class Request(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> dict[str, Any]:
        """Return the content of the request, regardless of order and spacing."""
        url = urlsplit(self.target)
        headers = {name: value for name, value in self.headers.items() if not name.startswith(CONNECTION_HEADERS)}
        content_type = headers.get("content-type", "")
        if "content-type" in headers:
            # Boundaries are random.
            headers["content-type"] = content_type.partition("; boundary=")[0]
        return {
            "method": self.method,
            "path": url.path,
            "query": sorted(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))),
            **parse_body(content_type, self.body),
            **headers,
        }


class Recorder:
    """A server that records requests, and responds to all of them with the same document."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.response: Any = None
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append(Request(self.command, self.path, headers, body))
                is_json = not isinstance(recorder.response, bytes)
                content = json.dumps(recorder.response).encode() if is_json else recorder.response
                self.send_response(200)
                self.send_header("Content-Type", "application/json" if is_json else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = do_QUERY = respond  # noqa: N815  (named by the base class)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the content of a body: JSON in normal form (1, 1.0 and true differ), the parts of a form, or bytes."""
    if content_type.startswith("multipart/"):
        parts: dict[str, list[tuple[str | None, str | None, bytes]]] = {}
        for part in message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body).get_payload():
            name = part.get_param("name", header="Content-Disposition")
            content = (part.get_filename(), part["Content-Type"], part.get_payload(decode=True))
            parts.setdefault(f"part {name}", []).append(content)
        return parts
    if body and content_type.startswith("application/json"):
        return {"body": json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False)}
    return {"body": body}


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    with recorder.server:
        thread = threading.Thread(target=recorder.server.serve_forever, args=(0.01,))
        thread.start()
        yield recorder
        recorder.server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def official(recorder: Recorder) -> Iterator[replicate.Replicate]:
    with replicate.Replicate(bearer_token=TOKEN, base_url=recorder.base_url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def own(recorder: Recorder) -> Iterator[Replicate]:
    with Replicate(bearer_token=TOKEN, base_url=recorder.base_url, max_retries=0) as client:
        yield client


# --- the calls ---


class Difference(NamedTuple):
    """A field of the request, as the official SDK sends it and as this one does (None: not at all), and the reason."""

    field: str
    official: Any
    own: Any
    reason: str


class Case(NamedTuple):
    """A call of both SDKs. ``official`` has the arguments for the official SDK if they differ."""

    operation: str
    variant: str
    arguments: Mapping[str, Any] = {}
    differences: tuple[Difference, ...] = ()
    official: Mapping[str, Any] | None = None


FULL_PREDICTION = {
    "input": {"prompt": "Größe ☃", "seed": 0, "list": [1, 2.5, None, True], "empty": {}},
    "stream": False,
    "webhook": "https://example.com/hook?x=1",
    "webhook_events_filter": EVENTS,
    "prefer": "wait=5",
    "cancel_after": "1m30s",
}
OPTIONS = {
    "extra_headers": {"X-Extra": "1", "Prefer": "wait=9"},
    "extra_query": {"text": "a b&c", "yes": True, "number": 1.5},
    "timeout": 30.0,
}

DELETES = (
    Difference("accept", "*/*", "application/json", "errors are JSON, so all operations accept the same type"),
    Difference("content-type", "application/json", None, "there is no body"),
)
CANCELS = (Difference("content-type", "application/json", None, "there is no body"),)

DOWNLOADS = (Difference("accept", "application/octet-stream", "*/*", "a file has the type that it was uploaded with"),)
TEXT = "text/plain; charset=utf-8"
NAMED = "the part with the content has its name and type, too, as in other uploads"
CHARSET = "the field declares UTF-8, which the API requires"
METADATA = (
    "the API documents one part with a JSON object; the official SDK's brackets lose types, nulls and empty values"
)
UPLOADS = (
    Difference(
        "part content", [("upload", "application/octet-stream", b"hot")], [("dog.txt", "text/plain", b"hot")], NAMED
    ),
    Difference("part filename", [(None, None, b"dog.txt")], [(None, TEXT, b"dog.txt")], CHARSET),
    Difference("part type", [(None, None, b"text/plain")], [(None, TEXT, b"text/plain")], CHARSET),
    Difference(
        "part metadata",
        None,
        [(None, "application/json", '{"length":0,"tags":["größe",{"b":null}]}'.encode())],
        METADATA,
    ),
    Difference("part metadata[length]", [(None, None, b"0")], None, METADATA),
    Difference("part metadata[tags][]", [(None, None, "größe".encode())], None, METADATA),
)
EMPTY_METADATA = (Difference("part metadata", None, [(None, "application/json", b"{}")], METADATA),)


def searches(query: str) -> tuple[Difference, ...]:
    reason = "the API documents the bare query as text, not as a JSON string"
    return (
        Difference("body", f'"{query}"', query.encode(), reason),
        Difference("content-type", "application/json", "text/plain", reason),
    )


CASES = (
    Case("account.get", "minimal"),
    Case("account.get", "options", OPTIONS),
    Case("collections.get", "minimal", {"collection_slug": "super-resolution"}),
    Case("collections.get", "escaped", {"collection_slug": "größe 2"}),
    Case("collections.list", "minimal"),
    Case(
        "deployments.create",
        "minimal",
        {
            "hardware": "gpu-t4",
            "max_instances": 0,
            "min_instances": 0,
            "model": f"{OWNER}/{NAME}",
            "name": "mine",
            "version": VERSION,
        },
    ),
    Case("deployments.delete", "minimal", DEPLOYMENT, DELETES),
    Case("deployments.get", "minimal", DEPLOYMENT),
    Case("deployments.list", "minimal"),
    Case("deployments.predictions.create", "minimal", {**DEPLOYMENT, "input": {}}),
    Case("deployments.predictions.create", "all", {**DEPLOYMENT, **FULL_PREDICTION}),
    Case("deployments.update", "minimal", DEPLOYMENT),
    Case(
        "deployments.update",
        "all",
        {**DEPLOYMENT, "hardware": "cpu", "max_instances": 0, "min_instances": 0, "version": VERSION},
    ),
    Case("files.create", "minimal", {"content": b"hot"}),
    Case("files.create", "tuple", {"content": ("dog.txt", b"hot", "text/plain")}),
    Case("files.create", "path", {"content": Path(__file__)}),
    Case(
        "files.create",
        "all",
        {
            "content": b"hot",
            "filename": "dog.txt",
            "metadata": {"length": 0, "tags": ["größe", {"b": None}]},
            "type": "text/plain",
        },
        UPLOADS,
    ),
    Case("files.create", "empty-metadata", {"content": b"hot", "metadata": {}}, EMPTY_METADATA),
    Case("files.delete", "minimal", {"file_id": "f1"}, DELETES),
    Case("files.download", "minimal", {"file_id": "f1", "owner": OWNER, "expiry": 0, "signature": "s/+="}, DOWNLOADS),
    Case("files.get", "minimal", {"file_id": "f1"}),
    Case("files.list", "minimal"),
    Case("hardware.list", "minimal"),
    Case("models.create", "minimal", {"owner": OWNER, "name": NAME, "visibility": "public", "hardware": "cpu"}),
    Case(
        "models.create",
        "all",
        {
            "owner": OWNER,
            "name": NAME,
            "visibility": "private",
            "hardware": "cpu",
            "description": "",
            "github_url": "https://example.com/code",
            "paper_url": "https://example.com/paper",
            "license_url": "https://example.com/license",
            "cover_image_url": "https://example.com/cover.png",
        },
    ),
    Case("models.delete", "minimal", MODEL, DELETES),
    Case("models.examples.list", "minimal", MODEL),
    Case("models.get", "minimal", MODEL),
    Case("models.list", "minimal"),
    Case("models.list", "all", {"sort_by": "model_created_at", "sort_direction": "asc"}),
    Case("models.predictions.create", "minimal", {**MODEL, "input": {}}),
    Case("models.predictions.create", "all", {**MODEL, **FULL_PREDICTION}),
    Case("models.readme.get", "minimal", MODEL),
    Case("models.search", "minimal", {"body": "hot dogs"}, searches("hot dogs")),
    Case("models.search", "unicode", {"query": "Würstchen ☃"}, searches("Würstchen ☃"), {"body": "Würstchen ☃"}),
    Case("models.update", "minimal", MODEL),
    Case(
        "models.update",
        "all",
        {
            **MODEL,
            "description": "",
            "readme": "# Größe",
            "github_url": "https://example.com/code",
            "paper_url": "https://example.com/paper",
            "weights_url": "https://example.com/weights",
            "license_url": "https://example.com/license",
        },
    ),
    Case("models.versions.delete", "minimal", MODEL_VERSION, DELETES),
    Case("models.versions.get", "minimal", MODEL_VERSION),
    Case("models.versions.list", "minimal", MODEL),
    Case("predictions.cancel", "minimal", {"prediction_id": "p1"}, CANCELS),
    Case("predictions.create", "minimal", {"version": VERSION, "input": {}}),
    Case("predictions.create", "by-name", {"version": f"{OWNER}/{NAME}", "input": {}}),
    Case("predictions.create", "all", {"version": f"{OWNER}/{NAME}:{VERSION}", **FULL_PREDICTION}),
    Case("predictions.create", "options", {"version": VERSION, "input": {}, **OPTIONS, "extra_body": {"more": [1]}}),
    Case("predictions.get", "minimal", {"prediction_id": "p1"}),
    Case("predictions.list", "minimal"),
    Case(
        "predictions.list",
        "all",
        {
            "created_after": datetime(2025, 1, 2, 3, 4, 5, 678, timezone.utc),
            "created_before": datetime(2025, 6, 7, 8, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        },
    ),
    Case(
        "predictions.list",
        "source",
        {"source": "web"},
        (Difference("query", [], [("source", "web")], "the official SDK has no argument for the documented filter"),),
        official={},
    ),
    Case("predictions.list", "text", {"created_after": "2025-01-02T03:04:05Z"}),
    Case("run", "by-name", {"ref": f"{OWNER}/{NAME}", "input": {"prompt": "hi"}}),
    Case("run", "by-name-and-version", {"ref": f"{OWNER}/{NAME}:{VERSION}", "input": {"prompt": "hi"}}),
    Case("run", "wait", {"ref": f"{OWNER}/{NAME}", "input": {}, "wait": 7}),
    Case(
        "run",
        "no-wait",
        {"ref": f"{OWNER}/{NAME}", "input": {}, "wait": False},
        (Difference("requests", 2, 1, "the prediction has ended, so there is nothing to fetch"),),
    ),
    Case("search", "minimal", {"query": "nano banana"}),
    Case("search", "all", {"query": "größe & more", "limit": 1}),
    Case("trainings.cancel", "minimal", {"training_id": "t1"}, CANCELS),
    Case("trainings.create", "minimal", {**MODEL_VERSION, "destination": "destination", "input": {}}),
    Case(
        "trainings.create",
        "all",
        {
            **MODEL_VERSION,
            "destination": f"{OWNER}/trained",
            "input": {"images": "https://example.com/images.zip", "steps": 0},
            "webhook": "https://example.com/hook",
            "webhook_events_filter": EVENTS,
        },
    ),
    Case("trainings.get", "minimal", {"training_id": "t1"}),
    Case("trainings.list", "minimal"),
    Case("webhooks.default.secret.get", "minimal"),
)


def case_id(case: Case) -> str:
    return f"{case.operation}-{case.variant}"


def record(recorder: Recorder, client: Any, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make a call, and return the content of its first request."""
    recorder.requests.clear()
    recorder.response = RESPONSES.get(operation, PAGE_RESPONSE)
    result = attrgetter(operation)(client)(**arguments)
    if operation == "files.download":
        result.read()
    return {"requests": len(recorder.requests), **recorder.requests[0].content()}


def differences(official: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {field: (official.get(field), own.get(field)) for field in {*official, *own}}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_same_request(case: Case, recorder: Recorder, official: replicate.Replicate, own: Replicate) -> None:
    """Method, path, query, body and headers equal the official SDK's, except for the listed differences."""
    arguments = case.arguments if case.official is None else case.official
    official_request = record(recorder, official, case.operation, arguments)
    own_request = record(recorder, own, case.operation, case.arguments)
    expected = {difference.field: (difference.official, difference.own) for difference in case.differences}
    assert differences(official_request, own_request) == expected


def test_same_request_with_client_options(recorder: Recorder) -> None:
    """A client's headers and query are in each of its requests; those of a call take precedence."""
    options: dict[str, Any] = {
        "bearer_token": TOKEN,
        "base_url": recorder.base_url,
        "default_headers": {"X-Extra": "client", "X-Client": "1"},
        "default_query": {"extra": "client", "client": 1},
    }
    arguments = {"extra_headers": {"X-Extra": "call"}, "extra_query": {"extra": "call"}}
    with replicate.Replicate(**options) as official, Replicate(**options) as own:
        official_request = record(recorder, official, "account.get", arguments)
        own_request = record(recorder, own, "account.get", arguments)
    assert differences(official_request, own_request) == {}
    assert own_request["query"] == [("client", "1"), ("extra", "call")]
    assert own_request["x-extra"] == "call"


def test_every_operation_has_a_case() -> None:
    """Every operation of the API is compared."""
    assert {operation.name for operation in OPERATIONS} <= {case.operation for case in CASES}


def test_case_ids_are_unique() -> None:
    """A failure names exactly one case."""
    assert [name for name, count in Counter(map(case_id, CASES)).items() if count > 1] == []
