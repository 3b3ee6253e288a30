"""A Replicate on this machine, and programs that find it by their environment."""

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
    """Give the variables of a program that uses the server, and may import what is in the temporary folder."""
    path = os.pathsep.join([str(tmp_path), *(one for one in sys.path if one)])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("REPLICATE_", "PYTEST_"))}
    inherited.pop("PYTHONWARNDEFAULTENCODING", None)  # what others do with encodings is not what is looked for
    return {
        **inherited,
        "HOME": str(tmp_path),  # where programs leave their settings and histories
        "PYTHONPATH": path,
        "REPLICATE_API_TOKEN": server.token,
        "REPLICATE_BASE_URL": server.base_url,
    }


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Running:
    """Give what runs a module of Python in the temporary folder; whatever happens, it has ended in the end."""

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
    """Let time pass until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def statuses(server: LocalServer) -> list[str]:
    return [made.status for made in server.predictions.values()]
