"""The command ``replicate-async map``, in processes of its own: killed at any moment, it bills each input once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Replicate
from replicate_async.testing import LocalServer, OutputFile

from .test_commands import command, start

if sys.platform == "win32":
    pytest.skip("a process can't be sent signals there", allow_module_level=True)

import pty

pytestmark = pytest.mark.endurance


class RateLimiter:
    """What lets the slow model's predictions go on."""

    def __init__(self) -> None:
        self.open = threading.Event()


@pytest.fixture
def gate() -> RateLimiter:
    return RateLimiter()


@pytest.fixture
def server(gate: RateLimiter) -> Iterator[LocalServer]:
    server = LocalServer()

    @server.model("me/shout", official=True)
    async def shout(text: str, fail: bool = False) -> str:
        if fail:
            raise ValueError(f"no luck with {text}")
        return text.upper()

    @server.model("me/slow", official=True)
    async def slow(text: str) -> str:
        while not gate.open.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.01)
        return text.upper()

    @server.model("me/community")
    def community(text: str) -> str:
        return text.upper()

    @server.model("me/file", official=True)
    def file(text: str) -> OutputFile:
        return OutputFile(text.encode(), "text/plain", "out.txt")

    with server:
        yield server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(texts: list[str], name: str = "in.jsonl", **more: Any) -> Path:
    path = Path(name)
    path.write_text("".join(json.dumps({"text": text, **more}) + "\n" for text in texts), encoding="utf-8")
    return path


def results(name: str = "out.jsonl") -> list[dict[str, Any]]:
    """Return the results, in the order of their inputs; each there is once."""
    found = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
    found.sort(key=lambda result: result["index"])
    assert [result["index"] for result in found] == sorted({result["index"] for result in found})
    return found


def until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Let time pass until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.001)


def statuses(server: LocalServer) -> list[str]:
    return [made.status for made in list(server.predictions.values())]


def answered(server: LocalServer) -> int:
    """Return how many creates have been answered."""
    return sum(call.operation == "models.predictions.create" and bool(call.status) for call in list(server.requests))


TEXTS = [f"text {number}" for number in range(30)]
MAP = ("map", "me/shout", "in.jsonl", "-o", "out.jsonl")


# --- from inputs to outputs ---


def test_results(server, folder):
    """Each line of the inputs has one of the output, with all that matters; nothing else is printed or left behind."""
    given(TEXTS)
    assert command(*MAP, server=server) == (0, "", "")
    found = results()
    assert [result["output"] for result in found] == [text.upper() for text in TEXTS]
    assert {result["id"] for result in found} == set(server.predictions)
    assert all(result["status"] == "succeeded" and result["error"] is None for result in found)
    assert all(result["metrics"]["predict_time"] >= 0 for result in found)
    assert {path.name for path in folder.iterdir()} == {"in.jsonl", "out.jsonl"}
    assert server.token not in Path("out.jsonl").read_text(encoding="utf-8")


def test_to_standard_output(server):
    """Without ``-o``, results are all that is printed; inputs may come from a pipe."""
    given(["a", "b"])
    lines = Path("in.jsonl").read_text(encoding="utf-8")
    for arguments in (["in.jsonl"], ["-"], ["-", "-o", "-"], ["/dev/stdin", "-o", "/dev/stdout"]):
        with start("map", "me/shout", *arguments, server=server, stdin=subprocess.PIPE) as process:
            output, errors = process.communicate(lines, timeout=30)
        assert (process.returncode, errors) == (0, "")
        assert sorted(json.loads(line)["output"] for line in output.splitlines()) == ["A", "B"]


