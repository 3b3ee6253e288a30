"""``replicate-async codegen``: modules of typed functions, written without network, and from a local server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_schemas import SCHEMAS, TEXT, document, struct
from replicate_async import AsyncReplicate, FileOutput, Replicate
from replicate_async.cli import main
from replicate_async.testing import LocalServer, OutputFile

# What the type checkers check; ``generated_models.py`` is what the command writes for all schemas.
TYPING = Path(__file__).parents[1] / "typing"
VERSION = "a" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and no token."""
    monkeypatch.chdir(tmp_path)
    for name in ("REPLICATE_API_TOKEN", "REPLICATE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A server to which the environment points, with a model of each kind of output."""
    server = LocalServer()

    @server.model("acme/shout", version=VERSION)
    def shout(text: str, times: int = 1) -> str:
        return text.upper() * times

    @server.model("acme/paint", official=True, version="b" * 64, schema=document({"class": TEXT}, TEXT_AND_FILE))
    def paint(**inputs: str) -> dict[str, Any]:
        return {"text": inputs["class"], "image": OutputFile(b"picture", "image/png")}

    @server.model("acme/write", official=True, version="c" * 64)
    def write(prompt: str) -> Iterator[str]:
        yield from prompt.split()

    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        yield server


TEXT_AND_FILE = struct("text", "image", text=TEXT, image={"type": "string", "format": "uri"})


def save(name: str, content: Any) -> str:
    """Write JSON to a file; return the argument for a model with it."""
    file = f"{name.replace('/', '-')}.json"
    Path(file).write_text(json.dumps(content), encoding="utf-8")
    return f"{name}={file}"


def load(file: str = "models.py") -> Any:
    """Import a module that was written."""
    spec = importlib.util.spec_from_file_location("models", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- failures ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a model"),
        (["--check", "-o", "models.py"], "name a model"),
        (["--check", "acme/shout=x.json"], "-o FILE"),
        (["not-a-model", "-o", "models.py"], "not a model"),
        ([VERSION + "=x.json"], "without its model"),
        (["acme/shout"], "no API token"),
        (["acme/shout=missing.json"], "missing.json"),
        (["acme/shout=broken.json"], "broken.json is not JSON"),
        (["acme/shout=list.json"], "list.json holds neither"),
        (["acme/shout=document.json", "--pin"], "no version to pin"),
        (["acme/shout=a\nb.json"], "unprintable"),
        (["acme/shout=document.json", "-o", "missing/models.py"], "no folder"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    """Wrong usage and unusable files are one line on standard error; nothing is written."""
    Path("broken.json").write_bytes(b"{\xff")
    Path("list.json").write_text("[]", encoding="utf-8")
    Path("document.json").write_text(json.dumps(SCHEMAS["in/text"]), encoding="utf-8")
    before = sorted(Path().iterdir())
    assert main(["codegen", *arguments]) in {1, 2}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(rf"replicate-async: .*{re.escape(message)}.*\n", printed.err), printed.err
    assert sorted(Path().iterdir()) == before


def test_a_missing_model(server, capsys):
    """A model that does not exist is named, and an existing module is kept."""
    Path("models.py").write_text("old", encoding="utf-8")
    assert main(["codegen", "acme/shout", "acme/nothing", "-o", "models.py"]) == 1
    assert "acme/nothing" in capsys.readouterr().err
    assert Path("models.py").read_text(encoding="utf-8") == "old"


# --- the source ---


def test_schemas_of_all_kinds():
    """The module for schemas of all kinds is the one that type checkers check, and is formatted well.

    To renew it, copy ``models.py`` from the folder of a failed run.
    """
    arguments = [save(name, content or {"openapi_schema": None}) for name, content in SCHEMAS.items()]
    assert len(arguments) > 40
    assert main(["codegen", *arguments, "-o", "models.py"]) == 0
    written = Path("models.py").read_text(encoding="utf-8")
    load()
    formatter = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", "--line-length=120", "models.py"]
    assert subprocess.run(formatter, check=False).returncode == 0
    assert written == (TYPING / "generated_models.py").read_text(encoding="utf-8")


def test_docstrings_say_what_types_do_not():
    """Descriptions, bounds and defaults of inputs are in the docstring of the call."""
    arguments = [save(name, SCHEMAS[name]) for name in ("in/text", "in/scalars", "in/odd-defaults", "in/odd-texts")]
    assert main(["codegen", *arguments, "-o", "models.py"]) == 0
    module = load()
    assert "text (string, required): Text to prefix with 'hello'" in module.TextFunction.__call__.__doc__
    assert "guidance (number, from 0, to 10, default 3.5)" in module.ScalarsFunction.__call__.__doc__
    assert "steps (integer, from 1, to 4, default 28)" in module.OddDefaultsFunction.__call__.__doc__
    assert '"""' in module.OddTextsFunction.__call__.__doc__


def test_names_do_not_depend_on_the_order():
    """Models of the same name get longer names, in whatever order they are named; versions are told apart."""
    refs = ["one/x", "two/x", f"three/y:{'1' * 64}", f"three/y:{'2' * 64}", "a-b/c", "a.b/c", "odd/import"]
    arguments = [save(ref.replace(":", "-"), document({})).partition("=") for ref in refs]
    arguments = [f"{ref}={file}" for ref, (_, _, file) in zip(refs, arguments, strict=True)]
    sources: list[dict[str, str]] = []
    for order in (arguments, arguments[::-1]):
        assert main(["codegen", *order, "-o", "models.py"]) == 0
        calls = re.findall(
            r'^def (\w+)\((?:(?!^def ).)*?client\.use\("([^"]+)"',
            Path("models.py").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        sources.append({ref: name for name, ref in calls})
    names = sources[0]
    assert {"one_x", "two_x", "three_y_11111111", "three_y_22222222", "import_"} < set(names.values())
    assert len(set(names.values())) == len(refs)
    assert {ref: name for ref, name in names.items() if not name.startswith("a_b")} == {
        ref: name for ref, name in sources[1].items() if not name.startswith("a_b")
    }


def test_the_schema_is_found_in_a_model_or_a_version():
    """A file may hold the OpenAPI document, a version or a model as the API returns it."""
    version = {"id": VERSION, "openapi_schema": SCHEMAS["in/text"]}
    sources: list[str] = []
    for content in (SCHEMAS["in/text"], version, {"owner": "a", "latest_version": version}):
        assert main(["codegen", save("acme/shout", content), "-o", "models.py"]) == 0
        sources.append(Path("models.py").read_text(encoding="utf-8"))
    assert len(set(sources)) == 1
    assert "text: str" in sources[0]


# --- changes ---


def test_check(server, capsys):
    """``--check`` fails with the differences if a model has changed; without names the module is updated."""
    models = ["acme/shout", "acme/write"]
    assert main(["codegen", *models, "-o", "models.py"]) == 0
    for arguments in ([], models):
        assert main(["codegen", "--check", *arguments, "-o", "models.py"]) == 0
    assert capsys.readouterr() == ("", "")

    @server.model("acme/shout", version="d" * 64)
    def shout(text: str, loud: bool = True) -> str:
        return text

    old = Path("models.py").read_text(encoding="utf-8")
    assert main(["codegen", "--check", "-o", "models.py"]) == 1
    printed = capsys.readouterr()
    assert "-        times: int = ...," in printed.out
    assert "+        loud: bool = ...," in printed.out
    assert "models.py is out of date" in printed.err
    assert Path("models.py").read_text(encoding="utf-8") == old
    assert main(["codegen", "-o", "models.py"]) == 0
    assert main(["codegen", "--check", "-o", "models.py"]) == 0


def test_pinned_versions(server, capsys):
    """``--pin`` runs the version of today. A newer one is a change, which an update pins."""
    assert main(["codegen", "acme/shout", "--pin", "-o", "models.py"]) == 0
    assert f'"acme/shout:{VERSION}"' in Path("models.py").read_text(encoding="utf-8")
    assert main(["codegen", "--check", "-o", "models.py"]) == 0

    @server.model("acme/shout", version="d" * 64)
    def shout(text: str) -> str:
        return "new"

    with Replicate() as client:
        assert load().shout(client)(text="a") == "A"
    assert main(["codegen", "--check", "-o", "models.py"]) == 1
    assert main(["codegen", "-o", "models.py"]) == 0
    with Replicate() as client:
        assert load().shout(client)(text="a") == "new"
    assert main(["codegen", f"acme/shout:{VERSION}", "-o", "models.py"]) == 0
    with Replicate() as client:
        assert load().shout(client)(text="a") == "A"


def test_demonstration_models(capsys):
    """With ``--local``, before or after the command's name, no server and no token are needed."""
    for arguments in (["--local", "codegen"], ["codegen", "--local"]):
        assert main([*arguments, "replicate/hello-world"]) == 0
        assert "text: str," in capsys.readouterr().out


# --- running ---


def test_functions_of_the_asynchronous_client(server):
    """The functions run the model: outputs are converted, and odd names of inputs are the model's own."""
    assert main(["codegen", "acme/shout", "acme/paint", "acme/write", "-o", "models.py"]) == 0
    asyncio.run(use_asynchronously(load()))


async def use_asynchronously(models: Any) -> None:
    async with AsyncReplicate() as client:
        assert await models.shout(client)(text="a", times=2) == "AA"
        painted = await models.paint(client, cancel_after="5m")(class_="cat")
        assert (painted["text"], await painted["image"].read()) == ("cat", b"picture")
        assert await models.write(client)(prompt="a b") == "ab"
        assert [piece async for piece in models.write(client, streaming=True)(prompt="a b")] == ["a", "b"]
        with pytest.raises(ValueError, match="times"):
            await models.shout(client, validate=True)(text="a", times="b")


def test_functions_of_the_blocking_client(server):
    """The same with the blocking client; a default that is omitted is left to the model."""
    assert main(["codegen", "acme/shout", "acme/paint", "acme/write", "-o", "models.py"]) == 0
    models = load()
    with Replicate() as client:
        assert models.shout(client)(text="a") == "A"
        painted = models.paint(client)(class_="cat")
        assert isinstance(painted["image"], FileOutput)
        assert models.write(client)(prompt="a b") == "ab"
        assert list(models.write(client, streaming=True)(prompt="a b")) == ["a", "b"]
    created = [json.loads(call.body) for call in server.requests if call.method == "POST"]
    assert created[0]["input"] == {"text": "a"}
