"""A local server for programs that were written for the official SDK, and the second official package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from official_programs import serving
from replicate_async.testing import LocalServer


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def version_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install 2.0.0b4 of the official SDK, which has the name of 1.0.7, into a folder."""
    folder = tmp_path_factory.mktemp("version_2")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, "replicate==2.0.0b4"], check=True, timeout=100)
    return folder
