"""Files that models return, for an hour on the other origin."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ._calls import Answer, Call, Problem
from ._clock import Clock
from ._files import OutputFile

if TYPE_CHECKING:
    from ._store import Store

RETENTION = timedelta(hours=1)


async def download(store: Store, call: Call) -> Answer:
    """Send an output file; the URL is all that is asked for."""
    file = store.outputs.find(call.path_arguments["output_key"])
    if file is None:
        raise Problem(404, "There is no such file on this server; output files are gone after an hour.")
    return Answer(file.data, 200, file.type)


class Outputs:
    """The output files of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, tuple[datetime, OutputFile]] = {}

    def publish(self, file: OutputFile, origin: str) -> str:
        """Return a URL for a file: one that nobody can guess."""
        self._expire()
        key = secrets.token_urlsafe(32)
        self._files[key] = (self._clock.now() + RETENTION, file)
        return f"{origin}/{key}/{quote(file.file_name, safe='')}"

    def find(self, key: str) -> OutputFile | None:
        """Return the file with the key, unless it is gone."""
        self._expire()
        return self._files[key][1] if key in self._files else None

    def at(self, url: str) -> OutputFile | None:
        """Return the file that a published URL names, unless it is gone."""
        return self.find(urlsplit(url).path.split("/")[1])

    def _expire(self) -> None:
        now = self._clock.now()
        while self._files:
            oldest = next(iter(self._files))
            if self._files[oldest][0] > now:
                break
            del self._files[oldest]
