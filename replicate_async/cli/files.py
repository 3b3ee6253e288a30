"""``replicate-async files``: list, upload and delete files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from replicate_async._client import AsyncReplicate
from replicate_async.cli._client import local_option
from replicate_async.cli._console import print_text
from replicate_async.cli._listing import call, first, json_option, limit_option, print_rows
from replicate_async.types import File, FileUrls


@click.group("files", no_args_is_help=False)
def files_group() -> None:
    """List, upload and delete files, which models take as inputs."""


@files_group.command("list")
@local_option
@limit_option
@json_option
def list_files(*, local: bool, limit: int, as_json: bool) -> None:
    """List the account's files.

    A line for each file: its id, size in bytes, content type, time of upload in UTC, and name.
    """

    async def fetch(client: AsyncReplicate) -> list[File]:
        return await first(client.files.list(), limit)

    print_rows(call(fetch, local=local), _columns, as_json=as_json)


@files_group.command("upload")
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@local_option
@json_option
def upload(*, paths: tuple[Path, ...], local: bool, as_json: bool) -> None:
    """Upload files of at most 100 MB each.

    A line for each file: its URL, which is a valid input for a model. The API deletes the files after a day.
    """

    async def create(client: AsyncReplicate) -> None:
        for path in paths:
            print_rows([await client.files.create(path)], lambda file: (_url_of(file),), as_json=as_json)

    call(create, local=local)


@files_group.command("delete")
@click.argument("file_ids", metavar="ID...", nargs=-1, required=True)
@local_option
def delete(*, file_ids: tuple[str, ...], local: bool) -> None:
    """Delete files, and print their ids."""

    async def delete_all(client: AsyncReplicate) -> None:
        for file_id in file_ids:
            await client.files.delete(file_id)
            print_text(file_id)

    call(delete_all, local=local)


def _url_of(file: File) -> str | None:
    urls: Any = file.urls
    return urls.get if isinstance(urls, FileUrls) else None


def _columns(file: File) -> Iterable[object]:
    return file.id, file.size, file.content_type, file.created_at, file.name
