"""``replicate-async codegen``: write a module with a typed function for each model."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec

from replicate_async._json import is_dict
from replicate_async._predictions.requests import ModelRef
from replicate_async.cli._client import check_folder, check_token, open_client
from replicate_async.cli._console import NAME, print_text
from replicate_async.cli._typed_models import TypedModel, generate, recorded_arguments
from replicate_async.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_async._client import AsyncReplicate


@click.command("codegen")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--local", is_flag=True, help="Use the demonstration models of a server inside this command.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_folder,
    metavar="FILE",
    help="Write the module to FILE. If omitted, it is printed.",
)
@click.option("--pin", is_flag=True, help="Pin each function to the version that is the latest now.")
@click.option("--check", is_flag=True, help="Write nothing; exit with status 1 if FILE is out of date.")
@click.pass_obj
def codegen_command(
    group_local: object, *, models: tuple[str, ...], local: bool, output: Path | None, pin: bool, check: bool
) -> None:
    """Write a module with a typed function for each MODEL.

    Editors complete its inputs, and type checkers check them.

    MODEL is owner/name or owner/name:version. With =FILE after it, the schema is read from a file instead of the API:
    the OpenAPI document, or the model or version that it belongs to, as JSON. Without a MODEL, the command
    updates FILE, which records its models.

    \b
      replicate-async codegen black-forest-labs/flux-schnell meta/meta-llama-3-8b-instruct -o models.py
      replicate-async codegen acme/shout=shout.json -o models.py
      replicate-async codegen --check -o models.py
    """  # noqa: D301 - click reads the \b, which keeps the line breaks of a paragraph
    existing = output.read_text(encoding="utf-8") if output is not None and output.exists() else ""
    recorded, pinned = recorded_arguments(existing)
    arguments = list(dict.fromkeys(models)) or recorded
    pin = pin or (not models and pinned)
    if not arguments:
        raise click.UsageError("name a model, or the file of a module that records its models: -o FILE")
    if check and output is None:
        raise click.UsageError("--check compares with a file: -o FILE")
    if not all(argument.isprintable() for argument in arguments):
        raise click.UsageError("the name of a model or a file has unprintable characters")
    local = local or bool(group_local)
    refs = [_parse(argument) for argument in arguments]
    files = [_read(argument) for argument in arguments]
    if None in files:
        check_token(local=local)
    source = generate(anyio.run(_load, refs, files, pin, local), arguments, pin=pin)
    if check:
        if source != existing:
            changes = difflib.unified_diff(existing.splitlines(), source.splitlines(), "old", "new", n=1, lineterm="")
            print_text("\n".join(list(changes)[2:]))
            raise click.ClickException(f"{output} is out of date: update it with {NAME} codegen -o {output}")
    elif output is not None:
        output.write_text(source, encoding="utf-8")
    else:
        print_text(source.removesuffix("\n"))


async def _load(
    refs: Sequence[ModelRef], files: Sequence[dict[str, Any] | None], pin: bool, local: bool
) -> list[TypedModel]:
    """Return the models, each with its schema: from its file, or from the API."""
    async with open_client(local=local) as client:
        return [
            _typed_model(ref, file if file is not None else await _fetch(client, ref), pin=pin)
            for ref, file in zip(refs, files, strict=True)
        ]


def _parse(argument: str) -> ModelRef:
    ref = ModelRef.parse(argument.partition("=")[0])
    if ref.name is None:
        raise click.UsageError(f"{ref}: the API has no schema for a version without its model: owner/name:version")
    return ref


def _read(argument: str) -> dict[str, Any] | None:
    """Return what a file holds; None for a model that has none."""
    name = argument.partition("=")[2]
    if not name:
        return None
    try:
        content: Any = msgspec.json.decode(Path(name).read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError(f"{name} is not JSON: {error}") from error
    if is_dict(content) and {"openapi", "components", "openapi_schema", "latest_version"} & content.keys():
        return content
    raise click.UsageError(f"{name} holds neither an OpenAPI document, nor a model or a version")


async def _fetch(client: AsyncReplicate, ref: ModelRef) -> dict[str, Any]:
    """Fetch a model or a version, as plain data."""
    owner, name = ref.owner or "", ref.name or ""
    try:
        if ref.version:
            return (await client.models.versions.get(owner, name, ref.version)).to_dict()
        return (await client.models.get(owner, name)).to_dict()
    except NotFoundError as error:
        raise click.ClickException(f"{ref}: {error}") from error


def _typed_model(ref: ModelRef, content: dict[str, Any], *, pin: bool) -> TypedModel:
    """Return a model with its schema, which is empty if it has none."""
    version: Any = content.get("latest_version", content)
    version = version if is_dict(version) else {}
    document: Any = version if {"openapi", "components"} & version.keys() else version.get("openapi_schema")
    if pin and not ref.version:
        if not isinstance(version.get("id"), str):
            raise click.ClickException(f"{ref} has no version to pin")
        ref = ModelRef(ref.owner, ref.name, version["id"])
    return TypedModel(ref, document if is_dict(document) else {})
