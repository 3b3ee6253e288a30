"""The commands for models, predictions and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answering import answering
from replicate_async import Replicate, cli
from replicate_async.testing import LocalServer, models

HELLO = "replicate/hello-world"
STORY = "replicate-local/stream-text"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    server = LocalServer()
    models.register(server)

    @server.model("me/greet", official=True)
    def hello(text: str) -> str:
        return f"hello {text}"

    @server.model("me/fail", official=True)
    def fail() -> str:
        raise ValueError("first line\nsecond line")

    with server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


class Command:
    """The command, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run the command; return what it prints, or its error if it fails."""
        assert cli.main(arguments) == status
        output, errors = self._capsys.readouterr()
        assert bool(errors) == bool(status), errors
        return errors if status else output


@pytest.fixture
def command(server: LocalServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    return Command(capsys)


def test_wrong_usage(command: Command) -> None:
    """What is missing or misspelled ends with status 2, and the error names the command whose help to read."""
    assert "Missing command. (see replicate-async models --help)" in command("models", status=2)
    assert "REF" in command("models", "show", status=2)
    assert "owner/name" in command("models", "show", "1" * 64, status=2)
    assert "ID" in command("predictions", "cancel", status=2)
    assert "no-such-file" in command("files", "upload", "no-such-file", status=2)


def test_what_does_not_exist(command: Command) -> None:
    """The API's reason ends the command with status 1."""
    for arguments in ("models", "show", "me/nothing"), ("predictions", "show", "x"), ("files", "delete", "x"):
        assert "404" in command(*arguments, status=1)


ODD: list[Any] = [None, 5, "text", [1], {"a": None}]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("predictions list", "p1"),
        ("predictions list --status failed", ""),
        ("predictions show p1", "p1"),
        ("predictions show p1 --json", "p1"),
        ("predictions cancel p1", "p1"),
        ("models search x", "x"),
        ("models show o/n", "o/n"),
        ("files list", "f1"),
        ("files upload a.txt", ""),
    ],
)
def test_odd_answers(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: str,
    shown: str,
    odd: Any,
) -> None:
    """Items and members of other types than documented are shown as they are, and cost nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    names = ["status", "model", "created_at", "completed_at", "metrics", "error", "logs", "output", "input", "urls"]
    named = {"id": "f1" if "files" in arguments else "p1", "owner": "o", "name": "n"}
    item = {**named, **dict.fromkeys([*names, "size", "latest_version"], odd)}
    is_list = arguments.endswith("list") or "--status" in arguments
    body = {"results": [odd, item], "next": None} if is_list else {**item, "models": [odd, {"model": item}]}
    with answering(lambda *_: body) as url:
        monkeypatch.setenv("REPLICATE_BASE_URL", url)
        monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_x")
        assert cli.main(arguments.split()) == 0
    output, errors = capsys.readouterr()
    assert shown in output or shown == "x"
    assert errors == ""
    if arguments == "predictions list":
        assert output.splitlines()[0] == json.dumps(odd, separators=(",", ":"))


def test_metrics_are_rounded(command: Command, client: Replicate) -> None:
    """Seconds are shown to six digits."""
    prediction = client.models.predictions.create("me/greet", input={"text": "x"}, prefer="wait")
    assert re.search(r"predict_time \d[\d.e-]{0,11}(, |$)", command("predictions", "show", prediction.id), re.MULTILINE)


def test_searching_for_models(command: Command) -> None:
    """A line for each model: name, runs and description; ``--json`` has everything."""
    assert re.match(rf"{HELLO}\t\d+\tSay hello.\n", command("models", "search", "hello"))
    assert json.loads(command("models", "search", "hello", "--limit", "1", "--json"))["name"] == "hello-world"


def test_showing_a_model(command: Command) -> None:
    """The inputs are shown with types and defaults; required ones have a star."""
    assert "  text* (string) Text to prefix" in command("models", "show", HELLO)
    assert "  width (integer, default 256) " in command("models", "show", "replicate-local/gradient")
    assert "latest_version" in json.loads(command("models", "show", HELLO, "--json"))
    # An official model shows no inputs.
    assert command("models", "show", "me/fail").startswith("model:")


def test_listing_predictions(command: Command, client: Replicate) -> None:
    """The newest comes first; ``--limit``, ``--status`` and ``--model`` choose among them."""
    done = [
        client.predictions.wait(client.models.predictions.create("me", "greet", input={"text": "A"})) for _ in range(3)
    ]
    failed = client.predictions.wait(client.models.predictions.create("me", "fail", input={}))
    lines = command("predictions", "list", "--limit", "3").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        [failed.id, "failed"],
        [done[2].id, "succeeded"],
        [done[1].id, "succeeded"],
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", lines[0].split("\t")[2])
    assert command("predictions", "list", "--status", "failed").startswith(failed.id)
    assert failed.id not in command("predictions", "list", "--model", "me/greet")
    assert json.loads(command("predictions", "list", "--limit", "1", "--json"))["id"] == failed.id


def test_showing_a_prediction(command: Command, client: Replicate) -> None:
    """Its fields are lines; the output comes last."""
    done = client.predictions.wait(client.models.predictions.create("me", "greet", input={"text": "Alice"}))
    shown = command("predictions", "show", done.id)
    assert re.search(r"^status: +succeeded$", shown, re.MULTILINE)
    assert shown.endswith("\nhello Alice\n")
    assert json.loads(command("predictions", "show", done.id, "--json"))["output"] == "hello Alice"
    failed = client.predictions.wait(client.models.predictions.create("me", "fail", input={}))
    assert re.search(r"^error: +first line second line$", command("predictions", "show", failed.id), re.MULTILINE)


def test_canceling_predictions(command: Command, client: Replicate) -> None:
    """All that are named are canceled."""
    started = [client.predictions.create(version=STORY, input={"prompt": "a b", "delay": 10}).id for _ in range(2)]
    lines = command("predictions", "cancel", *started).splitlines()
    assert [line.split("\t")[0] for line in lines] == started
    assert {client.predictions.get(prediction_id).status for prediction_id in started} == {"canceled"}


def test_files(command: Command, tmp_path: Path) -> None:
    """An uploaded file is an input for models by its URL; it is listed, and can be deleted."""
    path = tmp_path / "a b.txt"
    path.write_bytes(b"12345")
    url = command("files", "upload", str(path)).strip()
    file_id = url.rpartition("/")[2]
    line = next(line for line in command("files", "list").splitlines() if line.startswith(file_id))
    assert (line.split("\t")[1:3], line.split("\t")[4]) == (["5", "text/plain"], "a b.txt")
    assert command("files", "delete", file_id) == f"{file_id}\n"
    assert file_id not in command("files", "list")
