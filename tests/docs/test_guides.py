"""The examples of the guides run as they are, in the order of their page, and print what the page shows."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

import examples
from replicate_async import cli
from replicate_async.testing import LocalServer, VirtualClock, models

pytest_plugins = ["pytester"]

GUIDES = [
    "cookbook.md",
    "errors.md",
    "files.md",
    "index.md",
    "notebooks.md",
    "proxies.md",
    "quickstart.md",
    "running.md",
    "security.md",
    "streaming.md",
]
# These have tests of their own: they need packages that are not installed here, or slow down what follows.
NOT_RUN = re.compile(r"serve\b|# test_|import discord|import boto3|creates=3")


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize("name", GUIDES)
def test_examples(
    server: LocalServer, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a page runs, with the names that those before it have defined."""
    monkeypatch.setattr("getpass.getpass", lambda _: server.token)
    namespace: dict[str, Any] = {"__name__": "example"}
    for language, code, printed in examples.page(name):
        if language != "python" or NOT_RUN.search(code):
            continue
        examples.execute(code, namespace)
        out = capsys.readouterr().out
        assert printed is None or examples.matches(printed, out), f"{code}\nprinted:\n{out}"
        assert printed is not None or not out, f"{code}\nprinted, but the page does not show it:\n{out}"
        # A later example may replace the name of a client.
        examples.close_clients({**namespace, "default": None})


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", ["cli.md", "quickstart.md"])
def test_commands(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that a page shows with its output prints that."""
    sessions = [code for language, code, _ in examples.page(name) if language == "console"]
    assert sessions
    for session in sessions:
        for line, printed in re.findall(r"^\$ replicate-async (.*)\n((?:[^$].*\n)*)", session, re.MULTILINE):
            # ``--local`` changes the environment.
            with monkeypatch.context() as patch:
                patch.setenv("no_proxy", "")
                assert cli.main(shlex.split(line)) == 0
            out = capsys.readouterr().out
            assert examples.matches(printed, out), f"{line}\nprinted:\n{out}"


def example_with(name: str, text: str) -> str:
    """Return the example of a page that contains a text."""
    (code,) = [example.code for example in examples.page(name) if text in example.code]
    return code


@pytest.mark.usefixtures("server")
def test_a_page_that_streams() -> None:
    """The application of the cookbook streams the model's text."""
    namespace: dict[str, Any] = {"__name__": "example"}
    examples.execute(example_with("cookbook.md", "FastAPI(lifespan"), namespace)
    visit = """
    async with app.router.lifespan_context(app), httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://app"
    ) as visitor:
        text = (await visitor.get("/story", params={"about": "cats"})).text
    """
    namespace["httpx"] = httpx
    examples.execute("if True:\n" + visit, namespace)
    assert namespace["text"] == "cats and so on"


def test_a_slow_client(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe for small accounts waits for its limit, and runs the model."""
    server = LocalServer(clock=VirtualClock())
    models.register(server)
    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        examples.execute(example_with("cookbook.md", "creates=3"), {"__name__": "example"})
    assert capsys.readouterr().out == "hello Alice\n"


def test_a_test(pytester: pytest.Pytester) -> None:
    """The test of the cookbook passes, and needs no settings."""
    pytester.makepyfile(test_greeting=example_with("cookbook.md", "test_greeting"))
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)


class StandInForDiscord(ModuleType):
    """As much of discord.py as the recipe uses."""

    class Client:
        """The base of a bot."""

        async def close(self) -> None:
            """Close nothing."""

    class File(SimpleNamespace):
        """A file to send."""

        def __init__(self, content: Any, name: str) -> None:
            super().__init__(content=content.read(), name=name)


def test_a_bot(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot of the cookbook answers with a picture, and with the reason if there is none."""
    monkeypatch.setitem(sys.modules, "discord", StandInForDiscord("discord"))
    namespace: dict[str, Any] = {"__name__": "example", "replies": []}
    examples.execute(example_with("cookbook.md", "import discord"), namespace)
    talk = """
from contextlib import asynccontextmanager
from types import SimpleNamespace

class Message(SimpleNamespace):
    @asynccontextmanager
    async def typing(self):
        yield

    async def reply(self, text=None, file=None):
        replies.append(text or file.content)

bot = Bot()
await bot.setup_hook()
for content in ("!paint a cat", "hello"):
    message = Message(content=content)
    message.channel = message
    await bot.on_message(message)
await bot.close()
"""
    examples.execute(talk, namespace)
    assert namespace["replies"] == [b"\x89PNG\r\n\x1a\na cat"]
    assert [prediction.status for prediction in server.predictions.values()] == ["succeeded"]


@pytest.mark.usefixtures("server")
def test_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe for object storage uploads the content of an output."""
    stored: dict[tuple[str, str], bytes] = {}

    def upload_file(path: str, bucket: str, key: str) -> None:
        stored[bucket, key] = Path(path).read_bytes()

    boto3 = ModuleType("boto3")
    monkeypatch.setattr(boto3, "client", lambda _: SimpleNamespace(upload_file=upload_file), raising=False)
    monkeypatch.setitem(sys.modules, "boto3", boto3)
    examples.execute(example_with("cookbook.md", "import boto3"), {"__name__": "example"})
    assert stored == {("my-bucket", "cats/1.png"): b"\x89PNG\r\n\x1a\na cat"}


def test_every_page_is_run() -> None:
    """A page with examples is run here, or named by another test."""
    here = Path(__file__).parents[1]
    elsewhere = "".join(path.read_text(encoding="utf-8") for path in here.rglob("test_*.py"))
    for path in sorted(examples.PAGES.glob("*.md")):
        if any(example.language == "python" for example in examples.page(path.name)):
            assert path.name in GUIDES or f'"{path.name}"' in elsewhere, path.name


def test_diagrams_are_up_to_date() -> None:
    """Each diagram was drawn from its source as it is: if not, run docs/make_pictures.py."""
    sources = sorted((examples.PAGES / "diagrams").glob("*.mmd"))
    assert sources
    for source in sources:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        for theme in ("light", "dark"):
            assert digest in (examples.PAGES / "images" / f"{source.stem}-{theme}.svg").read_text(encoding="utf-8")
