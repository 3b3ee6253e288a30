"""The command ``replicate-async``: run a model, once or on many inputs, or serve a Replicate on this machine.

It needs the extra ``cli``; ``python -m replicate_async.cli`` is the same command.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import anyio
import msgspec
from msgspec import UNSET

from replicate_async._client import BASE_URL_VARIABLE, DEFAULT_BASE_URL, AsyncReplicate
from replicate_async._http.transport import TOKEN_VARIABLE
from replicate_async._predictions import schema as model_schema
from replicate_async._predictions.outputs import AsyncFileOutput
from replicate_async._predictions.requests import ModelRef
from replicate_async._version import __version__
from replicate_async.errors import ModelError, NotFoundError, ReplicateError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    import click

    from replicate_async._predictions.functions import AsyncRun
    from replicate_async._predictions.journal import InputRow, Result
    from replicate_async.testing import LocalServer
    from replicate_async.types import Prediction

_NAME = "replicate-async"
_SERVE_PORT = 8000
_BAR = 40  # characters
_REDRAW = 0.1  # seconds

# What Ctrl-C makes of anyio.run(): a cancellation of its task, which Python 3.10 doesn't turn back. (With asyncio.run()
# there, KeyboardInterrupt comes wherever the program is; where that is a finalizer, Python prints it and goes on.)
_INTERRUPTED = (KeyboardInterrupt, asyncio.CancelledError)

_RUN_HELP = """Run the model REF and print its output.

REF is owner/name, owner/name:version or a version id. Inputs are written in one of two ways:

\b
  name=value    a text where the model takes texts; otherwise a number, true,
                false, null, [...] or {...} if it looks like one
  name:=json    JSON, whatever the model takes

So prompt=42 is a text and width=512 a number. The model's schema is looked at only if a value looks like JSON. Of a
bare version id the API tells no schema: there, what looks like JSON is JSON.

Texts are printed as they are, files as their URL (-o saves them), and everything else as JSON. Ctrl-C cancels the
prediction.

\b
  replicate-async --local run replicate/hello-world text=Alice
  replicate-async run black-forest-labs/flux-schnell prompt="a cat" -o cat.webp
"""

_SERVE_HELP = """Serve Replicate's API on this machine until Ctrl-C.

It needs neither an account nor a network. Programs use it through the two environment variables that it prints, and
people through a page in the browser.

TARGET is module:function; the function is called with the server and registers models on it. Without it there are
models for demonstrations.

\b
  # my_models.py
  def register(server):
      @server.model("acme/shout")
      def shout(text: str) -> str:
          return text.upper()

\b
  replicate-async serve my_models:register --port 8000
"""

_MAP_HELP = """Run the model REF on each line of INPUTS, and write each result as a line of OUTPUTS.

A line of INPUTS is a JSON object with the model's inputs by name; empty lines are skipped. A line of OUTPUTS has the
input's index (counted from 0), the prediction's id, status and metrics, and its output or its error. They come as they
are ready; files are URLs, which are good for an hour.

Interrupted or killed, the same command goes on where it was: what runs is left running and awaited then, and nothing
is paid for twice. Until all is done, OUTPUTS.journal keeps what that takes. With --local, or when OUTPUTS is not a file
but - or a pipe, there is nothing to go on with: Ctrl-C cancels what runs.

The exit status is 1 if any of the predictions failed.

\b
  replicate-async map black-forest-labs/flux-schnell prompts.jsonl -o pictures.jsonl
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 after a failure, 2 for a wrong usage, 130 after Ctrl-C."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # they are closed: what is written there goes nowhere, and not into other files
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        import click
    except ModuleNotFoundError:
        return _complain("the command line needs another package: pip install 'replicate-async[cli]'")
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")  # what a terminal can't show is no reason to fail
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        return _commands().main(given, prog_name=_NAME, standalone_mode=False) or 0
    except (click.Abort, *_INTERRUPTED):
        return 130
    except click.UsageError as error:
        _complain(f"{error.format_message()} ({_NAME} --help tells more)")
        return 2
    except (ReplicateError, OSError) as error:
        return _complain(str(error))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> int:
    """Write one line to standard error; return the exit status of a failure."""
    sys.stderr.write(f"{_NAME}: {' '.join(text.split())}\n")
    return 1


