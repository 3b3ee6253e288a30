"""Runs the examples of the documentation: what a page shows below an example is what the example prints."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

from replicate_async import AsyncReplicate, Replicate

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"

# Tabs of a page indent their blocks.
_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```[ ]*$", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    """A block of code, and the text below it that shows what it prints, if there is one."""

    language: str
    code: str
    printed: str | None


def examples(text: str) -> list[Example]:
    """Return the blocks of a page, except for those that show what others print."""
    blocks = list(_BLOCK.finditer(text))
    result: list[Example] = []
    for number, block in enumerate(blocks):
        follower = blocks[number + 1] if number + 1 < len(blocks) else None
        shows_output = (
            follower is not None and follower[2] == "text" and not text[block.end() : follower.start()].strip()
        )
        if block[2] != "text":
            printed = dedent(follower[3]) if follower is not None and shows_output else None
            result.append(Example(block[2], dedent(block[3]), printed))
    return result


def page(name: str) -> list[Example]:
    """Return the examples of a page of the documentation."""
    return examples((PAGES / name).read_text(encoding="utf-8"))


def execute(code: str, namespace: dict[str, Any]) -> None:
    """Run a block, which may use await at its top level."""
    running = eval(compile(code, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
    if inspect.iscoroutine(running):
        asyncio.run(running)


def close_clients(namespace: dict[str, Any]) -> None:
    """Close the clients that examples leave open for the lifetime of their program."""
    for value in namespace.values():
        if isinstance(value, Replicate):
            value.close()
        elif isinstance(value, AsyncReplicate):
            asyncio.run(value.close())


def matches(expected: str, printed: str) -> bool:
    """Return whether a text is what a page shows, where ``...`` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.strip().split("...")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
