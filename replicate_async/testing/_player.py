"""Replays a cassette: finds the response to a request, or explains why there is none."""

from __future__ import annotations

import difflib
import re
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from ._cassette import Cassette, RecordedRequest, RecordedResponse
from ._scrubber import Scrubber

# Reading, canceling and uploading may be repeated more often than recorded.
_REPEATABLE = re.compile(r"(GET|HEAD|QUERY) .*|POST .*/(cancel|files)")


class Player:
    """Responds from a cassette. Equal requests get their responses in order.

    After the last one, repeatable requests get it again.
    """

    def __init__(self, cassette: Cassette) -> None:
        # Scrubbing recorded requests again lets older recordings match after a new rule for secrets.
        self._recorded_scrubber, self._sent_scrubber = Scrubber(), Scrubber()
        requests = [exchange.request for exchange in cassette.exchanges]
        for scrubber in (self._recorded_scrubber, self._sent_scrubber):
            scrubber.learn(requests)
        self._requests = [self._recorded_scrubber.scrub(request) for request in requests]
        self._responses: dict[bytes, list[RecordedResponse]] = {}
        for request, exchange in zip(self._requests, cassette.exchanges, strict=True):
            self._responses.setdefault(_key(request), []).append(exchange.response)

    def respond(self, sent: RecordedRequest) -> RecordedResponse:
        """Return the response to a request; raises ``LookupError`` if there is none, with the nearest request."""
        # The secrets of this run may differ from the recorded ones.
        self._sent_scrubber.learn(sent)
        request = self._sent_scrubber.scrub(sent)
        # A secret of this run may also be a word of the recording.
        if _key(request) not in self._responses:
            scrubbed_as_recorded = self._recorded_scrubber.scrub(sent)
            request = scrubbed_as_recorded if _key(scrubbed_as_recorded) in self._responses else request
        responses = self._responses.get(_key(request), [])
        description = f"{request.method} {request.url}"
        if len(responses) > 1 or (responses and not _REPEATABLE.fullmatch(description)):
            return responses.pop(0)
        if responses:
            return responses[0]
        raise LookupError(f"{description} {self._explain(request)}")

    def _explain(self, request: RecordedRequest) -> str:
        if _key(request) in self._responses:
            times = sum(_key(recorded) == _key(request) for recorded in self._requests)
            return f"was recorded {times} time{'s' if times > 1 else ''}, and is sent once more."
        if not self._requests:
            return "is not in the recording, which is empty."
        text = _excerpt(request)

        def similarity(recorded: RecordedRequest) -> tuple[bool, float]:
            same_url = (recorded.method, urlsplit(recorded.url).path) == (request.method, urlsplit(request.url).path)
            return same_url, difflib.SequenceMatcher(None, _excerpt(recorded), text).quick_ratio()

        number, nearest = max(enumerate(self._requests, 1), key=lambda numbered: similarity(numbered[1]))
        differences = "\n  ".join(_differences(msgspec.to_builtins(nearest), msgspec.to_builtins(request)))
        return f"is not in the recording. The nearest that is, number {number}, differs:\n  {differences}"


def _key(request: RecordedRequest) -> bytes:
    return msgspec.json.encode(request, order="deterministic")


def _excerpt(request: RecordedRequest) -> str:
    return _key(request).decode()[:5000]


def _differences(recorded: Any, sent: Any, path: str = "") -> list[str]:
    """Return the differences between two JSON values, one per line."""
    if isinstance(recorded, dict) and isinstance(sent, dict):
        recorded_items, sent_items = cast("dict[str, Any]", recorded), cast("dict[str, Any]", sent)
        prefix = f"{path}." if path else ""
        lines: list[str] = []
        for key in {**recorded_items, **sent_items}:
            lines += _differences(recorded_items.get(key, UNSET), sent_items.get(key, UNSET), prefix + key)
        return lines
    if isinstance(recorded, list) and isinstance(sent, list):
        recorded_list, sent_list = cast("list[Any]", recorded), cast("list[Any]", sent)  # type: ignore[redundant-cast]
        if len(recorded_list) == len(sent_list):
            pairs = enumerate(zip(recorded_list, sent_list, strict=True))
            return [line for number, pair in pairs for line in _differences(*pair, f"{path}[{number}]")]
    return [] if recorded == sent else [f"{path}: recorded {_abbreviate(recorded)}, sent {_abbreviate(sent)}"]


def _abbreviate(value: Any) -> str:
    if isinstance(value, UnsetType):
        return "nothing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}..."
