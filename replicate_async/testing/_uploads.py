"""Operations on uploaded files."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from replicate_async.types import File, FileChecksums, FileUrls

from ._calls import (
    Call,
    Problem,
    Response,
    empty_response,
    forbidden,
    invalid,
    invalid_body,
    json_response,
    not_found,
    parse_int,
)
from ._files import OutputFile, Part, parse_multipart
from ._pagination import paginate
from ._store import FILE_LIFETIME, Store, StoredFile
from ._validation import InvalidField

_MAX_FILE_BYTES = 100 * 2**20
_MAX_NAME_BYTES = 255


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``files.create``, a form. Only the OpenAPI document uses this struct."""

    content: Annotated[Any, Meta(extra_json_schema={"contentMediaType": "application/octet-stream"})]
    filename: Annotated[str, Meta(max_length=_MAX_NAME_BYTES)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    type: str | UnsetType = UNSET


async def list_(store: Store, call: Call) -> Response:
    """List files, newest first."""
    return paginate(store, call, store.live_files().newest_first(), encode=_to_wire)


async def create(store: Store, call: Call) -> Response:
    """Upload the file in a form."""
    try:
        parts = {part.name: part for part in parse_multipart(call.headers.get("Content-Type", ""), call.body)}
    except ValueError as error:
        raise Problem(400, f"Multipart form parse error - {error}") from None
    content = parts.get("content")
    # The official SDK sends metadata as parts of its own, which the API ignores.
    unknown = [name for name in parts if name.partition("[")[0] not in Form.__struct_fields__]
    if content is None or unknown:
        required = [] if content else [InvalidField("required", "", "content is required")]
        kind = "additional_property_not_allowed"
        extra = [InvalidField(kind, "", f"Additional property {name} is not allowed") for name in unknown]
        raise invalid_body([*required, *extra])
    if len(content.content) > _MAX_FILE_BYTES:
        raise Problem(413, "The file is too large: the maximum is 100 MiB.", title="File too large")
    name = _text(parts, "filename") or content.filename or "file"
    # The limit is in bytes of UTF-8. The parser turns bytes that aren't UTF-8 into lone surrogates.
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or not name.isprintable():
        raise invalid("filename", f"filename must have at most {_MAX_NAME_BYTES} bytes of UTF-8")
    content_type = _text(parts, "type") or content.content_type or OutputFile(b"", name=name).type
    # Downloads send the content type as a header.
    if not content_type.isprintable():
        raise invalid("type", "type must be a content type")
    file_id, now = store.new_id(), store.clock.now()
    record = File(
        id=file_id,
        name=name,
        content_type=content_type,
        size=len(content.content),
        etag=hashlib.md5(content.content, usedforsecurity=False).hexdigest(),
        checksums=FileChecksums(sha256=hashlib.sha256(content.content).hexdigest()),
        metadata=_metadata(parts),
        created_at=now,
        expires_at=now + FILE_LIFETIME,
        urls=FileUrls(get=f"{store.api_url}/v1/files/{file_id}"),
    )
    store.files.add(file_id, StoredFile(record, content.content))
    return json_response(_to_wire(store.files[file_id]), 201)


async def get(store: Store, call: Call) -> Response:
    """Get a file's metadata."""
    return json_response(_to_wire(_find(store, call)))


async def delete(store: Store, call: Call) -> Response:
    """Delete a file."""
    store.files.remove(_find(store, call).record.id)
    return empty_response(204)


async def download(store: Store, call: Call) -> Response:
    """Send a file's content, for a signed URL."""
    if missing := [name for name in ("owner", "expiry", "signature") if name not in call.query]:
        raise invalid("", f"{missing[0]} is required", "required")
    file_id, expiry = call.path_arguments["file_id"], parse_int(call.query["expiry"])
    if expiry is None:
        raise invalid("expiry", "Invalid type. Expected: integer, given: string", "invalid_type")
    signature = store.sign_download(file_id, expiry)
    genuine = hmac.compare_digest(signature.encode(), call.query["signature"].encode())
    if call.query["owner"] != store.account.username or not genuine:
        raise forbidden()
    if expiry <= store.clock.now().timestamp():
        raise forbidden()
    file = _find(store, call)
    disposition = f"attachment; filename*=UTF-8''{quote(file.record.name or 'file', safe='')}"
    return Response(file.content, 200, file.record.content_type, {"Content-Disposition": disposition})


def _find(store: Store, call: Call) -> StoredFile:
    file_id = call.path_arguments["file_id"]
    file = store.live_files().get(file_id)
    if file is None:
        raise not_found()
    return file


def _to_wire(file: StoredFile) -> dict[str, Any]:
    """Return a file's metadata as the API sends it."""
    fields: dict[str, Any] = msgspec.to_builtins(file.record)
    fields["checksums"]["md5"] = file.record.etag
    return fields


def _text(parts: dict[str, Part], name: str) -> str | None:
    if name not in parts:
        return None
    try:
        return parts[name].content.decode()
    except UnicodeDecodeError:
        raise invalid(name, f"{name} must be UTF-8") from None


def _metadata(parts: dict[str, Part]) -> dict[str, Any]:
    if "metadata" not in parts:
        return {}
    try:
        return msgspec.json.decode(parts["metadata"].content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid("metadata", "Invalid type. Expected: object", "invalid_type") from None
