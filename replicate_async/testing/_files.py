"""Files that models take and make, and the multipart bodies that carry them."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import HTTP
from pathlib import Path
from urllib.parse import unquote_to_bytes

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
)


class OutputFile:
    """A file that a model returns, or takes whole.

    Without ``content_type`` it is guessed from the name, then from the data.

    Raises:
        ValueError: The content type can't be one: it has line breaks.
    """

    # No dataclass: those have a JSON form of their own, and a file's is its URL.
    def __init__(self, data: bytes, content_type: str | None = None, name: str | None = None) -> None:
        if not (content_type or "").isprintable():
            raise ValueError(f"content_type: expected a content type, got {content_type!a}")
        self.data = data
        self.content_type = content_type
        self.name = name

    def __repr__(self) -> str:
        return f"OutputFile({len(self.data)} bytes, {self.type!r}, {self.name!r})"

    @property
    def type(self) -> str:
        """The content type, given or guessed."""
        if self.content_type:
            return self.content_type
        guessed = mimetypes.guess_type(self.name)[0] if self.name else None
        if guessed:
            return guessed
        if self.data[:4] == b"RIFF" and self.data[8:12] in {b"WAVE", b"WEBP"}:
            return "audio/wav" if self.data[8:12] == b"WAVE" else "image/webp"
        return next((kind for magic, kind in _MAGIC if self.data.startswith(magic)), "application/octet-stream")

    @property
    def file_name(self) -> str:
        """The name without folders, or one that suits the type."""
        if name := Path(self.name or "").name:
            return name
        kind = self.type.partition(";")[0]
        subtype = kind.rpartition("/")[2]
        return "output" + (mimetypes.guess_extension(kind) or (f".{subtype}" if subtype.isalnum() else ""))

    @classmethod
    def of(cls, value: OutputFile | bytes | Path) -> OutputFile:
        """Return bytes, or the file that a path names, as an output file."""
        if isinstance(value, OutputFile):
            return value
        if isinstance(value, Path):
            return cls(value.read_bytes(), name=value.name)
        return cls(value)

    def data_uri(self) -> str:
        """Return the file as a data URI."""
        return f"data:{self.type};base64,{base64.b64encode(self.data).decode()}"


def read_data_uri(uri: str) -> OutputFile:
    """Return the file in a data URI; ``ValueError`` if it isn't one."""
    head, comma, payload = uri.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise ValueError("not a data URI")
    content_type = head[5:].removesuffix(";base64")
    if head.endswith(";base64"):
        try:
            return OutputFile(base64.b64decode(payload, validate=True), content_type or "text/plain")
        except binascii.Error as error:
            raise ValueError(f"a data URI with broken base64: {error}") from None
    return OutputFile(unquote_to_bytes(payload), content_type or "text/plain")


@dataclass(frozen=True)
class Part:
    """One part of a multipart/form-data body."""

    name: str
    filename: str | None
    content_type: str | None
    content: bytes


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """Return the parts of a form; ``ValueError`` says what is wrong with it.

    The body is in memory by then, because the journal keeps it, so finding the boundaries is all there is to do.
    """
    boundary = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise ValueError("the content type is not multipart/form-data with a boundary")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode()
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("the multipart body is cut off or has another boundary")
    return [_parse_part(piece) for piece in pieces[1:-1]]


def _parse_part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        raise ValueError("a part has no blank line after its headers")
    # Names come in UTF-8 straight (browsers, httpx) or percent-encoded (RFC 2231); this policy reads both.
    headers = BytesHeaderParser(policy=HTTP).parsebytes(head.lstrip(b"\r\n").replace(b"\r\n", b"\n") + b"\n\n")
    disposition = headers["content-disposition"]
    # Not get_filename(), which takes < and > around a name for quotes.
    parameters: Mapping[str, str] = disposition.params if disposition else {}
    if "name" not in parameters:
        raise ValueError("a part has no name")
    return Part(
        parameters["name"], parameters.get("filename"), headers["content-type"] and headers.get_content_type(), content
    )
