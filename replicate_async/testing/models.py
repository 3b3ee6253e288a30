"""Models for demonstrations. They need the standard library only."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from ._files import OutputFile
from ._server import LocalServer

__all__ = ["gradient", "hello_world", "register", "stream_text"]

_STORY = "Once upon a time a small model ran on a small machine, and it was quick, and it was free."


def hello_world(text: Annotated[str, Meta(description="Text to prefix with 'hello '")]) -> str:
    """Say hello."""
    return f"hello {text}"


async def stream_text(
    prompt: Annotated[str, Meta(description="Text to repeat word by word; a story if empty")] = "",
    delay: Annotated[float, Meta(ge=0, le=10, description="Seconds between two words")] = 0.02,
) -> AsyncIterator[str]:
    """Stream a text, word by word."""
    words = (prompt or _STORY).split()
    for number, word in enumerate(words):
        if number:
            await asyncio.sleep(delay)
        yield f" {word}" if number else word


def gradient(
    width: Annotated[int, Meta(ge=1, le=1024, description="Width in pixels")] = 256,
    height: Annotated[int, Meta(ge=1, le=1024, description="Height in pixels")] = 256,
    red: Annotated[int, Meta(ge=0, le=255, description="Intensity of red")] = 128,
) -> OutputFile:
    """Paint a PNG with a color gradient."""
    rows = b"".join(
        b"\0" + b"".join(bytes((red, x * 255 // width, y * 255 // height)) for x in range(width)) for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    png = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return OutputFile(b"\x89PNG\r\n\x1a\n" + png, "image/png", "gradient.png")


def register(server: LocalServer) -> None:
    """Register all models of this module."""
    server.model(
        "replicate/hello-world",
        version="9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426",
        inline=True,
        readme="# hello-world\n\nA tiny model that says hello.\n",
        examples=[({"text": "Alice"}, "hello Alice")],
    )(hello_world)
    # With a version, the models show their schemas.
    server.model("replicate-local/stream-text", version="5e" * 32, official=True)(stream_text)
    server.model("replicate-local/gradient", version="9a" * 32, official=True)(gradient)
