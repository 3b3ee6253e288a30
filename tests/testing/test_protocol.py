"""Rules for all operations: the token, problems, the journal."""

from __future__ import annotations

import asyncio
import logging
from email.utils import parsedate_to_datetime

import pytest

from replicate_async.testing import models
from replicate_async.testing._operation_names import OPERATION_NAMES
from replicate_async.testing._routes import DELIVERY, OPERATIONS

from .conftest import Caller, eventually, form, serve

pytestmark = pytest.mark.anyio

NOT_FOUND = {"detail": "The requested resource could not be found.", "status": 404}


def test_the_table() -> None:
    """There are 37 operations, each with a name, method and path of its own."""
    assert len(OPERATIONS) == 37
    assert len({operation.name for operation in OPERATIONS}) == 37
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == 37
    assert {operation.name for operation in [*OPERATIONS, *DELIVERY]} == OPERATION_NAMES


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic local-token", "local-token"])
async def test_token(call: Caller, authorization: str | None) -> None:
    """Without the token every operation is a 401, except for downloads, whose URL is signed."""
    headers = {} if authorization is None else {"Authorization": authorization}
    for operation in OPERATIONS:
        url = call.server.base_url + operation.path.replace("{", "").replace("}", "")
        async with call.session.request(operation.method, url, headers=headers) as response:
            if operation.name == "files.download":
                assert response.status == 422
            else:
                assert response.status == 401
                assert response.content_type == "application/problem+json"
                assert await response.json(content_type=None) == {
                    "title": "Unauthenticated",
                    "detail": "You did not pass a valid authentication token",
                    "status": 401,
                }


async def test_other_scheme(call: Caller) -> None:
    """The older authorization scheme is accepted, too."""
    assert (await call("GET", "/account", headers={"Authorization": "Token local-token"})).status == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/predictions/", "/predictions/a/b", "/models/a", "/v1/account"])
async def test_unknown_paths(call: Caller, path: str) -> None:
    """A path that the API doesn't have is a 404."""
    answer = await call("GET", path)
    assert (answer.status, answer.data) == (404, NOT_FOUND)


async def test_wrong_methods(call: Caller) -> None:
    """A method that a path doesn't support is a 405 that lists the supported methods."""
    answer = await call("PUT", "/models")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST, QUERY")
    assert answer.data["status"] == 405


AS_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "application/jsonp"]
)
async def test_media_types(call: Caller, media_type: str) -> None:
    """A body that says that it is something else than JSON is a 415, although it is JSON."""
    for method, path in [
        ("POST", "/predictions"),
        ("POST", "/models/a/b/predictions"),
        ("POST", "/deployments/a/b/predictions"),
        ("POST", f"/models/a/b/versions/{'ab' * 32}/trainings"),
        ("POST", "/models"),
        ("PATCH", "/models/a/b"),
        ("POST", "/deployments"),
        ("PATCH", "/deployments/a/b"),
    ]:
        answer = await call(method, path, data=b'{"input": {}}', headers={"Content-Type": media_type})
        assert answer.status in {404, 415}, path
        if answer.status == 415:
            assert answer.data == {"detail": f'Unsupported media type "{media_type}" in request.', "status": 415}
        else:
            assert "models/a/b" in path or "deployments/a/b" in path
    answer = await call("POST", "/predictions", data=b"{}", headers={"Content-Type": media_type})
    assert answer.status == 415


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_media_types_of_json(call: Caller, media_type: str) -> None:
    """A body may name JSON in any form."""
    answer = await call("POST", "/predictions", data=b"{}", headers={"Content-Type": media_type})
    assert answer.status == 422


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"\xff", b'{"input": {}', b"0 1"])
async def test_malformed_bodies(call: Caller, body: bytes) -> None:
    """A body that isn't JSON is a 400."""
    answer = await call("POST", "/predictions", data=body, headers=AS_JSON)
    assert (answer.status, "JSON parse error" in answer.data["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "- input is required\n- version is required\n"),
        (b"{}", "- input is required\n- version is required\n"),
        (b'{"input": {}}', "- version is required\n"),
        (b'{"input": [], "version": "x"}', "- input: Invalid type. Expected: object, given: array\n"),
        (b"[]", "- Invalid type. Expected: object, given: array\n"),
        (b'{"input": {}, "version": 3}', "- version: Invalid type. Expected: string, given: integer\n"),
        (b'{"input": {}, "version": "x", "webhook": 3}', "- webhook: Invalid type. Expected: string, given: integer\n"),
        (b'{"input": {}, "version": "%s", "webhook": "ftp://x"}' % (b"ab" * 32), "webhook must be an HTTPS URL"),
        (b'{"input": {}, "version": "%s", "webhook": "http://["}' % (b"ab" * 32), "webhook must be an HTTPS URL"),
        (
            b'{"input": {}, "version": "x", "webhook_events_filter": ["end"]}',
            'one of the following: "completed", "logs"',
        ),
    ],
)
async def test_wrong_bodies(call: Caller, body: bytes, reason: str) -> None:
    """A body without a required field or with a wrong type is a 422 that names the field."""

    @call.server.model("me/any", version="ab" * 32)
    def anything() -> None:
        return None

    answer = await call("POST", "/predictions", data=body, headers=AS_JSON)
    assert (answer.status, answer.data["status"]) == (422, 422)
    assert reason in answer.data["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/models/me/nothing",
        "/models/me/nothing/versions",
        "/models/me/nothing/examples",
        "/models/me/nothing/readme",
        "/models/me/nothing/predictions",
    ],
)
async def test_unknown_models(call: Caller, path: str) -> None:
    """A model that doesn't exist is a 404."""
    models.register(call.server)
    answer = await call("POST" if path.endswith("predictions") else "GET", path, {"input": {}})
    assert (answer.status, answer.data) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/predictions/x"),
        ("POST", "/predictions/x/cancel"),
        ("GET", "/trainings/x"),
        ("POST", "/trainings/x/cancel"),
        ("GET", "/files/x"),
        ("DELETE", "/files/x"),
        ("GET", "/collections/x"),
        ("GET", "/deployments/x/y"),
        ("PATCH", "/deployments/x/y"),
        ("DELETE", "/deployments/x/y"),
        ("POST", "/deployments/x/y/predictions"),
        ("GET", "/models/replicate/hello-world/versions/x"),
        ("POST", "/models/replicate/hello-world/versions/x/trainings"),
    ],
)
async def test_unknown_things(call: Caller, method: str, path: str) -> None:
    """Anything that doesn't exist is a 404 with a problem."""
    models.register(call.server)
    destination = {"destination": "a/b"} if path.endswith("trainings") else {}
    body = {"input": {}, **destination} if method == "POST" else {} if method == "PATCH" else None
    answer = await call(method, path, body)
    assert (answer.status, answer.data) == (404, NOT_FOUND)


