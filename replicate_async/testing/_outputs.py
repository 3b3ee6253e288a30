"""The output files of models, which the server keeps for an hour."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote, urlsplit

from ._files import OutputFile
from ._real_clock import Clock

RETENTION = timedelta(hours=1)


class Outputs:
    """The output files of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, tuple[datetime, OutputFile]] = {}

    def publish(self, file: OutputFile, origin: str) -> str:
        """Publish a file, and return its unguessable URL."""
        self._expire()
        key = secrets.token_urlsafe(32)
        self._files[key] = (self._clock.now() + RETENTION, file)
        return f"{origin}/{key}/{quote(file.file_name, safe='')}"

    def find(self, key: str) -> OutputFile | None:
        """Return the file with a key, or None if it doesn't exist or has expired."""
        self._expire()
        return self._files[key][1] if key in self._files else None

    def at(self, url: str) -> OutputFile | None:
        """Return the file at a published URL, or None if it doesn't exist or has expired."""
        return self.find(urlsplit(url).path.split("/")[1])

    def inline(self, output: Any, origin: str) -> Any:
        """Return an output with data URIs instead of the URLs of its files."""
        if isinstance(output, list):
            items = cast("list[Any]", output)  # type: ignore[redundant-cast]  # for pyright
            return [self.inline(item, origin) for item in items]
        if isinstance(output, dict):
            return {key: self.inline(item, origin) for key, item in cast("dict[str, Any]", output).items()}
        if isinstance(output, str) and output.startswith(f"{origin}/"):
            file = self.at(output)
            return output if file is None else file.data_uri()
        return output

    def _expire(self) -> None:
        now = self._clock.now()
        while self._files:
            oldest = next(iter(self._files))
            if self._files[oldest][0] > now:
                break
            del self._files[oldest]
