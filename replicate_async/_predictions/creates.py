"""Creates are billed: one whose response is lost is looked for on the server before it is repeated."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import Context
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import partial
from math import inf
from typing import Any, TypeVar
from weakref import WeakSet, WeakValueDictionary

import msgspec

from replicate_async._fork import after_fork_in_child
from replicate_async._http import clock
from replicate_async._http.call import Call, Outcome
from replicate_async._http.concurrency import AdaptiveConcurrencyLimiter
from replicate_async._http.options import RequestOptions, follow_up_options
from replicate_async._http.request import Request, format_path
from replicate_async._http.response import APIResponse
from replicate_async._http.transport import Transport
from replicate_async._json import is_dict, is_list
from replicate_async._predictions.jobs import consume_exception, list_path, poll_key
from replicate_async.errors import APIError, CreateOutcomeUnknown, RateLimitError
from replicate_async.types import PageData, Prediction, Training

T = TypeVar("T")
Job = Prediction | Training

_MAX_CLAIMED = 100_000
# Date headers have whole seconds, and the server may date a create slightly before the client has sent it.
_CLOCK_TOLERANCE = timedelta(seconds=2)
# Delays in seconds before each lookup. A create that does not appear by the last one was not carried out.
_LOOKUP_DELAYS = (0.0, 0.5, 1.0, 2.0)
_LOOKUP_POLL_SECONDS = 0.05
_MAX_PAGES = 1000

# The path and body of a create. Identical creates have the same key: the result of one is as good for another.
Key = tuple[str, bytes]


class _WithId(msgspec.Struct):
    id: str


_ID_DECODER = msgspec.json.Decoder(_WithId)


class CreateSlots:
    """The creates of one event loop: how many may be in flight, and how many the API holds."""

    def __init__(self) -> None:
        self.limiter: AdaptiveConcurrencyLimiter = AdaptiveConcurrencyLimiter()
        self.held: int = 0


class CreateLedger:
    """The creates of an account: in flight, unconfirmed, and the predictions that were claimed as their results."""

    def __init__(self) -> None:
        # By the id of the call, because clients in several threads add and remove theirs at the same time.
        self.in_flight: dict[int, Key] = {}
        # Creates that are looked for. Identical ones are not sent until the lookup ends.
        self.unconfirmed: dict[int, Key] = {}
        self._claimed: OrderedDict[str, None] = OrderedDict()
        _ledgers.add(self)

    def has_identical(self, call: Call[Any]) -> bool:
        """Return whether an identical create is in flight."""
        itself = id(call) in self.in_flight
        return len(self.in_flight) > itself and [*self.in_flight.values()].count(key_of(call)) > itself

    async def wait_for_lookup(self, key: Key) -> None:
        """Wait while an identical create is looked for."""
        while key in self.unconfirmed.values():
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)

    def forget_pending(self) -> None:
        """Forget the creates in flight and unconfirmed, which in a forked process are the parent's."""
        self.in_flight.clear()
        self.unconfirmed.clear()

    def claim(self, job_id: str) -> None:
        """Note the result of a create, so that no other create adopts it."""
        self._claimed[job_id] = None
        if len(self._claimed) > _MAX_CLAIMED:
            self._claimed.popitem(last=False)

    def unclaim(self, job_id: str) -> None:
        """Drop a claim, because the caller did not get the result."""
        self._claimed.pop(job_id, None)

    def match(self, call: Call[Any], candidates: Sequence[Job], *, unconfirmed: int) -> tuple[str | None, list[str]]:
        """Return the id of a create's result, or all ids that may be it if the result is ambiguous.

        Args:
            call: The create.
            candidates: The predictions or trainings created since it was sent, newest first.
            unconfirmed: The number of unconfirmed creates that are identical.
        """
        matches = [(job.id, _match(call, job)) for job in candidates if job.id not in self._claimed]
        certain = [job_id for job_id, match in matches if match is Match.YES]
        if 0 < len(certain) <= unconfirmed:
            return certain[-1], []
        return None, [job_id for job_id, match in matches if match is not Match.NO]


_ledgers: WeakSet[CreateLedger] = WeakSet()


@after_fork_in_child
def _forget_pending_creates() -> None:
    for ledger in list(_ledgers):
        ledger.forget_pending()


