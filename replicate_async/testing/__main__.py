"""Run a local server until it is interrupted: ``python -m replicate_async.testing [module:function]``.

The function is called with the server and registers models on it. Prints one line of JSON with the server's URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from functools import partial
from typing import TextIO

import anyio

from ._loader import load_models
from ._process import DEFAULT_TARGET
from ._server import LocalServer


async def _serve(server: LocalServer, output: TextIO, *, until_eof: bool) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end_at_eof() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(end.set)

    async with server:
        output.write(json.dumps({"url": server.url, "delivery_url": server.delivery_url, "token": server.token}) + "\n")
        output.flush()
        if until_eof:
            threading.Thread(target=end_at_eof, daemon=True).start()
        await end.wait()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m replicate_async.testing", description=__doc__)
    parser.add_argument("target", nargs="?", default=DEFAULT_TARGET)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--options", type=json.loads, default={}, help="arguments of LocalServer, as JSON")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    # The parent process reads the first line of standard output only, so a full pipe would block a model that prints.
    # Redirecting the file descriptor covers programs that models run as well.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    server = LocalServer(**{"port": arguments.port, **arguments.options})
    load_models(arguments.target, server)
    try:
        anyio.run(partial(_serve, server, output, until_eof=arguments.until_eof))
    # Ctrl-C is a CancelledError on Python 3.10.
    except (KeyboardInterrupt, asyncio.CancelledError):
        return


if __name__ == "__main__":
    main()
