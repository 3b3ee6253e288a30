"""The command ``replicate-async``, in processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from answering import answering
from replicate_async.testing import LocalServer, OutputFile, models

HELLO = "replicate/hello-world"
STORY = "replicate-local/stream-text"
NOW = "2025-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    server = LocalServer()
    models.register(server)

    @server.model("me/files", official=True)
    def files(count: int = 1, name: str = "out.txt") -> list[OutputFile]:
        return [OutputFile(b"content %d" % number, "text/plain", name) for number in range(1, count + 1)]

    @server.model("me/inputs", version="1" * 64, official=True)
    def inputs(
        text: str = "",
        quoted: str = "",
        empty: str = "-",
        number: int = 0,
        list: Any = None,
        object: Any = None,
        json: Any = None,
        word: Any = None,
    ) -> Any:
        return dict(locals())

    @server.model("me/words", official=True)
    def words() -> list[str]:
        return ["so", " it", " goes"]

    @server.model("me/fail", official=True)
    def fail() -> str:
        raise ValueError("first line\nsecond line")

    with server:
        yield server


def start(
    *arguments: str, server: LocalServer | None = None, stdin: int | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start the command, with a server's URL and token in its environment or with nothing there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    if server is not None:
        environment |= {"REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    return subprocess.Popen(
        [sys.executable, "-m", "replicate_async.cli", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**inherited, **environment},
    )


def command(*arguments: str, server: LocalServer | None = None, **environment: str) -> tuple[int, str, str]:
    """Run the command; return its status, output and error output."""
    with start(*arguments, server=server, **environment) as process:
        output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


def refusal(result: tuple[int, str, str], status: int) -> str:
    """Return the one line on standard error with which the command ended."""
    assert result[0] == status, result
    assert result[1] == ""
    assert re.fullmatch(r"replicate-async: .*\n", result[2]), result[2]
    return result[2]


# --- running ---


@pytest.mark.parametrize("arguments", [("--local", "run"), ("run", "--local")])
def test_the_command_of_the_readme(arguments):
    """``--local`` runs a model without token and network, before or after ``run``; the text is all that is printed."""
    assert command(*arguments, HELLO, "text=Alice") == (0, "hello Alice\n", "")


def test_a_local_run_goes_by_no_proxy():
    """A proxy in the environment is for the network, not for the server inside of the command."""
    assert command("--local", "run", HELLO, "text=Alice", http_proxy="http://127.0.0.1:9")[:2] == (0, "hello Alice\n")


def test_values_are_what_the_model_declares(server):
    """``name=value`` is a text where the model takes texts, and otherwise JSON if it is; ``name:=json`` always is."""
    texts = ["text=42", 'quoted="a"=b', "empty="]
    others = ["number=42", "list=[1, 2.5, null]", 'object={"a": true}', 'json:="42"', "word=so it goes"]
    status, output, _ = command("run", "me/inputs", *texts, *others, server=server)
    assert status == 0
    assert json.loads(output) == {
        "text": "42",
        "quoted": '"a"=b',
        "empty": "",
        "number": 42,
        "list": [1, 2.5, None],
        "object": {"a": True},
        "json": "42",
        "word": "so it goes",
    }


def test_the_schema_is_looked_at_only_in_case_of_doubt(server):
    """A value that can only be a text costs no further call."""
    lookups: list[int] = []
    for argument in "text=Alice", "text=1":
        before = len(server.requests)
        assert command("run", "me/inputs", argument, server=server)[0] == 0
        calls = [(call.method, call.path) for call in server.requests[before:]]
        lookups.append(calls.count(("GET", "/v1/models/me/inputs")))
    assert lookups == [0, 1]


def test_the_text_of_an_official_model_without_a_schema(server):
    """Official models may show no schema. A list of texts is one text in pieces then, as most are."""
    assert command("run", "me/words", server=server) == (0, "so it goes\n", "")


def test_a_version_by_its_id(server):
    """A bare version id runs that version; lists of text are one text there, because no schema says otherwise."""

    @server.model("me/pieces", version="e" * 64)
    def pieces(text: str) -> list[str]:
        return [text, "!"]

    assert command("run", "e" * 64, "text=Alice", server=server) == (0, "Alice!\n", "")
    assert json.loads(command("run", "me/pieces", "text=Alice", server=server)[1]) == ["Alice", "!"]


def test_pieces_of_text_are_one_text(server):
    """What a model streams as text is printed as one text."""
    assert command("run", STORY, "prompt=so it goes", "delay=0", server=server) == (0, "so it goes\n", "")


def test_the_whole_prediction(server):
    """``--json`` prints the prediction instead of its output."""
    status, output, _ = command("run", HELLO, "text=Alice", "--json", server=server)
    prediction = json.loads(output)
    assert (status, prediction["status"], prediction["output"]) == (0, "succeeded", "hello Alice")


def test_no_waiting(server):
    """``--no-wait`` prints the id of what it started, and doesn't wait for it."""
    status, output, _ = command("run", STORY, "prompt=a b", "delay=10", "--no-wait", server=server)
    assert status == 0
    assert output.strip() in server.predictions


