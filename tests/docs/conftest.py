"""The server, the models and the files that the examples of the documentation use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Replicate, default_client
from replicate_async.testing import LocalServer, OutputFile, models

PNG = b"\x89PNG\r\n\x1a\n"


def register(server: LocalServer) -> None:
    """Register the models that the pages name."""
    models.register(server)

    @server.model("anthropic/claude-sonnet-4")
    def claude(prompt: str) -> Iterator[str]:
        yield from (prompt[:4], " and ", "so on")

    @server.model("black-forest-labs/flux-dev")
    @server.model("black-forest-labs/flux-schnell")
    def flux(prompt: str) -> OutputFile:
        return OutputFile(PNG + prompt.encode(), "image/png", "output.png")

    @server.model("salesforce/blip")
    def blip(image: Path) -> str:
        return f"a picture of {len(image.read_bytes())} bytes"

    @server.model("acme/slow", official=True)
    async def slow() -> str:
        await asyncio.Event().wait()
        return "at last"

    @server.model("acme/steps", official=True)
    def steps(steps: int) -> str:
        for step in range(1, steps + 1):
            print(f"{100 * step // steps}%|###| {step}/{steps} [00:01<00:00]")  # noqa: T201 - becomes the logs
        return "done"

    @server.model("acme/broken", official=True)
    def broken() -> str:
        raise ValueError("out of paint")

    def train(input_images: Path, trigger_word: str) -> None:
        pass

    server.model("ostris/flux-dev-lora-trainer", train=train)(flux)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalServer]:
    """A server to which the environment points, in a folder with the files of the examples."""
    server = LocalServer(username="acme")
    register(server)
    for name in ("cat.png", "cat.zip"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "prompts.csv").write_text("id,prompt\n1,Paint a cat\n2,Write a poem\n", encoding="utf-8")
    (tmp_path / "names.jsonl").write_text('{"text": "Alice"}\n{"text": "Bob"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        default_client.cache_clear()
        yield server
        default_client().close()
        default_client.cache_clear()


@pytest.fixture
def deployment(server: LocalServer) -> Any:
    """The deployment that the pages name."""
    version = server.models["replicate/hello-world"]
    with Replicate() as client:
        latest = client.models.get("replicate/hello-world").latest_version
        assert latest is not None, version
        return client.deployments.create(
            name="fast",
            model="replicate/hello-world",
            version=latest.id,
            hardware="cpu",
            min_instances=0,
            max_instances=1,
        )
