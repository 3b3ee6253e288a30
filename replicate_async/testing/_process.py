"""A local server in a process of its own: for benchmarks, and for programs that aren't Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Self


class _Hello(msgspec.Struct):
    """The line that the process prints when it listens."""

    url: str
    delivery_url: str
    token: str


def _plain(value: object) -> str:
    """Return a path as JSON has it; of the options, it is all that isn't plain data already."""
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{value!r} can't be given to another process")


class ServerProcess:
    """A running ``LocalServer`` in another process; leaving the ``with`` statement ends it.

    It also ends when this process does, however that happens: it watches the pipe that is its standard input.
    """

    def __init__(self, target: str, **options: Any) -> None:
        self._command = [
            *(sys.executable, "-m", "replicate_async.testing", "--until-eof"),
            *("--options", msgspec.json.encode(options, enc_hook=_plain).decode(), target),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._hello = _Hello("", "", "")

    @property
    def url(self) -> str:
        """The server's origin."""
        return self._hello.url

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        return f"{self.url}/v1"

    @property
    def delivery_url(self) -> str:
        """The origin that event streams and output files come from."""
        return self._hello.delivery_url

    @property
    def token(self) -> str:
        """The only token that the server accepts."""
        return self._hello.token

    @property
    def pid(self) -> int:
        """The process id, 0 when there is no process."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        # The target may live where only this process looks, such as a folder of tests.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        self._process = subprocess.Popen(  # noqa: S603  (this very interpreter)
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            status = self._stop()
            raise RuntimeError(f"the server's process ended at once with status {status}; its error output says why")
        self._hello = msgspec.json.decode(line, type=_Hello)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with process:  # closes its standard input, which tells it to end, and waits
            if process.stdin:
                process.stdin.close()
            try:
                return process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()
