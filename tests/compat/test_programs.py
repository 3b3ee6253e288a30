"""Programs in the style of the official SDK run on ``replicate_async.compat``, and on the official SDK itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicate_async.testing import LocalServer
from tests.compat.conftest import FOLDER, run_programs, run_python

PROGRAMS = sorted(path.stem for path in (FOLDER / "programs").glob("*.py"))
DOCSTRINGS = {name: (FOLDER / "programs" / f"{name}.py").read_text(encoding="utf-8")[3:40] for name in PROGRAMS}
VERSION_2 = [name for name in PROGRAMS if DOCSTRINGS[name].startswith("2.x")]
VERSION_1 = [name for name in PROGRAMS if DOCSTRINGS[name].startswith("1.x")]


@pytest.fixture(scope="module")
def reports(server: LocalServer) -> dict[str, str]:
    return run_programs(PROGRAMS, compat=True, server=server)


def test_there_are_programs() -> None:
    """Each program is for one version, and there are at least 25."""
    assert sorted([*VERSION_1, *VERSION_2]) == PROGRAMS
    assert len(PROGRAMS) >= 25


@pytest.mark.parametrize("name", PROGRAMS)
def test_on_compat(reports: dict[str, str], name: str) -> None:
    """The program runs with this package in the place of the official SDK."""
    assert name not in reports, reports[name]
