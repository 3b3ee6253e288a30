"""``replicate-async models``: find models, and see what they take."""

from __future__ import annotations

from typing import Any

import click

from replicate_async import _schema as model_schema
from replicate_async._client import AsyncReplicate
from replicate_async._json import is_list
from replicate_async._predictions.requests import ModelRef
from replicate_async.cli._client import local_option
from replicate_async.cli._console import print_text
from replicate_async.cli._listing import call, json_option, print_fields, print_rows
from replicate_async.types import Model, SearchResults


@click.group("models", no_args_is_help=False)
def models_group() -> None:
    """Find models, and show their inputs."""


@models_group.command("search")
@click.argument("query")
@local_option
@click.option("--limit", type=click.IntRange(1, 50), default=20, show_default=True, help="Maximum number to list.")
@json_option
def search(*, query: str, local: bool, limit: int, as_json: bool) -> None:
    """Search for models.

    A line for each model, the most relevant first: its name, the number of its runs, and its description.
    """

    async def find(client: AsyncReplicate) -> SearchResults:
        return await client.search(query, limit=limit)

    results: Any = call(find, local=local).models
    print_rows(
        [getattr(result, "model", result) for result in (results if is_list(results) else [])[:limit]],
        lambda model: (f"{model.owner}/{model.name}", model.run_count, model.description),
        as_json=as_json,
    )


@models_group.command("show")
@click.argument("ref")
@local_option
@json_option
def show(*, ref: str, local: bool, as_json: bool) -> None:
    """Show the model REF, and its inputs.

    A required input has a star. Some official models show no inputs: see their page.
    """
    model_ref = ModelRef.parse(ref)
    if not model_ref.name:
        raise click.UsageError("write owner/name: the API does not find the model of a bare version id")

    async def get(client: AsyncReplicate) -> tuple[Model, dict[str, Any]]:
        model = await client.models.get(str(model_ref.owner), str(model_ref.name))
        return model, await client.use(ref).openapi_schema()

    model, document = call(get, local=local)
    version = model_ref.version or getattr(model.latest_version, "id", None)
    fields = {
        "model": f"{model.owner}/{model.name}",
        "description": model.description,
        "page": model.url,
        "runs": model.run_count,
        "version": version,
    }
    print_fields(model, fields, as_json=as_json)
    required = model_schema.required(document)
    for name, schema in () if as_json else model_schema.inputs(document).items():
        kind = "file" if model_schema.is_file(schema) else model_schema.kind_of(schema) or "any"
        default = f", default {schema['default']}" if schema.get("default") not in (None, "") else ""
        text = f"{schema.get('description') or ''}".split("\n", maxsplit=1)[0]
        print_text(f"  {name}{'*' if name in required else ''} ({kind}{default}) {text}".rstrip())
