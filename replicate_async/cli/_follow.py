"""What ``replicate-async run`` shows until a prediction has ended: its text, or a line with its status."""

from __future__ import annotations

import asyncio
import shutil
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import msgspec

from replicate_async import _schema as model_schema
from replicate_async._client import AsyncReplicate
from replicate_async._http import clock
from replicate_async._tasks import consume_exception
from replicate_async.cli._console import escape_controls, print_text
from replicate_async.errors import ReplicateError
from replicate_async.types import Prediction, logs_of

# In seconds. A prediction that is done sooner shows no status.
_QUIET = 1.0
_REDRAW_INTERVAL = 0.25
# In seconds. The first piece of a text is printed after this time, or with the second.
_HOLD = 0.25


class StatusLine:
    """A line on a terminal that is drawn again and again. Without a terminal, there is none."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self._drawn = False

    def draw(self, text: str) -> None:
        """Replace the line, cut to the terminal's width."""
        room = shutil.get_terminal_size().columns - 1
        line = ""
        for character in escape_controls(" ".join(text.split())):
            room -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
            line += character if room >= 0 else ""
        self._write(f"\r\x1b[K{line}")
        self._drawn = True

    def clear(self) -> None:
        """Remove the line."""
        if self._drawn:
            self._write("\r\x1b[K")
        self._drawn = False

    def _write(self, text: str) -> None:
        # The terminal may be gone.
        with suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)


class Follower:
    """Shows what becomes of a prediction.

    Args:
        client: The client of the prediction.
        fetch_schema: Fetches the model's schema; empty if there is none.
        prints_text: Whether to print the output as it is made, if it is text.
    """

    def __init__(
        self, client: AsyncReplicate, fetch_schema: Callable[[], Awaitable[dict[str, Any]]], *, prints_text: bool
    ) -> None:
        self._client = client
        self._fetch_schema = fetch_schema
        # None: not known yet.
        self._prints: bool | None = None if prints_text else False
        self._pieces: list[str] = []
        self._printed = ""
        self._printing: asyncio.Task[None] | None = None
        self._line = StatusLine()
        self._started_at = clock.current.monotonic()

    async def follow(self, prediction: Prediction) -> bool:
        """Show the events of a prediction until it has ended; return whether there is anything to show them.

        Raises:
            ModelError: The prediction failed.
            APIError: A call failed.
        """
        if not self._line.shown and self._prints is False:
            return False
        try:
            with self._status(prediction):
                await self._follow(prediction)
            return True
        finally:
            if self._printing is not None:
                self._printing.cancel()
            if self._printed:
                print_text("")

    def has_printed(self, text: str) -> bool:
        """Return whether a text was printed. Server-sent events end lines in one way only."""
        return bool(self._printed) and self._printed.splitlines() == text.splitlines()

    async def _follow(self, prediction: Prediction) -> None:
        events = self._client.predictions.stream(prediction, cancel_on_abort=False)
        async with aclosing(events):
            async for event in events:
                if event.event == "output":
                    await self._on_piece(event.data)
                elif event.event == "logs":
                    prediction.logs = logs_of(prediction) + event.data
                prediction.status = "processing"

    async def _on_piece(self, piece: str) -> None:
        self._pieces.append(piece)
        if self._prints is not False and len(self._pieces) == 1:
            self._printing = asyncio.ensure_future(self._print_first())
            self._printing.add_done_callback(consume_exception)
        elif self._prints is not False:
            await self._print()

    async def _print_first(self) -> None:
        # What isn't a list comes in one piece, at the end: it is printed then, without a request for the schema.
        await clock.current.sleep(_HOLD)
        await self._print()

    async def _print(self) -> None:
        """Print what has not been printed, if the output is text."""
        if self._prints is None:
            self._prints = await self._is_text()
        if self._prints:
            self._line.clear()
            text = "".join(self._pieces)
            printed, self._printed = self._printed, text
            print_text(text[len(printed) :], end="")

    async def _is_text(self) -> bool | None:
        """Return whether the pieces are of one text; None if that is not clear yet."""
        try:
            document = await self._fetch_schema()
        except ReplicateError:
            return False
        if model_schema.output(document):
            return model_schema.is_text(document)
        # No schema says whether a list of texts is one text in pieces, but most are.
        if self._pieces[0].startswith(("http://", "https://", "data:")):
            return False
        with suppress(msgspec.MsgspecError, RecursionError):
            # A number or an object, if nothing follows.
            msgspec.json.decode(self._pieces[0])
            return None if len(self._pieces) == 1 else True
        return True

    @contextmanager
    def _status(self, prediction: Prediction) -> Generator[None, None, None]:
        """Draw the status while the context lasts, until there is text."""

        def draw() -> None:
            if not self._printed:
                self._line.draw(self._text(prediction))
                timers.append(clock.current.call_later(_REDRAW_INTERVAL, draw))
                del timers[0]

        timers = [clock.current.call_later(_QUIET, draw)] if self._line.shown else []
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
            self._line.clear()

    def _text(self, prediction: Prediction) -> str:
        elapsed = clock.current.monotonic() - self._started_at
        parts = [f"{prediction.status} {elapsed:.0f} s"]
        if progress := prediction.progress:
            parts.append(f"{progress.percentage:.0%}")
            if 0 < progress.percentage < 1:
                parts.append(f"about {elapsed * (1 / progress.percentage - 1):.0f} s left")
        if last := logs_of(prediction).replace("\r", "\n").rstrip().rpartition("\n")[2]:
            parts.append(last)
        return ", ".join(parts)
