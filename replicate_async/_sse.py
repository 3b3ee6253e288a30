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
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self.comment: str = ""

    def feed(self, piece: bytes) -> list[RawEvent]:
        """Take some bytes and return the events that they complete."""
        text = self._rest + self._decoder.decode(piece)
        if "\r" not in text:
            lines = text.split("\n")
        elif text.endswith("\r"):  # half of a line end, perhaps
            lines = _LINE_END.split(text[:-1])
            lines[-1] += "\r"
        else:
            lines = _LINE_END.split(text)
        self._rest = lines.pop()
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
