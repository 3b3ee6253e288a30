"""The README's examples run as they are, against a local server."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_async import default_client
from replicate_async.testing import LocalServer

if TYPE_CHECKING:
    import pytest

with warnings.catch_warnings():
    # Newer versions of starlette warn about httpx.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = PYTHON.findall(README)
PNG = b"\x89PNG\r\n\x1a\n"


def execute(block: str) -> dict[str, Any]:
    """Run a block, which may use await at its top level."""
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec("from replicate_async import AsyncReplicate", namespace)
    running = eval(code, namespace)  # noqa: S307, RUF100 - our own README
    if inspect.iscoroutine(running):

        async def closing() -> None:
            await running
            await namespace["replicate"].close()

        asyncio.run(closing())
    return namespace


def block_with(text: str) -> str:
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_there_are_examples() -> None:
    """The examples below are all that the README has."""
    assert len(BLOCKS) == 7


def test_an_application(server: LocalServer) -> None:
    """The FastAPI example responds and streams the model's output, and starts again and again."""
    app = execute(block_with("FastAPI"))["app"]
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/hello", params={"name": "Alice"}).json() == "hello Alice"
            events = client.get("/story", params={"about": "cats"}).text
            assert re.findall("(?m)^data: (.*)", events)[:3] == ["cats", " and ", "so on"]


def test_many_at_once(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples with gather and map print all results in order."""
    execute(block_with('("Alice", "Bob", "Carol")'))
    gathered, *mapped = capsys.readouterr().out.splitlines()
    assert gathered == "['hello Alice', 'hello Bob', 'hello Carol']"
    assert mapped == [f"hello number {n}" for n in range(1_000)]


def test_a_script(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocking example runs a model in two ways."""
    execute(block_with("replicate.predictions.wait"))
    assert capsys.readouterr().out == "hello Alice\nhello Alice\n"


def test_files_streams_and_functions(server: LocalServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Files are sent and received, text is streamed, and one model's output is another's input."""
    execute(block_with('picture.save("pictures")'))
    assert (tmp_path / "pictures" / "output.png").read_bytes() == PNG + b"a picture of 8 bytes"
    out = capsys.readouterr().out
    assert out.startswith("Tell and so on")
    assert f"a picture of {len(PNG + b'What and so on')} bytes" in out
    assert "prompt (string, required)" in out


def test_files_streams_and_functions_awaited(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The same with await."""
    execute(block_with('("cubist", "baroque")'))
    assert capsys.readouterr().out == "Tell and so on"
    prompts = [dict(prediction.input)["prompt"] for prediction in server.predictions.values()]
    assert sorted(prompts) == ["Tell me a story", "a cat, baroque", "a cat, cubist"]


def test_the_local_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The local server's example asserts its own result."""
    assert execute(block_with("acme/shout"))["version"] is not None


def test_options(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The options exist, and the raw response has the status."""
    version = default_client().models.get("replicate/hello-world").latest_version
    assert version is not None
    prediction = default_client().predictions.create(version=version.id, input={"text": "x"}, prefer="wait")
    execute(block_with("patient").replace('"..."', repr(prediction.id)))
    assert capsys.readouterr().out.startswith("200 ")


# --- the page on many predictions ---


def test_many_predictions(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples of the page on many predictions print the results that the page promises."""
    gathered, limited, mapped, submitted = PYTHON.findall((PAGES / "fan-out.md").read_text(encoding="utf-8"))
    execute(gathered.replace("range(1000)", "range(100)"))
    assert capsys.readouterr().out == "100\n"
    assert execute(limited)["replicate"] is not None
    execute(mapped)
    assert capsys.readouterr().out.splitlines() == [f"hello number {number}" for number in range(300)]
    execute(submitted)
    assert capsys.readouterr().out.partition(" ")[2].startswith("hello Alice PredictionMetrics(")


def test_the_source_distribution_can_be_tested():
    """The source distribution has every file that the README's commands read: without settings, tox does nothing."""
    settings: dict[str, Any] = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())
    included = set(settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    read = {f"/{file.name}" for kind in ("*.ini", "*.yml", "*.md", ".python-version") for file in ROOT.glob(kind)}
    assert "/tox.ini" in read
    assert read <= included


def test_what_shows_the_figures():
    """Each row that compares this package names a command, and what the command runs exists."""
    table = [line for line in README.splitlines() if line.startswith("| ") and line.count("|") == 5]
    benchmarks = {name for row in table for name in re.findall(r"`python -m benchmarks (\w+)`", row)}
    tests = {path for row in table for path in re.findall(r"`pytest (\S+)`", row)}
    assert len(benchmarks) == 3
    assert tests
    assert all((ROOT / "benchmarks" / f"{name}.py").exists() for name in benchmarks)
    assert all((ROOT / path).exists() for path in tests)
