"""What goes in and out of an operation: a call, and an answer or a problem. Nothing here knows of aiohttp."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from ._faults import Fault

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Call:
    """One request as it came; the journal ``LocalServer.requests`` is a list of these.

    ``operation`` is the name in the API's table (``"predictions.create"``), ``"predictions.stream"`` for a request to
    ``urls.stream``, ``"outputs.download"`` for an output file, empty for a request that fits none. ``path`` and
    ``query_string`` are as sent, still percent-encoded; ``path_arguments`` are decoded. Of a body over 1 MiB the
    journal keeps the first MiB. ``status`` is 0 until the request has been answered. ``disconnected`` tells that the
    client left before it had the whole answer, ``fault`` which of the server's faults acted.
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
        """The credentials that came along, if any, whether or not the operation asks for them."""
        return self.headers.get("Authorization")

    def json(self) -> Any:
        """Return the decoded JSON body."""
        return msgspec.json.decode(self.body)

    def decode(self, shape: type[T]) -> T:
        """Return the body as a struct, or raise the problem that the API answers with."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=shape)
        except msgspec.ValidationError as error:
            raise Problem(422, str(error), title="Validation failed") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, f"The body is not JSON: {error}") from None


@dataclass(slots=True)
class Answer:
    """What goes back: a body, or, for an event stream, chunks that are sent as they come.

    The rest is for faults: an ``ending`` instead of an answer; how many bytes of the body are sent (``cut``), and
    whether the transfer looks complete nevertheless (``clean``); how many bytes a second (``rate``).
    """

    body: bytes = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: Mapping[str, str] | None = None
    chunks: AsyncGenerator[bytes, None] | None = None
    ending: Literal["stall", "reset"] | None = None
    cut: int | None = None
    clean: bool = False
    rate: float | None = None


def whole_number(text: str) -> int | None:
    """Return the number that a text is, None if it is none or a very long one, which Python refuses to read."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def json_answer(thing: object, status: int = 200) -> Answer:
    """Return a struct, list or dict as an answer."""
    return Answer(_encode(thing), status)


def empty_answer(status: int) -> Answer:
    """Return an answer without a body."""
    return Answer(status=status, content_type=None)


class Problem(Exception):  # noqa: N818  (what the API calls it)
    """A refusal: an answer of type ``application/problem+json``. Keyword arguments become further members."""

    def __init__(self, status: int, detail: str, *, title: str | None = None, **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: Mapping[str, str] | None = None
        self.document: dict[str, object] = {
            "title": title or HTTPStatus(status).phrase.capitalize(),
            "detail": detail,
            "status": status,
            **members,
        }

    def answer(self) -> Answer:
        """Return the problem as an answer."""
        return Answer(_encode(self.document), self.status, "application/problem+json", self.headers)