class Match(Enum):
    """Whether a prediction or training is the result of a create."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


def _match(call: Call[Any], job: Job) -> Match:
    """Compare a create with a prediction or training: its model or version, and its input."""
    body: dict[str, Any] = msgspec.json.decode(call.body)
    segments = call.request.path.strip("/").split("/")
    if len(segments) == 1:
        version = str(body.get("version"))
        same = version in {job.version, job.model, f"{job.model}:{job.version}"}
        name = version.partition(":")[0] if "/" in version else job.model
        possible = same or (job.version == "hidden" and name == job.model)
    elif segments[-1] == "trainings":
        same = possible = segments[-2] == job.version
    else:
        parent = job.model if segments[0] == "models" else getattr(job, "deployment", None)
        same = possible = "/".join(segments[1:3]) == parent
    if not possible:
        return Match.NO
    sent: dict[str, Any] = body.get("input") or {}
    if same and sent == job.input:
        return Match.YES
    # The API may have added defaults.
    covered = all(name in job.input and _same_input(value, job.input[name]) for name, value in sent.items())
    return Match.MAYBE if covered else Match.NO


def _same_input(sent: Any, listed: Any) -> bool:
    """Return whether two inputs may be the same; the API may have replaced files by URLs."""
    if isinstance(sent, str) and sent.startswith("data:"):
        return isinstance(listed, str) and (listed == sent or listed.startswith("http"))
    if is_dict(sent) and is_dict(listed):
        return sent.keys() == listed.keys() and all(_same_input(value, listed[name]) for name, value in sent.items())
    if is_list(sent) and is_list(listed):
        return len(sent) == len(listed) and all(map(_same_input, sent, listed))
    return bool(sent == listed)


def key_of(call: Call[Any]) -> Key:
    """Return the key that identical creates share."""
    return call.request.path, call.body


async def send_create(transport: Transport, call: Call[T]) -> APIResponse[T]:
    """Make one attempt at a create; if its response is lost, return its result from the server.

    Raises:
        CreateOutcomeUnknown: it is unknown whether the create was carried out.
        APIError: the attempt failed; ``call.outcome`` says what is known about it.
    """
    ledger = transport.account.state(CreateLedger)
    try:
        response = await _send_in_turn(transport, call, ledger)
        ledger.claim(_id_of(response))
    except APIError as error:
        job_id = await reconcile(transport, call, error) if call.may_exist else None
        if job_id is None:
            raise
        return await _adopt(transport, call, job_id, error)
    return response


async def _send_in_turn(transport: Transport, call: Call[T], ledger: CreateLedger) -> APIResponse[T]:
    """Send a create when there is a slot for it, and no identical create is looked for."""
    key = key_of(call)
    # Held responses take long, so they say nothing about how many creates the API can take.
    limiter = None if call.prefer_wait else transport.pool.current().state(CreateSlots).limiter
    if limiter and not limiter.try_acquire():
        await limiter.acquire()
    try:
        if ledger.unconfirmed:
            await ledger.wait_for_lookup(key)
        ledger.in_flight[id(call)] = key
        response = await transport.send_once(call)
        if limiter:
            knows_limit = call.bucket is not None and call.bucket.remaining is not None
            limiter.on_response(clock.current.monotonic() - call.sent_at, slow_start=not knows_limit)
    except RateLimitError:
        if limiter:
            limiter.on_throttled()
        raise
    finally:
        ledger.in_flight.pop(id(call), None)
        if limiter:
            limiter.release()
    return response


def _id_of(response: APIResponse[Any]) -> str:
    """Return the id of a create's result.

    Raises:
        APIResponseValidationError: the response can't be read.
    """
    try:
        return _ID_DECODER.decode(response.read()).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # This error says what is wrong with the response.
        return str(response.parse().id)


async def reconcile(transport: Transport, call: Call[Any], error: Exception) -> str | None:
    """Look on the server for the result of a create whose response is lost.

    Returns:
        Its id; None if the create was not carried out, which becomes the call's outcome.

    Raises:
        CreateOutcomeUnknown: it is unknown whether the create was carried out.
    """
    ledger, key = transport.account.state(CreateLedger), key_of(call)
    recent_list = _recent_list(transport, call.request)
    candidates: list[str] = []
    ledger.unconfirmed[id(call)] = key
    try:
        # No identical create is sent now, so the results of those in flight will be known as theirs.
        while ledger.has_identical(call):
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)
        for delay in _LOOKUP_DELAYS:
            await clock.current.sleep(delay)
            try:
                recent = await recent_list.since(call.sent_at)
            except APIError as lookup_error:
                raise _outcome_unknown(call, f"looking for it failed too: {lookup_error}", []) from error
            unconfirmed = [*ledger.unconfirmed.values()].count(key)
            job_id, candidates = ledger.match(call, recent, unconfirmed=unconfirmed)
            if job_id is not None:
                ledger.claim(job_id)
                return job_id
    finally:
        ledger.unconfirmed.pop(id(call), None)
    if candidates:
        raise _outcome_unknown(call, "recent predictions may be its result or someone else's", candidates) from error
    call.outcome = Outcome.NOT_FOUND
    return None


async def _adopt(transport: Transport, call: Call[T], job_id: str, error: Exception) -> APIResponse[T]:
    """Fetch the result of a create in place of its response.

    Raises:
        CreateOutcomeUnknown: the result can't be fetched. The create must not be repeated for that.
    """
    request = call.request
    path = format_path(list_path(_kind(request)) + "/{job_id}", job_id=job_id)
    fetch = Request[T](
        "GET", path, request.response_type, follow_up_options(request.options), transform=request.transform
    )
    try:
        return await transport.send(fetch)
    except APIError as fetch_error:
        raise CreateOutcomeUnknown(
            f"this create was carried out, but its response was lost, and its result can't be fetched: {fetch_error}",
            method=request.method,
            url=request.log_path,
            prediction_id=job_id,
            candidates=[job_id],
        ) from error
    except asyncio.CancelledError:
        # The canceled caller looks for it again, to cancel it.
        transport.account.state(CreateLedger).unclaim(job_id)
        raise


def _kind(request: Request[Any]) -> type[Job]:
    return Training if request.path.endswith("/trainings") else Prediction


class _RecentLists(WeakValueDictionary[object, "_RecentList"]):
    """The lists of one event loop that are being read."""


def _recent_list(transport: Transport, request: Request[Any]) -> _RecentList:
    """Return the list that all creates share whose lookups are interchangeable."""
    lists = transport.pool.current().state(_RecentLists)
    kind, options = _kind(request), follow_up_options(request.options)
    key = kind, *poll_key(transport, options)
    recent_list = lists.get(key)
    if recent_list is None:
        recent_list = lists[key] = _RecentList(transport, kind, options)
    return recent_list


class _RecentList:
    """Reads the list of recent predictions or trainings once for all creates that are looked for at the same time."""

    def __init__(self, transport: Transport, kind: type[Job], options: RequestOptions) -> None:
        self._transport = transport
        self._kind = kind
        self._options = options
        self._lock = asyncio.Lock()
        self._oldest = inf
        self._next: asyncio.Task[tuple[list[Job], datetime]] | None = None
        # A running task needs a reference.
        self._current: asyncio.Task[tuple[list[Job], datetime]] | None = None

    async def since(self, sent_at: float) -> list[Job]:
        """Return what was created since a create was sent, newest first, from a list that is read from now on."""
        self._oldest = min(self._oldest, sent_at)
        if self._next is None or self._next.done():
            # It serves every caller, so it runs in an empty context. It is never eager, so that it starts later.
            create_task = partial(asyncio.Task, loop=asyncio.get_running_loop())
            self._next = Context().run(create_task, self._read_next())
            self._next.add_done_callback(consume_exception)
        reading = self._next
        await asyncio.wait([reading])
        jobs, clock_origin = reading.result()
        return _created_since(jobs, clock_origin + timedelta(seconds=sent_at))

    async def _read_next(self) -> tuple[list[Job], datetime]:
        async with self._lock:
            self._current, self._next = self._next, None
            oldest, self._oldest = self._oldest, inf
            return await self._read(oldest)

    async def _read(self, sent_at: float) -> tuple[list[Job], datetime]:
        """Return what was created since then, and the server's time when the client's clock was at 0."""
        path = list_path(self._kind)
        page_type = PageData[Training] if self._kind is Training else PageData[Prediction]
        jobs: list[Job] = []
        clock_origin = None
        for _ in range(_MAX_PAGES):
            response = await self._transport.send(Request[Any]("GET", path, page_type, self._options, skips_queue=True))
            if clock_origin is None:
                # The server's clock decides, because the server has dated what it created.
                clock_origin = _date_of(response) - timedelta(seconds=clock.current.monotonic()) - _CLOCK_TOLERANCE
            page = response.parse()
            recent = _created_since(page.results, clock_origin + timedelta(seconds=sent_at))
            jobs += recent
            if not page.next or len(recent) < len(page.results):
                return jobs, clock_origin
            path = page.next
        raise APIError(f"more than {_MAX_PAGES} pages were created since then")


def _created_since(jobs: list[Job], start: datetime) -> list[Job]:
    return [job for job in jobs if job.created_at is None or job.created_at >= start]


def _date_of(response: APIResponse[Any]) -> datetime:
    try:
        date = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return datetime.now(timezone.utc)
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def _outcome_unknown(call: Call[Any], reason: str, candidates: list[str]) -> CreateOutcomeUnknown:
    return CreateOutcomeUnknown(
        f"it is unknown whether this create was carried out ({reason}): "
        "check predictions.list() or trainings.list() before you repeat it",
        method=call.request.method,
        url=call.request.log_path,
        candidates=candidates,
    )