def test_lines(server):
    """Empty lines are skipped, and what editors put at the beginning or the ends of lines doesn't matter."""
    Path("in.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n\n {"text": "\xc3\xab"} \r\n{"text": "c"}')
    assert command(*MAP, server=server) == (0, "", "")
    assert [result["output"] for result in results()] == ["A", "Ë", "C"]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_no_inputs(server, content):
    """Of no inputs, there are no results, and nothing fails."""
    Path("in.jsonl").write_bytes(content)
    assert command(*MAP, server=server) == (0, "", "")
    assert results() == []
    assert len(server.predictions) == 0


def test_files_are_urls(server):
    """Output files are told by their URLs."""
    given(["a"])
    assert command("map", "me/file", "in.jsonl", "-o", "out.jsonl", server=server)[0] == 0
    assert results()[0]["output"].startswith("http")


def test_a_community_models_version_is_looked_up_once(server):
    """Only official models run by their name: that another doesn't is found out by the first input, for all."""
    given(TEXTS[:5])
    server.faults.add(kind="status", operation="models.predictions.create", status=404)
    assert command("map", "me/community", *MAP[2:], "--concurrency", "1", server=server) == (0, "", "")
    assert [request.status for request in server.requests].count(404) == 1


@pytest.mark.parametrize("ref", ["me/community", "version", "both"])
def test_every_kind_of_reference(server, ref):
    """Community models run by their name, and versions with or without it."""
    given(TEXTS[:5])
    version = "c" * 64
    server.model("me/versioned", version=version)(lambda text: text.upper())
    ref = {"version": version, "both": f"me/versioned:{version}"}.get(ref, ref)
    assert command("map", ref, "in.jsonl", "-o", "out.jsonl", server=server) == (0, "", "")
    assert [result["output"] for result in results()] == [text.upper() for text in TEXTS[:5]]


def test_local():
    """``--local`` runs models of the command's own; what can't be resumed has no journal."""
    given(["Alice"])
    assert command("--local", "map", "replicate/hello-world", "in.jsonl", "-o", "out.jsonl") == (0, "", "")
    assert [result["output"] for result in results()] == ["hello Alice"]
    status, output, _ = command("map", "--local", "replicate/hello-world", "in.jsonl")
    assert (status, json.loads(output)["output"]) == (0, "hello Alice")


def test_concurrency(server, gate):
    """No more than allowed are under way at once."""
    given(TEXTS)
    with start("map", "me/slow", "in.jsonl", "-o", "out.jsonl", "--concurrency", "3", server=server) as process:
        until(lambda: len(server.predictions) == 3, process)
        time.sleep(0.2)
        assert len(server.predictions) == 3
        gate.open.set()
        assert process.communicate(timeout=30) == ("", "")
    assert len(results()) == 30


def test_a_bar_on_a_terminal(server):
    """On a terminal, standard error shows how far it is; standard output has nothing but results."""
    given(TEXTS)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    run = [sys.executable, "-m", "replicate_async.cli", "map", "me/shout", "in.jsonl"]
    output = subprocess.run(run, stdout=subprocess.PIPE, stderr=theirs, env=environment, check=True, timeout=30).stdout
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert len(output.splitlines()) == 30
    # click hides the cursor while it draws.
    shown = re.sub(r"\x1b\[\?25[lh]", "", shown)
    assert re.search(r"\r\[#+-+\]  \d+/30 done, 0 failed, \d+\.\d/s, 0:00:\d\d left *\r", shown)
    assert re.search(r"\r\[#+\]  30/30 done, 0 failed *\r\nreplicate-async: me/shout: 30 predictions; .*\r\n$", shown)


def test_results_on_a_terminal(server):
    """Results that go to the terminal are lines of their own: they show how far it is."""
    given(TEXTS)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    run = [sys.executable, "-m", "replicate_async.cli", "map", "me/shout", "in.jsonl"]
    shown = b""
    with subprocess.Popen(run, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with suppress(OSError):  # at its end
            while piece := os.read(ours, 100_000):
                shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert len([json.loads(line) for line in shown.splitlines()]) == 30


# --- failures ---


def test_failures_are_results(server):
    """A failed prediction, and an input that the model refuses, have an error in their lines; the status is 1."""
    inputs: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "fail": True}, {"text": 3}, {"text": "d"}]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, inputs)), encoding="utf-8")
    assert command(*MAP, server=server) == (1, "", "replicate-async: 2 of 4 failed: their lines contain the errors\n")
    first, failed, refused, last = results()
    assert (first["output"], last["output"]) == ("A", "D")
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert "no luck with b" in failed["error"]
    assert (refused["id"], refused["status"]) == (None, None)
    assert "input.text" in refused["error"]
    assert not Path("out.jsonl.journal").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '{"text": "a"}\n\n{"text": \n',
            "in.jsonl, line 3: not a JSON object with a model's inputs: Input data was truncated",
        ),
        ('{"text": "a"}\n[1]\n', "in.jsonl, line 2: not a JSON object with a model's inputs: Expected `object`"),
        ('{"text": "a"}\nnull\n', "in.jsonl, line 2: not a JSON object with a model's inputs: Expected `object`"),
        (
            '{"text": "a"}\n{"text": NaN}\n',
            "in.jsonl, line 2: not a JSON object with a model's inputs: JSON is malformed",
        ),
    ],
)
def test_a_bad_line(server, content, says):
    """A line that is no input is told by its number, before anything is sent."""
    Path("in.jsonl").write_text(content, encoding="utf-8")
    status, output, errors = command(*MAP, server=server)
    assert (status, output) == (2, "")
    assert says in errors
    assert server.requests == []


