"""What notebooks show of files: HTML with the content in it, because the URLs of outputs expire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from replicate_async import _background as background
from replicate_async._logging import logger

# Larger files are shown from their URLs, in bytes: a notebook is one file, which has to stay small.
MAX_EMBEDDED = 8 * 2**20
# In seconds: how long the output of a cell waits for its files.
MAX_SECONDS = 10.0
# In characters of HTML, for all files of a list together.
_MAX_GALLERY = 32 * 2**20
_MAX_CONCURRENT = 8


def is_media(content_type: str | None) -> bool:
    """Return whether a browser shows files of a type inside of a page."""
    return (content_type or "").startswith(("image/", "audio/", "video/"))


def data_uri(content: bytes, content_type: str | None) -> str:
    """Return a URL that has the content in it."""
    return f"data:{content_type or ''};base64,{base64.b64encode(content).decode()}"


def media_html(source: str, content_type: str | None) -> str | None:
    """Return the HTML for a picture, audio or video; None for anything else."""
    from html import escape

    kind, source = (content_type or "").partition("/")[0], escape(source, quote=True)
    if not is_media(content_type):
        return None
    if kind == "image":
        return f'<img src="{source}" style="max-width: 100%">'
    return f'<{kind} controls src="{source}" style="max-width: 100%"></{kind}>'


def gallery_html(files: Iterable[Any]) -> str | None:
    """Return the HTML for the files in a list, side by side; None if there are none that a browser shows."""
    from concurrent.futures import ThreadPoolExecutor

    shown: list[Callable[[], str | None]] = [item._repr_html_ for item in files if hasattr(item, "_repr_html_")]
    with ThreadPoolExecutor(_MAX_CONCURRENT) as threads:
        parts = [part for part in threads.map(_call, shown) if part]
    size, items = 0, ""
    for part in parts:
        size += len(part)
        item = part if size <= _MAX_GALLERY else "..."
        items += f'<div style="max-width: 256px">{item}</div>'
    return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{items}</div>' if parts else None


def _call(show: Callable[[], str | None]) -> str | None:
    return show()


def fetch(read: Callable[[], Coroutine[Any, Any, bytes | None]]) -> bytes | None:
    """Run a coroutine on the background loop, while this thread waits; return None if that fails."""
    # That loop can't wait for itself.
    if background.is_current_thread() or background.is_exiting():
        return None
    future = asyncio.run_coroutine_threadsafe(read(), background.get_loop())
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - the file is shown in another way
        logger.debug("a notebook shows a file by its URL: %s", error)
        return None
    finally:
        future.cancel()
