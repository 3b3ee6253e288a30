"""Programs in the style of the official SDK run on ``replicate_async.compat``, and on the official SDK itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from official_programs import FOLDER, run_programs, run_python
from replicate_async.testing import LocalServer

PROGRAMS = sorted(path.stem for path in (FOLDER / "programs").glob("*.py"))
DOCSTRINGS = {name: (FOLDER / "programs" / f"{name}.py").read_text(encoding="utf-8")[3:40] for name in PROGRAMS}
VERSION_1 = [name for name in PROGRAMS if DOCSTRINGS[name].startswith("1.x")]
VERSION_2 = [name for name in PROGRAMS if DOCSTRINGS[name].startswith("2.x")]
OFFLINE = [name for name in PROGRAMS if "no network" in DOCSTRINGS[name]]
PACKAGES = sorted(path.stem for path in (FOLDER / "packages").glob("*.py"))


def test_there_are_programs() -> None:
    """Each program is for one version, and there are at least 25."""
    assert sorted([*VERSION_1, *VERSION_2]) == PROGRAMS
    assert len(PROGRAMS) >= 25


@pytest.fixture(scope="module")
def failures(server: LocalServer, version_2: Path) -> dict[str, dict[str, str]]:
    """Run the programs on both packages; return the tracebacks of those that failed."""
    return {
        "compat": run_programs(PROGRAMS, compat=True, server=server),
        "official": run_programs(VERSION_1, compat=False, server=server, version_1=True)
        | run_programs(VERSION_2, compat=False, server=server, path=version_2),
    }


@pytest.mark.parametrize("package", ["compat", "official"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(failures: dict[str, dict[str, str]], name: str, package: str) -> None:
    """The program runs with the official SDK, and with this package in its place."""
    assert name not in failures[package], failures[package][name]


def test_programs_without_network(version_2: Path) -> None:
    """Programs that need no network run without a server, a token or a URL."""
    assert len(OFFLINE) >= 6
    assert run_programs(OFFLINE, compat=True) == {}
    assert run_programs([name for name in OFFLINE if name in VERSION_1], compat=False) == {}
    assert run_programs([name for name in OFFLINE if name in VERSION_2], compat=False, path=version_2) == {}


@pytest.mark.parametrize("name", PACKAGES)
def test_package(server: LocalServer, name: str) -> None:
    """A package from PyPI that depends on the official SDK runs, unmodified, with this package in its place."""
    done = run_python([str(FOLDER / "packages" / f"{name}.py")], server)
    assert done.returncode == 0, done.stderr


def test_the_command(server: LocalServer) -> None:
    """``python -m replicate_async.compat`` runs a program, with its arguments, and a module."""
    program = str(FOLDER / "programs" / "model_versions.py")
    done = run_python(["-m", "replicate_async.compat", program], server)
    assert done.returncode == 0, done.stderr
    done = run_python(["-m", "replicate_async.compat", "-m", "timeit", "-n", "1", "-r", "1", "import replicate"])
    assert done.returncode == 0, done.stderr
