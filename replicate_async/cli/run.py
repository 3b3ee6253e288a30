"""``replicate-async run``: run a model once and print or save its output."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

from replicate_async import _schema as model_schema
from replicate_async._http import clock
from replicate_async._predictions.outputs import AsyncFileOutput
from replicate_async._predictions.requests import ModelRef
from replicate_async.cli._client import Seconds, check_folder, local_option, open_client
from replicate_async.cli._console import print_error, print_text, write_bytes
from replicate_async.cli._follow import Follower
from replicate_async.cli._values import InputValue
from replicate_async.errors import (
    APIError,
    APITimeoutError,
    ModelError,
    NotFoundError,
    ReplicateError,
    UnprocessableEntityError,
)

if TYPE_CHECKING:
    from replicate_async._predictions.functions import AsyncModelReference, AsyncRun
    from replicate_async.types import Prediction


@click.command("run")
@click.argument("ref")
@click.argument("inputs", metavar="[NAME=VALUE]...", nargs=-1)
@local_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole prediction as JSON.")
@click.option(
    "--timeout",
    "time_limit",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="Cancel the prediction if it is not done after SECONDS.",
)
@click.option("--no-wait", is_flag=True, help="Only create the prediction and print its id.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    callback=check_folder,
    metavar="FILE",
    help="Write the output to FILE; -: to standard output. Several files are numbered; if FILE is a folder, they keep"
    " their names.",
)
def run_command(
    *,
    ref: str,
    inputs: tuple[str, ...],
    local: bool,
    as_json: bool,
    no_wait: bool,
    output: Path | None,
    time_limit: float | None,
) -> None:
    """Run the model REF and print its output.

    REF is owner/name, owner/name:version or a version id. Write inputs as follows:

    \b
      name=value    text if the model takes text; otherwise a number, true, false,
                    null, [...] or {...} if the value looks like one
      name=@file    the content of a file, if the model takes a file; also
                    name=cat.png, if the model's schema says that it does
      name=-        the content of standard input; name=@- sends it as a file
      name:=json    JSON, whatever the model takes

    So prompt=42 is text and width=512 is a number. The command reads the model's schema only if a value looks like
    JSON or the name of a file. The API has no schema for a bare version id and for some official models: there, a
    value that looks like JSON is JSON, and names of files need the @. name:='"@text"' is always text.

    The command prints text while the model writes it, a file as its URL (-o saves it), and everything else as JSON.
    A terminal also shows the status, the progress and the last line of the logs. Ctrl-C cancels the prediction.

    \b
      replicate-async --local run replicate/hello-world text=Alice
      replicate-async run black-forest-labs/flux-schnell prompt="a cat" -o cat.webp
    """  # noqa: D301 - click reads the \b, which keeps the line breaks of a paragraph
    if output is not None and no_wait:
        raise click.UsageError("-o has nothing to write with --no-wait")
    # Invalid arguments raise ValueError before anything is sent.
    ModelRef.parse(ref)
    values = [InputValue.parse(argument) for argument in inputs]
    if sum(value.is_standard_input for value in values) > 1:
        raise click.UsageError("only one input can be read from standard input")
    values = [value.with_content(_read_standard_input()) if value.is_standard_input else value for value in values]
    options = {"local": local, "as_json": as_json, "wait": not no_wait}
    anyio.run(partial(_run, ref, values, **options, output=output, time_limit=time_limit))


def _read_standard_input() -> bytes:
    # Not sys.stdin, which is None where the stream is closed: this raises OSError.
    with open(0, "rb", closefd=False) as file:
        return file.read()


async def _run(
    ref: str,
    values: list[InputValue],
    *,
    local: bool,
    as_json: bool,
    wait: bool,
    output: Path | None,
    time_limit: float | None,
) -> None:
    async with open_client(local=local) as client:
        model = client.use(ref)
        follower = Follower(client, partial(_schema_of, model), prints_text=output is None and not as_json)
        try:
            run, result = await _output_of(model, values, follower if wait else None, time_limit)
        except ModelError as error:
            if as_json:
                print_text(_as_json(error.prediction))
            raise
        if not wait:
            print_text(_as_json(run.prediction) if as_json else run.prediction.id)
            return
        if isinstance(result, list) and not model_schema.output(await _schema_of(model)):
            # No schema says whether a list of texts is one text in pieces, but most are.
            with suppress(msgspec.ValidationError):
                result = "".join(msgspec.convert(result, list[str]))
        if as_json:
            print_text(_as_json(run.prediction))
        text = _format(result, urls_last=not local)
        if output is not None:
            try:
                await _save(result, text, output)
            except BaseException:
                # The output has been paid for.
                print_text(text)
                raise
        elif not as_json and not follower.has_printed(text):
            print_text(text)


async def _output_of(
    model: AsyncModelReference, values: list[InputValue], follower: Follower | None, time_limit: float | None
) -> tuple[AsyncRun, Any]:
    """Create the prediction and wait for its output, if there is a follower. Ctrl-C cancels it, as the timeout does.

    Raises:
        APITimeoutError: The time is over.
    """
    run = None
    with clock.time_limit(time_limit):
        run = await _create(model, values)
        if follower is None:
            return run, None
        try:
            if await follower.follow(run.prediction):
                # A wait begins with a pause.
                with suppress(APIError):
                    await run.logs()
            return run, await run.output()
        except (asyncio.CancelledError, OSError):
            # An output that is closed, as head does it, raises OSError.
            await _cancel(run)
            raise
    raise APITimeoutError(f"not done after {time_limit:g} s", prediction_id=run.prediction.id if run else None)


async def _cancel(run: AsyncRun) -> None:
    """Cancel a prediction that is no longer waited for; print whether that worked."""
    try:
        # The timeout has canceled this task.
        with anyio.CancelScope(shield=True):
            await run.cancel()
    except ReplicateError as error:
        print_error(f"prediction {run.prediction.id} could not be canceled: {error}")
    else:
        print_error(f"prediction {run.prediction.id} canceled")


async def _create(model: AsyncModelReference, values: list[InputValue]) -> AsyncRun:
    declared = model_schema.inputs(await _schema_of(model) if any(value.ambiguous for value in values) else {})
    arguments = {value.name: value.decide(declared.get(value.name)) for value in values}
    for value in values:
        if value.names_file and not declared and isinstance(arguments[value.name], str) and _is_file(value.text):
            print_error(f"{value.name}={value.text} is sent as text: write {value.name}=@{value.text} for the file")
    try:
        return await model.create(**arguments)
    except UnprocessableEntityError as error:
        declared = model_schema.inputs(await _schema_of(model))
        for name in [name for name in arguments if declared and name not in declared]:
            similar = get_close_matches(name, declared, 1) or declared
            error.args = (f"{error.args[0]}; {name} is not an input: did you mean {', '.join(similar)}?",)
        raise


def _is_file(name: str | None) -> bool:
    return bool(name) and Path(str(name)).is_file()


async def _schema_of(model: AsyncModelReference) -> dict[str, Any]:
    """Return a model's schema, without anything in it if there is none: the create works without, or says why not."""
    try:
        return await model.openapi_schema()
    except NotFoundError:
        return {}


