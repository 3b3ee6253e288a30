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

from replicate_async.testing import LocalServer, _targets


async def _serve(server: LocalServer, hello: TextIO, *, until_eof: bool) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(end.set)

    async with server:
        hello.write(json.dumps({"url": server.url, "delivery_url": server.delivery_url, "token": server.token}) + "\n")
        hello.flush()
        if until_eof:
            threading.Thread(target=watch, daemon=True).start()
        await end.wait()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m replicate_async.testing", description=__doc__)
    parser.add_argument("target", nargs="?", default=_targets.DEFAULT)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--options", type=json.loads, default={}, help="arguments of LocalServer, as JSON")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    # Whoever reads standard output wants that line alone, and may read no further: a full pipe would hold a model up.
    # So what models print goes elsewhere, also past sys.stdout, and from programs that they run.
    hello = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    server = LocalServer(**{"port": arguments.port, **arguments.options})
    _targets.register(arguments.target, server)
    try:
        anyio.run(partial(_serve, server, hello, until_eof=arguments.until_eof))
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C; the latter on Python 3.10
        return


if __name__ == "__main__":
    main()