# --- files ---


def test_files_are_printed_as_urls(server):
    """Each file is a line with its URL, whole."""
    status, output, _ = command("run", "me/files", "count=2", server=server)
    assert status == 0
    assert re.fullmatch(r"(https?://\S+/out.txt\n){2}", output)


def test_a_local_file_has_to_be_saved(tmp_path):
    """The URL of a file on the server inside of the command would be of no use; ``-o`` saves the file."""
    status, output, _ = command("--local", "run", "replicate-local/gradient", "width=8", "height=8")
    assert (status, output) == (0, "a file, image/png: save it with -o FILE\n")
    target = tmp_path / "out.png"
    assert command("--local", "run", "replicate-local/gradient", "width=8", "-o", str(target)) == (0, "", "")
    assert target.read_bytes().startswith(b"\x89PNG")


def test_several_files_are_numbered(server, tmp_path):
    """Of several files none overwrites another."""
    assert command("run", "me/files", "count=2", "-o", str(tmp_path / "a.txt"), server=server) == (0, "", "")
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {
        "a-1.txt": "content 1",
        "a-2.txt": "content 2",
    }


def test_several_files_of_one_name(server, tmp_path):
    """In a folder files keep their names; those of one name are numbered, for each has been paid for."""
    assert command("run", "me/files", "count=3", "-o", str(tmp_path), server=server) == (0, "", "")
    assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {
        "out.txt": "content 1",
        "out-1.txt": "content 2",
        "out-2.txt": "content 3",
    }


def test_other_outputs_in_a_folder(server, tmp_path):
    """What isn't a file gets a name in a folder."""
    assert command("run", HELLO, "text=Zoë", "-o", str(tmp_path), server=server) == (0, "", "")
    assert command("run", "me/inputs", "number=1", "-o", str(tmp_path), server=server) == (0, "", "")
    assert (tmp_path / "output.txt").read_text(encoding="utf-8") == "hello Zoë\n"
    assert json.loads((tmp_path / "output.json").read_text(encoding="utf-8"))["number"] == 1


def test_an_output_that_cannot_be_saved(server, tmp_path):
    """It is printed instead: it has been paid for."""
    target = tmp_path / f"{'x' * 300}.txt"
    status, output, errors = command("run", HELLO, "text=Alice", "-o", str(target), server=server)
    assert (status, output) == (1, "hello Alice\n")
    assert "too long" in errors
    status, output, _ = command("run", "me/files", "-o", str(target), server=server)
    assert (status, output.endswith("/out.txt\n")) == (1, True)


def test_to_standard_output(server):
    """``-o -`` writes there what a file would have."""
    assert command("run", "me/files", "-o", "-", server=server) == (0, "content 1", "")
    assert command("run", HELLO, "text=Alice", "-o", "-", server=server) == (0, "hello Alice\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="shells can't close a stream there")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream(server, tmp_path, closed):
    """A stream that is closed is none to fail about."""
    target = tmp_path / "out.txt"
    environment = {**os.environ, "REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    run = f'"$0" -m replicate_async.cli run {HELLO} text=Alice -o "$1" {closed}>&-'
    assert subprocess.run(["sh", "-c", run, sys.executable, target], env=environment, check=False).returncode == 0
    assert target.read_text(encoding="utf-8") == "hello Alice\n"


def test_other_outputs_are_saved_as_they_are_printed(server, tmp_path):
    """``-o`` writes texts, too."""
    target = tmp_path / "hello.txt"
    assert command("run", HELLO, "text=Zoë", "-o", str(target), server=server) == (0, "", "")
    assert target.read_text(encoding="utf-8") == "hello Zoë\n"


@pytest.mark.skipif(not Path("/dev/stdout").is_symlink(), reason="/dev/stdout is no link here")
def test_a_file_into_a_pipe(server):
    """``-o /dev/stdout`` writes there, and replaces nothing."""
    assert command("run", "me/files", "-o", "/dev/stdout", server=server) == (0, "content 1", "")
    assert Path("/dev/stdout").is_symlink()


# --- failures ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", HELLO, "text=Alice"], "REPLICATE_API_TOKEN.* --local"),
        (["--local", "run", "hello-world"], "'hello-world' is not a model"),
        (["--local", "run", HELLO, "Alice"], "'Alice' is not an input"),
        (["--local", "run", HELLO, "=Alice"], "'=Alice' is not an input"),
        (["--local", "run", HELLO, "text:=Alice"], "not JSON"),
        (["--local", "run", HELLO, "-o", "a.txt", "--no-wait"], "--no-wait"),
        (["--local", "run", HELLO, "-o", "no/such/folder/file"], "no folder no/such/folder"),
        (["--local", "run"], "REF"),
        (["--local", "run", HELLO, "--frobnicate"], "--frobnicate"),
        (["frobnicate"], "frobnicate"),
        (["serve", "--port", "x"], "port"),
    ],
)
def test_wrong_usage(arguments, says):
    """What can't be meant ends with status 2 and one line that says what is wrong, before anything is sent."""
    assert re.search(says, refusal(command(*arguments), 2))


