"""Server-sent events: the decoder, without I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from replicate_async.errors import APIResponseValidationError

# In bytes: the longest line, or event of several lines, that is kept in memory.
MAX_LENGTH = 16 * 2**20

# This takes half the time of the named tuple's own constructor.
_new = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_LINE_END = re.compile(r"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """An event as the server sent it."""

    event: str
    data: str
    id: str | None


class SSEDecoder:
    """Takes the bytes of an event stream in chunks, and returns the events that are complete."""

    def __init__(self) -> None:
        # The bytes of a character that is incomplete.
        self._incomplete = b""
        self._at_start = True
        # The pieces of a line that is incomplete.
        self._line: list[str] = []
        # After a carriage return, a line feed belongs to the same line end.
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        # How much text has come since the last event or empty line.
        self._length = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take a chunk and return the events that it completes.

        Raises:
            APIResponseValidationError: a line, or an event, is too long.
        """
        events: list[ServerSentEvent] = []
        # One loop for all lines is faster than a method call for each line.
        event, data, event_id = self._event, self._data, self._id
        for line in self._lines(chunk):
            if line:
                name, _, value = line.partition(":")
                if value[:1] == " ":
                    value = value[1:]
                if name == "data":
                    data.append(value)
                elif name == "event":
                    event = value
                elif name == "id" and "\0" not in value:
                    event_id = value
            elif data or event:
                text = data[0] if len(data) == 1 else "\n".join(data)
                events.append(_new(ServerSentEvent, (event or "message", text, event_id)))
                event, data, event_id = "", [], None
        self._event, self._data, self._id = event, data, event_id
        self._length = 0 if events or not (data or event or self._line) else self._length + len(chunk)
        if self._length > MAX_LENGTH:
            raise APIResponseValidationError(
                f"the event stream has a line or an event of more than {MAX_LENGTH:,} bytes, which is the limit"
            )
        return events

    def _lines(self, chunk: bytes) -> list[str]:
        """Return the lines that a chunk completes."""
        if self._incomplete:
            chunk = self._incomplete + chunk
        # Python's incremental decoders are slower, because they are written in Python.
        text, used = codecs.utf_8_decode(chunk, "replace", False)
        self._incomplete = chunk[used:]
        if text and self._at_start:
            self._at_start = False
            # The standard allows a byte order mark.
            text = text.removeprefix("\ufeff")
        if text and self._after_cr:
            self._after_cr = False
            text = text.removeprefix("\n")
        if "\r" in text:
            self._after_cr = text.endswith("\r")
            lines = _LINE_END.split(text)
        else:
            lines = text.split("\n")
        rest = lines.pop()
        if lines and self._line:
            lines[0] = "".join([*self._line, lines[0]])
            self._line = []
        if rest:
            self._line.append(rest)
        return lines
