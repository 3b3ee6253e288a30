"""The files of ``replicate-async map``: inputs and results, each a JSON object per line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec

from replicate_async._json import is_dict, is_list
from replicate_async._stores import SQLiteStore
from replicate_async.cli._console import write_bytes


class InputRow(msgspec.Struct, frozen=True):
    """A model's inputs.

    Attributes:
        index: The number of the row, from 0.
        input: The inputs as they are in the file.
        arguments: The inputs as they are sent: with paths for the names of files.
    """

    index: int
    input: dict[str, Any]
    arguments: dict[str, Any]


class Result(msgspec.Struct):
    """The outcome of an input, as a line of the output."""

    index: int
    id: str | None
    status: Any
    output: Any
    error: str | None
    metrics: Any


def open_rows(path: Path, *, files: bool) -> Generator[InputRow, None, None]:
    """Open a file of inputs, or standard input if the path is ``-``.

    Args:
        path: The file.
        files: Whether a text that begins with ``@`` names a file.

    Raises:
        OSError: The file cannot be opened.
        ValueError: From the generator, if a line is not a JSON object, or names a file that does not exist.
    """
    standard = str(path) == "-"
    # Not sys.stdin: the interpreter closes that at exit, and waits for a thread that still reads.
    file = open(0 if standard else path, "rb", closefd=not standard)  # noqa: SIM115
    return _read_rows(file, "standard input" if standard else str(path), _with_paths if files else None)


def _read_rows(file: IO[bytes], name: str, convert: Callable[[Any], Any] | None) -> Generator[InputRow, None, None]:
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
            try:
                arguments = convert(value) if convert else value
            except OSError as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
            yield InputRow(index, value, arguments)
            index += 1


def _with_paths(value: Any) -> Any:
    """Return a value of JSON with paths for texts that begin with ``@``."""
    if is_dict(value):
        return {name: _with_paths(item) for name, item in value.items()}
    if is_list(value):
        return [_with_paths(item) for item in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    path = Path(value[1:])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return path


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
        for result, size in read_results(self._file):
            self._size += size
            self.written.add(result.index)
            self.failed += result.error is not None
        self._file.truncate(self._size)


def read_results(file: IO[bytes]) -> Generator[tuple[Result, int], None, None]:
    """Yield the results in an output and the sizes of their lines, without half a line at the end.

    Raises:
        ValueError: The file has something else.
    """
    for line in file:
        if not line.endswith(b"\n") and line.startswith(b"{"):
            return
        try:
            yield msgspec.json.decode(line, type=Result), len(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"{file.name} has been changed since the batch was interrupted: {error}") from None


def journal_of(path: Path) -> Path:
    """Return where the journal of a batch with this output is."""
    return path.with_name(f"{path.name}.journal")


def open_results(
    stack: ExitStack, path: Path, *, resumable: bool, force: bool
) -> tuple[SQLiteStore | None, ResultWriter]:
    """Open the output of a batch and the store of its journal.

    Args:
        stack: Closes both.
        path: The file, or ``-`` for standard output.
        resumable: Whether the batch can be resumed, if the output is a file.
        force: Whether to delete what an earlier batch has written there.

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
    journal_path = journal_of(path)
    if force:
        if journal_path.exists():
            # This raises if another process writes there.
            journal = SQLiteStore(journal_path)
            journal.open(exclusive=True)
            remove_journal(journal)
        path.unlink(missing_ok=True)
    if path.exists() and path.stat().st_size and not (resumable and journal_path.exists()):
        raise ValueError(f"{path} exists: move it away, choose another name, or use --force to overwrite it")
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
