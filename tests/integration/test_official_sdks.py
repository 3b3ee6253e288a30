"""Both versions of the official SDK, which nobody here wrote, use every operation of the local server.

Version 2 is among the requirements of all tests, so its tests are in ``tests/testing/test_official_sdk.py``. Version 1
has the same import name, and gets a folder of its own here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicate_async.testing import LocalServer, OutputFile, models

_VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install version 1.0.7 of the official SDK into a folder."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "replicate==1.0.7"]
    subprocess.run(command, check=True, timeout=300)
    return folder


def test_version_1(packages: Path) -> None:
    """A program for version 1.0.7 uses every operation that this version has."""

    def train(steps: int) -> OutputFile:
        return OutputFile(b"w" * steps, name="weights.bin")

    async def train_slowly() -> None:
        await asyncio.sleep(60)

    with LocalServer(username="alice") as server:
        models.register(server)
        server.model("replicate/trainable", version="ab" * 32, train=train)(models.hello_world)
        server.model("replicate/slow", version="cd" * 32, train=train_slowly)(models.hello_world)
        server.model("alice/mine", visibility="private")(models.hello_world)
        server.model("alice/target", visibility="private")(models.hello_world)

        @server.model("alice/size", official=True)
        def size(file: Path) -> int:
            return len(file.read_bytes())

        @server.model("alice/broken", official=True)
        def broken() -> str:
            raise RuntimeError("out of paint")

        program = Path(__file__).with_name("official_1.py")
        arguments = [server.url, server.token, _VERSION, "ab" * 32, "cd" * 32]
        environment = {**os.environ, "PYTHONPATH": str(packages), "no_proxy": "127.0.0.1"}
        run = subprocess.run(
            [sys.executable, str(program), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert (run.returncode, run.stdout.strip()) == (0, "done"), run.stderr
        assert {request.operation for request in server.requests} == _OPERATIONS


# This version has no methods for models.update, models.readme.get, models.examples.list, search and files.download.
_OPERATIONS = {
    *("account.get", "collections.list", "collections.get", "deployments.list", "deployments.create"),
    *("deployments.get", "deployments.update", "deployments.delete", "deployments.predictions.create"),
    *("files.list", "files.create", "files.get", "files.delete", "hardware.list", "models.list", "models.create"),
    *("models.search", "models.get", "models.delete", "models.predictions.create", "models.versions.list"),
    *("models.versions.get", "models.versions.delete", "predictions.create", "predictions.list", "predictions.get"),
    *("predictions.cancel", "predictions.stream", "trainings.create", "trainings.list", "trainings.get"),
    *("trainings.cancel", "webhooks.default.secret.get"),
}
