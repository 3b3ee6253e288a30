"""The command ``python -m replicate_async.compat``: runs a program that was written for the official SDK."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from replicate_async.compat import install

_USAGE = "usage: python -m replicate_async.compat (program.py | -m module) [argument ...]"


def main() -> None:
    """Run a program or a module with this package in the place of the official SDK."""
    arguments = sys.argv[1:]
    if not arguments or arguments == ["-m"] or arguments[0] in {"-h", "--help"}:
        sys.exit(_USAGE)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        # As Python does for a program, in place of the current directory.
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


main()