def _as_json(prediction: Prediction) -> str:
    return msgspec.json.format(prediction.to_json())


def _format(output: Any, *, urls_last: bool) -> str:
    """Return an output as text for people; ``urls_last``: whether the URLs of its files outlive this command."""
    if isinstance(output, str):
        return output
    if files := _files_of(output):
        return "\n".join(
            file.url
            if urls_last and not file.url.startswith("data:")
            else f"a file, {file.content_type or 'of unknown type'}: save it with -o FILE"
            for file in files
        )
    return msgspec.json.format(msgspec.json.encode(output, enc_hook=lambda file: file.url)).decode()


def _files_of(output: Any) -> list[AsyncFileOutput]:
    """Return the files of an output that is a file or a list of files; otherwise an empty list."""
    items: list[Any] = [*output] if isinstance(output, list) else [output]
    return items if all(isinstance(item, AsyncFileOutput) for item in items) else []


async def _save(output: Any, text: str, path: Path) -> None:
    """Write each file of an output to a file, or its text if it has none."""
    files = _files_of(output)
    if not files:
        if path.is_dir():  # noqa: ASYNC240 - nothing else runs
            path /= "output.txt" if isinstance(output, str) else "output.json"
        _write(path, f"{text}\n".encode())
        return
    # Standard output, a pipe or a device takes one file after another.
    is_special = path.exists() and not path.is_file()
    for number, file in enumerate(files, 1):
        if str(path) == "-":
            _write(path, await file.read())
        else:
            await file.save(path if len(files) == 1 or is_special else path.with_stem(f"{path.stem}-{number}"))


def _write(path: Path, content: bytes) -> None:
    if str(path) == "-":
        write_bytes(content, sys.stdout.buffer)
    else:
        with path.open("wb") as file:
            write_bytes(content, file)
