"""``replicate-async serve``: serve Replicate's API on this machine."""

from __future__ import annotations

import asyncio
import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import click

from replicate_async._client import BASE_URL_VARIABLE
from replicate_async._http.options import TOKEN_VARIABLE
from replicate_async.cli._client import Seconds, create_server
from replicate_async.cli._console import INTERRUPTED

if TYPE_CHECKING:
    from replicate_async.testing import LocalServer


@click.command("serve")
@click.argument("target", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 for a free one."
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Faults to inject: a TOML file with tables [[faults]].",
)
@click.option(
    "--latency",
    type=Seconds(0, 60),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Delay of every request; 0.2 is like Replicate.",
)
@click.option(
    "--limits",
    type=click.Choice(["default", "low_credit", "no_credit"]),
    help="Rate limits of the account. If omitted, there are none.",
)
def serve_command(
    *,
    target: str | None,
    host: str,
    port: int,
    faults: Path | None,
    latency: float,
    limits: Literal["default", "low_credit", "no_credit"] | None,
) -> None:
    """Serve Replicate's API on this machine until Ctrl-C.

    The server needs neither an account nor a network. It prints the two environment variables that programs need to
    use it, and the URL of a page for the browser.

    TARGET is module:function. The function takes the server and registers models on it. If omitted, the server has
    demonstration models.

    \b
      # my_models.py
      def register(server):
          @server.model("acme/shout")
          def shout(text: str) -> str:
              return text.upper()

    \b
      replicate-async serve my_models:register --port 8000
    """  # noqa: D301 - click reads the \b, which keeps the line breaks of a paragraph
    # The target may be a module in the current folder.
    sys.path.insert(0, "")
    server = create_server(target, host=host, port=port, faults=faults, latency=latency, limits=limits)
    if not server.models:
        raise click.UsageError(f"{target} registered no models: it takes the server, and calls server.model(...)")
    try:
        anyio.run(_serve, server)
    except INTERRUPTED:
        # Ctrl-C is the regular end.
        return
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise click.UsageError(f"port {port} is in use: choose another one with --port, or --port 0") from error


async def _serve(server: LocalServer) -> None:
    async with server:
        click.echo(f"{BASE_URL_VARIABLE}={server.base_url}\n{TOKEN_VARIABLE}={server.token}")
        click.echo(f"Listening on {server.url}, a page to run and watch models: {', '.join(server.models)}.")
        await asyncio.Event().wait()
