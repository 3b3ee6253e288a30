"""The client that a command uses: of Replicate's API, or of a server inside the command (``--local``)."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from replicate_async._client import AsyncReplicate
from replicate_async._http.options import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from replicate_async.testing import LocalServer


def _check_local(context: click.Context, _parameter: click.Parameter, local: bool) -> bool:
    """Take the option from before or after the command's name; raise UsageError if the token is missing."""
    local = local or bool(context.obj)
    if context.parent is not None:
        check_token(local=local)
    return local


def check_token(*, local: bool) -> None:
    """Raise UsageError if the token is missing; ``local`` needs none."""
    if not local and not os.environ.get(TOKEN_VARIABLE, "").strip():
        raise click.UsageError(
            f"no API token: set the environment variable {TOKEN_VARIABLE}, or use --local to run demonstration models"
            " on this machine"
        )


# For the group, which stores the value as the context's ``obj``, and for the commands that call the API.
local_option = click.option(
    "--local", is_flag=True, callback=_check_local, help="Use a server inside this command, with demonstration models."
)


class Seconds(click.FloatRange):
    """A number of seconds; click takes NaN for one in any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; raise BadParameter if it is none, or out of range."""
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:  # noqa: PLR0124 - only NaN does
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


def check_folder(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Raise BadParameter if the folder of an output file doesn't exist; a callback for options."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


@asynccontextmanager
async def open_client(*, local: bool) -> AsyncGenerator[AsyncReplicate, None]:
    """Open a client of Replicate's API, or of a server in this process."""
    if not local:
        async with AsyncReplicate() as client:
            yield client
        return
    # A proxy in the environment cannot reach the server in this process.
    os.environ["no_proxy"] = "*"
    server = create_server()
    async with server, AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


def create_server(target: str | None = None, **options: Any) -> LocalServer:
    """Create a local server and register the models of a target, or the demonstration models.

    Raises:
        ValueError: The target or an option is invalid.
    """
    from replicate_async.testing import LocalServer
    from replicate_async.testing._loader import load_models

    server = LocalServer(**options)
    load_models(target, server)
    return server
