"""The examples of docs/typed-models.md run as they are, against a local server."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from replicate_async.cli import main
from replicate_async.testing import LocalServer, OutputFile

PAGE = (Path(__file__).parents[2] / "docs" / "typed-models.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^replicate-async (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalServer]:
    server = LocalServer()

    @server.model("black-forest-labs/flux-schnell")
    def flux(prompt: str, num_outputs: int = 1, aspect_ratio: Literal["1:1", "16:9"] = "1:1") -> list[OutputFile]:
        return [OutputFile(b"picture", "image/webp", f"{number}.webp") for number in range(num_outputs)]

    @server.model("meta/meta-llama-3-8b-instruct", official=True, version="c" * 64)
    def llama(prompt: str) -> Iterator[str]:
        yield from ("a ", "haiku")

    @server.model("acme/shout")
    def shout(text: str) -> str:
        return text.upper()

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("images").mkdir()
    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        yield server


def test_all_examples(server, capsys):
    """The commands write the modules, and the programs run with them."""
    assert PAGE.count("```python\n") == len(PROGRAMS) == 3
    for name, text in PROGRAMS.items():
        Path(name).write_text(text, encoding="utf-8")
    *commands, offline = COMMANDS
    for command in commands:
        assert main(shlex.split(command)) == 0, capsys.readouterr()
    runpy.run_path("blocking.py")
    assert capsys.readouterr().out == "a haiku"
    assert len(list(Path("images").iterdir())) == 2
    runpy.run_path("asynchronous.py")
    assert Path("cat.webp").read_bytes() == b"picture"
    runpy.run_path("save_schema.py")
    before = len(server.requests)
    assert main(shlex.split(offline)) == 0
    assert len(server.requests) == before
    assert "def shout(" in Path("models.py").read_text(encoding="utf-8")
