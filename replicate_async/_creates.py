"""Which predictions a client has started: so that one whose answer got lost can be told from all others."""

from __future__ import annotations

from collections import Counter, OrderedDict
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
# Date headers have whole seconds, and a create may be stamped a little before its request was seen to start.
_CLOCK_SLACK = timedelta(seconds=2)


class _Identified(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_Identified)


class Ledger:
    """The creates of a client: those under way, and the ids of those that were answered."""

    def __init__(self) -> None:
        self._under_way: Counter[bytes] = Counter()
        self._known: OrderedDict[str, None] = OrderedDict()

    @staticmethod
    def key(path: str, body: bytes) -> bytes:
        """Return what tells a create from others; those with the same key are twins."""
        return path.encode() + b" " + body

    def start(self, key: bytes) -> None:
        """Note a create that has no answer yet."""
        self._under_way[key] += 1

    def finish(self, key: bytes) -> None:
        """Note that it has one, or never gets one."""
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]

    def add(self, answer: bytes) -> None:
        """Note which prediction an answer tells of; an answer that can't be read is the caller's to complain about."""
        try:
            self._known[_ID.decode(answer).id] = None
        except msgspec.MsgspecError:
            return
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def match(
        self, key: bytes, request: Request[Any], candidates: Iterable[Prediction], since: datetime
    ) -> Prediction | None:
        """Return the prediction that a lost create made, if it can only be that one."""
        if key in self._under_way:
            return None  # a twin is being created: whose is whose can't be told
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
    return ledger.match(ledger.key(request.path, body), request, page.parse().results, since)
