"""The files of ``replicate-async map``: inputs and results, each a JSON object per line."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import msgspec

from replicate_async.cli._console import write_bytes
from replicate_async.cli._journal import Journal


class InputRow(msgspec.Struct, frozen=True):
    """A model's inputs; the digest shows whether they are the same as before."""

    index: int
    digest: bytes
    input: dict[str, Any]


class Result(msgspec.Struct):
    """The outcome of an input, as a line of the output."""

    index: int
    id: str | None
    status: Any
    output: Any
    error: str | None
    metrics: Any


def open_rows(path: Path) -> Generator[InputRow, None, None]:
    """Open a file of inputs, or standard input if the path is ``-``.

    Raises:
        OSError: The file cannot be opened.
        ValueError: From the generator, if a line is not a JSON object.
    """
    standard = str(path) == "-"
    # Not sys.stdin: the interpreter closes that at exit, and waits for a thread that still reads.
    file = open(0 if standard else path, "rb", closefd=not standard)  # noqa: SIM115
    return _read_rows(file, "standard input" if standard else str(path))


def _read_rows(file: IO[bytes], name: str) -> Generator[InputRow, None, None]:
    index = 0
    with file:
        for number, line in enumerate(file, 1):
            # Some editors begin a file with a byte order mark.
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                value = msgspec.json.decode(text, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                raise ValueError(f"{name}, line {number}: not a JSON object with a model's inputs: {error}") from None
            yield InputRow(index, hashlib.blake2b(text, digest_size=16).digest(), value)
            index += 1


class ResultWriter:
    """Writes each result as one whole line, and records it in the journal.

    Attributes:
        done: The number of results, with those from before an interruption.
        failed: How many of them are errors.
    """

    def __init__(self, file: IO[bytes], journal: Journal | None = None, *, shared: bool = False) -> None:
        self._file = file
        self._journal = journal
        # Other processes may have written to the file, or still do.
        self._shared = shared
        self._size = self.done = self.failed = 0
        if journal is not None:
            self._resume(file, journal)
            self.done, self.failed = journal.counts()

    def write(self, result: Result) -> None:
        """Append a result."""
        try:
            size = write_bytes(msgspec.json.encode(result) + b"\n", self._file)
        except OSError:
            if not self._shared:
                # The disk is full: half a line would damage the next one.
                self._file.truncate(self._size)
            raise
        self._size += size
        self.done += 1
        self.failed += result.error is not None
        if self._journal is not None:
            self._journal.record_result(result.index, self._size, failed=result.error is not None)

    def _resume(self, file: IO[bytes], journal: Journal) -> None:
        """Record the whole lines that are missing in the journal, and remove half a line at the end.

        Raises:
            ValueError: The file doesn't have the results that the batch has written.
        """
        self._size = journal.size()
        if file.seek(0, os.SEEK_END) < self._size:
            raise ValueError(f"{file.name} has been changed since the batch was interrupted")
        file.seek(self._size)
        for line in file.readlines():
            if line.endswith(b"\n"):
                try:
                    result = msgspec.json.decode(line, type=Result)
                except msgspec.MsgspecError as error:
                    raise ValueError(f"{file.name} has been changed since the batch was interrupted: {error}") from None
                if journal[result.index] is None:
                    raise ValueError(f"{file.name} has results that are missing in its journal: move both away")
                self._size += len(line)
                journal.record_result(result.index, self._size, failed=result.error is not None)
        file.truncate(self._size)


def open_results(stack: ExitStack, path: Path, batch: str | None) -> tuple[Journal | None, ResultWriter]:
    """Open the output of a batch and its journal.

    Args:
        stack: Closes both.
        path: The file, or ``-`` for standard output.
        batch: Describes the batch. If None, it cannot be resumed and has no journal.

    Returns:
        The journal, or None if the batch cannot be resumed, and the writer.

    Raises:
        OSError: A file cannot be opened.
        ValueError: The output has other content, or another process writes it.
    """
    if str(path) == "-":
        standard = sys.stdout.buffer
        # Unbuffered: after a failed write, a buffer would be written again at exit.
        return None, ResultWriter(getattr(standard, "raw", standard), shared=True)
    if path.exists() and not path.is_file():
        return None, ResultWriter(stack.enter_context(path.open("wb", buffering=0)), shared=True)
    journal_path = path.with_name(f"{path.name}.journal")
    if path.exists() and path.stat().st_size and (batch is None or not journal_path.exists()):
        raise ValueError(f"{path} exists: move it away, or choose another name")
    journal = None if batch is None else stack.enter_context(closing(Journal(journal_path, batch)))
    return journal, ResultWriter(stack.enter_context(path.open("a+b", buffering=0)), journal)
