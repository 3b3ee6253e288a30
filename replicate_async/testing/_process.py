"""A local server in a process of its own, for benchmarks and for programs in other languages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import msgspec

from replicate_async._typing import Self

DEFAULT_TARGET = "replicate_async.testing.models:register"


class _Address(msgspec.Struct):
    """The line that the process prints when the server listens."""

    url: str
    delivery_url: str
    token: str


def _encode_path(value: object) -> str:
    """Return a path as JSON. All other options are plain data."""
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{value!r} can't be passed to another process")


class ServerProcess:
    """A running ``LocalServer`` in another process; leaving the ``with`` statement ends the process.

    The process also ends when this one does, for whatever reason, because it watches the pipe to its standard input.

    Raises:
        TypeError: An option has no JSON form, such as a clock.
        RuntimeError: When the ``with`` statement is entered: the process has ended at once.
    """

    def __init__(self, target: str, **options: Any) -> None:
        self._command = [
            *(sys.executable, "-m", "replicate_async.testing", "--until-eof"),
            *("--options", msgspec.json.encode(options, enc_hook=_encode_path).decode(), target),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._address = _Address("", "", "")

    @property
    def url(self) -> str:
        """The server's origin."""
        return self._address.url

    @property
    def base_url(self) -> str:
        """The base URL for clients."""
        return f"{self.url}/v1"

    @property
    def delivery_url(self) -> str:
        """The origin of event streams and output files."""
        return self._address.delivery_url

    @property
    def token(self) -> str:
        """The only token that the server accepts."""
        return self._address.token

    @property
    def pid(self) -> int:
        """The process id; 0 if there is no process."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        # Only this process may find the target's module, for example in a folder of tests.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        self._process = subprocess.Popen(  # noqa: S603  (this interpreter)
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            status = self._stop()
            raise RuntimeError(f"the server's process ended at once with status {status}; its error output says why")
        self._address = msgspec.json.decode(line, type=_Address)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        # Leaving this block waits for the process.
        with process:
            # The process ends when its standard input is closed.
            if process.stdin:
                process.stdin.close()
            try:
                return process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()
