"""Files as other libraries have them: uploads of web frameworks, HTTP responses, and pictures."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

_CHANNELS = {1: 0, 2: 4, 3: 2, 4: 6}  # and the color types of PNG
_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})


class ForeignFile(msgspec.Struct):
    """A file of another library: its content as this package reads it, or a function that makes it."""

    content: Any
    name: str | None = None
    type: str | None = None
    make: Callable[[], bytes] | None = None


def unwrap(value: Any) -> ForeignFile | None:
    """Return what is inside of another library's file; None: it is none, or needs no unwrapping.

    Raises:
        TypeError: it is an array that could be a picture, but is not one of bytes.
    """
    if is_array(value):
        return _picture(_array_to_png, value) if _is_picture(value) else None
    image = sys.modules.get("PIL.Image")
    if image is not None and isinstance(value, image.Image):
        return _picture(_image_to_png, value)
    headers, content = getattr(value, "headers", None), getattr(value, "content", None)
    if headers is not None and (isinstance(content, bytes) or hasattr(content, "read")):
        # A response of httpx, requests or aiohttp.
        name = urlsplit(str(getattr(value, "url", ""))).path.rpartition("/")[2]
        return ForeignFile(content, name or None, _plain_type(headers.get("Content-Type")))
    is_upload = hasattr(value, "content_type") or hasattr(value, "filename")
    if not is_upload or (hasattr(value, "url") and not hasattr(value, "seek")):
        # The last is a file output, which models fetch.
        return None
    # Starlette, Django, Werkzeug (Flask) and aiohttp. In the last two, the name is that of the form's field.
    filename = getattr(value, "filename", None)
    content = value if hasattr(value, "read") else getattr(value, "file", None)
    if hasattr(value, "read_chunk"):
        content = _Part(value)
    kind = getattr(value, "content_type", None) or getattr(value, "headers", {}).get("Content-Type")
    return None if content is None else ForeignFile(content, filename, _plain_type(kind))


class _Part:
    """A part of aiohttp's multipart reader, as a file."""

    def __init__(self, part: Any) -> None:
        self._part = part

    async def read(self, size: int) -> bytes:
        return bytes(await self._part.read_chunk(size))


def _plain_type(content_type: object) -> str | None:
    """Return a MIME type without parameters; None if it says nothing."""
    kind = content_type.partition(";")[0].strip() if isinstance(content_type, str) else ""
    return None if kind in {"", "application/octet-stream"} else kind


# --- pictures ---


def _picture(encode: Callable[[Any], bytes], value: Any) -> ForeignFile:
    return ForeignFile(None, "image.png", "image/png", partial(encode, value))


def is_array(value: Any) -> bool:
    """Return whether a value is an array or a number of numpy, or a series of pandas."""
    return type(value).__module__.partition(".")[0] in {"numpy", "pandas"} and hasattr(value, "tolist")


def _is_picture(array: Any) -> bool:
    """Return whether an array is a picture: rows of pixels, each with one byte or one to four."""
    shape: tuple[int, ...] = getattr(array, "shape", ())
    kind = str(getattr(array, "dtype", ""))
    if 0 in shape:
        return False
    if len(shape) == 3 and shape[2] in {3, 4} and kind != "uint8":
        raise TypeError(
            f"an array of {kind} has the shape of a picture, whose pixels must be uint8: pass "
            "(array * 255).astype('uint8') if its values are from 0 to 1, or array.tolist() to send numbers"
        )
    return kind == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS))


def _array_to_png(array: Any) -> bytes:
    height, width = array.shape[:2]
    channels = array.shape[2] if len(array.shape) == 3 else 1
    pixels, stride = array.tobytes(), width * channels
    # Each row begins with the number of its filter.
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, _CHANNELS[channels], 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _image_to_png(image: Any) -> bytes:
    from PIL import ImageOps

    # Cameras turn pictures by a tag, which PNG files lose.
    image = ImageOps.exif_transpose(image)
    file = io.BytesIO()
    (image if image.mode in _PNG_MODES else image.convert("I;16" if image.mode == "I" else "RGB")).save(file, "PNG")
    return file.getvalue()
