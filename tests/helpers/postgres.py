"""A real PostgreSQL server, from the binaries that the package ``pgserver`` has."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# PostgreSQL refuses to run as root.
_NOBODY = 65534


@contextmanager
def running_postgres() -> Generator[str, None, None]:
    """Run a server in a temporary folder, and give the URL of its database."""
    spec = find_spec("pgserver")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parents[1]
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        if os.getuid() == 0:
            # The other user may not be allowed to see the environment's own folder.
            for name in ("pgserver/pginstall", "pgserver.libs"):
                shutil.copytree(packages / name, Path(folder) / name, symlinks=True)
            packages = Path(folder)
            os.chown(folder, _NOBODY, _NOBODY)
            options |= {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        binaries, data = packages / "pgserver" / "pginstall" / "bin", Path(folder) / "data"
        initialize = [binaries / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync"]
        subprocess.run(initialize, check=True, **options)
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        serve = [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        with subprocess.Popen(serve, **options) as server:
            try:
                end = time.monotonic() + 30
                while not _is_ready(port):
                    assert server.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.02)
                yield f"postgresql://tester@127.0.0.1:{port}/postgres"
            finally:
                # It does not wait for its clients.
                server.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(10)
                server.kill()


def _is_ready(port: int) -> bool:
    """Return whether the server answers a request for TLS, which it has no certificate for."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
        return connection.recv(1) == b"N"
    return False
