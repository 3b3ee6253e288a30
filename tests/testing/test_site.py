"""The server's page and its OpenAPI document."""

# ruff: noqa: T201 (models may print)

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from replicate_async.testing import models
from replicate_async.testing._routes import OPERATIONS

from .conftest import Caller, form, serve

pytestmark = pytest.mark.anyio

METHODS = {"get", "post", "patch", "delete", "x-query"}


async def document(call: Caller) -> Any:
    answer = await call("GET", f"{call.server.url}/openapi.json", headers={"Authorization": ""})
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "application/json")
    return answer.data


async def news(call: Caller, since: int = 0, **options: Any) -> Any:
    return await call("GET", f"{call.server.url}/news?since={since}", **options)


async def test_the_document_has_all_operations(call: Caller) -> None:
    """The document requires no token, and contains each operation at its path, with QUERY in an extension."""
    operations = {
        (operation["operationId"], method, path)
        for path, methods in (await document(call))["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) == 37
    for operation in OPERATIONS:
        method = "x-query" if operation.name == "models.search" else operation.method.lower()
        assert (operation.name, method, operation.path) in operations


async def test_the_document_is_complete(call: Caller) -> None:
    """Each operation has a summary, the path's parameters, a success and an error; all references resolve."""
    described = await document(call)
    assert (described["openapi"], described["servers"]) == ("3.1.0", [{"url": "/v1"}])
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            in_path = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
            assert in_path == re.findall("{(.*?)}", path)
            assert {"2", "4"} == {status[0] for status in operation["responses"]}

    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set[str]()
            return own.union(*map(references, part.values()))
        return set[str]().union(*map(references, part)) if isinstance(part, list) else set()

    for reference in references(described):
        target = described
        for key in reference.removeprefix("#/").split("/"):
            target = target[key]


async def test_what_the_document_tells(call: Caller) -> None:
    """The document describes authentication, bodies and responses as the server implements them."""
    described = await document(call)
    components = described["components"]
    assert (described["security"], components["securitySchemes"]["token"]["scheme"]) == ([{"token": []}], "bearer")
    paths = described["paths"]
    create = paths["/predictions"]["post"]
    assert create["requestBody"]["required"] is True
    assert {parameter["name"] for parameter in create["parameters"]} == {"Prefer", "Cancel-After"}
    assert set(create["responses"]) == {"201", "400", "401", "402", "403", "413", "422", "429"}
    assert create["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Prediction"
    }
    assert list(components["responses"]["Problem"]["content"]) == ["application/problem+json"]
    upload = paths["/files"]["post"]["requestBody"]
    assert (list(upload["content"]), upload["required"]) == (["multipart/form-data"], True)
    assert set(components["schemas"]["Form"]["properties"]) == {"content", "filename", "metadata", "type"}
    download = paths["/files/{file_id}/download"]["get"]
    assert (download["security"], list(download["responses"]["200"]["content"])) == ([], ["*/*"])
    assert "401" not in download["responses"]
    assert paths["/models/{model_owner}/{model_name}"]["patch"]["requestBody"]["required"] is False
    limit = next(parameter for parameter in paths["/search"]["get"]["parameters"] if parameter["name"] == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 50)
    assert list(paths["/models"]["x-query"]["requestBody"]["content"]) == ["text/plain"]
    assert "content" not in paths["/files/{file_id}"]["delete"]["responses"]["204"]


async def test_the_problem_is_as_described(call: Caller) -> None:
    """The document contains the additional members of problems."""
    models.register(call.server)
    body: dict[str, Any] = {"input": {}}
    problem = (await call("POST", "/models/replicate/hello-world/predictions", body)).data
    schema = (await document(call))["components"]["schemas"]["ProblemDocument"]
    assert problem.keys() <= schema["properties"].keys()
    assert set(schema["required"]) == {"detail", "status"}


async def test_the_page(call: Caller) -> None:
    """The page loads nothing else, runs only its own script, and can't be framed or read by other sites."""
    answer = await call("GET", f"{call.server.url}/", headers={"Authorization": ""})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = answer.body.decode()
    assert "{{" not in text
    assert f'data-token="{call.server.token}"' in text
    policy = answer.headers["Content-Security-Policy"]
    nonces = {*re.findall(r'nonce="(.*?)"', text), *re.findall("'nonce-(.*?)'", policy)}
    assert len(nonces) == 1
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.findall(r'(?:src|href)="(?!data:|/openapi.json")', text)
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    again = await call("GET", f"{call.server.url}/")
    assert nonces.isdisjoint(re.findall(r'nonce="(.*?)"', again.body.decode()))


async def test_a_token_with_special_characters() -> None:
    """Values in the page are escaped."""
    async with serve(tidy=True, token='"><b>&') as (server, call):
        text = (await call("GET", f"{server.url}/")).body.decode()
        assert 'data-token="&quot;&gt;&lt;b&gt;&amp;"' in text


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "192.0.2.1", "localhost.example.com:80", "", "[", "0.0.0.0:80"]
)
@pytest.mark.parametrize("path", ["/", "/news"])
async def test_other_names(call: Caller, host: str, path: str) -> None:
    """A web site whose name resolves to this machine (DNS rebinding) gets neither the page nor the token."""
    answer = await call("GET", f"{call.server.url}{path}", headers={"Host": host})
    assert answer.status in {400, 403}
    assert call.server.token not in answer.body.decode()


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "127.1.2.3", "[::1]:8000"])
async def test_names_of_this_machine(call: Caller, host: str) -> None:
    """The page is available under all names of this machine."""
    assert (await call("GET", f"{call.server.url}/", headers={"Host": host})).status == 200


