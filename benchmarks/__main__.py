"""Run the benchmarks with ``python -m benchmarks``. The README in this folder describes what they measure."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import import_module
from importlib.metadata import version

from benchmarks import _server
from benchmarks._table import Scenario, measure, report

_MODULES = ("calls", "startup", "streaming", "files", "lifecycles", "test_kit", "fanout", "limits")


def main() -> int:
    """Parse the arguments, run the benchmarks, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare replicate_async to other clients."
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"the modules to run (default: all): {', '.join(_MODULES)}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of runs of each contender (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bound is missed")
    arguments = parser.parse_args()
    if unknown := set(arguments.modules) - set(_MODULES):
        parser.error(f"unknown module: {min(unknown)} (choose from {', '.join(_MODULES)})")
    packages = ", ".join(f"{name} {version(name)}" for name in ("replicate", "httpx", "aiohttp", "msgspec"))
    print(f"Python {platform.python_version()}, {packages}; rounds: {arguments.rounds}, times are medians")
    missed = 0
    with _server.running() as url:
        for name in arguments.modules or _MODULES:
            for benchmark in import_module(f"benchmarks.{name}").benchmarks(url):
                is_scenario = isinstance(benchmark, Scenario)
                missed += not (report(benchmark) if is_scenario else measure(benchmark, arguments.rounds))
    print(f"\nbenchmarks with a missed bound: {missed}" if missed else "\nall bounds hold")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
