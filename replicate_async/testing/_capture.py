"""Captures what models print for the logs of their predictions; all other output passes through.

A context variable has the destination, so that predictions that run at the same time don't mix, in tasks or threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO, cast

import msgspec

# Called in the thread that prints.
Sink = Callable[[str], object]

sink: ContextVar[Sink | None] = ContextVar("replicate_async.testing.sink", default=None)
_metrics: ContextVar[dict[str, Any] | None] = ContextVar("replicate_async.testing.metrics", default=None)


def enter_capture(write: Sink, metrics: dict[str, Any]) -> None:
    """Let what the current context prints and reports go to a prediction."""
    sink.set(write)
    _metrics.set(metrics)
    install()


def record_metrics(**metrics: Any) -> None:
    """Add to the metrics of the prediction; call it in a model function.

    Replicate's models report what they are billed by, such as ``image_count`` or ``token_output_count``.

    Args:
        metrics: Numbers, texts or booleans by name.

    Raises:
        RuntimeError: No model of a LocalServer is running here.
    """
    target = _metrics.get()
    if target is None:
        raise RuntimeError("record_metrics is for functions that a LocalServer runs as models")
    target.update(msgspec.to_builtins(metrics))


class _CapturingStream:
    """Replaces ``sys.stdout`` or ``sys.stderr``."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        write = sink.get()
        if write is None:
            return self.stream.write(text)
        write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if sink.get() is None:
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


# Servers may run in several threads.
_lock = threading.Lock()
_servers = 0


def attach_capture() -> None:
    """Count a server that starts."""
    global _servers
    with _lock:
        _servers += 1


def detach_capture() -> None:
    """Count a server that stops. The last one restores the streams, unless something else has replaced them."""
    global _servers
    with _lock:
        _servers -= 1
        if not _servers:
            if isinstance(sys.stdout, _CapturingStream):
                sys.stdout = sys.stdout.stream
            if isinstance(sys.stderr, _CapturingStream):
                sys.stderr = sys.stderr.stream


def install() -> None:
    """Capture both streams, if they aren't captured yet.

    Called before every run, because test runners and notebooks may replace the streams at any time.
    """
    if sys.stdout and type(sys.stdout) is not _CapturingStream:
        sys.stdout = cast("TextIO", _CapturingStream(sys.stdout))
    if sys.stderr and type(sys.stderr) is not _CapturingStream:
        sys.stderr = cast("TextIO", _CapturingStream(sys.stderr))