def test_a_line_too_deep(server):
    """A line that nests deeper than Python's decoder can go, or the API takes, doesn't get into a traceback."""
    deep = "[" * 100_000 + "]" * 100_000
    Path("in.jsonl").write_text(f'{{"text": "a"}}\n{{"text": {deep}}}\n', encoding="utf-8")
    status, _, errors = command(*MAP, server=server)
    assert status in {1, 2}
    assert errors.startswith("replicate-async: ")
    assert len(errors.splitlines()) == 1


def test_a_journal_that_cannot_be_made(server):
    """Where there is no place for the journal, that is said, before anything is sent."""
    given(TEXTS)
    status, output, errors = command("map", "me/shout", "in.jsonl", "-o", "x" * 250, server=server)
    assert (status, output, len(errors.splitlines())) == (1, "", 1)
    assert "cannot create the journal" in errors
    assert server.requests == []


def test_a_bad_line_in_a_pipe(server):
    """What comes through a pipe is told when it is reached; what was begun is carried through."""
    with start("map", "me/shout", "-", server=server, stdin=subprocess.PIPE) as process:
        output, errors = process.communicate('{"text": "a"}\n{', timeout=30)
    assert (process.returncode, json.loads(output)["output"]) == (2, "A")
    assert "standard input, line 2: not a JSON object" in errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["map", "nonsense", "in.jsonl"], "'nonsense' is not a model"),
        (["map", "me/shout", "nothing.jsonl"], "nothing.jsonl"),
        (["map", "me/shout", "in.jsonl", "-o", "no/folder/out"], "no folder no/folder"),
        (["map", "me/shout", "in.jsonl", "-o", "."], "directory"),
        (["map", "me/shout", "in.jsonl", "--concurrency", "0"], "concurrency"),
        (["map", "me/shout"], "INPUTS"),
        (["map", "me/shout", "in.jsonl", "-o", "in.jsonl"], "in.jsonl exists"),
    ],
    ids=lambda one: "" if isinstance(one, str) else " ".join(one[1:]),
)
def test_wrong_usage(server, arguments, says):
    """What can't be meant is told before anything is sent, with status 2; no file is overwritten."""
    content = given(["a"]).read_bytes()
    status, output, errors = command(*arguments, server=server)
    assert (status, output) == (2, "")
    assert says in errors
    assert server.requests == []
    assert Path("in.jsonl").read_bytes() == content


