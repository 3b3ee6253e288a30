"""``replicate-async map``: run a model on each line of a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import click

from replicate_async._predictions.claims import Entries
from replicate_async._predictions.requests import ModelRef
from replicate_async._usage import Usage
from replicate_async.cli._client import check_folder, local_option, open_client
from replicate_async.cli._console import print_error, print_text
from replicate_async.cli._usage import print_usage, read_prices


@click.command("map")
@click.argument("ref")
@click.argument("inputs", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@local_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=check_folder,
    metavar="OUTPUTS",
    default="-",
    help="The file for the results. If omitted, standard output.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Number of predictions that run at once.",
)
@click.option("--files", is_flag=True, help='Send files: "@cat.png" in an input is the content of cat.png.')
@click.option("--force", is_flag=True, help="Start over: overwrite OUTPUTS, and forget the running predictions.")
@click.option("--status", is_flag=True, help="Print how many inputs are done, and run nothing.")
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=read_prices,
    metavar="TOML",
    help="Print the cost. The file has a table of prices for each model, such as image_count = 0.003.",
)
def map_command(
    *,
    ref: str,
    inputs: Path,
    local: bool,
    output: Path,
    concurrency: int,
    files: bool,
    force: bool,
    status: bool,
    prices: Mapping[str, Any] | None,
) -> None:
    """Run the model REF on each line of INPUTS.

    A line of INPUTS is a JSON object with the model's inputs by name; empty lines are skipped. Each result is a line
    of OUTPUTS: the input's index (counted from 0), the prediction's id, status and metrics, and its output or its
    error. Results are written as soon as they are ready. Files are URLs, which are valid for an hour.

    If the command is interrupted or killed, run the same command again to resume: running predictions continue in
    the meantime, and nothing is paid for twice. OUTPUTS.journal records the predictions until the batch is done. With
    --local, or when OUTPUTS is not a file but - or a pipe, the command cannot resume: Ctrl-C cancels the running
    predictions.

    With --status, the command prints how many inputs are done, and runs nothing. On a terminal, or with --prices, a
    batch prints the sum of its metrics at the end.

    The exit status is 1 if any prediction failed.

    \b
      replicate-async map black-forest-labs/flux-schnell prompts.jsonl -o pictures.jsonl
    """  # noqa: D301 - click reads the \b, which keeps the line breaks of a paragraph
    import sqlite3

    from replicate_async.cli._batch import Batch
    from replicate_async.cli._files import open_results, open_rows, remove_journal

    model = ModelRef.parse(ref)
    total = _count(inputs, files=files)
    if status:
        _print_status(output, total)
        return
    _check_overwrite(inputs, output, force=force)
    usage, started_at = Usage(), time.monotonic()
    with ExitStack() as stack:
        store, writer = open_results(stack, output, resumable=not local, force=force)
        resumed = writer.done

        # Results that go to the same terminal show the progress themselves.
        shown = sys.stderr.isatty() and not (str(output) == "-" and sys.stdout.isatty())
        try:
            # Opened here, where Ctrl-C ends it: a pipe may not have a writer yet.
            rows = open_rows(inputs, files=files)
            # The bar takes them only because it needs an iterable where the total is unknown; the batch reads them.
            with click.progressbar(
                rows,
                length=total,
                file=sys.stderr if shown else StringIO(),
                bar_template="%(info)s" if total is None else "[%(bar)s]  %(info)s",
                show_eta=False,
                show_pos=True,
                item_show_func=lambda _: f"{writer.failed} failed" + _speed(writer.done, resumed, total, started_at),
                info_sep=" done, ",
            ) as bar:

                async def run() -> None:
                    async with open_client(local=local) as client:
                        transport = client.with_options(hooks=[usage])._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                        batch = Batch(transport, model, store)
                        await batch.run(rows, writer, lambda: bar.update(1), concurrency=concurrency)

                bar.update(writer.done)
                anyio.run(run)
        except BaseException as error:
            if store is not None and not anyio.run(Entries(store).page, ""):
                remove_journal(store)
            elif store is not None and not isinstance(error, ValueError):
                print_error(f"{writer.done} done; run the same command again to resume")
            if isinstance(error, sqlite3.Error):
                raise click.ClickException(f"the journal of {output} cannot be written: {error}") from error
            raise
        if store is not None:
            remove_journal(store)
    if shown or prices is not None:
        print_usage(usage, prices)
    if writer.failed:
        raise click.ClickException(f"{writer.failed} of {writer.done} failed: their lines contain the errors")


def _count(inputs: Path, *, files: bool) -> int | None:
    """Return the number of inputs; None if they can be read only once. Raises ValueError if a line is invalid."""
    from replicate_async.cli._files import open_rows

    # A regular file can be read twice: every line of it is checked before anything is sent.
    return sum(1 for _ in open_rows(inputs, files=files)) if inputs.is_file() and str(inputs) != "-" else None


def _check_overwrite(inputs: Path, output: Path, *, force: bool) -> None:
    if force and output.exists() and inputs.exists() and output.samefile(inputs):
        raise click.UsageError("the output must not overwrite the inputs")


def _print_status(output: Path, total: int | None) -> None:
    """Print how far a batch is, by the lines of its output."""
    from replicate_async.cli._files import journal_of, read_results

    if not output.is_file():
        raise click.UsageError("--status needs -o with the output of a batch that was started")
    with output.open("rb") as file:
        failures = [result.error is not None for result, _ in read_results(file)]
    of = "" if total is None else f" of {total}"
    resumable = "; run the same command again without --status to resume" if journal_of(output).exists() else ""
    print_text(f"{len(failures)}{of} done, {sum(failures)} failed{resumable}")


def _speed(done: int, resumed: int, total: int | None, started_at: float) -> str:
    """Return the predictions per second, and how long the rest will take, as text; empty before and after the batch."""
    seconds, new = time.monotonic() - started_at, done - resumed
    if not new or not seconds or done == total:
        return ""
    rest = "" if total is None else f", {timedelta(seconds=round((total - done) * seconds / new))} left"
    return f", {new / seconds:.1f}/s{rest}"
