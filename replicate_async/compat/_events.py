"""Events of streams."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._typing import Self
from replicate_async.compat.helpers import convert_output
from replicate_async.compat.settings import BaseClient


class _EventType(str, Enum):
    """The kind of an event."""

    OUTPUT = "output"
    LOGS = "logs"
    ERROR = "error"
    DONE = "done"


class ServerSentEvent(str):  # noqa: SLOT000 - pickle needs a dict
    """An event of a stream.

    ``event`` is its kind, ``data`` a piece of the output or a file output, ``id`` the server's id. As a text it is the
    piece of output, and empty for other events.
    """

    EventType: ClassVar[type[_EventType]] = _EventType

    event: _EventType
    data: Any
    id: str
    retry: int | None

    def __new__(cls, event: str | _EventType, data: Any = "", id: str = "", retry: int | None = None) -> Self:
        """Create an event."""
        kind = _EventType(event)
        self = super().__new__(cls, str(data) if kind is _EventType.OUTPUT else "")
        self.event, self.data, self.id, self.retry = kind, data, id, retry
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.event.value, self.data, self.id, self.retry

    def __repr__(self) -> str:
        return f"ServerSentEvent(event={self.event.value!r}, data={self.data!r}, id={self.id!r})"


def to_event(client: BaseClient, event: StreamEvent, *, use_file_output: bool) -> ServerSentEvent:
    """Return the event of this package for a native one."""
    data: Any = event.data
    if use_file_output and event.event == "output" and data.startswith(("https:", "http:", "data:")):
        data = convert_output(with_files(client.transport, data))
    return ServerSentEvent(event.event, data, event.id or "")
