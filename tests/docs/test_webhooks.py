"""The examples of docs/webhooks.md run as they are: real servers, to which a local server delivers webhooks."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from replicate_async.testing import LocalServer, models

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
CALLS = ["webhooks.default.secret.get", "models.predictions.create"]


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int) -> Iterator[LocalServer]:
    """A server to which the environment points; the programs are in the current folder."""
    server = LocalServer(tidy=True)
    models.register(server)
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        monkeypatch.setenv("PORT", str(port))
        monkeypatch.setenv("PUBLIC_URL", f"http://127.0.0.1:{port}")
        yield server


def test_all_examples_are_run():
    """The page has no other examples."""
    assert PAGE.count("```python\n") == len(PROGRAMS) == 3


@contextmanager
def application(name: str, port: int) -> Iterator[httpx.Client]:
    """Serve a program of the page, and yield a client for it. What it prints goes to a file ``printed``."""
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        Path("printed").open("w", encoding="utf-8") as printed,
        subprocess.Popen(command, stdout=printed, env=environment) as process,
    ):
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
                for _ in range(300):
                    try:
                        http.get("/docs")
                        break
                    except httpx.ConnectError:
                        threading.Event().wait(0.1)
                yield http
        finally:
            process.terminate()


def test_receiving(server, port):
    """The application starts a prediction, accepts its webhook, and refuses one that is not genuine."""
    with application("receive", port) as http:
        prediction_id = http.post("/start", params={"name": "Alice"}).json()
        for _ in range(300):
            if server.webhooks:
                break
            threading.Event().wait(0.02)
        assert http.post("/webhook", json={}).status_code == 400
    assert [call.status for call in server.webhooks] == [204]
    assert Path("printed").read_text(encoding="utf-8") == f"{prediction_id} succeeded hello Alice\n"


def test_fastapi(server, port):
    """The application answers a request with the output of a prediction whose end came by webhook."""
    with application("app", port) as http:
        assert http.get("/hello", params={"name": "Alice"}).json() == "hello Alice"
    assert [call.operation for call in server.requests] == CALLS
    assert [call.status for call in server.webhooks] == [204]


def test_wsgi(server):
    """The program prints the output of a prediction whose end came by webhook."""
    result = subprocess.run([sys.executable, "wsgi.py"], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert result.stdout == "hello Alice\n"
    assert [call.operation for call in server.requests] == CALLS