async def test_news_need_the_token(call: Caller) -> None:
    """The page's data require the token."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        assert (await news(call, headers=headers)).status == 401


async def test_news(call: Caller) -> None:
    """News contain what has changed since a number: predictions while they run, and models."""
    release = asyncio.Event()

    @call.server.model("me/slow")
    async def slow(text: str) -> str:
        """Sleep for a while."""
        print("at it")
        await release.wait()
        return text

    first = (await news(call)).data
    assert [(model["name"], model["description"]) for model in first["models"]] == [("me/slow", "Sleep for a while.")]
    assert first["models"][0]["schemas"]["Input"]["required"] == ["text"]
    assert (first["total"], first["running"], first["predictions"]) == (0, False, [])
    prediction = await call.start("me/slow", text="a")
    await call.until(prediction, "processing")
    second = (await news(call, first["at"])).data
    assert (second["models"], second["running"], second["order"]) == (None, True, [prediction["id"]])
    assert second["predictions"] == [await call.get(prediction)]
    third = (await news(call, second["at"])).data
    assert (third["at"], third["predictions"], third["running"]) == (second["at"], [], True)
    release.set()
    await call.until(prediction, "succeeded")
    call.server.model("me/other")(models.hello_world)
    fourth = (await news(call, third["at"])).data
    assert [prediction["output"] for prediction in fourth["predictions"]] == ["a"]
    assert [model["name"] for model in fourth["models"]] == ["me/slow", "me/other"]


async def test_news_of_what_streams(call: Caller) -> None:
    """Each piece of output, and each line of the logs, is a change."""
    more = asyncio.Event()

    @call.server.model("me/pieces")
    async def pieces() -> Any:
        yield "a"
        await more.wait()
        more.clear()
        print("b")
        await more.wait()

    prediction = await call.start("me/pieces")
    at = 0
    for output, logs in ((["a"], ""), (["a"], "b\n")):
        shown: Any = {}
        while (shown.get("output"), shown.get("logs")) != (output, logs):
            data = (await news(call, at)).data
            at = data["at"]
            (shown,) = data["predictions"] or [{}]
        more.set()
    await call.until(prediction, "succeeded")


async def test_news_after_a_restart(call: Caller) -> None:
    """An unknown number, or a text that isn't one, gets everything."""
    models.register(call.server)
    await call.run("replicate/hello-world", text="a")
    for since in ("999", "-1", "x", ""):
        data = (await call("GET", f"{call.server.url}/news?since={since}")).data
        assert (len(data["predictions"]), len(data["models"])) == (1, 3)


