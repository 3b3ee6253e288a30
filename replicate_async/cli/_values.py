"""The inputs of a model on the command line: ``name=value`` and ``name:=json``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from replicate_async._files import mime_type
from replicate_async._schema import is_file


class InputValue(NamedTuple):
    """One input, before its type is decided.

    Attributes:
        text: The value as text. None if it was written as JSON.
        json: The value decoded as JSON. UNSET if it isn't JSON.
    """

    name: str
    text: str | None
    json: Any

    @classmethod
    def parse(cls, argument: str) -> InputValue:
        """Parse ``name=value`` or ``name:=json``.

        Raises:
            ValueError: The argument is neither.
        """
        match = re.fullmatch(r"([^=:]+)(:?=)(.*)", argument, re.DOTALL)
        if match is None:
            raise ValueError(f"{argument!r} is not an input: write name=value, or name:=json")
        name, sign, text = match.groups()
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            value = UNSET
        if sign == "=":
            # A quoted text keeps its quotes.
            return cls(name, text, UNSET if isinstance(value, str) else value)
        if value is UNSET:
            raise ValueError(f"{argument!r}: the value after := is not JSON, or is nested too deeply")
        return cls(name, None, value)

    @property
    def ambiguous(self) -> bool:
        """Whether the model's schema decides between text and JSON, or between text and a file."""
        return self.text is not None and (self.json is not UNSET or self._names_file)

    @property
    def _names_file(self) -> bool:
        """Whether a text may name a file: @cat.png, as for curl, or cat.png."""
        text = self.text or ""
        return text.startswith("@") or ("://" not in text and "\n" not in text and mime_type(text) is not None)

    def decide(self, schema: dict[str, Any]) -> Any:
        """Return the value for an input with this schema: text, JSON, or the path of a file."""
        if self.text and self._names_file and is_file(schema):
            return Path(self.text.removeprefix("@"))
        takes_text = any(part.get("type") == "string" for part in (schema, *schema.get("anyOf", ())))
        return self.text if self.json is UNSET or (self.ambiguous and takes_text) else self.json
