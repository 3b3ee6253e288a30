"""The prices that a command reads, and the usage that it prints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from replicate_async._usage import Usage
from replicate_async.cli._console import print_error


def read_prices(
    _context: click.Context, _parameter: click.Parameter, path: Path | None
) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the table of prices in a TOML file; a callback for options. Raises BadParameter if there is none."""
    if path is None:
        return None
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        prices: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
        # Wrong prices raise before anything is paid for.
        if not all(isinstance(table, dict) for table in prices.values()):
            raise ValueError('each price must be in a table, such as ["owner/name"]')
        Usage.check(prices)
    except ImportError:
        raise click.BadParameter("reading TOML needs Python 3.11, or the package tomli") from None
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}") from error
    return prices


def print_usage(usage: Usage, prices: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Print what predictions took, and what they cost."""
    for name, model in usage.models.items():
        metrics = ", ".join(f"{metric} {total:,.6g}" for metric, total in sorted(model.metrics.items()))
        print_error(f"{name}: {model.predictions} predictions; {metrics}")
    if usage.models and prices is not None:
        cost = usage.cost(prices)
        unpriced = "".join(f"; without a price: {count} of {name}" for name, count in cost.unpriced.items())
        print_error(f"cost: {cost.total:,.6g}{unpriced}")
