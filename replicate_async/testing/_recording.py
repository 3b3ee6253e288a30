"""What was asked and answered, as a file for people to read: its shape, its secrets, and what fits a request."""

from __future__ import annotations

import base64
import difflib
import email
import email.policy
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

_SCRUBBED = "SCRUBBED"
_SIGNED_QUERY = re.compile(
    r"([?&](?:x-(?:goog|amz)-(?:signature|credential|security-token)|signature|sig|token|googleaccessid|policy"
    r"|key-pair-id)=)[^&#\s\"'<>]+",
    re.IGNORECASE,
)
_API_TOKEN = re.compile(r"\br8_\w{8,}")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_SCRUBBED_WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"scrubbed").decode()
_LEAST_SECRET = 8  # characters: anything shorter could be part of anything
# Which inputs are credentials, by the words of their names: docs/testing.md has this rule for people.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # db_password_1, api-key, apiKey, APIKey
_SECRET = re.compile(r".*(password|passwd|passphrase|secret|credential|apikey)s?|authorization|pwd")
_GRANTED = re.compile(r"keys?|tokens?")
_GRANTING = re.compile(r"access|api|auth|bearer|hf|oauth|private|refresh|session|signing")
_LAST = re.compile(r"keys?|.*token")
_NOT_LAST_AFTER = re.compile(  # text is made of such tokens, and data and music have such keys
    r"begin|bos|cache|chroma|class|cls|colou?r|end|eos|first|foreign|idempotency|image|instance|last|mask|music|musical"
    r"|next|pad|placeholder|primary|public|sep|song|sort|special|start|stop|trigger|unk"
)
_DATA_URI = re.compile(r"(data:[^,\s]*;base64,[A-Za-z0-9+/=]*)")
# Headers that say what a request asks for, and those of answers that a client may go by.
_ASKING = ("Prefer", "Cancel-After")
_TELLING = ("Cache-Control", "Content-Disposition", "Content-Type", "Date", "Location", "Retry-After")
_AGAIN = re.compile(r"(GET|HEAD|QUERY) .*|POST .*/(cancel|files)")  # looking, canceling, uploading

T = TypeVar("T")


