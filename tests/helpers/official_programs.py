"""A local server for programs that were written for the official SDK, and how they are run."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replicate_async import Replicate
from replicate_async.testing import LocalServer, OutputFile

FOLDER = Path(__file__).parents[1] / "compat"
VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
PNG = b"\x89PNG\r\n\x1a\n and so on"


@contextmanager
def serving() -> Iterator[LocalServer]:
    """Start a server with the models that the programs use."""
    with LocalServer(tidy=True, username="owner", files="data") as server:

        def train(images: Path) -> OutputFile:
            return OutputFile(images.read_bytes(), name="weights.bin")

        @server.model("owner/text", version=VERSION, train=train)
        def text(text: str = "nobody") -> Iterator[str]:
            """Greet, word by word."""
            yield "hello "
            yield text

        @server.model("owner/chat", version="ab" * 32)
        def chat(prompt: str, temperature: float = 0.5, max_length: int = 100) -> Iterator[str]:
            """Answer a prompt, word by word."""
            yield "you said: "
            for word in prompt.split():
                yield f"{word} "

        @server.model("owner/see", version="cd" * 32)
        def see(prompt: str, image: Path, temperature: float = 0.5, max_length: int = 100) -> Iterator[str]:
            """Look at a picture."""
            yield prompt
            yield f" {len(image.read_bytes())}"

        @server.model("owner/endless-words", version="ef" * 32)
        def endless_words(prompt: str) -> Iterator[str]:
            """Write until it is canceled."""
            for number in itertools.count(1):
                time.sleep(0.02)
                yield f"{number} "

        @server.model("owner/slow-text")
        def slow_text() -> Iterator[str]:
            """Write slowly."""
            for letter in "abc":
                time.sleep(0.05)
                yield f"{letter} "

        @server.model("owner/progress")
        def progress() -> str:
            """Report progress."""
            for step in range(5):
                print(f"{step * 25}%|##| {step}/4 [00:00<00:00, 1.0it/s]")
                time.sleep(0.03)
            return "done"

        @server.model("owner/endless")
        def endless() -> str:
            """Run until it is canceled."""
            while True:
                time.sleep(0.02)

        @server.model("owner/image")
        def image() -> OutputFile:
            """Return a picture."""
            return OutputFile(PNG, "image/png")

        @server.model("owner/images")
        def images() -> list[OutputFile]:
            """Return pictures."""
            return [OutputFile(PNG, "image/png"), OutputFile(PNG, "image/png")]

        @server.model("owner/size")
        def size(file: Path) -> int:
            """Return the size of a file."""
            return len(file.read_bytes())

        @server.model("owner/broken", version="ad" * 32)
        def broken(text: str = "") -> str:
            """Fail."""
            print("about to fail")
            raise ValueError("out of paint")

        server.model("owner/target")(text)
        for number in range(31):
            server.model(f"owner/model-{number}")(image)
        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            client.deployments.create(
                name="fast", model="owner/text", version=VERSION, hardware="cpu", min_instances=0, max_instances=1
            )
        yield server


def run_python(
    arguments: list[str], server: LocalServer | None = None, *, path: Path | None = None, version_1: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Python with the server as the API; ``path`` holds the packages that come before those installed."""
    environment = {**os.environ, "no_proxy": "127.0.0.1", "PYTHONPATH": "" if path is None else str(path)}
    if server is not None:
        environment["REPLICATE_API_TOKEN"] = server.token
        environment["REPLICATE_BASE_URL"] = server.url if version_1 else server.base_url
        environment["REPLICATE_POLL_INTERVAL"] = "0.02"
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


def run_programs(names: list[str], *, compat: bool, **options: Any) -> dict[str, str]:
    """Run programs, one after the other in one process, and return the tracebacks of those that failed."""
    done = run_python([str(FOLDER / "run_programs.py"), "compat" if compat else "official", *names], **options)
    assert done.returncode == 0, done.stderr
    report: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return report
