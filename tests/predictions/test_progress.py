"""The progress of a prediction, from the progress bars that tqdm draws into its logs."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm, trange

from replicate_async import AsyncReplicate
from replicate_async.testing import LocalServer
from replicate_async.types import Prediction, PredictionUrls, Progress

pytestmark = pytest.mark.anyio


def progress(logs: str | None) -> Progress | None:
    """Return the progress of a prediction with these logs."""
    now = datetime.now(timezone.utc)
    return Prediction(
        id="p", model="a/b", status="processing", created_at=now, urls=PredictionUrls(), logs=logs
    ).progress


def drawn(steps: int = 20, total: float | None = 50, **options: Any) -> str:
    """Return the text that tqdm writes up to a step."""
    file = io.StringIO()
    with tqdm(file=file, total=total, mininterval=0, miniters=1, **options) as bar:
        for _ in range(steps):
            bar.update()
    return file.getvalue()


@pytest.mark.parametrize(
    "logs",
    [
        *(
            None,
            "",
            "\n",
            "Loading pipeline components...\n",
            "Using seed: 12345\n",
            "50%",
            "50% done",
            "20/50",
            "50%|",
        ),
        *("50%|#####", "50%|#####|", "50%|#####|\n20/50", "battery | 50% | 20/50", "%|#| 1/2", "20/50 | loss 0.5"),
        *("Epoch 1/10 [==>...] - loss: 0.1", "\x1b[2K\x1b[1A", "progress: 0.5", "50%|", "a%|b| c/d"),
    ],
)
def test_no_bar(logs: str | None) -> None:
    """Logs without a progress bar, or with half of one, have no progress."""
    assert progress(logs) is None


def test_without_a_total() -> None:
    """A bar without a total has no progress."""
    assert progress(drawn(total=None)) is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"desc": "Generating"},
        {"desc": "100%|done| 5/5 of 10% |"},
        {"desc": "日本語 🦆"},
        {"ascii": True},
        {"ascii": " .oO0"},
        {"ascii": False},
        {"ncols": 200},
        {"ncols": 30},
        {"unit": "step"},
        {"unit": "B"},
        {"colour": "green"},
        {"postfix": {"loss": 0.123, "lr": "1e-4", "done": "5/6"}},
        {"smoothing": 0},
        {"leave": True},
        {"dynamic_ncols": True},
        {"position": 2},
        {"bar_format": "{l_bar}{bar}{r_bar}"},
        {"bar_format": "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}"},
        {"bar_format": "{percentage:3.0f}%|{bar:40}| {n}/{total} [{elapsed}<{remaining}]"},
        {"bar_format": "{desc}: {percentage:.1f}%|{bar}| {n_fmt}/{total_fmt} [{rate_fmt}]"},
        {"bar_format": "{percentage:.2f}%|{bar}|{n_fmt}/{total_fmt}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [0, 1, 20, 49, 50])
def test_bars(options: dict[str, Any], step: int) -> None:
    """The percentage and steps of any kind of bar are found; its last state counts."""
    logs = drawn(step, **options)
    assert progress(logs) == Progress(percentage=step / 50, current=step, total=50)
    with_newlines = logs.replace("\r", "\n")
    assert progress(with_newlines) == progress(logs), "as they come where each state is a line"
    assert progress(f"before\n{logs}\nafter, 30 % of it\n") == progress(logs)


@pytest.mark.parametrize("total", [1, 7, 1000, 12_345_678])
def test_totals(total: int) -> None:
    """Percentages are tqdm's own, which are rounded; steps are exact."""
    found = progress(drawn(1, total=total))
    assert found is not None
    assert (found.current, found.total) == (1, total)
    assert found.percentage == pytest.approx(1 / total, abs=0.005)


def test_from_a_start() -> None:
    """A bar that continues where an earlier run ended is read."""
    assert progress(drawn(1, total=8, initial=3)) == Progress(percentage=0.5, current=4, total=8)


