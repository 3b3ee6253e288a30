"""The examples of docs/tracing.md and docs/usage.md, run unchanged."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicate_async import Usage
from replicate_async.testing import LocalServer, models

PAGES = Path(__file__).parents[2] / "docs"
EXAMPLES = {
    name: code
    for page in ("tracing.md", "usage.md")
    for name, code in re.findall(
        r"^```python\n# (\S+)\n(.*?)^```", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
}
PRINTED = {
    "traced.py": r"hello Ada",
    "slow.py": r"replicate/hello-world: succeeded",
    "usage.py": r"replicate/hello-world 2 0\.\d+|replicate/hello-world 2 \d.*",
    "cost.py": r"0\.\d{6} \{'replicate/hello-world': .*\} \{\}",
}


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = LocalServer()
    models.register(server)
    with server:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
        yield


def test_every_example_is_run():
    """No example is left out."""
    pages = "".join((PAGES / page).read_text(encoding="utf-8") for page in ("tracing.md", "usage.md"))
    assert pages.count("```python\n") == len(EXAMPLES) == len(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """An example runs, and prints what its page says."""
    (tmp_path / name).write_text(EXAMPLES[name], encoding="utf-8")
    runpy.run_path(str(tmp_path / name))["client"].close()
    assert re.fullmatch(PRINTED[name], capsys.readouterr().out.strip())


def test_prices():
    """The table in TOML is valid."""
    text = (PAGES / "usage.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    Usage.check(toml.loads(table))
