"""Server-sent events: the parser, without I/O."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r")


class RawEvent(NamedTuple):
    """An event as it came."""

    event: str
    data: str
    id: str | None


class EventParser:
    """Takes the bytes of an event stream in whatever pieces, and gives the events that are complete.

    ``comment`` is the last comment line, without its colon.
    """

    def __init__(self) -> None:
        # The -sig codec drops a byte order mark, which the standard allows at the start.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest: list[str] = []  # of the last line, in the pieces that it came in
        self._after_cr = False  # a line feed that follows belongs to the same line end
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self.comment: str = ""

    def feed(self, piece: bytes) -> list[RawEvent]:
        """Take some bytes and return the events that they complete."""
        text = self._decoder.decode(piece)
        if text:
            text = text.removeprefix("\n") if self._after_cr else text
            self._after_cr = text.endswith("\r")
        lines = _LINE_END.split(text) if "\r" in text else text.split("\n")
        rest = lines.pop()
        if lines and self._rest:
            lines[0] = "".join([*self._rest, lines[0]])
            self._rest = []
        if rest:
            self._rest.append(rest)
        found: list[RawEvent] = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data or self._event:
                found.append(RawEvent(self._event or "message", "\n".join(self._data), self._id))
                self._event = ""
                self._data = []
                self._id = None
        return found

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif not name:
            self.comment = value
