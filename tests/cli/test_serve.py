"""The command ``replicate-async serve``, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import replicate_async

MODELS = """
print("imported")

def register(server):
    @server.model("acme/shout")
    def shout(text: str) -> str:
        return text.upper()
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    # Where the package is said without the folder that the command is started in.
    environment["PYTHONPATH"] = str(Path(replicate_async.__file__).parents[1])
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from replicate_async.cli import main; sys.exit(main())",
            "serve",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=environment,
    )


@contextmanager
def serving(folder: Path, *arguments: str) -> Generator[dict[str, str], None, None]:
    """Serve; give the environment that the command tells of, and the line that it ends with as ``said``."""
    with start(folder, "--port", "0", *arguments) as process:
        assert process.stdout is not None
        told: dict[str, str] = {}
        for line in process.stdout:
            name, equals, value = line.strip().partition("=")
            if equals:
                told[name] = value
            elif line.startswith("Listening"):
                told["said"] = line
                break
        try:
            assert process.poll() is None
            yield told
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


def refusal(folder: Path, *arguments: str) -> str:
    """Return the one line on standard error with which a wrong usage ends."""
    with start(folder, "--port", "0", *arguments) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2, errors
    assert re.fullmatch(r"replicate-async: .*\n", errors), errors
    return errors


def call(told: dict[str, str], path: str, body: Any = None) -> Any:
    """Make a request; return the decoded answer, also where it is a problem."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(
        told["REPLICATE_BASE_URL"] + path,
        None if body is None else json.dumps(body).encode(),
        {
            "Authorization": f"Bearer {told['REPLICATE_API_TOKEN']}",
            "Content-Type": "application/json",
            "Prefer": "wait",
        },
    )
    try:
        with opener.open(request) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")


def test_own_models(tmp_path: Path) -> None:
    """The target's function registers the models; the module is found in the current folder, and may print."""
    (tmp_path / "my_models.py").write_text(MODELS, encoding="utf-8")
    with serving(tmp_path, "my_models:register") as told:
        version = call(told, "/models/acme/shout")["latest_version"]["id"]
        answer = call(told, "/predictions", {"version": version, "input": {"text": "hello"}})
        assert (answer["status"], answer["output"]) == ("processing", "HELLO")
        unknown = call(told, "/models/acme/whisper/predictions", {"input": {}})
        assert unknown == {"detail": "The requested resource could not be found.", "status": 404}


