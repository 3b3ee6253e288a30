"""The base class of all resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_async._http.transport import Transport


class AsyncResource:
    """A group of API operations that share a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
