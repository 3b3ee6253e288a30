"""What all resources are: a set of calls that go through one transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_async._http.transport import Transport


class AsyncResource:
    """A part of the API."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