def test_no_such_model(server):
    """A wrong name is told once, and nothing is written; it is no result."""
    given(TEXTS)
    status, output, errors = command("map", "me/nothing", "in.jsonl", "-o", "out.jsonl", server=server)
    assert (status, output, len(server.requests)) == (1, "", 1)
    assert errors.startswith("replicate-async: 404")
    assert "could not be found" in errors
    assert results() == []
    assert command(*MAP, server=server) == (0, "", ""), "and can be corrected"


def test_what_is_done_is_not_done_again(server):
    """The output of a job that is done is not overwritten, and not paid for again."""
    given(TEXTS)
    command(*MAP, server=server)
    status, _, errors = command(*MAP, server=server)
    assert status == 2
    assert "out.jsonl exists" in errors
    assert len(server.predictions) == 30


def test_an_outage(server):
    """When the API fails, what is under way is carried through; nothing is written for others, which can go on."""
    given(TEXTS)
    fault = server.faults.add(kind="status", operation="models.predictions.create", status=402, skip=10)
    status, output, errors = command(*MAP, server=server)
    assert (status, output) == (1, "")
    assert answered(server) < 30, "those that had not been begun were not tried"
    assert "10 done; run the same command again to resume" in errors
    assert "402" in errors
    assert len(results()) == 10
    server.faults.remove(fault)
    assert command(*MAP, server=server) == (0, "", "")
    assert [result["output"] for result in results()] == [text.upper() for text in TEXTS]
    assert len(server.predictions) == 30


def test_the_readme(server):
    """The README's example runs as it stands."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\$ (replicate-async map .*)$", readme, re.MULTILINE)
    server.model("replicate/hello-world")(lambda text: f"hello {text}")
    given(["Alice", "Bob"], "names.jsonl")
    _, *arguments = shlex.split(line, comments=True)
    assert command(*arguments, server=server) == (0, "", "")
    assert [result["output"] for result in results("hellos.jsonl")] == ["hello Alice", "hello Bob"]


# --- interrupted, and gone on with ---


def killed(server: LocalServer, *arguments: str, when: Callable[[], Any], how: signal.Signals = signal.SIGKILL) -> str:
    """Run the command until something is so, then end it, if it hasn't ended by itself; return its errors."""
    with start(*arguments, server=server) as process:
        while process.poll() is None and not when():
            time.sleep(0.0005)
        process.send_signal(how)
        return process.communicate(timeout=20)[1]


