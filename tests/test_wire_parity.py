"""The official SDK and this one, called with the same arguments, put the same on the wire.

Both blocking clients talk to a server that records what comes; the asynchronous client sends what its blocking twin
sends, because the twin runs its code. Where the two SDKs differ on purpose, the difference is data here, with its
reason, and a difference that is gone fails like one that is new.
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

# --- what the server answers: the least that both SDKs can read ---

TIME = "2025-01-02T03:04:05.678901Z"
PREDICTION_ANSWER = {
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
TRAINING_ANSWER = {"id": "t1", "status": "starting"}
DEPLOYMENT_ANSWER = {"owner": OWNER, "name": NAME}
COLLECTION_ANSWER = {"name": "Detectors", "slug": "detectors", "description": ""}
FILE_ANSWER = {
    "id": "f1",
    "content_type": "text/plain",
    "size": 0,
    "checksums": {},
    "metadata": {},
    "created_at": TIME,
    "urls": {},
}
PAGE_ANSWER = {"results": [], "next": None, "previous": None}
NOTHING = b""

ANSWERS: Mapping[str, Any] = {
    "account.get": {"type": "user", "username": OWNER},
    "collections.get": COLLECTION_ANSWER,
    "deployments.create": DEPLOYMENT_ANSWER,
    "deployments.delete": NOTHING,
    "deployments.get": DEPLOYMENT_ANSWER,
    "deployments.predictions.create": PREDICTION_ANSWER,
    "deployments.update": DEPLOYMENT_ANSWER,
    "files.create": FILE_ANSWER,
    "files.delete": NOTHING,
    "files.download": b"content",
    "files.get": FILE_ANSWER,
    "hardware.list": [],
    "models.create": {"owner": OWNER, "name": NAME},
    "models.delete": NOTHING,
    "models.get": {"owner": OWNER, "name": NAME},
    "models.predictions.create": PREDICTION_ANSWER,
    "models.readme.get": b"# Hot dogs",
    "models.search": PAGE_ANSWER,
    "models.update": {"owner": OWNER, "name": NAME},
    "models.versions.delete": NOTHING,
    "models.versions.get": {"id": VERSION, "created_at": TIME},
    "predictions.cancel": PREDICTION_ANSWER,
    "predictions.create": PREDICTION_ANSWER,
    "predictions.get": PREDICTION_ANSWER,
    "run": PREDICTION_ANSWER,
    "search": {"query": "", "models": [], "collections": [], "pages": []},
    "trainings.cancel": TRAINING_ANSWER,
    "trainings.create": TRAINING_ANSWER,
    "trainings.get": TRAINING_ANSWER,
    "webhooks.default.secret.get": {"key": "whsec_c2VjcmV0"},
}


# --- the server ---

# What each HTTP client says about itself and the connection, and not about the call.
OF_THE_CONNECTION = ("accept-encoding", "connection", "content-length", "host", "user-agent", "x-stainless-")


class Request(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def told(self) -> dict[str, Any]:
        """Return what the request says, whatever the order and spacing that it says it in."""
        url = urlsplit(self.target)
        headers = {name: value for name, value in self.headers.items() if not name.startswith(OF_THE_CONNECTION)}
        content_type = headers.get("content-type", "")
        if "content-type" in headers:
            headers["content-type"] = content_type.partition("; boundary=")[0]  # boundaries are random
        return {
            "method": self.method,
            "path": url.path,
            "query": sorted(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))),
            **parse_body(content_type, self.body),
            **headers,
        }


class Recorder:
    """A server that keeps each request, and answers all of them with the same document."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Any = None
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append(Request(self.command, self.path, headers, body))
                is_json = not isinstance(recorder.answer, bytes)
                content = json.dumps(recorder.answer).encode() if is_json else recorder.answer
                self.send_response(200)
                self.send_header("Content-Type", "application/json" if is_json else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = do_QUERY = answer  # noqa: N815  (named by the base class)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """Return what a body says: JSON in one spelling (1, 1.0 and true stay apart), the parts of a form, or bytes."""
    if content_type.startswith("multipart/"):
        parts: dict[str, list[tuple[str | None, str | None, bytes]]] = {}
        for part in message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body).get_payload():
            name = part.get_param("name", header="Content-Disposition")
            told = (part.get_filename(), part["Content-Type"], part.get_payload(decode=True))
            parts.setdefault(f"part {name}", []).append(told)
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
def ours(recorder: Recorder) -> Iterator[Replicate]:
    with Replicate(bearer_token=TOKEN, base_url=recorder.base_url, max_retries=0) as client:
        yield client