def test_what_it_says(tmp_path: Path) -> None:
    """It tells the two variables to set, where it listens and what it serves; without a target, demonstrations."""
    with serving(tmp_path) as told:
        assert told.keys() == {"REPLICATE_BASE_URL", "REPLICATE_API_TOKEN", "said"}
        origin = told["REPLICATE_BASE_URL"].removesuffix("/v1")
        assert f"Listening on {origin}, " in told["said"]
        assert "replicate/hello-world, replicate-local/stream-text, replicate-local/gradient" in told["said"]


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    """The error says which port, and how to choose another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        errors = refusal(tmp_path, "--port", str(port))
    assert errors.startswith(f"replicate-async: port {port} is in use: choose another one with --port")


def test_an_account(tmp_path: Path) -> None:
    """The server takes the latency and the limits of an account as options."""
    with serving(tmp_path, "--latency", "0.3", "--limits", "no_credit") as told:
        began = time.monotonic()
        answer = call(told, "/models/replicate/hello-world/predictions", {"input": {"text": "a"}})
        assert answer["status"] == 402
        assert time.monotonic() - began >= 0.3
    assert "--limits" in refusal(tmp_path, "--limits", "none")


def test_faults(tmp_path: Path) -> None:
    """What goes wrong is read from a file."""
    fault = '[[faults]]\noperation = "hardware.list"\nkind = "status"\nstatus = 503\ntimes = 1\n'
    (tmp_path / "faults.toml").write_text(fault, encoding="utf-8")
    with serving(tmp_path, "--faults", "faults.toml") as told:
        assert call(told, "/hardware")["status"] == 503
        assert call(told, "/hardware")[0]["sku"] == "cpu"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("my_models", "expected module:function, got 'my_models'"),
        (":register", "expected module:function"),
        ("nothing:register", "there is no module nothing here, in .*"),
        ("no.thing:register", "there is no module no here"),
        ("my_models:nothing", "the module my_models has no function nothing"),
        ("my_models:number", "has no function number"),
        ("my_models:empty", "my_models:empty registered no models"),
        ("my_models:asynchronous", "my_models:asynchronous is an async function"),
        ("my_models:lone", "my_models:lone: TypeError: .* takes 0 positional arguments"),
        ("my_models:shout", r"AttributeError: .*upper.* \(my_models.py, line 14\)"),
        ("my_models:wrong", r"inputs are passed by name, which .*args doesn't accept \(my_models.py, line 17\)"),
        ("my_models:nameless", r"owner/name.* \(my_models.py, line 20\)"),
        ("needy:register", r"needy: ModuleNotFoundError: No module named 'absent' \(needy.py, line 2\)"),
        ("broken:register", r"broken: SyntaxError: [^(]*\(broken.py, line 2\) \(see replicate-async"),
        ("uses_broken:register", r"uses_broken: SyntaxError: [^(]*\(broken.py, line 2\) \(see replicate-async"),
        ("./my_models:register", r"expected module:function, got './my_models:register' \(see replicate-async"),
        ("my_models:leaves", r"my_models:leaves: SystemExit: 3 \(my_models.py, line 23\) \(see replicate-async"),
        ("leaves:register", r"leaves: SystemExit: 4 \(leaves.py, line 1\) \(see replicate-async"),
    ],
)
def test_targets_that_cannot_be_served(tmp_path: Path, target: str, says: str) -> None:
    """What is wrong with a target is one line, which tells where in the user's file."""
    source = """
    number = 3

    def empty(server):
        pass

    async def asynchronous(server):
        pass

    def lone():
        pass

    def shout(text):
        return text.upper()

    def wrong(server):
        server.model("acme/wrong")(lambda *args: None)

    def nameless(server):
        server.model("nameless")(lambda: None)

    def leaves(server):
        raise SystemExit(3)
    """
    (tmp_path / "my_models.py").write_text(dedent(source), encoding="utf-8")
    (tmp_path / "needy.py").write_text("\nimport absent\n", encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit(4)\n", encoding="utf-8")
    (tmp_path / "uses_broken.py").write_text("import broken\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("\ndef register(:\n", encoding="utf-8")
    assert re.search(says, refusal(tmp_path, target))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[faults]", "faults.toml: .*line 1"),
        ("", r"faults.toml: faults are tables \[\[faults\]\]"),
        ("faults = 3", r"faults are tables \[\[faults\]\]"),
        ("[[fault]]\nkind = 'reset'", r"faults are tables \[\[faults\]\]"),
        (
            "[[faults]]\nkind = 'explode'",
            r"faults.toml: faults\[0\].kind: Invalid enum value 'explode' \(see replicate-async",
        ),
        (
            "[[faults]]\nkind = 'reset'\n[[faults]]\nkind = 'delay'",
            r"faults\[1\]..*seconds: required by the kind delay",
        ),
        ("[[faults]]\nkind = 'reset'\noperation = 'prediction.create'", "did you mean predictions.create"),
    ],
)
def test_mistakes_in_faults(tmp_path: Path, content: str, says: str) -> None:
    """A file of faults that makes no sense is one line that says where."""
    (tmp_path / "faults.toml").write_text(content, encoding="utf-8")
    assert re.search(says, refusal(tmp_path, "--faults", "faults.toml"))


def test_no_file_of_faults(tmp_path: Path) -> None:
    """A file that isn't there is named."""
    assert "'faults.toml' does not exist" in refusal(tmp_path, "--faults", "faults.toml")