@pytest.mark.parametrize("variable", [{"REPLICATE_BASE_URL": "nowhere"}, {"REPLICATE_API_TOKEN": "a b"}])
def test_an_environment_that_cannot_be_used(variable):
    """A malformed variable is a wrong usage, not a crash."""
    refusal(command("run", HELLO, "text=Alice", **{"REPLICATE_API_TOKEN": "x", **variable}), 2)


def test_an_error_of_the_api(server):
    """What the API refuses ends with status 1 and the API's reason, in one line."""
    assert "could not be found" in refusal(command("run", "me/nothing", "text=Alice", server=server), 1)
    assert "input.text" in refusal(command("run", HELLO, "text:=42", server=server), 1)
    assert "did you mean text?" in refusal(command("run", HELLO, "txt=Alice", server=server), 1)


def test_no_connection():
    """An API that can't be reached is a failure of one line."""
    environment = {"REPLICATE_API_TOKEN": "x", "REPLICATE_BASE_URL": "http://127.0.0.1:9", "no_proxy": "*"}
    assert "no connection" in refusal(command("run", HELLO, "text=Alice", **environment), 1)


def test_a_prediction_that_fails(server):
    """The model's error is one line with status 1; ``--json`` prints the prediction all the same."""
    assert "failed: first line second line" in refusal(command("run", "me/fail", server=server), 1)
    status, output, errors = command("run", "me/fail", "--json", server=server)
    assert (status, json.loads(output)["status"]) == (1, "failed")
    assert "failed: first line" in errors


