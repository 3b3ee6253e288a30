"""The command ``replicate-async``: run models, look at predictions, and serve Replicate's API on this machine.

The command needs the extra ``cli``; this module can be imported without it. ``python -m replicate_async.cli`` is the
same command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_async._version import __version__
from replicate_async.cli._console import INTERRUPTED, NAME, print_error
from replicate_async.errors import ReplicateError

if TYPE_CHECKING:
    from types import FrameType

    import click


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line. If omitted, the arguments of this process.

    Returns:
        The exit status: 0, 1 after a failure, 2 after wrong usage, 130 after Ctrl-C, 128 + the number of a signal.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # The stream is closed: its text is dropped.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        import click
    except ModuleNotFoundError:
        print_error("the command line needs another package: pip install click")
        return 1
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        # Characters that the terminal cannot encode are escaped instead of raising an error.
        reconfigure(errors="backslashreplace")
    command_line = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    signals: list[int] = []
    try:
        with _interrupted_by_signals(signals):
            return _commands().main(command_line, prog_name=NAME, standalone_mode=False) or 0
    except (click.Abort, *INTERRUPTED):
        return 128 + [*signals, signal.SIGINT][0]
    except (click.ClickException, ReplicateError, OSError, TypeError, ValueError) as error:
        # The SDK and the local server raise TypeError and ValueError for invalid arguments.
        usage = isinstance(error, (click.UsageError, TypeError, ValueError))
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        context = error.ctx if isinstance(error, click.UsageError) else None
        print_error(f"{text} (see {context.command_path if context else NAME} --help)" if usage else text)
        # A terminal that is gone is an OSError after SIGHUP.
        return 128 + signals[0] if signals else 2 if usage else 1


@contextmanager
def _interrupted_by_signals(received: list[int]) -> Generator[None]:
    """Make SIGTERM and SIGHUP what Ctrl-C is, so that they cancel what runs; append each that comes to a list."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # The event loop has a handler of its own. In the background of a script, Ctrl-C is ignored.
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A signal that is ignored, as by nohup, stays so. Only the main thread can handle signals.
    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = [number for number in numbers if in_main_thread and signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _commands() -> click.Group:
    """Return the group of all commands. Imports click, which may not be installed."""
    import click

    from replicate_async.cli._client import local_option
    from replicate_async.cli.codegen import codegen_command
    from replicate_async.cli.files import files_group
    from replicate_async.cli.map import map_command
    from replicate_async.cli.models import models_group
    from replicate_async.cli.predictions import predictions_group
    from replicate_async.cli.run import run_command
    from replicate_async.cli.serve import serve_command

    @click.group(
        commands=[
            *(run_command, map_command, models_group, predictions_group),
            *(files_group, serve_command, codegen_command),
        ],
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    @local_option
    @click.version_option(__version__, message="%(version)s")
    @click.pass_context
    def commands(context: click.Context, *, local: bool) -> None:
        """Run models on Replicate (https://replicate.com).

        The environment variable REPLICATE_API_TOKEN holds your API token. Set REPLICATE_BASE_URL to use another server
        than Replicate's own.
        """
        context.obj = local

    return commands
