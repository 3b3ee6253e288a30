"""What a model prints goes to its prediction's logs; what anything else prints goes where it always went.

A context variable says whose text it is, so predictions that run at the same time, in tasks or in threads, don't mix.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO, cast

Sink = Callable[[str], object]  # called in whatever thread prints

sink: ContextVar[Sink | None] = ContextVar("replicate_async.testing.sink", default=None)


class _Router:
    """Stands in for ``sys.stdout`` or ``sys.stderr``."""

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


_lock = threading.Lock()  # servers may run in several threads
_servers = 0


def attach() -> None:
    """Take note that a server runs, whose models may print."""
    global _servers
    with _lock:
        _servers += 1


def detach() -> None:
    """Take note that it runs no longer: the last one puts back the streams, if nobody exchanged them since."""
    global _servers
    with _lock:
        _servers -= 1
        if not _servers:
            if isinstance(sys.stdout, _Router):
                sys.stdout = sys.stdout.stream
            if isinstance(sys.stderr, _Router):
                sys.stderr = sys.stderr.stream


def install() -> None:
    """Route both streams, unless they are.

    This is asked before every run: test runners and notebooks exchange the streams at any time.
    """
    if sys.stdout and type(sys.stdout) is not _Router:
        sys.stdout = cast("TextIO", _Router(sys.stdout))
    if sys.stderr and type(sys.stderr) is not _Router:
        sys.stderr = cast("TextIO", _Router(sys.stderr))
