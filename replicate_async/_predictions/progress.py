"""Progress bars of runs and maps, which tqdm draws: in terminals as text, and in notebooks as widgets."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from replicate_async._predictions.map import MapProgress
from replicate_async.types import Prediction


def _create_bar(**options: Any) -> Any:
    try:
        bar: Any = import_module("tqdm.auto").tqdm(**options)
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm") from None
    return bar


@contextmanager
def run_progress(on_update: Callable[[Prediction], None] | None) -> Generator[Callable[[Prediction], None], None, None]:
    """Give the ``on_update`` of a run, which also draws a bar while the context lasts."""
    bar = _create_bar(total=100, unit="%", bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}")

    def update(prediction: Prediction) -> None:
        progress = prediction.progress
        percentage = 100 if prediction.status == "succeeded" else progress.percentage * 100 if progress else 0
        bar.set_description_str(str(prediction.status), refresh=False)
        bar.n = max(bar.n, round(percentage))
        bar.refresh()
        if on_update is not None:
            on_update(prediction)

    try:
        yield update
    finally:
        bar.close()


@contextmanager
def map_progress(
    on_update: Callable[[MapProgress], None] | None, total: int
) -> Generator[Callable[[MapProgress], None], None, None]:
    """Give the ``on_update`` of a map, which also draws a bar while the context lasts."""
    bar = _create_bar(total=total or None, unit="run")

    def update(progress: MapProgress) -> None:
        ended = progress.succeeded + progress.failed
        bar.set_postfix({"running": progress.started - ended, "failed": progress.failed}, refresh=False)
        bar.update(max(0, ended - bar.n))
        if on_update is not None:
            on_update(progress)

    try:
        yield update
    finally:
        bar.close()
