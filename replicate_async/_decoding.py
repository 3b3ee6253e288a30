"""Decodes JSON to the API's types: fast if it is as documented, and leniently if it is not.

The API leaves members out, and sends others in forms that it does not document. That must not cost the rest of a
response, such as an output that was paid for. So a struct of the API only lacks what it can't be used without
(``types.ESSENTIAL``), and keeps the value of any other member as the API sent it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from replicate_async._json import is_dict, is_list
from replicate_async._logging import logger
from replicate_async.types import ESSENTIAL, JOB_ID_PATTERN, Prediction, Struct, Training

_JOBS = (Prediction, Training)
_is_job_id = re.compile(JOB_ID_PATTERN).match
_ALTERNATIVES = (Annotated, Union, UnionType)
# Python refuses to read longer numbers.
_MAX_DIGITS = 4000
# A member with an id, any other text, or a bracket.
_TOKEN = re.compile(rb'"id"\s*:\s*"([\w-]+)"|"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]', re.DOTALL)
# An escaped surrogate pair, a lone surrogate (in the group), or any other escape.
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)


def json_decoder(kind: Any) -> Callable[[bytes], Any]:
    """Return the function that decodes JSON to a type.

    It raises ``msgspec.MsgspecError``, ``UnicodeDecodeError`` or ``RecursionError`` if it can't.
    """
    decode_strictly = msgspec.json.Decoder(kind).decode

    def decode(body: bytes) -> Any:
        try:
            return decode_strictly(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            try:
                return _convert(_parse(body), kind)
            except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
                # The strict decoder may have failed at something else than what is essential.
                is_about_content = isinstance(error, msgspec.ValidationError)
                raise problem if is_about_content and isinstance(problem, msgspec.ValidationError) else error from None

    def decode_job(body: bytes) -> Any:
        job = decode(body)
        # For each job of a page, this would take too long.
        if not _is_job_id(job.id):
            raise msgspec.ValidationError(f"{job.id!a} can't be an id - at `$.id`")
        return job

    return decode_job if kind in _JOBS else decode


def find_id(body: bytes) -> str | None:
    """Return the id of an undecodable JSON object, or None: what was created must not be lost."""
    depth = 0
    for token in _TOKEN.finditer(body) if body.lstrip().startswith(b"{") else ():
        if token[0] in {b"{", b"["}:
            depth += 1
        elif token[0] in {b"}", b"]"}:
            depth -= 1
        elif token[1] and depth == 1:
            return token[1].decode()
    return None


def _parse(body: bytes) -> Any:
    """Return JSON as plain data, also if it has NaN, lone surrogates or huge numbers, which strict decoders refuse."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # A text with a lone surrogate could not be printed or sent.
        text = _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], body.decode("utf-8-sig", "replace"))
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < _MAX_DIGITS else digits)


def _convert(value: Any, kind: Any) -> Any:
    """Return plain data as a type; raises ``msgspec.ValidationError`` if something essential is missing."""
    if kind is msgspec.Raw:
        return msgspec.Raw(json.dumps(value).encode())
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        for alternative in get_args(kind) if get_origin(kind) in _ALTERNATIVES else (kind,):
            if is_dict(value) and _is_struct(alternative):
                return _convert_members(value, alternative)
            if is_list(value) and get_origin(alternative) is list and _is_struct(*get_args(alternative)):
                return [_convert_item(item, *get_args(alternative)) for item in value]
        raise


def _is_struct(kind: Any) -> bool:
    """Return whether a type is a struct of the API. Other types are the caller's, who may rely on what they say."""
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and (issubclass(kind, Struct) or kind is msgspec.Raw)


def _convert_item(item: Any, kind: Any) -> Any:
    try:
        return _convert(item, kind)
    except msgspec.ValidationError as error:
        logger.warning("an item of a list is kept as plain data, because it is not a %s: %s", kind.__name__, error)
        return item


def _convert_members(members: Mapping[str, Any], kind: Any) -> Any:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = members.get(field.encode_name)
        try:
            if value is not None or field.required:
                values[field.name] = _convert(value, field.type)
        except msgspec.ValidationError as error:
            if ESSENTIAL in getattr(field.type, "__metadata__", ()):
                raise msgspec.ValidationError(f"{error} - at `$.{field.encode_name}`") from None
            values[field.name] = value
    return kind(**values)