def _commands() -> click.Group:
    """Return the commands; made here, so that this module can be imported without click."""
    import click

    local_option = click.option(
        "--local", is_flag=True, help="Use a server inside of this command, with models for demonstrations."
    )

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @local_option
    @click.version_option(__version__, message="%(version)s")
    @click.pass_context
    def commands(context: click.Context, *, local: bool) -> None:
        """Run models on Replicate (https://replicate.com).

        The environment variable REPLICATE_API_TOKEN holds your API token. REPLICATE_BASE_URL is where the API is, if
        it is elsewhere.
        """
        context.obj = local

    @commands.command("run", help=_RUN_HELP, short_help="Run a model and print its output.")
    @click.argument("ref")
    @click.argument("inputs", metavar="[NAME=VALUE]...", nargs=-1)
    @local_option
    @click.option("--json", "as_json", is_flag=True, help="Print the whole prediction as JSON.")
    @click.option("--no-wait", is_flag=True, help="Only start the prediction and print its id.")
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the output to FILE; -: to standard output. Several files are numbered, or keep their names if FILE"
        " is a folder.",
    )
    @click.pass_obj
    def run_command(
        local_before: bool,
        /,
        *,
        ref: str,
        inputs: tuple[str, ...],
        local: bool,
        as_json: bool,
        no_wait: bool,
        output: Path | None,
    ) -> None:
        local = local or local_before
        _check(local=local, output=output, wait=not no_wait)
        try:
            ModelRef.parse(ref)  # before anything is started
            values = [_Value.parse(argument) for argument in inputs]
            anyio.run(partial(_run, ref, values, local=local, as_json=as_json, wait=not no_wait, output=output))
        except (TypeError, ValueError) as error:  # what the SDK refuses to send
            raise click.UsageError(str(error)) from error

    @commands.command("map", help=_MAP_HELP, short_help="Run a model on many inputs.")
    @click.argument("ref")
    @click.argument("inputs", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
    @local_option
    @click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        metavar="OUTPUTS",
        default="-",
        help="Where the results go; otherwise to standard output.",
    )
    @click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        default=100,
        show_default=True,
        help="How many predictions are under way at once.",
    )
    @click.pass_obj
    def map_command(
        local_before: bool, /, *, ref: str, inputs: Path, local: bool, output: Path, concurrency: int
    ) -> int:
        local = local or local_before
        _check(local=local, output=output)
        try:
            return _map(ModelRef.parse(ref), inputs, output, local=local, concurrency=concurrency)
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from error

    @commands.command("serve", help=_SERVE_HELP, short_help="Serve a Replicate on this machine.")
    @click.argument("target", required=False)
    @click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
    @click.option(
        "--port", type=click.IntRange(0, 65535), default=_SERVE_PORT, show_default=True, help="The port; 0: a free one."
    )
    @click.option(
        "--faults",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="What goes wrong: a TOML file with tables [[faults]].",
    )
    def serve_command(*, target: str | None, host: str, port: int, faults: Path | None) -> None:
        sys.path.insert(0, "")  # the target is looked for here
        try:
            server = _server(target, host=host, port=port, faults=faults)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if not server.models:
            raise click.UsageError(
                f"{target} registered no models: it is called with the server, for server.model(...)"
            )
        try:
            anyio.run(_serve, server)
        except _INTERRUPTED:
            return  # as it is meant to end

    return commands


def _check(*, local: bool, output: Path | None, wait: bool = True) -> None:
    """Refuse what can't work, before anything is started."""
    import click

    if not local and not os.environ.get(TOKEN_VARIABLE, "").strip():
        raise click.UsageError(
            f"no API token: set the environment variable {TOKEN_VARIABLE}, or use --local to run models for"
            " demonstrations on this machine"
        )
    if output is not None and not wait:
        raise click.UsageError("-o has nothing to write with --no-wait")
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"-o {output}: there is no folder {output.parent}")


async def _run(ref: str, values: list[_Value], *, local: bool, as_json: bool, wait: bool, output: Path | None) -> None:
    async with _client(local=local) as client:
        model = client.use(ref)
        try:
            # Only what could be either makes it worth to ask the model.
            schema = await model.openapi_schema() if any(value.ambiguous for value in values) else {}
        except NotFoundError:
            schema = {}  # the prediction will say so, or go without
        declared = model_schema.inputs(schema)
        run = await model.create(**{value.name: value.decide(declared.get(value.name, {})) for value in values})
        if not wait:
            _say(_as_json(run.prediction) if as_json else run.prediction.id)
            return
        try:
            result = await _result(run)
            if "/" not in ref and _is_texts(result):
                result = "".join(result)  # without a schema to tell, it is most likely one text in pieces
        except ModelError as error:
            if as_json:
                _say(_as_json(error.prediction))
            raise
        if as_json:
            _say(_as_json(run.prediction))
        if output is not None:
            try:
                await _save(result, output)
            except BaseException:
                _say(_shown(result, urls_last=not local))  # it is paid for
                raise
        elif not as_json:
            _say(_shown(result, urls_last=not local))