@pytest.mark.parametrize("same", [False, True], ids=["different", "identical"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(server, seed, same):
    """However often and whenever it is killed, in the end each input has its result and was billed once."""
    texts = ["same"] * 30 if same else TEXTS
    given(texts)
    chance = random.Random(seed)
    # Answers of creates take their time, so that there are moments in which the server knows more than the journal.
    server.faults.add(kind="delay", operation="models.predictions.create", seconds=0.03, after=seed % 2 == 0)
    for _ in range(3):
        enough = len(server.requests) + chance.randrange(2, 25)
        how = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        killed(server, *MAP, "--concurrency", "10", when=lambda enough=enough: len(server.requests) >= enough, how=how)
    status, output, errors = command(*MAP, server=server)
    if "exists" not in errors:  # the job was done before its last kill
        assert (status, output, errors) == (0, "", "")
    assert [result["output"] for result in results()] == [text.upper() for text in texts]
    assert Counter(made.input["text"] for made in server.predictions.values()) == Counter(texts)
    assert {result["id"] for result in results()} == set(server.predictions)


def test_what_ran_meanwhile_is_awaited(server, gate):
    """Predictions that were running when the command was killed are adopted by their ids: nothing is created."""
    given(TEXTS)
    slow = ("map", "me/slow", "in.jsonl", "-o", "out.jsonl")
    killed(server, *slow, when=lambda: answered(server) == 30)
    assert len(server.predictions) == 30
    server.requests.clear()
    gate.open.set()
    assert command(*slow, server=server) == (0, "", "")
    assert "models.predictions.create" not in [request.operation for request in server.requests]
    assert [result["output"] for result in results()] == [text.upper() for text in TEXTS]


def test_creates_that_were_cut_off(server):
    """With answers lost on the way, and a kill in the midst, each input is billed once all the same."""
    given(TEXTS)
    server.faults.add(kind="reset", operation="models.predictions.create", after=True, probability=0.2, seed=1)
    server.faults.add(kind="html", operation="models.predictions.create", after=True, probability=0.1, seed=2)
    killed(server, *MAP, "--concurrency", "6", when=lambda: len(server.predictions) >= 12)
    assert command(*MAP, server=server) == (0, "", "")
    assert [result["output"] for result in results()] == [text.upper() for text in TEXTS]
    assert len(server.predictions) == 30


@pytest.mark.parametrize(
    ("ref", "operation"), [("me/shout", "models.predictions.create"), ("me/community", "predictions.create")]
)
def test_a_create_that_was_never_answered(server, ref, operation):
    """A prediction whose id never arrived is looked for when the job goes on, and adopted."""
    given(["only"])
    run = ("map", ref, "in.jsonl", "-o", "out.jsonl")
    if ref == "me/community":
        server.faults.add(kind="status", operation="models.predictions.create", status=404)
    server.faults.add(kind="stall", operation=operation, after=True, times=1)
    killed(server, *run, when=lambda: len(server.predictions) == 1)
    assert command(*run, server=server) == (0, "", "")
    assert [result["id"] for result in results()] == list(server.predictions)


def test_a_create_of_long_ago():
    """Whatever else was made since, on however many pages: what a lost create made is found."""
    with LocalServer(page_size=2) as server:
        server.model("me/shout", official=True)(lambda text: text.upper())
        given(["only"])
        server.faults.add(kind="stall", operation="models.predictions.create", after=True, times=1)
        killed(server, *MAP, when=lambda: len(server.predictions) == 1)
        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            assert len(list(client.map("me/shout", ({"text": str(n)} for n in range(60))))) == 60
        assert command(*MAP, server=server) == (0, "", "")
        assert results()[0]["id"] == next(iter(server.predictions))
        assert len(server.predictions) == 61


def test_a_create_that_cannot_be_told_from_others(server):
    """If somebody else made the same, the line says that it can't be told which is whose; nothing is paid twice."""
    given(["only", "other"])
    server.faults.add(kind="stall", operation="models.predictions.create", after=True, times=1)
    killed(server, *MAP, "--concurrency", "1", when=lambda: len(server.predictions) == 1)
    assert command("run", "me/shout", "text=only", server=server)[0] == 0
    status, _, errors = command(*MAP, server=server)
    assert (status, errors) == (1, "replicate-async: 1 of 2 failed: their lines contain the errors\n")
    unknown, other = results()
    assert "it is unknown whether this create was carried out" in unknown["error"]
    assert other["output"] == "OTHER"
    assert len(server.predictions) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_the_predictions_running(server, gate, number):
    """A signal says how to go on, and what runs is not lost; the status is 128 and the signal."""
    given(TEXTS)
    slow = ("map", "me/slow", "in.jsonl", "-o", "out.jsonl")
    with start(*slow, server=server) as process:
        until(lambda: answered(server) == 30, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert errors.strip() == "replicate-async: 0 done; run the same command again to resume"
    assert set(statuses(server)) == {"processing"}
    gate.open.set()
    assert command(*slow, server=server) == (0, "", "")
    assert len(server.predictions) == len(results()) == 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_without_a_journal(server, number):
    """What can't be gone on with is canceled."""
    given(TEXTS)
    with start("map", "me/slow", "in.jsonl", "--concurrency", "5", server=server) as process:
        until(lambda: statuses(server) == ["processing"] * 5, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors.strip()) == (128 + number, "", "")
    assert statuses(server) == ["canceled"] * 5


def test_ctrl_c_while_a_pipe_has_no_writer(server):
    """A named pipe that nobody has opened to write doesn't either."""
    os.mkfifo("in.pipe")
    with start("map", "me/shout", "in.pipe", "-o", "out.jsonl", server=server) as process:
        until(lambda: Path("out.jsonl").exists(), process)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_ctrl_c_while_a_pipe_is_silent(server):
    """A pipe that nothing comes through doesn't keep the command from ending."""
    with start("map", "me/shout", "-", server=server, stdin=subprocess.PIPE) as process:
        until(lambda: server.requests, process)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read().strip()) == (130, "")


@pytest.fixture
def interrupted(server: LocalServer) -> LocalServer:
    """A job of which ten results have been written, and the rest never begun."""
    given(TEXTS)
    server.faults.add(kind="status", operation="models.predictions.create", status=402, skip=10)
    assert command(*MAP, "--concurrency", "4", server=server)[0] == 1
    assert len(results()) == 10
    server.faults.clear()
    return server


def test_a_torn_line(interrupted):
    """Half a line at the end of the output, which a full disk may leave, is written anew."""
    with Path("out.jsonl").open("ab") as file:
        file.write(b'{"index":')
    assert command(*MAP, server=interrupted) == (0, "", "")
    assert [result["output"] for result in results()] == [text.upper() for text in TEXTS]
    assert len(interrupted.predictions) == 30


def test_a_line_that_the_journal_does_not_know(interrupted):
    """A result that was written in the last moment counts: its prediction isn't asked for again."""
    *_, before, last = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    journal = sqlite3.connect("out.jsonl.journal")
    with journal:
        (value,) = journal.execute(
            "SELECT value FROM journal WHERE key LIKE ?", (f"%{json.loads(last)['index']:08}",)
        ).fetchone()
        entry = json.loads(value)
        del entry["prediction"]
        journal.execute("UPDATE journal SET value = ? WHERE value = ?", (json.dumps(entry).encode(), value))
    journal.close()
    interrupted.requests.clear()
    assert command(*MAP, server=interrupted) == (0, "", "")
    assert len(results()) == len(interrupted.predictions) == 30
    paths = [request.path for request in interrupted.requests]
    assert not any(json.loads(last)["id"] in path for path in paths)
    assert before in Path("out.jsonl").read_bytes()


@pytest.mark.parametrize("change", ["edited", "shorter", "swapped"])
def test_inputs_that_have_changed(interrupted, change):
    """A job goes on with the inputs that it began with: others are refused, before anything is created."""
    texts = {"edited": ["new", *TEXTS[1:]], "shorter": TEXTS[:5], "swapped": [TEXTS[1], TEXTS[0], *TEXTS[2:]]}[change]
    given(texts)
    status, _, errors = command(*MAP, server=interrupted)
    assert (status, len(errors.splitlines())) == (2, 1)
    assert ("changed" if change != "shorter" else "started with more") in errors
    assert len(interrupted.predictions) == 10
    given(TEXTS)
    assert command(*MAP, server=interrupted)[0] == 0


def test_a_wrong_token(interrupted):
    """Who goes on with a wrong token, or one of another account, is told, and loses nothing; it is shown nowhere."""
    environment = {"REPLICATE_BASE_URL": interrupted.base_url, "REPLICATE_API_TOKEN": "r8_wrong"}
    status, output, errors = command(*MAP, **environment)
    assert (status, output) == (1, "")
    assert "401" in errors
    assert "r8_wrong" not in errors
    assert len(results()) == 10
    assert command(*MAP, server=interrupted) == (0, "", "")
    assert len(results()) == len(interrupted.predictions) == 30


def test_more_inputs(interrupted):
    """Lines may have been appended: they are inputs like the others."""
    given([*TEXTS, "more"])
    assert command(*MAP, server=interrupted)[0] == 0
    assert results()[-1]["output"] == "MORE"


def test_another_model(interrupted):
    """A job that was begun with one model isn't gone on with another, nor elsewhere."""
    status, _, errors = command("map", "me/slow", *MAP[2:], server=interrupted)
    assert status == 2
    assert "another batch: me/shout" in errors
    with LocalServer() as other:
        assert command(*MAP, server=other)[0] == 2
        assert other.requests == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("out.jsonl", "x", "has been changed"),
        ("out.jsonl.journal", "x" * 1000, "is not a readable journal"),
        ("out.jsonl.journal", "", "has results that are missing in its journal"),
    ],
    ids=["output", "journal", "empty journal"],
)
def test_files_that_have_changed(interrupted, name, content, says):
    """An output that has become shorter, and a journal that is none or another's, are told; nothing is created."""
    Path(name).write_text(content, encoding="utf-8")
    results_before = Path("out.jsonl").read_bytes()
    status, _, errors = command(*MAP, server=interrupted)
    assert status == 2
    assert says in errors
    assert Path("out.jsonl").read_bytes() == results_before
    assert len(interrupted.predictions) == 10


