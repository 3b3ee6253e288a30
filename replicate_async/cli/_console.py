"""Messages on standard error, and what Ctrl-C raises. Works without click."""

from __future__ import annotations

import asyncio
import sys

NAME = "replicate-async"

# On Python 3.10, anyio.run() turns Ctrl-C into the cancellation of its task and doesn't turn that back. asyncio.run()
# would raise KeyboardInterrupt wherever the program is there: Python prints and ignores it inside a finalizer.
INTERRUPTED = (KeyboardInterrupt, asyncio.CancelledError)


def print_error(text: str) -> None:
    """Print a message to standard error, as one line."""
    print(f"{NAME}: {' '.join(text.split())}", file=sys.stderr)
