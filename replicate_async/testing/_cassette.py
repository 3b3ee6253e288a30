"""Cassettes: files of recorded requests and responses, in JSON that people can read."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

# Headers that the meaning of a request depends on.
_REQUEST_HEADERS = ("Prefer", "Cancel-After")
# Headers of responses that concern one connection or browser. All others are recorded.
_CONNECTION_HEADERS = {
    *("alt-svc", "connection", "content-encoding", "content-length", "keep-alive", "nel", "proxy-authenticate"),
    *("report-to", "set-cookie", "trailer", "transfer-encoding", "upgrade"),
}


class Part(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A part of a form."""

    name: str
    body: Body
    filename: str | None = None


class Body(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A body, in the most readable of these formats. The binary body of a request is a digest only."""

    json: Any = UNSET
    lines: list[str] | None = None
    form: list[Part] | None = None
    base64: str | None = None
    sha256: str | None = None
    size: int | None = None

    def to_bytes(self) -> bytes:
        """Return the body of a response."""
        if self.json is not UNSET:
            return msgspec.json.encode(self.json)
        return "\n".join(self.lines).encode() if self.lines is not None else base64.b64decode(self.base64 or "")


class RecordedRequest(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A request."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: Body | None = None


class RecordedResponse(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A response."""

    status: int
    headers: dict[str, str] = {}
    body: Body | None = None


class Exchange(msgspec.Struct, forbid_unknown_fields=True):
    """A request and its response."""

    request: RecordedRequest
    response: RecordedResponse = msgspec.field(name="answer")


class Cassette(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The content of a file. ``test`` is the test that it was recorded by, if any."""

    base_url: str
    recorded_at: datetime
    exchanges: list[Exchange]
    test: str = ""


class _Label(msgspec.Struct):
    """The test of a cassette, whatever else is in the file."""

    test: str = ""


def read_test(path: Path) -> str:
    """Return the test that a file was recorded by; an empty string if the file doesn't say so, or doesn't exist."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Label).test
    except (FileNotFoundError, msgspec.DecodeError):
        return ""


def read_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> RecordedRequest:
    """Return a request as it is recorded, but with its secrets."""
    kept = {name: headers[name] for name in _REQUEST_HEADERS if name in headers}
    return RecordedRequest(method, url, kept, _request_body(body, headers.get("Content-Type", "")) if body else None)


def read_response(status: int, headers: Mapping[str, str], body: bytes) -> RecordedResponse:
    """Return a response as it is recorded, but with its secrets."""
    kept = {name: value for name, value in headers.items() if name.lower() not in _CONNECTION_HEADERS}
    content = _text_body(body, headers.get("Content-Type", "")) or Body(base64=base64.b64encode(body).decode())
    return RecordedResponse(status, kept, content if body else None)


def _text_body(body: bytes, content_type: str) -> Body | None:
    try:
        if "json" in content_type and (value := _decode_exactly(body)) is not UNSET:
            return Body(json=value)
        if "json" in content_type or content_type.startswith("text/"):
            return Body(lines=body.decode().split("\n"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return None


def _decode_exactly(body: bytes) -> Any:
    """Return a JSON document; UNSET if it has integers that msgspec can't decode exactly."""
    value = msgspec.json.decode(body)
    encoded = msgspec.json.encode(value)
    return value if encoded == body or json.loads(encoded) == json.loads(body) else UNSET


def _request_body(body: bytes, content_type: str) -> Body:
    if content_type.startswith("multipart/form-data"):
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        return Body(form=[_part(part) for part in form.iter_parts()])
    return _text_body(body, content_type) or _digest(body)


def _part(part: Any) -> Part:
    name = str(part.get_param("name", "", header="content-disposition"))
    content: bytes = part.get_payload(decode=True) or b""
    if part.get_filename() is None:
        return Part(name, _text_body(content, part.get_content_type()) or _digest(content))
    return Part(name, _digest(content), part.get_filename())


def _digest(content: bytes) -> Body:
    return Body(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