@pytest.mark.parametrize("output", [">> all.jsonl", "-o /dev/full"])
def test_a_full_disk_under_what_is_not_ours(server, output):
    """What a shared file had before stays there, and the reason is told."""
    given([text * 500 for text in TEXTS])
    Path("all.jsonl").write_text("before\n" * 100, encoding="utf-8")
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    run = f'ulimit -f 10; exec "$0" -m replicate_async.cli map me/shout in.jsonl {output}'
    process = subprocess.run(
        ["bash", "-c", run, sys.executable], env=environment, capture_output=True, timeout=30, check=False
    )
    assert process.returncode == 1
    assert re.search(rb"too large|No space left", process.stderr)
    assert len(process.stderr.splitlines()) == 1
    assert Path("all.jsonl").read_text(encoding="utf-8").startswith("before\n" * 100)


def test_a_full_disk(server):
    """When no more can be written, the output has whole lines only, and the job goes on when there is room again."""

    @server.model("me/big", official=True)
    def big(text: str) -> str:
        return text * 50_000

    given(TEXTS)
    run = ("map", "me/big", "in.jsonl", "-o", "out.jsonl")
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    limited = ["bash", "-c", 'ulimit -f 6144; exec "$@"', "-", sys.executable, "-m", "replicate_async.cli", *run]
    process = subprocess.run(limited, env=environment, capture_output=True, timeout=30, check=False)
    assert process.returncode == 1
    assert b"done; run the same command again to resume" in process.stderr
    assert b"too large" in process.stderr
    assert 0 < len(results()) < 30
    assert command(*run, server=server) == (0, "", "")
    assert [result["output"] for result in results()] == [text * 50_000 for text in TEXTS]
    assert len(server.predictions) == 30