async def test_date(call: Caller) -> None:
    """Every response has a Date header, also error responses."""
    for path in ("/account", "/nothing", "/predictions/x"):
        answer = await call("GET", path)
        assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None


async def test_journal(call: Caller) -> None:
    """server.requests contains every request as it was sent, with its operation and the status of the response."""
    models.register(call.server)
    await call("POST", "/models/replicate/hello-world/predictions?a=1&b=%20", {"input": {"text": "é"}})
    await call("GET", "/models/a%20b/c%2Fd")
    await call("GET", "/nowhere", headers={"Authorization": "Bearer x"})
    create, get, nowhere = call.server.requests
    assert (create.operation, create.method, create.status) == ("models.predictions.create", "POST", 201)
    assert create.path == "/v1/models/replicate/hello-world/predictions"
    assert (dict(create.query), create.query_string) == ({"a": "1", "b": " "}, "a=1&b=%20")
    assert create.path_arguments == {"model_owner": "replicate", "model_name": "hello-world"}
    assert create.json() == {"input": {"text": "é"}}
    assert create.headers["content-type"] == "application/json"
    assert get.path_arguments == {"model_owner": "a b", "model_name": "c/d"}
    assert get.path == "/v1/models/a%20b/c%2Fd"
    assert (nowhere.operation, nowhere.status) == ("", 401)


async def test_a_held_request_is_in_the_journal(call: Caller) -> None:
    """The status of a call is 0 until the response; the journal records a client that disconnected before."""

    @call.server.model("me/endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    request = asyncio.create_task(call.run("me/endless"))
    await eventually(lambda: call.server.predictions)
    assert [(entry.operation, entry.status) for entry in call.server.requests] == [("models.predictions.create", 0)]
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    (prediction,) = call.server.predictions.values()
    await call("POST", str(prediction.urls.cancel))
    await eventually(lambda: call.server.requests[0].status)
    assert (call.server.requests[0].disconnected, call.server.requests[1].disconnected) == (True, False)


async def test_own_failures(call: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A bug of the server is a 500 with a problem, and its log has the traceback."""
    models.register(call.server)

    def broken() -> float:
        raise RuntimeError

    # A new job reads the clock.
    monkeypatch.setattr(call.server.clock, "monotonic", broken)
    answer = await call("POST", "/models/replicate/hello-world/predictions", {"input": {"text": "a"}})
    assert (answer.status, answer.data["status"]) == (500, 500)
    (record,) = [record for record in caplog.records if record.name == "replicate_async.testing"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_too_large() -> None:
    """A body over the limit is a 413, which the client receives although it is still sending."""
    async with serve() as (server, call):
        answer = await call("POST", "/files", data=form(bytes(101 * 2**20)))
        assert (answer.status, answer.data["status"]) == (413, 413)
        assert not server.requests[0].body
