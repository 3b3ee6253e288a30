"""JSON: encoding with errors that name the place, and type guards for decoded values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeIs


# Type checkers follow these guards where ``isinstance`` leaves the element types unknown.


def is_dict(value: object) -> TypeIs[dict[Any, Any]]:
    """Return whether a value is a dict."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeIs[list[Any]]:
    """Return whether a value is a list."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    """Return whether a value is a mapping."""
    # Checking for a dict first is faster.
    return isinstance(value, (dict, Mapping))


def is_nested_deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects in a decoded value are nested deeper than a number of levels."""
    items: list[Any] = [value]
    for _ in range(levels + 1):
        containers = [item.values() if is_dict(item) else item for item in items if is_dict(item) or is_list(item)]
        if not containers:
            return False
        items = list(chain.from_iterable(containers))
    return True


# --- encoding ---


def _encode_object(value: Any) -> Any:
    if is_mapping(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_encode_object)


def encode_json(value: Any, place: str = "") -> bytes:
    """Encode a body, or the part of it at a place; errors name the place of a value that JSON cannot express."""
    try:
        body = _encoder.encode(value)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        place = _find_unencodable(value, place) or place
        raise TypeError(f"{place or 'the body'} can't be encoded as JSON: {error}") from error
    # The encoder writes NaN and infinities as null, which would silently run the model with other inputs.
    if b"null" in body:
        # This covers the contents of dataclasses, structs, sets and enums.
        plain = msgspec.to_builtins(value, enc_hook=_object_to_builtins)
        if (nonfinite := _find_nonfinite(plain, place)) is not None:
            raise ValueError(f"{nonfinite or 'the body'} is not a finite number, which JSON can't express")
    return body


def _object_to_builtins(value: Any) -> Any:
    # Everything else is msgspec.Raw, which is JSON already.
    return dict(value) if is_mapping(value) else None


def _children(value: Any, place: str) -> list[tuple[Any, str]]:
    if is_mapping(value):
        return [(child, f"{place}.{key}" if place else str(key)) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(child, f"{place}[{index}]") for index, child in enumerate(cast("Sequence[Any]", value))]
    return []


def _find_unencodable(value: Any, place: str) -> str | None:
    """Return the place of the innermost part that cannot be encoded."""
    try:
        _encoder.encode(value)
    except RecursionError:
        return place
    except (TypeError, ValueError, msgspec.MsgspecError):
        inner = (_find_unencodable(child, below) for child, below in _children(value, place))
        return next(filter(None, inner), place)
    return None


def _find_nonfinite(value: Any, place: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return place
    inner = (_find_nonfinite(child, below) for child, below in _children(value, place))
    return next((found_at for found_at in inner if found_at is not None), None)