class Part(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A part of a form."""

    name: str
    body: Body
    filename: str | None = None


class Body(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A body, in the most readable of these ways; of what is sent and isn't text, only what tells it from others."""

    json: Any = UNSET
    lines: list[str] | None = None
    form: list[Part] | None = None
    base64: str | None = None
    sha256: str | None = None
    size: int | None = None

    def to_bytes(self) -> bytes:
        """Return an answer's body."""
        if self.json is not UNSET:
            return msgspec.json.encode(self.json)
        return "\n".join(self.lines).encode() if self.lines is not None else base64.b64decode(self.base64 or "")


class Request(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What was asked."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: Body | None = None


class Answer(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What was answered."""

    status: int
    headers: dict[str, str] = {}
    body: Body | None = None


class Exchange(msgspec.Struct, forbid_unknown_fields=True):
    """Both."""

    request: Request
    answer: Answer


class Tape(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The file. ``test`` is the one that it was made for, if any."""

    base_url: str
    recorded_at: datetime
    exchanges: list[Exchange]
    test: str = ""


class _Label(msgspec.Struct):
    """What a tape says of itself, whatever else is in the file."""

    test: str = ""


def made_for(path: Path) -> str:
    """Return which test a file was made for; nothing if it doesn't say so, or isn't there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Label).test
    except (FileNotFoundError, msgspec.DecodeError):
        return ""


def read_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Request:
    """Return a request as it is recorded, but for its secrets."""
    kept = {name: headers[name] for name in _ASKING if name in headers}
    return Request(method, url, kept, _sent(body, headers.get("Content-Type", "")) if body else None)


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Return an answer as it is recorded, but for its secrets."""
    kept = {name: headers[name] for name in _TELLING if name in headers}
    read = _text_of(body, headers.get("Content-Type", "")) or Body(base64=base64.b64encode(body).decode())
    return Answer(status, kept, read if body else None)


def _text_of(body: bytes, content_type: str) -> Body | None:
    try:
        if "json" in content_type:
            return Body(json=msgspec.json.decode(body))
        if content_type.startswith("text/"):
            return Body(lines=body.decode().split("\n"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return None


def _sent(body: bytes, content_type: str) -> Body:
    if content_type.startswith("multipart/form-data"):
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        return Body(form=[_part(part) for part in form.iter_parts()])
    text = _text_of(body, content_type)
    return text or Body(sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def _part(part: Any) -> Part:
    name = str(part.get_param("name", "", header="content-disposition"))
    content: bytes = part.get_payload(decode=True) or b""
    if part.get_filename() is None:
        return Part(name, _text_of(content, part.get_content_type()) or _sent(content, ""))
    return Part(name, Body(sha256=hashlib.sha256(content).hexdigest(), size=len(content)), part.get_filename())


def map_values(value: T, change: Callable[[Any, tuple[str, ...]], Any], where: tuple[str, ...] = ()) -> T:
    """Return a copy of a JSON value with each text and number changed; the change is told the keys that lead there."""
    made: Any = value
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        made = change(value, where)
    elif isinstance(value, list):
        made = [map_values(item, change, where) for item in cast("list[Any]", value)]
    elif isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        made = {key: map_values(item, change, (*where, key)) for key, item in items}
    return cast("T", made)


class Scrubber:
    """Takes the secrets out of what is recorded. What is known to be one is taken out wherever it occurs."""

    def __init__(self, *secrets: str) -> None:
        self._known = {secret: _SCRUBBED for secret in secrets if len(secret) >= _LEAST_SECRET}
        self._streams = 0

    def learn(self, value: object) -> None:
        """Look for secrets in a JSON value."""
        map_values(msgspec.to_builtins(value), self._look_at)
        # The longest first: one may be a part of another, whose rest would stay.
        self._known = dict(sorted(self._known.items(), key=lambda known: -len(known[0])))

    def _look_at(self, value: Any, where: tuple[str, ...]) -> Any:
        if where[-2:] == ("urls", "stream"):  # whoever knows a stream's URL may read it; streams stay apart
            secret = urlsplit(str(value)).path.rpartition("/")[2]
            if self._is_new(secret):
                self._streams += 1
                self._known[secret] = f"stream-{self._streams}"
        elif _is_secret(where) and self._is_new(str(value)):
            self._known[str(value)] = _SCRUBBED
        return value

    def _is_new(self, secret: str) -> bool:
        return len(secret) >= _LEAST_SECRET and secret not in self._known

    def scrub(self, value: T) -> T:
        """Return a struct without secrets."""
        plain = map_values(msgspec.to_builtins(value), self._clean)
        return msgspec.convert(plain, type(value))

    def _clean(self, value: Any, where: tuple[str, ...]) -> Any:
        if _is_secret(where):
            return _SCRUBBED
        in_json = "json" in where
        if not isinstance(value, str):
            return _SCRUBBED if in_json and str(value) in self._known else value
        if where and where[-1] in {"base64", "sha256"} and not in_json:
            return value
        # What is encoded has nothing to find in it, and would be broken by what looks like it.
        pieces = _DATA_URI.split(value)
        pieces[::2] = map(self._clean_text, pieces[::2])
        return "".join(pieces)

    def _clean_text(self, text: str) -> str:
        for secret, substitute in self._known.items():
            text = text.replace(secret, substitute)
        text = _API_TOKEN.sub(_SCRUBBED, text)
        text = _WEBHOOK_SECRET.sub(_SCRUBBED_WEBHOOK_SECRET, text)
        return _SIGNED_QUERY.sub(rf"\1{_SCRUBBED}", text)


def _is_secret(where: tuple[str, ...]) -> bool:
    """Whether a value is a secret by its name, or what it is in: models are given keys of other services as inputs."""
    return "input" in where and any(map(_names_secret, where[where.index("input") + 1 :]))


@cache
def _names_secret(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = list(pairwise(["", *words]))
    return (
        any(map(_SECRET.fullmatch, words))
        or any(_GRANTING.fullmatch(before) and _GRANTED.fullmatch(word) for before, word in pairs)
        or words == ["tokens"]  # else they are counted: max_tokens
        or any(_LAST.fullmatch(word) and not _NOT_LAST_AFTER.fullmatch(before) for before, word in pairs[-1:])
    )


class Player:
    """Answers requests from a tape: equal ones in their order, and what changes nothing once more at the end."""

    def __init__(self, tape: Tape) -> None:
        # Recordings are scrubbed once more: what was recorded before there was some rule has to fit as well.
        self._as_recorded, self._as_sent = Scrubber(), Scrubber()
        requests = [exchange.request for exchange in tape.exchanges]
        for scrubber in (self._as_recorded, self._as_sent):
            scrubber.learn(requests)
        self._requests = [self._as_recorded.scrub(request) for request in requests]
        self._left: dict[bytes, list[Answer]] = {}
        for request, exchange in zip(self._requests, tape.exchanges, strict=True):
            self._left.setdefault(_key(request), []).append(exchange.answer)

    def answer(self, request: Request) -> Answer:
        """Return what was answered to a request; ``LookupError`` tells what there is instead."""
        self._as_sent.learn(request)  # the secrets of today needn't be those that were recorded
        sent = request
        request = self._as_sent.scrub(sent)
        if _key(request) not in self._left:  # a secret of today may also be a word of yesterday's
            other = self._as_recorded.scrub(sent)
            request = other if _key(other) in self._left else request
        answers = self._left.get(_key(request), [])
        what = f"{request.method} {request.url}"
        if len(answers) > 1 or (answers and not _AGAIN.fullmatch(what)):
            return answers.pop(0)
        if answers:
            return answers[0]
        raise LookupError(f"{what} {self._instead(request)}")

    def _instead(self, request: Request) -> str:
        if _key(request) in self._left:
            times = sum(_key(recorded) == _key(request) for recorded in self._requests)
            return f"was recorded {times} time{'s' if times > 1 else ''}, and is asked for once more."
        if not self._requests:
            return "is not in the recording, which is empty."
        shown = _shown(request)

        def nearness(other: Request) -> tuple[bool, float]:
            same = (other.method, urlsplit(other.url).path) == (request.method, urlsplit(request.url).path)
            return same, difflib.SequenceMatcher(None, _shown(other), shown).quick_ratio()

        number, nearest = max(enumerate(self._requests, 1), key=lambda numbered: nearness(numbered[1]))
        differences = _differences(msgspec.to_builtins(nearest), msgspec.to_builtins(request))
        return f"is not in the recording. The nearest that is, number {number}, differs:\n  " + "\n  ".join(differences)


def _key(request: Request) -> bytes:
    return msgspec.json.encode(request, order="deterministic")


def _shown(request: Request) -> str:
    return _key(request).decode()[:5000]


def _differences(recorded: Any, sent: Any, where: str = "") -> list[str]:
    """Name what differs between two JSON values, a line each."""
    if isinstance(recorded, dict) and isinstance(sent, dict):
        mine, theirs = cast("dict[str, Any]", recorded), cast("dict[str, Any]", sent)
        place = f"{where}." if where else ""
        found: list[str] = []
        for key in {**mine, **theirs}:
            found += _differences(mine.get(key, UNSET), theirs.get(key, UNSET), place + key)
        return found
    if isinstance(recorded, list) and isinstance(sent, list):
        one, other = cast("list[Any]", recorded), cast("list[Any]", sent)  # type: ignore[redundant-cast]
        if len(one) == len(other):
            pairs = enumerate(zip(one, other, strict=True))
            return [line for number, pair in pairs for line in _differences(*pair, f"{where}[{number}]")]
    return [] if recorded == sent else [f"{where}: recorded {_brief(recorded)}, sent {_brief(sent)}"]


def _brief(value: Any) -> str:
    if isinstance(value, UnsetType):
        return "nothing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}..."
