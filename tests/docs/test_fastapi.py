"""The application of docs/fastapi.md: its own tests, and under uvicorn."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from replicate_async.testing import LocalServer, OutputFile, models

pytest_plugins = ["pytester"]
PAGE = (Path(__file__).parents[2] / "docs" / "fastapi.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
(OWN_LIFESPAN,) = [
    block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "own_lifespan" in block
]


def load(path: Path, text: str) -> Any:
    """Import a module from its text."""
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(replicate_server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """A server with the models of the page, and a folder for the videos."""
    models.register(replicate_server)

    @replicate_server.model("acme/video")
    def video(prompt: str) -> OutputFile:
        return OutputFile(prompt.encode(), "video/mp4")

    @replicate_server.model("anthropic/claude-sonnet-4", official=True)
    async def claude(prompt: str) -> AsyncIterator[str]:
        yield "Once "
        await asyncio.sleep(3600)

    monkeypatch.chdir(tmp_path)
    return replicate_server


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return load(tmp_path / "page_app.py", FILES["app.py"]).app


def test_the_application_is_short() -> None:
    """The application needs few lines, and no helper of its own."""
    lines = [line for line in FILES["app.py"].splitlines() if line.strip()]
    assert len(lines) <= 60
    assert set(FILES) == {"app.py", "test_app.py"}


@pytest.mark.endurance
def test_its_own_tests(pytester: pytest.Pytester) -> None:
    """The page's tests pass: each starts the application anew in one process."""
    for name, text in FILES.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=4)


def test_a_lifespan_of_ones_own(replicate_app: Any, tmp_path: Path) -> None:
    """The example of a lifespan starts."""
    app = load(tmp_path / "own.py", OWN_LIFESPAN).app
    client = replicate_app(app)
    assert client.get("/").status_code == 404
    assert not client.app_state["replicate"].is_closed()


@pytest.mark.anyio
async def test_under_uvicorn(server: LocalServer, app: Any) -> None:
    """Videos arrive by webhook, and a hang-up ends a story."""
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    serving = asyncio.create_task(uvicorn_server.serve())
    with anyio.fail_after(60):
        while not uvicorn_server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            video = (await client.post("/videos", params={"prompt": "a cat"})).json()
            assert (await client.get(f"/videos/{video['id']}")).status_code == 200
            while "json" in (answer := await client.get(f"/videos/{video['id']}")).headers["content-type"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert answer.content == b"a cat"
            async with client.stream("GET", "/story", params={"about": "a cat"}) as story:
                async for line in story.aiter_lines():
                    if line == "data: Once ":
                        break
            while "canceled" not in [job.status for job in server.predictions.values()]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    uvicorn_server.should_exit = True
    await serving
