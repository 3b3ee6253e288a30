"""Messages on standard error, and what Ctrl-C raises. Works without click."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from typing import IO, TextIO

NAME = "replicate-async"

# On Python 3.10, anyio.run() turns Ctrl-C into the cancellation of its task and doesn't turn that back. asyncio.run()
# would raise KeyboardInterrupt wherever the program is there: Python prints and ignores it inside a finalizer.
INTERRUPTED = (KeyboardInterrupt, asyncio.CancelledError)


# C0 and C1 control characters, except line feeds and tabs. A terminal obeys them: it would change its title, overwrite
# lines, or type commands.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def escape_controls(text: str) -> str:
    """Return a text with its control characters as JSON escapes, so that a terminal shows them."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_text(text: str, file: TextIO | None = None, *, end: str = "\n") -> None:
    """Print a text to a stream, by default standard output, with its control characters escaped on a terminal."""
    stream = file or sys.stdout
    print(escape_controls(text) if stream.isatty() else text, end=end, file=stream, flush=True)


def write_bytes(content: bytes, file: IO[bytes]) -> int:
    """Write to a file, with control characters escaped on a terminal; return the number of bytes."""
    if file.isatty():
        content = escape_controls(content.decode("utf-8", "replace")).encode()
    unwritten = memoryview(content)
    while unwritten:
        unwritten = unwritten[file.write(unwritten) or 0 :]
    file.flush()
    return len(content)


def print_error(text: str) -> None:
    """Print a message to standard error, as one line, if it can be written: the terminal may be gone."""
    with suppress(OSError):
        print_text(f"{NAME}: {' '.join(text.split())}", sys.stderr)
