"""Creates are billed: one whose outcome isn't known is looked for on the server before it is made again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from replicate_async._http import clock
from replicate_async._http.options import follow_up_options
from replicate_async._http.request import Request, full_body, path
from replicate_async._http.response import APIResponse
from replicate_async._predictions.jobs import poll_key
from replicate_async.errors import APIError, CreateOutcomeUnknown
from replicate_async.types import PageData, Prediction, Training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_async._http.options import RequestOptions
    from replicate_async._http.transport import Transport

T = TypeVar("T")

_KNOWN_MAX = 100_000
# Date headers have whole seconds, and a create may be stamped a little before its request was seen to start.
_CLOCK_SLACK = timedelta(seconds=2)
# How long to pause before each look. A create that didn't show up until the last one isn't coming any more.
_PAUSES = (0.0, 0.5, 1.0, 2.0)
_PAGES_MAX = 1000
_LOOKUP_POLL_SECONDS = 0.05


class _Identified(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_Identified)

_Made = Prediction | Training
Key = tuple[str, bytes]  # path and body; creates with the same are twins: what one of them made is as good for another


class Ledger:
    """The creates of a token's clients: those under way, those that are lost, and what the answered ones made."""

    def __init__(self) -> None:
        # By the ids of their requests: clients in several threads note and forget theirs at the same time.
        self.in_flight: dict[int, Key] = {}  # sent, and without an answer; none starts while a twin of it is lost
        self.lost: dict[int, Key] = {}  # as long as they are looked for
        self._known: OrderedDict[str, None] = OrderedDict()

    def has_identical(self, request: Request[Any]) -> bool:
        """Return whether a create is like another one that has no answer yet."""
        itself = id(request) in self.in_flight
        return len(self.in_flight) > itself and [*self.in_flight.values()].count(key_of(request)) > itself

    async def wait_for_lookup(self, key: Key) -> None:
        """Wait while a twin of a create is looked for."""
        while key in self.lost.values():
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)

    def forget(self) -> None:
        """Let go of what is under way and looked for, which in a forked process is the parent's."""
        self.in_flight.clear()
        self.lost.clear()

    def own(self, job_id: str) -> None:
        """Note what a create has made."""
        self._known[job_id] = None
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def unclaim(self, job_id: str) -> None:
        """Forget what was noted last: nobody has it."""
        self._known.pop(job_id, None)

    def match(
        self, request: Request[Any], candidates: Sequence[Prediction | Training], *, lost: int = 1
    ) -> tuple[str | None, list[str]]:
        """Return the id of what a lost create made, or the ids of all that it may have made if that can't be told.

        Args:
            request: The create.
            candidates: What was made since it was sent, newest first.
            lost: How many such creates are lost.
        """
        unowned = [(one, _match(request, one)) for one in candidates if one.id not in self._known]
        same = [one.id for one, match in unowned if match is True]
        if 0 < len(same) <= lost:
            return same[-1], []
        return None, [one.id for one, match in unowned if match is not False]


def _match(request: Request[Any], job: Prediction | Training) -> bool | None:
    """Whether something has the model or version, and the input, that a create asked for; None: perhaps."""
    asked = cast("dict[str, Any]", msgspec.json.decode(full_body(request)[0]))
    parts = request.path.strip("/").split("/")
    if len(parts) == 1:
        wanted = str(asked.get("version"))
        same = wanted in {job.version, job.model, f"{job.model}:{job.version}"}
        name = wanted.partition(":")[0] if "/" in wanted else job.model
        possible = same or (job.version == "hidden" and name == job.model)
    elif parts[-1] == "trainings":
        same = possible = parts[-2] == job.version
    else:
        made_by = job.model if parts[0] == "models" else getattr(job, "deployment", None)
        same = possible = "/".join(parts[1:3]) == made_by
    if not possible:
        return False
    sent: dict[str, Any] = asked.get("input") or {}
    if same and sent == job.input:
        return True
    # Defaults may have been filled in.
    return (
        None
        if all(name in job.input and _same_input(value, job.input[name]) for name, value in sent.items())
        else False
    )


def _same_input(sent: Any, told: Any) -> bool:
    """Whether two inputs may be the same; files in the input may have got URLs."""
    if isinstance(sent, str) and sent.startswith("data:"):
        return isinstance(told, str) and (told == sent or told.startswith("http"))
    if isinstance(sent, dict) and isinstance(told, dict):
        one, other = cast("dict[str, Any]", sent), cast("dict[str, Any]", told)
        return one.keys() == other.keys() and all(_same_input(value, other[name]) for name, value in one.items())
    if isinstance(sent, list) and isinstance(told, list):
        items, others = cast("list[Any]", sent), cast("list[Any]", told)  # type: ignore[redundant-cast]  # for pyright
        return len(items) == len(others) and all(map(_same_input, items, others))
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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return str(answer.parse().id)  # says what is wrong with it


