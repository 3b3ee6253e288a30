"""What the commands that list things share: the options, a line for each thing, and JSON."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import anyio
import click
import msgspec

from replicate_async._client import AsyncReplicate
from replicate_async.cli._client import open_client
from replicate_async.cli._console import print_text
from replicate_async.types import Struct

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with all fields.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number to list."
)


def call(function: Callable[[AsyncReplicate], Awaitable[T]], *, local: bool) -> T:
    """Run a function with an open client, and return its result."""

    async def run() -> T:
        async with open_client(local=local) as client:
            return await function(client)

    return anyio.run(run)


async def first(items: AsyncIterable[T], limit: int, keep: Callable[[T], bool] = lambda _: True) -> list[T]:
    """Return the first items that are kept; pages after them are not fetched."""
    results: list[T] = []
    async for item in items:
        if keep(item):
            results.append(item)
        if len(results) == limit:
            break
    return results


def print_rows(items: Iterable[object], columns: Callable[[Any], Iterable[object]], *, as_json: bool) -> None:
    """Print a line for each item: JSON, or its columns with tabs between. An item that could not be read is JSON."""
    for item in items:
        is_row = isinstance(item, Struct) and not as_json
        print_text("\t".join(map(_cell, columns(item))) if is_row else msgspec.json.encode(item).decode())


def print_fields(item: Struct, fields: Mapping[str, object], *, as_json: bool) -> None:
    """Print an item: as JSON, or a line for each field that has a value."""
    if as_json:
        print_rows([item], lambda _: (), as_json=True)
        return
    width = max(map(len, fields)) + 2
    for name, value in fields.items():
        if value not in (None, ""):
            print_text(f"{name + ':':{width}}{_cell(value)}")


def _cell(value: object) -> str:
    """Return a value as text in one line."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z" if value.utcoffset() is not None else str(value)
    return " ".join(str("" if value is None else value).split())
