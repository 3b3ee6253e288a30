"""The local server under Schemathesis, which reads only /openapi.json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
import schemathesis

from replicate_async.testing import LocalServer, models
from replicate_async.testing._routes import OPERATIONS

VERSION = "ab" * 32

# What takes more than guessing: signed URLs, the method QUERY, private models, a deployment that is still there.
UNREACHED = {
    "files.download",
    "models.search",
    "models.delete",
    "models.versions.delete",
    "deployments.predictions.create",
}

# The document does not list models, versions and cursors: requests that are valid by the document may be refused. And
# Schemathesis expects that the method QUERY, which OpenAPI 3.1 doesn't have, is refused.
CONFIG = """
headers = {{ Authorization = "Bearer {token}" }}

[parameters]
{parameters}

[dictionaries]
{dictionaries}

[[operations]]
include-operation-id-regex = "list$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "400"]

[[operations]]
include-operation-id-regex = "(trainings|predictions|deployments|files).(create|update)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "404", "409", "422"]

[[operations]]
include-path = "/models"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
"""


def test_everything(tmp_path: Path) -> None:
    """Whatever is sent, no response is a server error, or one that the document does not describe."""
    server = LocalServer(hold=0.05)
    models.register(server)
    server.model("local/model", version=VERSION)(lambda text="": text)
    server.model("local/official", official=True)(lambda text="": text)
    with server:
        (tmp_path / "schemathesis.toml").write_text(configuration(server), encoding="utf-8")
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--no-color"]
        command += ["--max-examples=20", "--generation-deterministic", "--continue-on-failure", "--warnings=off"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    operations = {operation.name for operation in OPERATIONS}
    succeeded = {call.operation for call in server.requests if 200 <= call.status < 300}
    assert operations - succeeded <= UNREACHED


def configuration(server: LocalServer) -> str:
    """Create one object of each kind, and let Schemathesis use their names most of the time."""

    def post(path: str, body: Any = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {server.token}"}
        answer = requests.post(server.base_url + path, json=body, headers=headers, timeout=10, **options)
        answer.raise_for_status()
        return answer.json()

    run = post("/predictions", {"version": VERSION, "input": {"text": "a"}})
    trainings = f"/models/local/model/versions/{VERSION}/trainings"
    training = post(trainings, {"destination": "local/model", "input": {}})
    file = post("/files", files={"content": b"a"})
    values = {
        "path.model_owner": ["local"],
        "path.model_name": ["model", "official"],
        "path.version_id": [VERSION],
        "path.deployment_owner": ["local"],
        "path.deployment_name": ["hello"],
        "path.prediction_id": [run["id"]],
        "path.training_id": [training["id"]],
        "path.file_id": [file["id"]],
        "path.collection_slug": ["local-models"],
        "body.version": [VERSION, f"local/model:{VERSION}", "replicate-local/gradient"],
        "body.model": ["local/model"],
        "body.destination": ["local/model"],
        "body.name": ["hello"],
        "body.owner": ["local"],
    }
    parameters = [f'"{name}" = {{ dictionary = "{name}", probability = 0.8 }}' for name in values]
    dictionaries = [f'"{name}" = {{ values = {json.dumps(known)} }}' for name, known in values.items()]
    return CONFIG.format(token=server.token, parameters="\n".join(parameters), dictionaries="\n".join(dictionaries))


def test_the_document_is_valid() -> None:
    """The document conforms to OpenAPI 3.1, by the specification's own schema."""
    with LocalServer() as server:
        schemathesis.openapi.from_url(f"{server.url}/openapi.json").validate()