# --- the calls ---


class Difference(NamedTuple):
    """What the official SDK sends, what is sent here instead (None: nothing), and why."""

    field: str
    official: Any
    ours: Any
    reason: str


class Case(NamedTuple):
    """A call of both SDKs; ``official`` has the official SDK's arguments where it knows the call only with others."""

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
    Difference(
        "accept", "*/*", "application/json", "a refusal is JSON: the answers of all operations are asked for alike"
    ),
    Difference("content-type", "application/json", None, "there is no body that could have a type"),
)
CANCELS = (Difference("content-type", "application/json", None, "there is no body that could have a type"),)

DOWNLOADS = (
    Difference("accept", "application/octet-stream", "*/*", "a file comes with the type that it was uploaded with"),
)
TEXT = "text/plain; charset=utf-8"
NAMED = "the part with the content says its name and type, too, as other uploads do"
CHARSET = "the field says that it is UTF-8, which the API wants of it"
METADATA = "the API documents one part with a JSON object; the official SDK's brackets lose types, nulls and emptiness"
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
        (Difference("requests", 2, 1, "the prediction had ended already: there is nothing to look for"),),
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
    """Make a call, and return what its first request says."""
    recorder.requests.clear()
    recorder.answer = ANSWERS.get(operation, PAGE_ANSWER)
    answer = attrgetter(operation)(client)(**arguments)
    if operation == "files.download":
        answer.read()
    return {"requests": len(recorder.requests), **recorder.requests[0].told()}


def differences(official: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {field: (official.get(field), ours.get(field)) for field in {*official, *ours}}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_same_request(case: Case, recorder: Recorder, official: replicate.Replicate, ours: Replicate) -> None:
    """Method, path, query, body and headers are the official SDK's, but for the differences that the case lists."""
    arguments = case.arguments if case.official is None else case.official
    theirs = record(recorder, official, case.operation, arguments)
    own = record(recorder, ours, case.operation, case.arguments)
    assert differences(theirs, own) == {one.field: (one.official, one.ours) for one in case.differences}


def test_same_request_with_client_options(recorder: Recorder) -> None:
    """A client's own headers and query are in each of its requests; those of a call win."""
    options: dict[str, Any] = {
        "bearer_token": TOKEN,
        "base_url": recorder.base_url,
        "default_headers": {"X-Extra": "client", "X-Client": "1"},
        "default_query": {"extra": "client", "client": 1},
    }
    arguments = {"extra_headers": {"X-Extra": "call"}, "extra_query": {"extra": "call"}}
    with replicate.Replicate(**options) as official, Replicate(**options) as ours:
        theirs = record(recorder, official, "account.get", arguments)
        own = record(recorder, ours, "account.get", arguments)
    assert differences(theirs, own) == {}
    assert own["query"] == [("client", "1"), ("extra", "call")]
    assert own["x-extra"] == "call"


def test_every_operation_has_a_case() -> None:
    """No operation of the API goes without its comparison."""
    assert {operation.name for operation in OPERATIONS} <= {case.operation for case in CASES}


def test_case_ids_are_unique() -> None:
    """Each operation has a variant once, so that a failure names one case."""
    assert [name for name, count in Counter(map(case_id, CASES)).items() if count > 1] == []
