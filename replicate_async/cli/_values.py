"""The inputs of a model on the command line: ``name=value`` and ``name:=json``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from replicate_async._files import mime_type
from replicate_async._json import is_dict, is_list
from replicate_async._schema import is_file, kind_of


class InputValue(NamedTuple):
    """One input, before its type is decided.

    Attributes:
        text: The value as text. None if it was written as JSON.
        json: The value decoded as JSON. UNSET if it isn't JSON.
        content: What standard input has, if the value is ``-`` or ``@-``.
    """

    name: str
    text: str | None
    json: Any
    content: bytes | None = None

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
        value = _decode(text)
        if sign == "=":
            return cls(name, text, _unquoted(value))
        if value is UNSET:
            raise ValueError(f"{argument!r}: the value after := is not JSON, or is nested too deeply")
        return cls(name, None, value)

    @property
    def is_standard_input(self) -> bool:
        """Whether the value is what standard input has: - or @-."""
        return self.text in {"-", "@-"}

    def with_content(self, content: bytes) -> InputValue:
        """Return the value with what standard input has."""
        return self._replace(json=_unquoted(_decode(content)), content=content)

    @property
    def ambiguous(self) -> bool:
        """Whether the model's schema decides between text and JSON, or between text and a file."""
        return self.text is not None and (self.json is not UNSET or self.names_file)

    @property
    def names_file(self) -> bool:
        """Whether a text may name a file: @cat.png, as for curl, or cat.png."""
        text = self.text or ""
        is_path = "://" not in text and "\n" not in text and mime_type(text) is not None
        return is_path or text.startswith("@") or self.is_standard_input

    def decide(self, schema: dict[str, Any] | None) -> Any:
        """Return the value for an input with this schema: text, JSON, or a file.

        Args:
            schema: The schema of the input. None if it is unknown: then ``@`` stands before the name of a file.
        """
        text = self.text or ""
        if self.names_file and (text.startswith("@") if schema is None else is_file(schema)):
            path = Path(text.removeprefix("@"))
            if self.content is None and schema is None and not path.exists():
                advice = f"write {self.name}:='{msgspec.json.encode(text).decode()}' for a text"
                raise FileNotFoundError(f"{self.name}: there is no file {path}; {advice}")
            return path if self.content is None else self.content
        if self.content is not None:
            try:
                text = self.content.decode().removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError:
                raise ValueError(f"standard input is not text: write {self.name}=@- to send it as a file") from None
        schema = schema or {}
        alternatives: Any = schema.get("anyOf")
        parts = [schema, *(filter(is_dict, alternatives) if is_list(alternatives) else ())]
        takes_text = any(kind_of(part) == "string" for part in parts)
        return text if self.text is not None and (self.json is UNSET or takes_text) else self.json


def _decode(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return UNSET


def _unquoted(value: Any) -> Any:
    """Return a JSON value, or UNSET for a quoted text, which keeps its quotes."""
    return UNSET if isinstance(value, str) else value
