"""The examples of docs/testing.md, run unchanged: tests in pytest, programs as programs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from replicate_async import Replicate
from replicate_async.testing import LocalServer

from .test_plugin import OPTIONS

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.endurance

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
# Only tests/integration needs the packages for these sections.
ELSEWHERE = {"Django"}


def files_of(section: str) -> dict[str, str]:
    """Return the examples of a section by the file names in their first lines."""
    return dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL))


def write(section: str, folder: Path) -> None:
    """Write the examples of a section into a folder."""
    for name, text in files_of(section).items():
        (folder / name).write_text(text, encoding="utf-8")


def test_every_example_has_a_name() -> None:
    """All examples are run."""
    assert PAGE.count("```python\n") == sum(len(files_of(section)) for section in SECTIONS)


@pytest.mark.parametrize(
    ("section", "passed"),
    [
        ("A first test", 1),
        ("Fixtures", 3),
        ("Like the real API", 2),
        ("Webhooks", 1),
        ("Fault injection", 2),
        ("Virtual time", 3),
        ("FastAPI", 3),
    ],
)
def test_examples(pytester: pytest.Pytester, section: str, passed: int) -> None:
    """The tests of a section pass in a folder with its files only."""
    write(section, pytester.path)
    # Newer versions of starlette warn about httpx.
    starlette = "ignore:Using `httpx` with `starlette.testclient`"
    pytester.runpytest_subprocess(*OPTIONS, "-W", starlette).assert_outcomes(passed=passed)


def test_no_section_is_forgotten() -> None:
    """All sections with tests are run, in this module or in tests/integration."""
    with_tests = {section for section in SECTIONS if any(name.startswith("test_") for name in files_of(section))}
    run = {"A first test", "Fixtures", "Like the real API", "Webhooks", "Fault injection", "Virtual time", "FastAPI"}
    run.add("Recording the real API")
    assert with_tests == run | ELSEWHERE


def test_faults_in_a_file(pytester: pytest.Pytester) -> None:
    """The faults of the TOML file equal those of the markers."""
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (pytester.path / "bad_day.toml").write_text(toml, encoding="utf-8")
    example = files_of("Fault injection")["test_faults.py"]
    marked = re.sub(r"(?m)^@pytest.mark.replicate_faults.*\n", "", example).replace(
        "def test_retries", '@pytest.mark.replicate_faults("bad_day.toml")\ndef test_retries'
    )
    pytester.makepyfile(marked)
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=2)


def test_recording(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test with a recording is recorded once, and then needs no server; the same holds for the program."""
    write("Recording the real API", pytester.path)
    with LocalServer.process(token="t") as server, monkeypatch.context() as patch:
        patch.setenv("REPLICATE_BASE_URL", server.base_url)
        patch.setenv("REPLICATE_API_TOKEN", "t")
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(passed=1)
        assert program(pytester.path / "record.py") == "hello Alice\n"
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=1)
    assert program(pytester.path / "record.py") == "hello Alice\n"
    shown = re.search(
        r"^```text\nrecordings/hello.json: POST (?:.*)\n(.*\n.*\n)```", SECTIONS["Recording the real API"], re.MULTILINE
    )
    assert shown is not None
    changed_test = files_of("Recording the real API")["test_recorded.py"].replace('"text": "Alice"', '"text": "Bob"')
    pytester.makepyfile(test_recorded=changed_test)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(failed=1)
    for line in shown[1].splitlines():
        result.stdout.fnmatch_lines([f"*{line.strip()}*"])


def test_a_script(pytester: pytest.Pytester) -> None:
    """The program without pytest prints its output."""
    write("Without pytest", pytester.path)
    assert program(pytester.path / "script.py") == "HELLO\n"


def program(path: Path) -> str:
    """Run a program and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", path], capture_output=True, encoding="utf-8", check=False, cwd=path.parent
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_tables() -> None:
    """The tables list all fixtures and markers."""
    from replicate_async.testing import plugin

    listed = set(re.findall(r"^\| `(\w+)[`(]", SECTIONS["Fixtures"] + SECTIONS["Markers"], re.MULTILINE))
    fixtures = set(re.findall(r"@pytest.fixture\ndef (\w+)", Path(plugin.__file__).read_text(encoding="utf-8")))
    lines: list[str] = []
    plugin.pytest_configure(SimpleNamespace(addinivalue_line=lambda _, line: lines.append(line)))
    markers = {line.partition("(")[0] for line in lines}
    assert listed == fixtures | markers


def test_a_server_to_keep_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``serve`` accepts the module with a function that registers models."""
    write("A standalone server", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        LocalServer.process("my_models:register") as server,
        Replicate(base_url=server.base_url, bearer_token=server.token) as client,
    ):
        assert client.run("acme/shout", input={"text": "hello"}) == "HELLO"
