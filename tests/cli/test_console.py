"""What the command prints on a terminal: nothing that a model or a server says controls it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from replicate_async.testing import LocalServer, OutputFile

EVIL = "\x1b]0;title\x07\x1b[2Jred\x9b31m\x08\x7f\rover\ttab"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    server = LocalServer()

    @server.model("me/evil", official=True)
    def evil(fail: bool = False) -> str:
        if fail:
            raise ValueError(EVIL)
        return EVIL

    @server.model("me/slow", official=True)
    async def slow() -> AsyncIterator[str]:
        print(" 50%|#####     | 5/10 [00:01<00:01]")  # noqa: T201 - the model's logs
        await asyncio.sleep(1.6)
        yield EVIL
        yield " is over"

    @server.model("me/items", official=True)
    def items() -> dict[str, str]:
        return {"text": EVIL}

    @server.model("me/file", official=True)
    def file() -> OutputFile:
        return OutputFile(EVIL.encode(), "text/plain", "a.txt")

    with server:
        yield server


def on_terminal(server: LocalServer, *arguments: str, stdin: str | None = None) -> bytes:
    """Run the command with standard output and standard error on a terminal; return what the terminal gets."""
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "replicate_async.cli", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    assert process.stdin is not None
    process.stdin.write((stdin or "").encode())
    process.stdin.close()
    got = b""
    try:
        while piece := os.read(controller, 65536):
            got += piece
    except OSError:
        # On Linux, this is the end.
        pass
    os.close(controller)
    process.wait(60)
    return got


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "me/evil"),
        ("run", "me/evil", "--json"),
        ("run", "me/evil", "-o", "-"),
        ("run", "me/evil", "fail=true"),
        ("run", "me/items"),
        ("run", "me/file", "-o", "-"),
        ("map", "me/evil", "-"),
    ],
)
def test_terminals_get_no_control_characters(server: LocalServer, arguments: tuple[str, ...]) -> None:
    """Control characters in outputs and errors are escaped when a terminal is written to."""
    text = on_terminal(server, *arguments, stdin="{}\n").decode().replace("\r\n", "\n")
    assert not [character for character in text if ord(character) in {*range(9), *range(11, 32), *range(127, 160)}]
    assert "red" in text


def test_pipes_get_what_the_model_wrote(server: LocalServer) -> None:
    """Programs that read the command's output get it unchanged."""
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    command = [sys.executable, "-m", "replicate_async.cli", "run", "me/evil"]
    assert subprocess.check_output(command, env=environment) == f"{EVIL}\n".encode()


def test_the_status_of_a_slow_prediction(server: LocalServer) -> None:
    """A terminal shows status, progress and the last line of the logs, until there is text."""
    shown = on_terminal(server, "run", "me/slow").decode()
    line, _, text = shown.rpartition("\r\x1b[K")
    assert re.search(r"\r\x1b\[Kprocessing \d+ s, 50%, about \d+ s left, 50%\|#+ +\| 5/10", line), shown
    assert text.endswith("tab is over\r\n")
    assert text.count("is over") == 1
    assert "\x1b" not in text