def test_the_last_bar_counts() -> None:
    """Of several bars, the one that moved last is the prediction's progress."""
    assert progress(drawn(50) + "decoding\n" + drawn(5, total=10)) == Progress(percentage=0.5, current=5, total=10)
    file = io.StringIO()
    outer, inner = (tqdm(file=file, total=4, position=place, mininterval=0) for place in (0, 1))
    outer.update(1)
    inner.update(3)
    logs = file.getvalue()
    outer.close()
    inner.close()
    assert progress(logs) == Progress(percentage=0.75, current=3, total=4)


@pytest.mark.parametrize(
    ("total", "unit_divisor", "steps"), [(5000, 1000, 1000), (2 * 10**9, 1000, 10**9), (64 * 2**20, 1024, 2**20)]
)
def test_scaled_units(total: int, unit_divisor: int, steps: int) -> None:
    """Downloads count in k, M and G: the percentage is tqdm's, and steps are as exact as the text."""
    file = io.StringIO()
    options: Any = {"unit": "B", "unit_scale": True, "unit_divisor": unit_divisor}
    with tqdm(file=file, total=total, mininterval=0, **options) as bar:
        bar.update(steps)
    found = progress(drawn(3, total=50) + file.getvalue())
    assert found is not None
    assert found.percentage == pytest.approx(steps / total, abs=0.005)
    assert found.total == pytest.approx(total, rel=0.08)
    assert found.current == pytest.approx(steps, rel=0.08)


def test_fractions() -> None:
    """A bar that counts in fractions has a percentage too."""
    file = io.StringIO()
    with tqdm(file=file, total=2.5, mininterval=0) as bar:
        bar.update(0.5)
    found = progress(file.getvalue())
    assert found is not None
    assert found.percentage == 0.2


@given(
    total=st.integers(1, 10**9),
    share=st.floats(0, 1),
    elapsed=st.floats(0, 10**6),
    ncols=st.none() | st.integers(40, 200),
    prefix=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10),
    ascii_only=st.booleans() | st.just(" 123456789#"),
)
def test_any_bar(total: int, share: float, elapsed: float, ncols: Any, prefix: str, ascii_only: Any) -> None:
    """Any state that tqdm can format is read."""
    current = int(total * share)
    bar = tqdm.format_meter(current, total, elapsed, ncols=ncols, prefix=prefix, ascii=ascii_only)
    # A narrow bar is cut off at its end.
    complete = re.search(r"\| *\d+/\d+ \[", bar)
    found = progress(f"some text\r{bar}\r")
    if complete:
        assert found is not None
        assert (found.current, found.total) == (current, total)
        assert found.percentage == pytest.approx(current / total, abs=0.0051)


def test_many_states() -> None:
    """The logs of a long run are read quickly, with or without bars."""
    logs = drawn(5_000, total=5_000) * 4
    assert len(logs) > 10**6
    for text in (logs, "x" * 10**6, "1%|" * 300_000, "1" * 10**6, "50%|" + "#" * 10**6):
        started = perf_counter()
        progress(text)
        assert perf_counter() - started < 3


def test_it_is_a_plain_struct() -> None:
    """A progress compares, has a repr, and becomes JSON."""
    found = progress(drawn(20))
    assert found is not None
    assert repr(found) == "Progress(percentage=0.4, current=20, total=50)"
    assert found.to_dict() == {"percentage": 0.4, "current": 20, "total": 50}


async def test_a_running_model() -> None:
    """A model that draws a bar with tqdm has progress, while it runs and when it is done."""
    async with LocalServer() as server:
        halfway, go_on = asyncio.Event(), asyncio.Event()

        @server.model("acme/steps", official=True)
        async def steps() -> str:
            for step in trange(10, desc="Generating", file=sys.stderr, mininterval=0):
                if step == 5:
                    halfway.set()
                    await go_on.wait()
            return "done"

        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            prediction = await client.models.predictions.create("acme", "steps", input={})
            assert prediction.progress is None
            await halfway.wait()
            running = await client.predictions.get(prediction.id)
            assert running.progress == Progress(percentage=0.5, current=5, total=10)
            go_on.set()
            done = await client.predictions.wait(prediction)
            assert done.progress == Progress(percentage=1.0, current=10, total=10)
