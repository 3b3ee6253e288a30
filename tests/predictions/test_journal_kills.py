"""Journals whose processes are killed at random moments: each input is paid once, and each result is there once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from killing import MAP, RUN, kill_and_restart, paid, serve_slowly
from replicate_async import Journal
from replicate_async.testing import LocalServer

if sys.platform == "win32":
    pytest.skip("processes are killed there in another way", allow_module_level=True)

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(900)]
# How often a process is killed in each test. With 25, there are more than a hundred moments, in ten minutes.
KILLS = int(os.environ.get("JOURNAL_KILLS", "3"))
KINDS = ["four maps", "four runs", "identical inputs"] + (["map", "run"] if KILLS > 3 else [])


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments(kind: str, tmp_path: Path) -> None:
    """However often processes are killed, and however many share the journal, nothing is paid twice or lost."""
    texts = [f"text {number}" for number in range(20 * KILLS + 20)]
    if kind == "identical inputs":
        texts = ["same"] * len(texts)
    program, processes = (RUN if "run" in kind else MAP), (4 if "four" in kind else 1)
    with LocalServer(token="local-token") as server:
        serve_slowly(server)
        journal = str(tmp_path / "run.db")
        # The processes begin at different inputs, so that they don't only wait for each other.
        shifts = [number * len(texts) // 4 if "run" in kind else 0 for number in range(processes)]
        programs = [
            program.format(url=server.base_url, journal=journal, texts=texts[shift:] + texts[:shift])
            for shift in shifts
        ]
        early = kill_and_restart(server, programs, kills=KILLS, seed=len(kind), total=len(texts))
        assert early > KILLS / 2
        assert paid(server) == {text: texts.count(text) for text in texts}
        with Journal(journal) as opened:
            results = list(opened.results())
        assert sorted(result.output for result in results) == sorted(text.upper() for text in texts)
        assert {result.id for result in results} == set(server.predictions)