def test_two_at_once(server, gate):
    """While one process works on an output, another is refused; when it was killed, nothing has to be cleaned up."""
    given(TEXTS)
    slow = ("map", "me/slow", "in.jsonl", "-o", "out.jsonl")
    with start(*slow, server=server) as process:
        until(lambda: len(server.predictions) > 3, process)
        status, _, errors = command(*slow, server=server)
        assert status == 2
        assert "is used by another process" in errors
        process.kill()
        process.wait()
    gate.open.set()
    assert command(*slow, server=server) == (0, "", "")
    assert len(server.predictions) == len(results()) == 30


def test_failures_of_before_count(server):
    """A job that is gone on with ends with status 1 if anything failed before."""
    inputs: list[dict[str, Any]] = [{"text": "a", "fail": True}, {"text": "b"}]
    Path("in.jsonl").write_text("\n".join(map(json.dumps, inputs)), encoding="utf-8")
    server.faults.add(kind="status", operation="models.predictions.create", status=402, skip=1)
    assert command(*MAP, "--concurrency", "1", server=server)[0] == 1
    server.faults.clear()
    assert command(*MAP, server=server) == (1, "", "replicate-async: 1 of 2 failed: their lines contain the errors\n")


def test_an_output_that_the_api_has_removed(server, gate):
    """Who comes back after more than an hour is told that the API has removed what there was."""
    given(["a"])
    slow = ("map", "me/slow", "in.jsonl", "-o", "out.jsonl")
    killed(server, *slow, when=lambda: any(request.operation == "predictions.get" for request in server.requests))
    gate.open.set()
    until(lambda: statuses(server) == ["succeeded"])
    (made,) = server.predictions.values()
    made.output, made.data_removed = None, True
    status, _, _ = command(*slow, server=server)
    assert status == 1
    assert "removed" in results()[0]["error"]


