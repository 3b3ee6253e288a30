"""The Django example of the page on testing, run as written."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
NAME = "replicate_async.testing.plugin"
OPTIONS = [
    *([] if entry_points(group="pytest11", name=NAME) else ["-p", NAME]),
    *("-p", "no:asyncio", "-p", "no:schemathesis", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"),
]


def test_the_example(pytester: pytest.Pytester) -> None:
    """Views of both kinds reach the test's server."""
    section = PAGE.partition("\n## Django\n")[2].partition("\n## ")[0]
    files = re.findall(r"^```python\n# (\S+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["views.py", "test_views.py", "conftest.py"]
    for name, text in files:
        (pytester.path / name).write_text(text, encoding="utf-8")
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=2)