def test_an_output_that_nobody_reads(server):
    """A pipe that is closed at the other end makes no traceback."""
    with start("run", HELLO, "text=Alice", server=server) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_without_the_extra():
    """Where click isn't installed, the command says what to install."""
    program = "import sys; sys.modules['click'] = None; from replicate_async.cli import main; sys.exit(main(['serve']))"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert "pip install click" in process.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_cancels_the_prediction(server, name):
    """Whoever ends the command doesn't pay for what it would have waited for; the status is 128 and the signal."""
    number = getattr(signal, name)
    before = set(server.predictions)
    with start("run", STORY, "prompt=a b", "delay=10", server=server) as process:
        while not (new := set(server.predictions) - before):
            assert process.poll() is None
        (started,) = new
        while not any(call.path.endswith(f"/predictions/{started}") for call in server.requests):  # it waits
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert errors.strip() == f"replicate-async: prediction {started} canceled"
    assert server.predictions[started].status == "canceled"


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
@pytest.mark.parametrize("ignored", ["SIGINT", "SIGHUP"])
def test_signals_that_are_ignored(server, ignored):
    """What a script or nohup ignores stays ignored; another signal still cancels the prediction."""
    code = f"import signal, sys; signal.signal(signal.{ignored}, signal.SIG_IGN)\n"
    code += "from replicate_async import cli; sys.exit(cli.main(sys.argv[1:]))"
    environment = {"REPLICATE_BASE_URL": server.base_url, "REPLICATE_API_TOKEN": server.token}
    before = set(server.predictions)
    arguments = [sys.executable, "-c", code, "run", STORY, "prompt=a b", "delay=10"]
    with subprocess.Popen(arguments, env={**os.environ, **environment}, stderr=subprocess.PIPE) as process:
        while not (new := set(server.predictions) - before):
            assert process.poll() is None
        (started,) = new
        while not any(call.path.endswith(f"/predictions/{started}") for call in server.requests):
            assert process.poll() is None
        process.send_signal(getattr(signal, ignored))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert server.predictions[started].status == "canceled"


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_at_once(name):
    """The first signal waits for the response to the cancel, which does not come; the second one does not."""
    number, polled, canceling = getattr(signal, name), threading.Event(), threading.Event()

    def answer(method: str, path: str) -> dict[str, Any]:
        if path.endswith("/cancel"):
            canceling.set()
            time.sleep(20)
        elif method == "GET":
            polled.set()
        return {"id": "p1", "status": "processing", "created_at": NOW, "urls": {}}

    with (
        answering(answer) as url,
        start("run", "me/x", REPLICATE_BASE_URL=url, REPLICATE_API_TOKEN="r8_x") as process,
    ):
        assert polled.wait(10)
        process.send_signal(number)
        assert canceling.wait(10)
        process.send_signal(number)
        began = time.monotonic()
        process.communicate(timeout=20)
        assert time.monotonic() - began < 4
    assert process.returncode == 128 + number


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_end_the_server(name):
    """``serve`` ends well by a signal, as by Ctrl-C."""
    with start("serve", "--port", "0") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Listening"):
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("logs", [["l"], {"a": 1}, 5])
def test_odd_members_of_a_prediction(logs):
    """Whatever the API says besides the output, the output is printed: it has been paid for."""
    job = {"id": "p1", "created_at": 5, "urls": [], "metrics": [1], "model": 5, "error": {}, "source": [], "input": "x"}
    ended = {**job, "status": "succeeded", "completed_at": NOW, "output": ["a", "b"], "logs": "new logs"}

    def answer(method: str, path: str) -> dict[str, Any]:
        if path.endswith("/models/me/x"):
            return {"owner": "me", "name": "x"}
        return {**job, "status": ["odd"], "logs": logs} if method == "POST" else ended

    with answering(answer) as url:
        environment = {"REPLICATE_BASE_URL": url, "REPLICATE_API_TOKEN": "r8_x"}
        assert command("run", "me/x", **environment) == (0, "ab\n", "")


