"""The operations on files."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from replicate_async.types import File, FileChecksums, FileUrls

from ._calls import Answer, Call, Problem, empty_answer, json_answer, whole_number
from ._files import OutputFile, Part, parse_multipart
from ._pages import page
from ._store import FILE_LIFETIME, Store, StoredFile

_LARGEST = 100 * 2**20
_LONGEST_NAME = 255


class Form(msgspec.Struct):
    """The body of ``files.create``, a form; only described here."""

    content: Annotated[Any, Meta(extra_json_schema={"contentMediaType": "application/octet-stream"})]
    filename: Annotated[str, Meta(max_length=_LONGEST_NAME)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    type: str | UnsetType = UNSET


async def list_(store: Store, call: Call) -> Answer:
    """List files, newest first."""
    return page(store, call, [(key, file.record) for key, file in store.live_files().newest_first()])


async def create(store: Store, call: Call) -> Answer:
    """Keep the file in the form."""
    try:
        parts = {part.name: part for part in parse_multipart(call.headers.get("Content-Type", ""), call.body)}
    except ValueError as error:
        raise Problem(400, f"The body is not a form: {error}") from None
    content = parts.get("content")
    if content is None:
        raise Problem(422, "content: required")
    if len(content.content) > _LARGEST:
        raise Problem(413, "content: a file may have up to 100 MiB")
    name = _text(parts, "filename") or content.filename or "file"
    # The size counts in UTF-8; what isn't UTF-8 came through as lone surrogates.
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME or not name.isprintable():
        raise Problem(422, f"filename: expected at most {_LONGEST_NAME} bytes of UTF-8")
    kind = _text(parts, "type") or content.content_type or OutputFile(b"", name=name).type
    if not kind.isprintable():  # as a header, it would break the download
        raise Problem(422, f"type: expected a content type, got {kind!a}")
    file_id, now = store.new_id(), store.clock.now()
    record = File(
        id=file_id,
        name=name,
        content_type=kind,
        size=len(content.content),
        etag=hashlib.md5(content.content, usedforsecurity=False).hexdigest(),
        checksums=FileChecksums(sha256=hashlib.sha256(content.content).hexdigest()),
        metadata=_metadata(parts),
        created_at=now,
        expires_at=now + FILE_LIFETIME,
        urls=FileUrls(get=f"{store.url}/v1/files/{file_id}"),
    )
    store.files.add(file_id, StoredFile(record, content.content))
    return json_answer(record, 201)


async def get(store: Store, call: Call) -> Answer:
    """Get what is known of a file."""
    return json_answer(_find(store, call).record)


async def delete(store: Store, call: Call) -> Answer:
    """Delete a file."""
    store.files.remove(_find(store, call).record.id)
    return empty_answer(204)


async def download(store: Store, call: Call) -> Answer:
    """Send a file's content to whoever has a signed URL."""
    if missing := [name for name in ("owner", "expiry", "signature") if name not in call.query]:
        raise Problem(422, f"{missing[0]}: required")
    file_id, expiry = call.path_arguments["file_id"], whole_number(call.query["expiry"])
    if expiry is None:
        raise Problem(422, f"expiry: expected a Unix time, got {call.query['expiry']!r}")
    signature = store.sign_download(file_id, expiry)
    genuine = hmac.compare_digest(signature.encode(), call.query["signature"].encode())
    if call.query["owner"] != store.account.username or not genuine:
        raise Problem(403, "signature: not valid for this owner, file and expiry")
    if expiry <= store.clock.now().timestamp():
        raise Problem(403, "expiry: this URL has expired")
    file = _find(store, call)
    disposition = f"attachment; filename*=UTF-8''{quote(file.record.name or 'file', safe='')}"
    return Answer(file.content, 200, file.record.content_type, {"Content-Disposition": disposition})


def _find(store: Store, call: Call) -> StoredFile:
    file_id = call.path_arguments["file_id"]
    file = store.live_files().get(file_id)
    if file is None:
        raise Problem(404, f"There is no file {file_id} on this server.")
    return file


def _text(parts: dict[str, Part], name: str) -> str | None:
    if name not in parts:
        return None
    try:
        return parts[name].content.decode()
    except UnicodeDecodeError:
        raise Problem(422, f"{name}: expected UTF-8") from None


def _metadata(parts: dict[str, Part]) -> dict[str, Any]:
    if "metadata" not in parts:
        return {}
    try:
        return msgspec.json.decode(parts["metadata"].content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(422, "metadata: expected a JSON object") from None