async def test_the_newest_hundred(call: Caller) -> None:
    """The page shows the newest hundred predictions, and their total, without deleted ones."""
    call.server.model("local/quick", version="ab" * 32, visibility="private", inline=True)(models.hello_world)
    ids = [(await call.run("local/quick", text=str(number)))["id"] for number in range(102)]
    data = (await news(call)).data
    assert (data["total"], data["order"]) == (102, ids[:1:-1])
    assert (await call("DELETE", f"/models/local/quick/versions/{'ab' * 32}")).status == 202
    data = (await news(call, data["at"])).data
    assert (data["total"], data["order"], data["models"]) == (0, [], [])


async def test_watching_changes_nothing() -> None:
    """The page's own requests aren't in the journal, don't count against limits, and have no faults."""
    async with serve(tidy=True, limits={"others": 1, "other_burst": 1}) as (server, call):
        server.faults.add(kind="status", status=500, times=1)
        for path in ("/", "/news", "/openapi.json") * 3:
            assert (await call("GET", f"{server.url}{path}")).status == 200
        assert server.requests == []
        assert (await call("GET", "/account")).status == 500
        assert [request.path for request in server.requests] == ["/v1/account"]


async def test_nothing_else_at_the_root(call: Caller) -> None:
    """Other paths and methods at the root are refused."""
    assert (await call("GET", f"{call.server.url}/favicon.ico")).status == 404
    refused = await call("POST", f"{call.server.url}/")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_uploads_as_described(call: Caller) -> None:
    """The server reads the parts of the form that the document describes."""
    answer = await call("POST", "/files", data=form(b"a", filename="b.bin", metadata='{"c": 1}', type="text/plain"))
    assert (answer.status, answer.data["content_type"], answer.data["metadata"]) == (201, "text/plain", {"c": 1})


def test_without_a_page() -> None:
    """The page is read from disk on request, not when the server is imported or started."""
    program = """
    import sys
    from urllib.request import urlopen

    opened = []
    sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
    from replicate_async.testing import LocalServer

    with LocalServer(tidy=True) as server:
        assert not [path for path in opened if path.endswith("page.html")]
        urlopen(server.url).read()
        assert [path for path in opened if path.endswith("page.html")]
    """
    environment = {**os.environ, "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::1", "", "a.b."])
async def test_the_api_under_the_name_of_a_web_site(call: Any, host: str) -> None:
    """A web site whose name resolves to this machine can't use the API, although it knows the token."""
    headers = {"Host": host, "Authorization": f"Bearer {call.server.token}"}
    known = len(call.server.requests)
    for origin in (f"{call.server.url}/v1", call.server.delivery_url):
        assert (await call("GET", f"{origin}/account", headers=headers)).status == 403
    assert (await call("POST", f"{call.server.url}/v1/predictions", headers=headers)).status == 403
    assert (await call("GET", f"{call.server.url}/v1/nothing", headers=headers)).status == 403
    assert len(call.server.requests) == known


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "localhost", "[::1]:8000", "192.168.1.2", "replicate:8000", "a.internal"]
)
async def test_the_api_under_a_private_name(call: Any, host: str) -> None:
    """Other machines and containers use the API by an address, or by a name that public DNS doesn't have."""
    headers = {"Host": host, "Authorization": f"Bearer {call.server.token}"}
    assert (await call("GET", f"{call.server.url}/v1/account", headers=headers)).status == 200