async def _result(run: AsyncRun) -> Any:
    """Wait for the output; Ctrl-C cancels the prediction."""
    try:
        return await run.output()
    except asyncio.CancelledError:
        try:
            await run.cancel()
        except ReplicateError as error:
            _complain(f"prediction {run.prediction.id} could not be canceled: {error}")
        else:
            _complain(f"prediction {run.prediction.id} canceled")
        raise


def _map(model: ModelRef, inputs: Path, output: Path, *, local: bool, concurrency: int) -> int:
    """Run a model on the lines of a file; return the exit status."""
    import sqlite3

    from replicate_async._predictions.batch import Batch
    from replicate_async._predictions.journal import open_results, read_lines

    with ExitStack() as opened:
        standard = str(inputs) == "-"
        name = "standard input" if standard else str(inputs)

        def read() -> IO[bytes]:
            # Not sys.stdin, and never closed: that would wait for a thread that reads there, perhaps for ever.
            return open(0 if standard else inputs, "rb", closefd=not standard)

        # What can be read twice is checked before anything is sent.
        total = None
        if inputs.is_file() and not standard:
            with read() as file:
                total = sum(1 for _ in read_lines(file, name))
        ref = ":".join(filter(None, (f"{model.owner}/{model.name}" if model.owner else None, model.version)))
        job = None if local else f"{ref} at {os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL}"
        journal, results = open_results(opened, output, job)
        done, failed = (0, 0) if journal is None else journal.ended_so_far()
        # Lines of results on the same terminal tell how far it is.
        shows = sys.stderr.isatty() and not (str(output) == "-" and sys.stdout.isatty())
        bar = _Bar(total, done, failed, shows=shows)

        async def run(lines: Iterator[InputRow]) -> None:
            async with _client(local=local) as client:
                transport = client._transport  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                await Batch(transport, model, journal).run(lines, results, concurrency=concurrency, tell=bar.tell)

        try:
            # Opened where Ctrl-C ends it: a pipe may not have anybody yet who writes.
            anyio.run(run, read_lines(read(), name))
        except BaseException as error:
            bar.end()
            if journal is not None and not len(journal):
                journal.remove()  # nothing was begun
            elif journal is not None and not isinstance(error, ValueError):
                _complain(f"{bar.done} done; the same command goes on from here")
            if isinstance(error, sqlite3.Error):
                raise OSError(f"the journal of {output} can't be written: {error}") from error
            raise
        bar.end()
        if journal is not None:
            journal.remove()
        return _complain(f"{bar.failed} of {bar.done} failed: their lines tell why") if bar.failed else 0


class _Bar:
    """How far it is, drawn on standard error where that shows."""

    def __init__(self, total: int | None, done: int, failed: int, *, shows: bool) -> None:
        self.done = done
        self.failed = failed
        self._total = total
        self._shows = shows
        self._drawn = 0.0
        self._draw()

    def tell(self, result: Result) -> None:
        self.done += 1
        self.failed += result.error is not None
        if monotonic() - self._drawn > _REDRAW:
            self._draw()

    def end(self) -> None:
        self._draw("\n")

    def _draw(self, end: str = "") -> None:
        if not self._shows:
            return
        self._drawn = monotonic()
        text = f"{self.done}" if self._total is None else f"{self.done} of {self._total}"
        if self._total:
            full = _BAR * self.done // self._total
            text = f"[{'#' * full}{'.' * (_BAR - full)}] {text}"
        sys.stderr.write(f"\r{text} done, {self.failed} failed{end}")
        sys.stderr.flush()


