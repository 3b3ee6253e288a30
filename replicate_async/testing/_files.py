"""The files of models: inputs, outputs, data URIs, and multipart forms that upload them."""

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
    """A file that a model returns, or takes as an input.

    If ``content_type`` is omitted, it is guessed from the name, then from the data.

    Raises:
        ValueError: The content type is invalid, for example because it contains line breaks.
    """

    # Not a dataclass: msgspec would encode its fields, but the JSON form of a file is its URL.
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
        """The content type, as set or guessed."""
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
        """The name without folders, or a default name that fits the type."""
        if name := Path(self.name or "").name:
            return name
        kind = self.type.partition(";")[0]
        subtype = kind.rpartition("/")[2]
        return "output" + (mimetypes.guess_extension(kind) or (f".{subtype}" if subtype.isalnum() else ""))

    @classmethod
    def coerce(cls, value: OutputFile | bytes | Path) -> OutputFile:
        """Return bytes, or the file at a path, as an output file.

        Raises:
            OSError: The file can't be read.
        """
        if isinstance(value, OutputFile):
            return value
        if isinstance(value, Path):
            return cls(value.read_bytes(), name=value.name)
        return cls(value)

    def data_uri(self) -> str:
        """Return the file as a data URI."""
        return f"data:{self.type};base64,{base64.b64encode(self.data).decode()}"


def read_data_uri(uri: str) -> OutputFile:
    """Return the file in a data URI; raises ``ValueError`` if the URI is not a data URI."""
    header, comma, payload = uri.partition(",")
    if not comma or header[:5].lower() != "data:":
        raise ValueError("not a data URI")
    content_type = header[5:].removesuffix(";base64")
    if header.endswith(";base64"):
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
    """Return the parts of a form; raises ``ValueError`` if it is malformed.

    The body is in memory anyway, because the journal keeps it.
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
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("a part has no blank line after its headers")
    # Names are plain UTF-8 (browsers, httpx) or percent-encoded (RFC 2231); this policy reads both.
    headers = BytesHeaderParser(policy=HTTP).parsebytes(head.lstrip(b"\r\n").replace(b"\r\n", b"\n") + b"\n\n")
    disposition = headers["content-disposition"]
    # get_filename() would strip < and > around a name as if they were quotes.
    parameters: Mapping[str, str] = disposition.params if disposition else {}
    if "name" not in parameters:
        raise ValueError("a part has no name")
    return Part(
        parameters["name"], parameters.get("filename"), headers["content-type"] and headers.get_content_type(), content
    )
