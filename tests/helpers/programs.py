"""Runs programs in interpreters of their own, to see what only a whole process shows."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent


def start(code: str, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start a program; its warnings are errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    # What the interpreter would say about the encodings of others' files is not what is looked for.
    inherited.pop("PYTHONWARNDEFAULTENCODING", None)
    return subprocess.Popen(
        [sys.executable, "-W", "error", *options, "-c", dedent(code)],
        env={**inherited, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(code: str, *options: str, timeout: float = 30, **environment: str) -> str:
    """Run a program to its end and return what it printed; it must end well, and have nothing to complain about."""
    with start(code, *options, **environment) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    assert (process.returncode, errors) == (0, ""), f"it ended with {process.returncode}\n{output}\n{errors}"
    return output
