"""The input and output of an operation: a call, and a response or a problem. Independent of aiohttp."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec

from ._faults import Fault
from ._validation import InvalidField, invalid_fields, schema_of

T = TypeVar("T")

_JSON = re.compile(r"\s*application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Call:
    """A request as the server received it; the journal ``LocalServer.requests`` is a list of calls.

    ``operation`` is the operation's name (``"predictions.create"``), ``"predictions.stream"`` for a request to
    ``urls.stream``, ``"outputs.download"`` for an output file, and empty if no operation matches. ``path`` and
    ``query_string`` are as sent, still percent-encoded; ``path_arguments`` are decoded. The journal keeps the first
    MiB of a larger body. ``status`` is 0 until the server has responded. ``disconnected`` is true if the client
    disconnected before it had the whole response; ``fault`` is the fault that the server injected, if any.
    """

    operation: str
    method: str
    path: str
    query_string: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    path_arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    status: int = 0
    disconnected: bool = False
    fault: Fault | None = None

    @property
    def token(self) -> str | None:
        """The credentials that the client sent, if any, even if the operation doesn't require them."""
        return self.headers.get("Authorization")

    def json(self) -> Any:
        """Return the decoded JSON body.

        Raises:
            msgspec.DecodeError: The body is not JSON.
        """
        return msgspec.json.decode(self.body)

    def decode(self, shape: type[T]) -> T:
        """Return the body as a struct, or raise the API's problem if it doesn't match."""
        media_type = self.headers.get("Content-Type", "")
        # A body without a type is accepted: what the API says to it is not documented.
        if self.body and media_type and not _JSON.match(media_type):
            raise Problem(415, f'Unsupported media type "{media_type}" in request.')
        try:
            value = msgspec.json.decode(self.body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, f"JSON parse error - {error}") from None
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            body_type: Any = shape
            problems = invalid_fields(value, *schema_of(body_type))
            raise invalid_body(problems or [InvalidField("invalid", "", str(error))]) from None


@dataclass(slots=True)
class Response:
    """A response: a body, or, for an event stream, chunks that are sent as they come.

    Faults set the remaining fields. ``abort`` stalls or resets the connection instead of responding. ``truncate_at``
    is the number of bytes of the body to send; with ``clean_end`` the transfer looks complete nevertheless.
    ``bytes_per_second`` slows the body down.
    """

    body: bytes = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: Mapping[str, str] | None = None
    chunks: AsyncGenerator[bytes, None] | None = None
    abort: Literal["stall", "reset"] | None = None
    truncate_at: int | None = None
    clean_end: bool = False
    bytes_per_second: float | None = None


def parse_int(text: str) -> int | None:
    """Return a text of decimal digits as a number; None if it isn't one, or is longer than 18 digits."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def json_response(content: object, status: int = 200) -> Response:
    """Return a struct, list or dict as a response."""
    return Response(_encode(content), status)


def empty_response(status: int) -> Response:
    """Return a response without a body."""
    return Response(status=status, content_type=None)


class Problem(Exception):  # noqa: N818  (the API's term)
    """An error response of type ``application/problem+json`` (RFC 9457). Keyword arguments become further members."""

    def __init__(self, status: int, detail: str, *, title: str | None = None, **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: Mapping[str, str] | None = None
        # Most errors of the API have no title.
        self.document: dict[str, object] = {
            **({"title": title} if title else {}),
            "detail": detail,
            "status": status,
            **members,
        }

    def response(self) -> Response:
        """Return the problem as a response."""
        return Response(_encode(self.document), self.status, "application/problem+json", self.headers)


def not_found() -> Problem:
    """Return the API's 404, which doesn't say what is missing."""
    return Problem(404, "The requested resource could not be found.")


def forbidden() -> Problem:
    """Return the API's 403."""
    return Problem(403, "You do not have permission to perform this action.")


def invalid_body(problems: Iterable[InvalidField]) -> Problem:
    """Return the API's 422 for invalid members of a body, or for invalid parameters."""
    problems = list(problems)
    return Problem(
        422,
        "".join(f"- {problem}\n" for problem in problems),
        title="Input validation failed",
        invalid_fields=[problem._asdict() for problem in problems],
    )


def invalid(field: str, description: str, kind: str = "invalid") -> Problem:
    """Return the API's 422 for one invalid member or parameter."""
    return invalid_body([InvalidField(kind, field, description)])
