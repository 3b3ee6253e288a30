"""Removes secrets from recordings."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from html import escape
from itertools import pairwise
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import msgspec

_SCRUBBED = "SCRUBBED"
_PARAMETER = re.compile(r"([?&#;]([^=?&#;\s\"'<>]+)=)([^&#\s\"'<>\\]+)")
_SIGNATURE_NAME = re.compile(
    r"x-(?:goog|amz)-(?:signature|credential|security-token)|signature|sig|googleaccessid|policy|key-pair-id",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@\"'<>]+(?=@)")
_API_TOKEN = re.compile(r"\br8_\w{8,}")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_SCRUBBED_WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"scrubbed").decode()
# Anything shorter could be part of any text.
_MIN_SECRET_CHARACTERS = 8
# Inputs are secrets by the words of their names. docs/testing.md explains this rule to users.
# The words of db_password_1, api-key, apiKey and APIKey.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORD = re.compile(
    r".*(password|passwd|passphrase|secret|credential|apikey|cookie)s?|authorization|jwt|passcode|pwd"
)
_KEY_OR_TOKEN = re.compile(r"keys?|tokens?")
_WORD_BEFORE_KEY = re.compile(r"access|api|auth|bearer|hf|oauth|private|refresh|session|signing")
_LAST_WORD = re.compile(r"keys?|.*token|auth|bearer|pat")
# Text consists of such tokens, and data and music have such keys.
_WORD_BEFORE_OTHER_KEY = re.compile(
    r"begin|bos|cache|chroma|class|cls|colou?r|end|eos|first|foreign|idempotency|image|instance|last|mask|music|musical"
    r"|next|pad|placeholder|primary|public|sep|song|sort|special|start|stop|trigger|unk"
)
_DATA_URI = re.compile(r"(data:[^,\s]*;base64,[A-Za-z0-9+/=]*)")

T = TypeVar("T")


def map_values(
    value: T,
    change: Callable[[Any, tuple[str, ...]], Any],
    path: tuple[str, ...] = (),
    change_key: Callable[[str, tuple[str, ...]], str] = lambda key, _: key,
) -> T:
    """Return a copy of a JSON value with each string, number and key changed. Functions also get the path of keys."""
    changed: Any = value
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        changed = change(value, path)
    elif isinstance(value, list):
        changed = [map_values(item, change, path, change_key) for item in cast("list[Any]", value)]
    elif isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        changed = {change_key(key, path): map_values(item, change, (*path, key), change_key) for key, item in items}
    return cast("T", changed)


class Scrubber:
    """Replaces secrets in recordings, wherever they occur, in any encoding; only those passed here also in files."""

    def __init__(self, *secrets: str) -> None:
        secrets = tuple(secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARACTERS)
        self._substitutes = dict.fromkeys(secrets, _SCRUBBED)
        self._spellings = [re.compile(_spellings(secret), re.IGNORECASE) for secret in secrets]
        self._base64 = [_base64_pattern(secret) for secret in secrets]
        self._streams = 0

    def learn(self, value: object) -> None:
        """Collect the secrets in a JSON value."""
        map_values(msgspec.to_builtins(value), self._collect)
        # The longest first: a secret may be part of another one, whose rest would stay.
        self._substitutes = dict(sorted(self._substitutes.items(), key=lambda item: -len(item[0])))

    def _collect(self, value: Any, path: tuple[str, ...]) -> Any:
        # The URL of a stream grants access to it. Substitutes are numbered, so that streams stay distinct.
        if path[-2:] == ("urls", "stream"):
            secret = urlsplit(str(value)).path.rpartition("/")[2]
            if self._is_new(secret):
                self._streams += 1
                self._substitutes[secret] = f"stream-{self._streams}"
        elif _is_secret(path):
            self._add(str(value))
        elif isinstance(value, str):
            for _, name, parameter in _PARAMETER.findall(value):
                if _is_secret_name(unquote(name)):
                    self._add(unquote(parameter))
            if _is_named(path) and (inner := _decode_container(value)) is not None:
                map_values(inner, self._collect, path)
        return value

    def _add(self, secret: str) -> None:
        if self._is_new(secret):
            self._substitutes[secret] = _SCRUBBED

    def _is_new(self, secret: str) -> bool:
        return len(secret) >= _MIN_SECRET_CHARACTERS and secret not in self._substitutes

    def scrub(self, value: T) -> T:
        """Return a struct without secrets."""
        plain = map_values(msgspec.to_builtins(value), self._scrub_value, change_key=self._scrub_key)
        return msgspec.convert(plain, type(value))

    def _scrub_key(self, key: str, path: tuple[str, ...]) -> str:
        # All other keys are names of the API or of the recording, as the names of secrets are the user's.
        is_data = _is_named(path) or not {"output", "metrics"}.isdisjoint(path)
        return self._scrub_text(key) if is_data and not (key.isidentifier() and _is_secret_name(key)) else key

    def _scrub_value(self, value: Any, path: tuple[str, ...]) -> Any:
        if _is_secret(path):
            return _SCRUBBED
        in_json = "json" in path
        if not isinstance(value, str):
            return _SCRUBBED if in_json and str(value) in self._substitutes else value
        if path and path[-1] in {"base64", "sha256"} and not in_json:
            return self._scrub_base64(value)
        if _is_named(path) and (inner := _decode_container(value)) is not None:
            scrubbed = map_values(inner, self._scrub_value, path, self._scrub_key)
            return value if scrubbed == inner else msgspec.json.encode(scrubbed).decode()
        # Data URIs stay as they are: what looks like a secret in base64 is none, and replacing it would break the file.
        pieces = _DATA_URI.split(value)
        pieces[::2] = map(self._scrub_text, pieces[::2])
        return self._scrub_base64("".join(pieces))

    def _scrub_base64(self, text: str) -> str:
        for forms in self._base64:
            text = forms.sub(_of_same_length, text)
        return text

    def _scrub_text(self, text: str) -> str:
        for secret, substitute in self._substitutes.items():
            text = text.replace(secret, substitute)
            if any(map(text.__contains__, "%\\&")) or _hex(secret) in text.lower():
                text = re.sub(_spellings(secret), substitute, text)
            text = _base64_pattern(secret).sub(_of_same_length, text)
        for spellings in self._spellings:
            text = spellings.sub(_SCRUBBED, text)
        text = _API_TOKEN.sub(_SCRUBBED, text)
        text = _WEBHOOK_SECRET.sub(_SCRUBBED_WEBHOOK_SECRET, text)
        return _PARAMETER.sub(_scrub_parameter, _CREDENTIALS.sub(_SCRUBBED, text))


def _scrub_parameter(match: re.Match[str]) -> str:
    name = unquote(match[2])
    is_secret = _SIGNATURE_NAME.fullmatch(name) or _is_secret_name(name)
    return match[1] + (_SCRUBBED if is_secret else match[3])


@cache
def _spellings(secret: str) -> str:
    """Return a pattern for a text in hex, or with any characters percent-encoded, or escaped in JSON or HTML."""
    return f"{''.join(map(_character_spellings, secret))}|(?i:{_hex(secret)})"


@cache
def _character_spellings(character: str) -> str:
    code = ord(character)
    percent_encoded = re.sub("..", r"%(?:25)*\g<0>", _hex(character))
    escapes = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "/": r"\/"}
    escaped = [rf"\\+u{code:04x}", rf"\\+{re.escape(escapes[character][1:])}" if character in escapes else ""]
    in_html = [rf"&\#(?:0*{code}|x0*{code:x});", re.escape(escape(character)) if character in '&<>"' else ""]
    return rf"(?:{re.escape(character)}|(?i:{'|'.join(filter(None, [percent_encoded, *escaped, *in_html]))}))"


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def _of_same_length(match: re.Match[str]) -> str:
    """Return a substitute for a piece of base64: the whole is still base64."""
    return (_SCRUBBED * len(match[0]))[: len(match[0])]


@cache
def _base64_pattern(secret: str) -> re.Pattern[str]:
    return re.compile("|".join(_base64_forms(secret)))


def _base64_forms(secret: str) -> list[str]:
    """Return patterns for the base64 of a text, wherever it stands in what was encoded."""
    forms: list[str] = []
    content = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        # The characters at both ends also depend on what is around the text.
        encoded = base64.b64encode(bytes(offset) + content).decode()
        whole = encoded[-(-offset * 8 // 6) : (offset + len(content)) * 8 // 6]
        forms.append(re.escape(whole).replace(r"\+", "[+-]").replace("/", "[/_]"))
    return forms


def _decode_container(text: str) -> Any:
    """Return the object or list that a text is the JSON of, or None."""
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _is_named(path: tuple[str, ...]) -> bool:
    """Return whether a value is a part of something that users have named: of inputs, metadata or forms."""
    return bool(_names(path)) or path[-1:] in {("input",), ("metadata",)}


def _names(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that users gave to a value, and to the objects around it."""
    for index, name in enumerate(path):
        if name in {"input", "metadata", "form"}:
            return path[index + 1 :]
        if name == "output":
            break
    return ()


def _is_secret(path: tuple[str, ...]) -> bool:
    """Return whether a value is a secret by its name, or by the name of an object around it."""
    return any(map(_is_secret_name, _names(path)))


@cache
def _is_secret_name(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = list(pairwise(["", *words]))
    return (
        any(map(_SECRET_WORD.fullmatch, words))
        or any(_WORD_BEFORE_KEY.fullmatch(before) and _KEY_OR_TOKEN.fullmatch(word) for before, word in pairs)
        # Other names that end in tokens are numbers of tokens, such as max_tokens.
        or words == ["tokens"]
        or any(
            _LAST_WORD.fullmatch(word) and not _WORD_BEFORE_OTHER_KEY.fullmatch(before) for before, word in pairs[-1:]
        )
    )