# --- options ---


def test_files_in_inputs(server: LocalServer) -> None:
    """With ``--files``, a text that begins with @ is a file, at any depth; a missing one is refused at once."""

    @server.model("me/picture", official=True)
    def picture(image: Path, more: list[Any]) -> str:
        return f"{image.read_bytes().decode()} {more[0]['x'].partition(',')[0]}"

    Path("cat.txt").write_text("a cat", encoding="utf-8")
    row = json.dumps({"image": "@cat.txt", "more": [{"x": "@cat.txt"}]}) + "\n"
    Path("in.jsonl").write_text(row + row.replace("cat", "cta"), encoding="utf-8")
    run = ("map", "me/picture", "in.jsonl", "-o", "out.jsonl", "--files")
    status, _, errors = command(*run, server=server)
    assert (status, len(server.predictions)) == (2, 0)
    assert "in.jsonl, line 2: there is no file cta.txt" in errors
    Path("in.jsonl").write_text(row, encoding="utf-8")
    assert command(*run, server=server) == (0, "", "")
    assert results()[0]["output"] == "a cat data:text/plain;base64"


def test_resuming_with_files(server: LocalServer) -> None:
    """A batch with files resumes as any other."""

    @server.model("me/length", official=True)
    def length(file: Path) -> int:
        return len(file.read_bytes())

    rows = ""
    for number in range(6):
        Path(f"{number}.txt").write_bytes(b"x" * (number + 1))
        rows += json.dumps({"file": f"@{number}.txt"}) + "\n"
    Path("in.jsonl").write_text(rows, encoding="utf-8")
    run = ("map", "me/length", "in.jsonl", "-o", "out.jsonl", "--files", "--concurrency", "1")
    server.faults.add(kind="status", operation="models.predictions.create", status=402, skip=3)
    assert command(*run, server=server)[0] == 1
    server.faults.clear()
    assert command(*run, server=server) == (0, "", "")
    assert [result["output"] for result in results()] == [1, 2, 3, 4, 5, 6]
    assert len(server.predictions) == 6


def test_the_status_of_a_batch(interrupted: LocalServer) -> None:
    """``--status`` tells how far a batch is, and runs nothing; before there is an output it is wrong usage."""
    before = len(interrupted.requests)
    status, output, errors = command(*MAP, "--status", server=interrupted)
    assert (status, errors) == (0, "")
    assert output == "10 of 30 done, 0 failed; run the same command again without --status to resume\n"
    assert len(interrupted.requests) == before
    assert "was started" in command("map", "me/shout", "in.jsonl", "-o", "no.jsonl", "--status", server=interrupted)[2]


def test_starting_anew(interrupted: LocalServer) -> None:
    """``--force`` overwrites the output and forgets its journal, but never overwrites the inputs."""
    interrupted.faults.clear()
    given(["a"])
    assert command(*MAP, "--force", server=interrupted) == (0, "", "")
    assert [result["output"] for result in results()] == ["A"]
    assert not Path("out.jsonl.journal").exists()
    status, _, errors = command("map", "me/shout", "in.jsonl", "-o", "in.jsonl", "--force", server=interrupted)
    assert (status, "must not overwrite the inputs" in errors) == (2, True)
    assert json.loads(Path("in.jsonl").read_text(encoding="utf-8")) == {"text": "a"}