async def find(transport: Transport, request: Request[Any], failure: Exception) -> str | None:
    """Look on the server for what a create made whose answer never came.

    Returns:
        Its id; None: nothing was made.

    Raises:
        CreateOutcomeUnknown: that can't be told.
    """
    ledger, key = transport.shared.ledger, key_of(request)
    looks = await _looks(transport, request)
    candidates: list[str] = []
    ledger.lost[id(request)] = key
    try:
        while ledger.has_identical(request):  # no new ones start: whatever these make will be known to be theirs
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)
        for pause in _PAUSES:
            await clock.current.sleep(pause)
            try:
                recent = await looks.since(request.sent_at)
            except APIError as error:
                raise _unknown(request, f"looking for it failed too: {error}", []) from failure
            found, candidates = ledger.match(request, recent, lost=[*ledger.lost.values()].count(key))
            if found is not None:
                ledger.own(found)
                return found
    finally:
        ledger.lost.pop(id(request), None)
    if candidates:
        raise _unknown(request, "what was made meanwhile may be it or somebody else's", candidates) from failure
    return None


async def fetch(transport: Transport, request: Request[T], job_id: str, failure: Exception) -> APIResponse[T]:
    """Fetch what a create made, in place of its answer.

    Raises:
        CreateOutcomeUnknown: that failed; whatever the reason, it is none to make the create again.
    """
    at = path(_listed_at(request) + "/{job_id}", job_id=job_id)
    try:
        return await transport.send(
            Request[T]("GET", at, request.type, follow_up_options(request.options), then=request.then)
        )
    except APIError as error:
        raise CreateOutcomeUnknown(
            f"this create was carried out, but its answer was lost, and what it made can't be fetched: {error}",
            method=request.method,
            url=request.shown,
            prediction_id=job_id,
            candidates=[job_id],
        ) from failure
    except asyncio.CancelledError:
        transport.shared.ledger.unclaim(job_id)  # whoever gives it up looks for it
        raise


def _listed_at(request: Request[Any]) -> str:
    return "/trainings" if request.path.endswith("/trainings") else "/predictions"


async def _looks(transport: Transport, request: Request[Any]) -> _RecentList:
    """Return what is shared by all who would look in the same way."""
    connections = transport.pool.here() or await transport.pool.open()
    at, options = _listed_at(request), follow_up_options(request.options)
    key = at, *poll_key(transport, options)
    looks: _RecentList | None = connections.pollers.get(key)
    if looks is None:
        looks = connections.pollers[key] = _RecentList(transport, at, options)
    return looks


class _RecentList:
    """Reads the list of what was made: once for all who look at the same time, for one lost create rarely is alone."""

    def __init__(self, transport: Transport, at: str, options: RequestOptions) -> None:
        self._transport = transport
        self._at = at
        self._options = options
        self._waiting: list[tuple[float, asyncio.Future[tuple[list[_Made], datetime]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def since(self, sent_at: float) -> list[_Made]:
        """Return what was made since a create was sent, newest first, by a list that is read from now on."""
        loop = asyncio.get_running_loop()
        read: asyncio.Future[tuple[list[_Made], datetime]] = loop.create_future()
        self._waiting.append((sent_at, read))
        if self._task is None:
            self._task = Context().run(loop.create_task, self._work())
        made, origin = await read
        return _later(made, origin + timedelta(seconds=sent_at))

    async def _work(self) -> None:
        waiting = self._waiting
        try:
            while waiting := [(sent_at, read) for sent_at, read in self._waiting if not read.done()]:
                self._waiting = []
                found = error = None
                try:
                    found = await self._read(min(sent_at for sent_at, _ in waiting))
                except Exception as failure:  # noqa: BLE001 - whatever it is, those who wait have to know
                    error = failure
                for _, read in waiting:
                    if read.done():
                        continue
                    if found is not None:
                        read.set_result(found)
                    elif error is not None:
                        read.set_exception(error)
        finally:
            self._task = None
            for _, read in [*waiting, *self._waiting]:  # if this was cancelled along with its loop
                read.cancel()

    async def _read(self, sent_at: float) -> tuple[list[_Made], datetime]:
        """Return what was made since then, and when by the server's clock ours was at 0, less some slack."""
        at = self._at
        kind = PageData[Training] if at == "/trainings" else PageData[Prediction]
        found: list[_Made] = []
        origin = None
        for _ in range(_PAGES_MAX):
            answer = await self._transport.send(Request[Any]("GET", at, kind, self._options, skips_queue=True))
            if origin is None:
                # The server's clock decides, because it stamped what it made.
                origin = _time_of(answer) - timedelta(seconds=clock.current.monotonic()) - _CLOCK_SLACK
            page = answer.parse()
            recent = _later(page.results, origin + timedelta(seconds=sent_at))
            found += recent
            if not page.next or len(recent) < len(page.results):
                return found, origin
            at = page.next
        raise APIError(f"more was made since than there is on {_PAGES_MAX} pages")


def _later(things: list[_Made], since: datetime) -> list[_Made]:
    return [one for one in things if one.created_at is None or one.created_at >= since]


def _time_of(answer: APIResponse[Any]) -> datetime:
    try:
        now = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return datetime.now(timezone.utc)
    return now if now.tzinfo else now.replace(tzinfo=timezone.utc)


def _unknown(request: Request[Any], why: str, candidates: list[str]) -> CreateOutcomeUnknown:
    return CreateOutcomeUnknown(
        f"whether this create was carried out can't be told ({why}): "
        "look at predictions.list() or trainings.list() before it is made again",
        method=request.method,
        url=request.shown,
        candidates=candidates,
    )
