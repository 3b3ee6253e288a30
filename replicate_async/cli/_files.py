"""The files of ``replicate-async map``: inputs and results, each a JSON object per line."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec

from replicate_async._stores import SQLiteStore
from replicate_async.cli._console import write_bytes


class InputRow(msgspec.Struct, frozen=True):
    """A model's inputs."""

    index: int
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
            yield InputRow(index, value)
            index += 1


class ResultWriter:
    """Writes each result as one whole line.

    Attributes:
        written: The indices of the inputs whose results were written before an interruption.
        done: The number of results, with those from before an interruption.
        failed: How many of them are errors.
    """

    def __init__(self, file: IO[bytes], *, shared: bool = False) -> None:
        self._file = file
        # Other processes may have written to the file, or still do.
        self._shared = shared
        self._size = self.failed = 0
        self.written: set[int] = set()
        if not shared:
            self._resume()
        self.done = len(self.written)

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

    def _resume(self) -> None:
        """Read the results that the batch has written, and remove half a line at the end.

        Raises:
            ValueError: The file has something else.
        """
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n") and line.startswith(b"{"):
                break
            try:
                result = msgspec.json.decode(line, type=Result)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                changed = f"{self._file.name} has been changed since the batch was interrupted"
                raise ValueError(f"{changed}: {error}") from None
            self._size += len(line)
            self.written.add(result.index)
            self.failed += result.error is not None
        self._file.truncate(self._size)


def open_results(stack: ExitStack, path: Path, *, resumable: bool) -> tuple[SQLiteStore | None, ResultWriter]:
    """Open the output of a batch and the store of its journal.

    Args:
        stack: Closes both.
        path: The file, or ``-`` for standard output.
        resumable: Whether the batch can be resumed, if the output is a file.

    Returns:
        The store, or None if the batch cannot be resumed, and the writer.

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
    if path.exists() and path.stat().st_size and not (resumable and journal_path.exists()):
        raise ValueError(f"{path} exists: move it away, or choose another name")
    store = None
    if resumable:
        store = SQLiteStore(journal_path)
        # Two processes would write the same results.
        store.open(exclusive=True)
        stack.callback(store.close_now)
    return store, ResultWriter(stack.enter_context(path.open("a+b", buffering=0)))


def remove_journal(store: SQLiteStore) -> None:
    """Delete the journal of a batch that is done."""
    store.close_now()
    Path(store.path).unlink(missing_ok=True)