# --- serving ---


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
def test_serving():
    """``serve`` prints what others need to use it, and ends well with Ctrl-C; a port that is taken is a wrong one."""
    with start("serve", "--port", "0") as process:
        assert process.stdout is not None
        environment = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        assert set(environment) == {"REPLICATE_BASE_URL", "REPLICATE_API_TOKEN"}
        environment["no_proxy"] = "*"
        assert command("run", HELLO, "text=Alice", **environment)[:2] == (0, "hello Alice\n")
        port = environment["REPLICATE_BASE_URL"].split(":")[-1].removesuffix("/v1")
        assert "in use" in refusal(command("serve", "--port", port), 2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
def test_ctrl_c_while_python_ignores_exceptions(tmp_path):
    """A Ctrl-C that comes in a finalizer ends the command as any other; Python would drop a KeyboardInterrupt there."""
    (tmp_path / "untimely.py").write_text(
        "import signal\n"
        "class Last:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "async def interrupt() -> None: Last()\n"
        "def register(server): server.model('me/interrupt')(interrupt)\n",
        encoding="utf-8",
    )
    with start("serve", "untimely:register", "--port", "0", PYTHONPATH=str(tmp_path)) as process:
        assert process.stdout is not None
        environment = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        command("run", "me/interrupt", "--no-wait", no_proxy="*", **environment)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_help():
    """Without arguments there is help, and ``run --help`` explains how inputs are written."""
    status, output, _ = command()
    assert (status, "serve" in output) == (0, True)
    assert "name:=json" in command("run", "--help")[1]


@pytest.mark.parametrize("argument", ["image=cat.png", "image=@cat.png", "image=@folder/cat"])
def test_files_as_inputs(server: LocalServer, tmp_path: Path, argument: str) -> None:
    """A path is the content of the file, if the model takes a file. Otherwise, it is text."""

    @server.model("me/picture", version="2" * 64, official=True)
    def picture(image: Path, text: str = "") -> str:
        return f"{len(image.read_bytes())} bytes, {text}"

    (tmp_path / "folder").mkdir()
    (tmp_path / "cat.png").write_bytes(b"12345")
    (tmp_path / "folder" / "cat").write_bytes(b"12345")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = command("run", "me/picture", argument, "text=@cat.png", server=server)
        assert done == (0, "5 bytes, @cat.png\n", "")


def test_files_for_a_model_without_a_schema(server: LocalServer, tmp_path: Path) -> None:
    """``@`` makes a value a file where no schema says what the model takes; without it, the command says how."""

    @server.model("me/hidden-picture", official=True)
    def picture(image: Path, text: str = "") -> str:
        return f"{len(image.read_bytes())} bytes, {text}"

    (tmp_path / "cat.png").write_bytes(b"12345")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        run = ("run", "me/hidden-picture", "image=@cat.png")
        assert command(*run, 'text:="@cat.png"', server=server) == (0, "5 bytes, @cat.png\n", "")
        assert """text:='"@Zoe"'""" in refusal(command(*run, "text=@Zoe", server=server), 1)
        status, output, errors = command(*run, "text=cat.png", server=server)
        assert (status, output) == (0, "5 bytes, cat.png\n")
        assert "text=@cat.png" in errors


@pytest.mark.parametrize("options", [{"version": "4" * 64}, {}])
def test_a_file_that_is_missing(server: LocalServer, options: dict[str, str]) -> None:
    """A misspelled path is not sent as text, and nothing is billed."""

    @server.model(f"me/missing-{len(options)}", official=True, **options)
    def picture(image: Path) -> str:
        return "never"

    before = len(server.predictions)
    arguments = ("run", f"me/missing-{len(options)}", "image=@cta.png")
    assert "cta.png" in refusal(command(*arguments, server=server), 1)
    assert len(server.predictions) == before


def test_standard_input(server: LocalServer) -> None:
    """``-`` is what standard input has: text without its last line break, JSON, or a file, as the model takes it."""

    @server.model("me/standard", version="3" * 64, official=True)
    def standard(text: str = "", number: int = 0, image: Path | None = None) -> list[Any]:
        return [text, number, image and len(image.read_bytes())]

    def piped(argument: str, content: str) -> Any:
        with start("run", "me/standard", argument, server=server, stdin=subprocess.PIPE) as process:
            output, errors = process.communicate(content, timeout=30)
        assert process.returncode == 0, errors
        return json.loads(output)

    assert piped("text=-", "42\n") == ["42", 0, None]
    assert piped("number=-", "42\n") == ["", 42, None]
    assert piped("image=-", "12345") == ["", 0, 5]
    assert "only one" in refusal(command("run", "me/standard", "text=-", "image=@-", server=server), 2)


def test_text_is_printed_as_it_is_made(server: LocalServer) -> None:
    """Each piece of a text is printed before the next is made; what is printed is the whole text, once."""
    gate = threading.Semaphore(0)

    @server.model("me/pieces-as-made", official=True)
    def pieces() -> Iterator[str]:
        for piece in "so", " it", " goes":
            yield piece
            assert gate.acquire(timeout=30)

    with start("run", "me/pieces-as-made", server=server) as process:
        assert process.stdout is not None
        for piece in "so", " it", " goes":
            assert process.stdout.read(len(piece)) == piece
            gate.release()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "\n", "")


def test_a_reader_that_has_enough(server: LocalServer) -> None:
    """If the output is closed while text is made, the prediction is canceled."""

    @server.model("me/endless", official=True)
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "and so on "
            await asyncio.sleep(0.01)

    before = set(server.predictions)
    with start("run", "me/endless", server=server) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == 1
    (started,) = set(server.predictions) - before
    assert server.predictions[started].status == "canceled"


def test_lists_are_no_text(server: LocalServer) -> None:
    """Files, and texts that the schema calls a list, are not printed as one text."""

    @server.model("me/list", version="6" * 64, official=True)
    def texts() -> list[str]:
        return ["so", "it", "goes"]

    assert json.loads(command("run", "me/list", server=server)[1]) == ["so", "it", "goes"]


@pytest.mark.parametrize("arguments", [("run", HELLO, "--timeout", "nan"), ("serve", "--latency", "nan")])
def test_times_that_are_no_numbers(server, arguments):
    """NaN is not a number of seconds."""
    assert "nan is not a number of seconds" in refusal(command(*arguments, server=server), 2)


def test_the_timeout_cancels(server: LocalServer) -> None:
    """After ``--timeout`` the prediction is canceled, and the status is 1."""
    before = set(server.predictions)
    status, output, errors = command("run", STORY, "prompt=a b", "delay=10", "--timeout", "0.2", server=server)
    (started,) = set(server.predictions) - before
    assert (status, output) == (1, "")
    assert "not done after 0.2 s" in errors
    assert server.predictions[started].status == "canceled"
