"""Creates are billed: one whose outcome isn't known is looked for on the server before it is made again."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from replicate_async import _clock
from replicate_async._arguments import path
from replicate_async._jobs import looking_options
from replicate_async._wire import APIResponse, Request, full_body
from replicate_async.errors import APIError, CreateOutcomeUnknown
from replicate_async.types import PageData, Prediction, Training

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from replicate_async._transport import Transport

T = TypeVar("T")

_KNOWN_MAX = 100_000
# Date headers have whole seconds, and a create may be stamped a little before its request was seen to start.
_CLOCK_SLACK = timedelta(seconds=2)
# How long to pause before each look. A create that didn't show up until the last one isn't coming any more.
_PAUSES = (0.0, 0.5, 1.0, 2.0)
_PAGES_MAX = 1000
_TWIN_PAUSE = 0.05


class _Identified(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_Identified)

Key = tuple[str, bytes]  # path and body; creates with the same are twins: what one of them made is as good for another


class Ledger:
    """The creates of a token's clients: those under way, those that are lost, and what the answered ones made."""

    def __init__(self) -> None:
        self.lost: dict[Key, int] = {}
        self._under_way: dict[Key, int] = {}
        self._known: OrderedDict[str, None] = OrderedDict()

    @asynccontextmanager
    async def under_way(self, key: Key) -> AsyncGenerator[None, None]:
        """Note a create that is sent and has no answer yet; none is sent while a twin of it is being looked for."""
        while key in self.lost:
            await _clock.current.sleep(_TWIN_PAUSE)
        with _counted(self._under_way, key):
            yield

    def is_under_way(self, key: Key) -> bool:
        """Return whether such a create has no answer yet."""
        return key in self._under_way

    def own(self, job_id: str) -> None:
        """Note what a create has made."""
        self._known[job_id] = None
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def match(
        self, request: Request[Any], candidates: Sequence[Prediction | Training], *, lost: int = 1
    ) -> tuple[str | None, list[str]]:
        """Return the id of what a lost create made, or the ids of all that it may have made if that can't be told.

        Args:
            request: The create.
            candidates: What was made since it was sent, newest first.
            lost: How many such creates are lost.
        """
        unowned = [(one, _likeness(request, one)) for one in candidates if one.id not in self._known]
        same = [one.id for one, likeness in unowned if likeness is True]
        if 0 < len(same) <= lost:
            return same[-1], []
        return None, [one.id for one, likeness in unowned if likeness is not False]


@contextmanager
def _counted(counts: dict[Key, int], key: Key) -> Generator[None]:
    counts[key] = counts.get(key, 0) + 1
    try:
        yield
    finally:
        left = counts.pop(key) - 1
        if left:
            counts[key] = left


def _likeness(request: Request[Any], job: Prediction | Training) -> bool | None:
    """Whether something has the model or version, and the input, that a create asked for; None: perhaps."""
    asked = cast("dict[str, Any]", msgspec.json.decode(full_body(request)[0]))
    parts = request.path.strip("/").split("/")
    if len(parts) == 1:
        wanted = str(asked.get("version"))
        same = wanted in {job.version, job.model, f"{job.model}:{job.version}"}
    elif parts[-1] == "trainings":
        same = parts[-2] == job.version
    else:
        made_by = job.model if parts[0] == "models" else getattr(job, "deployment", None)
        same = "/".join(parts[1:3]) == made_by
    if not same:
        return False
    sent: dict[str, Any] = asked.get("input") or {}
    if _equal(sent, job.input):
        return True
    # Defaults may have been filled in.
    return None if all(name in job.input and _equal(value, job.input[name]) for name, value in sent.items()) else False


def _equal(sent: Any, told: Any) -> bool:
    """Whether two inputs are the same; files in the input may have got URLs."""
    if isinstance(sent, str) and sent.startswith("data:"):
        return isinstance(told, str) and (told == sent or told.startswith("http"))
    if isinstance(sent, dict) and isinstance(told, dict):
        one, other = cast("dict[str, Any]", sent), cast("dict[str, Any]", told)
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(sent, list) and isinstance(told, list):
        items, others = cast("list[Any]", sent), cast("list[Any]", told)  # type: ignore[redundant-cast]  # for pyright
        return len(items) == len(others) and all(map(_equal, items, others))
    return bool(sent == told)


def key_of(request: Request[Any]) -> Key:
    """Return what twins have in common."""
    return request.path, full_body(request)[0]


def id_of(answer: APIResponse[Any]) -> str:
    """Return the id of what a create has made.

    Raises:
        APIResponseValidationError: the answer can't be read.
    """
    try:
        return _ID.decode(answer.read()).id
    except msgspec.MsgspecError:
        return str(answer.parse().id)  # says what is wrong with it


async def find(transport: Transport, request: Request[Any], failure: Exception) -> str | None:
    """Look on the server for what a create made whose answer never came.

    Returns:
        Its id; None: nothing was made.

    Raises:
        CreateOutcomeUnknown: that can't be told.
    """
    ledger, key = transport.shared.ledger, key_of(request)
    candidates: list[str] = []
    with _counted(ledger.lost, key):
        while ledger.is_under_way(key):  # no new ones start: whatever these make will be known to be theirs
            await _clock.current.sleep(_TWIN_PAUSE)
        for pause in _PAUSES:
            await _clock.current.sleep(pause)
            try:
                recent = await _since(transport, request)
            except APIError as error:
                raise _unknown(request, f"looking for it failed too: {error}", []) from failure
            found, candidates = ledger.match(request, recent, lost=ledger.lost[key])
            if found is not None:
                ledger.own(found)
                return found
    if candidates:
        raise _unknown(request, "what was made meanwhile may be it or somebody else's", candidates) from failure
    return None


def fetch_request(request: Request[T], job_id: str) -> Request[T]:
    """Describe the call that fetches what a create made."""
    at = path(_listed_at(request) + "/{job_id}", job_id=job_id)
    return Request("GET", at, request.type, looking_options(request.options), then=request.then)


def _listed_at(request: Request[Any]) -> str:
    return "/trainings" if request.path.endswith("/trainings") else "/predictions"


async def _since(transport: Transport, request: Request[Any]) -> list[Prediction | Training]:
    """Return what was made since a create was sent, newest first."""
    at = _listed_at(request)
    kind = PageData[Training] if at == "/trainings" else PageData[Prediction]
    made: list[Prediction | Training] = []
    since = None
    options = looking_options(request.options)
    for _ in range(_PAGES_MAX):
        answer = await transport.send(Request[Any]("GET", at, kind, options, urgent=True))
        if since is None:
            # The server's clock decides, because it stamped what it made.
            date = answer.headers.get("Date")
            now = parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
            age = _clock.current.monotonic() - request.sent_at
            since = now - timedelta(seconds=age) - _CLOCK_SLACK
        page = answer.parse()
        recent = [one for one in page.results if one.created_at is None or one.created_at >= since]
        made += recent
        if not page.next or len(recent) < len(page.results):
            return made
        at = page.next
    raise APIError("too much was made since it was sent")


def _unknown(request: Request[Any], why: str, candidates: list[str]) -> CreateOutcomeUnknown:
    return CreateOutcomeUnknown(
        f"whether this create was carried out can't be told ({why}): "
        "look at predictions.list() or trainings.list() before it is made again",
        method=request.method,
        url=request.shown,
        candidates=candidates,
    )