class _Value(NamedTuple):
    """An input as it was written: its text, and what that is as JSON, each unless it is none."""

    name: str
    text: str | None
    json: Any

    @classmethod
    def parse(cls, argument: str) -> _Value:
        """Read ``name=value`` or ``name:=json``."""
        match = re.fullmatch(r"([^=:]+)(:?=)(.*)", argument, re.DOTALL)
        if match is None:
            raise ValueError(f"{argument!r} is not an input: write name=value, or name:=json")
        name, sign, text = match.groups()
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            value = UNSET
        if sign == "=":
            # A text in quotes is a text that has quotes.
            return cls(name, text, UNSET if isinstance(value, str) else value)
        if value is UNSET:
            raise ValueError(f"{argument!r}: what follows := is not JSON, or too deep")
        return cls(name, None, value)

    @property
    def ambiguous(self) -> bool:
        """Whether it could be a text as well as something else."""
        return self.text is not None and self.json is not UNSET

    def decide(self, schema: dict[str, Any]) -> Any:
        """Return the value as a model takes it that declares this input so."""
        takes_text = any(part.get("type") == "string" for part in (schema, *schema.get("anyOf", ())))
        return self.text if self.json is UNSET or (self.ambiguous and takes_text) else self.json


def _as_json(prediction: Prediction) -> str:
    return msgspec.json.format(prediction.to_json())


def _shown(output: Any, *, urls_last: bool) -> str:
    """Return an output as people want to read it; ``urls_last``: whether its files outlive this command."""
    if isinstance(output, str):
        return output
    if isinstance(output, AsyncFileOutput):
        if urls_last and not output.url.startswith("data:"):
            return output.url
        return f"a file, {output.content_type or 'of unknown type'}: save it with -o FILE"
    if isinstance(output, list):
        items = cast("list[Any]", output)  # type: ignore[redundant-cast]  # pyright needs it
        if items and all(isinstance(item, AsyncFileOutput) for item in items):
            return "\n".join(_shown(item, urls_last=urls_last) for item in items)
    return msgspec.json.format(msgspec.json.encode(output, enc_hook=_url)).decode()


def _url(output: Any) -> str:
    """Return what stands for a file inside of JSON."""
    return cast("AsyncFileOutput", output).url


def _is_texts(output: Any) -> bool:
    return isinstance(output, list) and all(isinstance(item, str) for item in cast("list[Any]", output))  # type: ignore[redundant-cast]


async def _save(output: Any, path: Path) -> None:
    """Write an output to a file, or its several files to as many."""
    files = cast("list[Any]", output) if isinstance(output, list) else [output]  # type: ignore[redundant-cast]
    if not files or not all(isinstance(file, AsyncFileOutput) for file in files):
        if path.is_dir():  # noqa: ASYNC240 - nothing else runs
            path /= "output.txt" if isinstance(output, str) else "output.json"
        _write(path, (_shown(output, urls_last=True) + "\n").encode())
        return
    # The SDK puts a finished file in the place of what was there, which must not happen to links such as /dev/stdout.
    special = str(path) == "-" or path.is_symlink() or (path.exists() and not path.is_file())
    saved: set[str] = set()
    for number, file in enumerate(cast("list[AsyncFileOutput]", files), 1):
        if path.is_dir():
            with TemporaryDirectory(dir=path, prefix=".") as private:
                kept = await file.save(private)
                name = kept.name
                while name in saved:  # several may have the same
                    name = Path(name).with_stem(f"{Path(name).stem}-{number}").name
                saved.add(name)
                kept.replace(path / name)
        elif special:
            _write(path, await file.read())
        else:
            await file.save(path if len(files) == 1 else path.with_stem(f"{path.stem}-{number}"))


def _write(path: Path, content: bytes) -> None:
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        path.write_bytes(content)


# --- servers ---


@asynccontextmanager
async def _client(*, local: bool) -> AsyncGenerator[AsyncReplicate, None]:
    """Open a client of Replicate's API, or of a server in this process."""
    if not local:
        async with AsyncReplicate() as client:
            yield client
        return
    os.environ["no_proxy"] = "*"  # a proxy of the network can't reach this server
    server = _server()
    async with server, AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


def _server(target: str | None = None, **options: Any) -> LocalServer:
    from replicate_async.testing import LocalServer
    from replicate_async.testing._loader import load_models

    server = LocalServer(**options)
    load_models(target, server)
    return server


async def _serve(server: LocalServer) -> None:
    async with server:
        _say(f"REPLICATE_BASE_URL={server.base_url}\n{TOKEN_VARIABLE}={server.token}")
        _say(f"Listening on {server.url}, which is also a page to run and to watch {', '.join(server.models)}.")
        await asyncio.Event().wait()
