"""Which predictions a client has started: so that one whose answer got lost can be told from all others."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_async._wire import Request, encode_json, full_body
from replicate_async.types import PageData, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_async._transport import Transport

_KNOWN_MAX = 20_000
_UNREAD_MAX = 250
_UNREAD_SIZE = 4096
# Date headers have whole seconds, and a create may be stamped a little before its request was seen to start.
_CLOCK_SLACK = timedelta(seconds=2)


class _Identified(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_Identified)


Key = tuple[str, bytes]  # path and body; creates with the same are twins


class Ledger:
    """The creates of a client: those under way, and the ids of those that were answered."""

    def __init__(self) -> None:
        self._under_way: dict[Key, int] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._unread: list[bytes] = []

    def start(self, key: Key) -> None:
        """Note a create that has no answer yet."""
        self._under_way[key] = self._under_way.get(key, 0) + 1

    def finish(self, key: Key) -> None:
        """Note that it has one, or never gets one."""
        left = self._under_way.pop(key) - 1
        if left:
            self._under_way[key] = left

    def add(self, answer: bytes) -> None:
        """Note the prediction that an answer tells of; which one that is, is read when it matters, or in a batch."""
        self._unread.append(answer)
        if len(self._unread) >= _UNREAD_MAX or len(answer) > _UNREAD_SIZE:
            self._read()

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for answer in unread:
            with suppress(msgspec.MsgspecError):  # the caller complains about an answer that can't be read
                self._known[_ID.decode(answer).id] = None
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def match(
        self, key: Key, request: Request[Any], candidates: Iterable[Prediction], since: datetime
    ) -> Prediction | None:
        """Return the prediction that a lost create made, if it can only be that one."""
        if key in self._under_way:
            return None  # a twin is being created: whose is whose can't be told
        self._read()
        found = [
            candidate
            for candidate in candidates
            if candidate.created_at >= since and candidate.id not in self._known and _same(request, candidate)
        ]
        return found[0] if len(found) == 1 else None


def _same(request: Request[Any], prediction: Prediction) -> bool:
    """Whether a prediction has the model or version, and the input, that a create asked for."""
    if request.path == "/predictions":
        wanted = str(request.json["version"])
        same_model = wanted in {prediction.version, prediction.model, f"{prediction.model}:{prediction.version}"}
    else:
        kind, owner, name, _ = request.path.strip("/").split("/")
        same_model = f"{owner}/{name}" == (prediction.model if kind == "models" else prediction.deployment)
    return same_model and msgspec.json.decode(encode_json(request.json["input"])) == prediction.input


async def find_lost(transport: Transport, request: Request[Any], age: float) -> Prediction | None:
    """Look on the server for what a create made whose answer never came; ``age`` is for how long it has been sent."""
    listing = Request[PageData[Prediction]]("GET", "/predictions", PageData[Prediction], {}, urgent=True)
    page = await transport.send(listing)
    # The server's clock decides, because it stamped the predictions.
    date = page.headers.get("Date")
    now = parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
    since = now - timedelta(seconds=age) - _CLOCK_SLACK
    ledger = transport.pool.ledger
    body, _ = full_body(request)
    return ledger.match((request.path, body), request, page.parse().results, since)
