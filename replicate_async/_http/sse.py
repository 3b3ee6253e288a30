"""Server-sent events: the parser, without I/O."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_new = tuple.__new__  # half the time of the named tuple's own  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
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
        self._bytes = b""  # of the last character, if it is cut in two
        self._begun = False
        self._rest: list[str] = []  # of the last line, in the pieces that it came in
        self._after_cr = False  # a line feed that follows belongs to the same line end
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self.comment: str = ""

    def feed(self, piece: bytes) -> list[RawEvent]:
        """Take some bytes and return the events that they complete."""
        found: list[RawEvent] = []
        # What costs most is done once for all lines, here, and not in a function for each.
        event, data, event_id = self._event, self._data, self._id
        for line in self._lines(piece):
            if line:
                name, _, value = line.partition(":")
                if value[:1] == " ":
                    value = value[1:]
                if name == "data":
                    data.append(value)
                elif name == "event":
                    event = value
                elif name == "id":
                    if "\0" not in value:
                        event_id = value
                elif not name:
                    self.comment = value
            elif data or event:
                text = data[0] if len(data) == 1 else "\n".join(data)
                found.append(_new(RawEvent, (event or "message", text, event_id)))
                event, data, event_id = "", [], None
        self._event, self._data, self._id = event, data, event_id
        return found

    def _lines(self, piece: bytes) -> list[str]:
        """Return the lines that some bytes complete."""
        if self._bytes:
            piece = self._bytes + piece
        # Not an incremental decoder: those are written in Python.
        text, used = codecs.utf_8_decode(piece, "replace", False)
        self._bytes = piece[used:]
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")  # the standard allows a byte order mark
        if text and self._after_cr:
            self._after_cr = False
            text = text.removeprefix("\n")
        if "\r" in text:
            self._after_cr = text.endswith("\r")
            lines = _LINE_END.split(text)
        else:
            lines = text.split("\n")
        rest = lines.pop()
        if lines and self._rest:
            lines[0] = "".join([*self._rest, lines[0]])
            self._rest = []
        if rest:
            self._rest.append(rest)
        return lines
