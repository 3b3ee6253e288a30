"""A local server, and programs that find it by their environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from replicate_async.testing import LocalServer, models

Running = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        models.register(server)

        @server.model("owner/patient")
        async def patient(text: str = "") -> str:
            await asyncio.sleep(0.2)
            return f"at last {text}"

        @server.model("owner/endless")
        async def endless() -> AsyncIterator[str]:
            yield "on and on"
            await asyncio.sleep(3600)

        yield server


@pytest.fixture
def environment(server: LocalServer, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a program that uses the server, and can import files from the temporary folder."""
    path = os.pathsep.join([str(tmp_path), *(folder for folder in sys.path if folder)])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("REPLICATE_", "PYTEST_"))}
    # How others open files is not tested here.
    inherited.pop("PYTHONWARNDEFAULTENCODING", None)
    return {
        **inherited,
        # Programs leave their settings and histories there.
        "HOME": str(tmp_path),
        "PYTHONPATH": path,
        "REPLICATE_API_TOKEN": server.token,
        "REPLICATE_BASE_URL": server.base_url,
    }


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Running:
    """Return a function that runs a Python program in the temporary folder, and kills it at the end."""

    @contextmanager
    def run(*arguments: str, **options: Any) -> Generator[subprocess.Popen[str], None, None]:
        command = [sys.executable, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        with subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, encoding="utf-8", **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    return run


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]
