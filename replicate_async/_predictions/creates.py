"""Creates are billed: one whose response is lost is looked for on the server before it is repeated."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, TypeVar, cast
from weakref import WeakSet, WeakValueDictionary

import msgspec

from replicate_async import _background as background
from replicate_async._decoding import find_id
from replicate_async._fork import after_fork_in_child
from replicate_async._http import clock
from replicate_async._http.call import Call, Outcome
from replicate_async._http.concurrency import AdaptiveConcurrencyLimiter, ConcurrencyLimiter
from replicate_async._http.options import RequestOptions, follow_up_options
from replicate_async._http.request import Request, format_path, next_page
from replicate_async._http.response import APIResponse
from replicate_async._http.transport import Transport
from replicate_async._predictions.jobs import list_path, poll_key
from replicate_async._predictions.matching import Job, Match, ServerClock, compare
from replicate_async._tasks import consume_exception
from replicate_async.errors import APIError, CreateOutcomeUnknown, NotFoundError, RateLimitError, ReplicateError
from replicate_async.types import Deployment, DeploymentRelease, PageData, Prediction, Training

T = TypeVar("T")

_MAX_CLAIMED = 100_000
# Delays in seconds before each lookup. A create that does not appear by the last one was not carried out.
_LOOKUP_DELAYS = (0.0, 0.5, 0.75, 2.0)
# The same lookups, and further ones that narrow the bounds of the server's clock.
_MAX_LOOKUPS = 14
# As many as may be in flight, so that one is always ready. Others need less memory.
_MAX_READY = AdaptiveConcurrencyLimiter.max_slots
# In seconds: how long it takes to carry a create out. What was made later may be someone else's.
MAX_CREATE_SECONDS = 2.0
_LOOKUP_POLL_SECONDS = 0.05
_MAX_PAGES = 1000

# The path and body of a create. Identical creates have the same key: the result of one is as good for another.
Key = tuple[str, bytes]


class CreateSlots:
    """The creates of one event loop: how many are made ready, how many may be in flight, and how many the API holds."""

    def __init__(self) -> None:
        self.ready: ConcurrencyLimiter = ConcurrencyLimiter(_MAX_READY)
        self.limiter: AdaptiveConcurrencyLimiter = AdaptiveConcurrencyLimiter()
        self.held: int = 0


class CreateLedger:
    """The creates of an account: in flight, unconfirmed, and the predictions that were claimed as their results.

    ``server_clock`` is what their responses say about the server's clock.
    """

    def __init__(self) -> None:
        # By the id of the call, because clients in several threads add and remove theirs at the same time.
        self.in_flight: dict[int, Key] = {}
        # Creates that are looked for. Identical ones are not sent until the lookup ends.
        self.unconfirmed: dict[int, Key] = {}
        self.server_clock: ServerClock = ServerClock()
        self._claimed: OrderedDict[str, bool] = OrderedDict()
        _ledgers.add(self)

    def is_in_flight(self, call: Call[Any]) -> bool:
        """Return whether a create has been sent, or is about to be, and its response is awaited."""
        return id(call) in self.in_flight

    def has_identical(self, call: Call[Any]) -> bool:
        """Return whether an identical create is in flight."""
        return bool(self.in_flight) and key_of(call) in [*self.in_flight.values()]

    async def wait_for_lookup(self, key: Key) -> None:
        """Wait while an identical create is looked for."""
        while key in self.unconfirmed.values():
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)

    def forget_pending(self) -> None:
        """Forget the creates in flight and unconfirmed, which in a forked process are the parent's."""
        self.in_flight.clear()
        self.unconfirmed.clear()

    def claim(self, job_id: str, *, by_lookup: bool = False) -> bool:
        """Note the result of a create, so that no other create adopts it; return whether a lookup has taken it."""
        taken = self._claimed.get(job_id, False)
        self._claimed[job_id] = by_lookup or taken
        if len(self._claimed) > _MAX_CLAIMED:
            self._claimed.popitem(last=False)
        return taken

    def unclaim(self, job_id: str) -> None:
        """Drop a claim, because the caller did not get the result."""
        self._claimed.pop(job_id, None)

    def find(self, matches: Sequence[tuple[str, Match]], *, unconfirmed: int) -> tuple[str | None, list[str]]:
        """Return the id of a create's result, or all ids that may be it if that is ambiguous.

        Args:
            matches: The ids of the jobs created since it was sent, newest first, and whether they are its result.
            unconfirmed: The number of unconfirmed creates that are identical.
        """
        unclaimed = [(job_id, match) for job_id, match in matches if job_id not in self._claimed]
        certain = [job_id for job_id, match in unclaimed if match is Match.YES]
        if 0 < len(certain) <= unconfirmed:
            return certain[-1], []
        return None, [job_id for job_id, match in unclaimed if match is not Match.NO]


_ledgers: WeakSet[CreateLedger] = WeakSet()


@after_fork_in_child
def _forget_pending_creates() -> None:
    for ledger in list(_ledgers):
        ledger.forget_pending()


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
        created = _job_of(response)
        if ledger.claim(created.id):
            call.outcome = Outcome.TAKEN
        ledger.server_clock.learn_from_create(created.created_at, call.sent_at, call.received_at)
    except APIError as error:
        job_id = error.prediction_id
        if job_id is not None:
            ledger.claim(job_id)
        elif call.may_exist:
            end = min(clock.current.monotonic(), call.sent_at + MAX_CREATE_SECONDS)
            job_id = await reconcile(transport, call, error, end=end)
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
        if call.on_turn:
            # While this is in flight, or waits for a retry, another one is made ready.
            call.on_turn()
        if ledger.unconfirmed:
            await ledger.wait_for_lookup(key)
        ledger.in_flight[id(call)] = key
        response = await transport.send_once(call)
        if limiter:
            knows_limit = call.bucket is not None and call.bucket.remaining is not None
            limiter.on_response(call.received_at - call.sent_at, slow_start=not knows_limit)
    except RateLimitError:
        if limiter:
            limiter.on_throttled()
        raise
    finally:
        ledger.in_flight.pop(id(call), None)
        if limiter:
            limiter.release()
    return response


def _job_of(response: APIResponse[Any]) -> Job:
    """Return a create's result.

    Raises:
        APIResponseValidationError: the response can't be read.
    """
    try:
        return cast("Job", response.parse())
    except APIError as error:
        # Its id may be readable all the same.
        error.prediction_id = find_id(response.read())
        raise


async def reconcile(transport: Transport, call: Call[Any], error: Exception, *, end: float) -> str | None:
    """Look on the server for the result of a create whose response is lost.

    Args:
        transport: The transport that reads the list.
        call: The create.
        error: How the response was lost.
        end: When the create had been carried out, if it was.

    Returns:
        Its id; None if the create was not carried out, which becomes the call's outcome, or if its response arrives.

    Raises:
        CreateOutcomeUnknown: it is unknown whether the create was carried out.
    """
    try:
        job_id, candidates = await _look_for(transport, call, end)
    except ReplicateError as lookup_error:
        # A call failed, or the client was closed.
        raise _outcome_unknown(call, f"looking for it failed too: {lookup_error}", []) from error
    if candidates:
        raise _outcome_unknown(call, "recent predictions may be its result or someone else's", candidates) from error
    return job_id


async def _look_for(transport: Transport, call: Call[Any], end: float) -> tuple[str | None, list[str]]:
    """Return the id of a create's result, or the ids of what may be its result; see ``reconcile``."""
    ledger, key = transport.account.state(CreateLedger), key_of(call)
    recent_list, server_clock = _recent_list(transport, call.request), ledger.server_clock
    body: dict[str, Any] = msgspec.json.decode(call.body)
    delays, job_id, candidates, outcome = iter(_LOOKUP_DELAYS), None, list[str](), call.outcome
    # From now on, its result is claimed by looking it up, even if its response is still pending.
    ledger.in_flight.pop(id(call), None)
    ledger.unconfirmed[id(call)] = key
    try:
        # No identical create is sent now, so the results of those in flight will be known as theirs.
        while ledger.has_identical(call):
            await clock.current.sleep(_LOOKUP_POLL_SECONDS)
        release = await _current_release(transport, call.request)
        for _ in range(_MAX_LOOKUPS):
            delay = next(delays, None) if job_id is None else server_clock.narrowing_delay()
            if delay is None:
                break
            await clock.current.sleep(delay)
            if call.outcome is not outcome:
                return None, []
            recent = await recent_list.since(call.sent_at)
            unconfirmed = [*ledger.unconfirmed.values()].count(key)
            matches = [(job.id, compare(call, body, job, server_clock, end, release)) for job in recent]
            job_id, candidates = ledger.find(matches, unconfirmed=unconfirmed)
            if job_id is not None and server_clock.is_precise:
                break
        if job_id is not None:
            if server_clock.is_usable:
                ledger.claim(job_id, by_lookup=True)
                return job_id, []
            candidates = [job_id]
    finally:
        ledger.unconfirmed.pop(id(call), None)
    if not candidates:
        call.outcome = Outcome.NOT_FOUND
    return None, candidates


async def _current_release(transport: Transport, request: Request[Any]) -> DeploymentRelease | None:
    """Return the release of the deployment that a create is for; None if there is none, or it can't be fetched."""
    path = request.path.removesuffix("/predictions")
    if not path.startswith("/deployments/"):
        return None
    fetch = Request[Deployment]("GET", path, Deployment, follow_up_options(request.options), skips_queue=True)
    try:
        release: object = (await transport.decoding.call(fetch)).current_release
    except ReplicateError:
        return None
    return release if isinstance(release, DeploymentRelease) else None


async def _adopt(transport: Transport, call: Call[T], job_id: str, error: Exception) -> APIResponse[T]:
    """Fetch the result of a create in place of its response.

    Raises:
        CreateOutcomeUnknown: the result can't be fetched. The create must not be repeated for that.
    """
    request = call.request
    path = format_path(list_path(_kind(request)) + "/{job_id}", job_id=job_id)
    fetch = Request[T]("GET", path, request.response_type, follow_up_options(request.options))
    reason = ""
    try:
        for delay in _LOOKUP_DELAYS:
            await clock.current.sleep(delay)
            try:
                return await transport.send(fetch)
            except ReplicateError as fetch_error:
                reason = str(fetch_error)
                # What was just created may not be available yet.
                if not isinstance(fetch_error, NotFoundError):
                    break
    except asyncio.CancelledError:
        # The canceled caller looks for it again, to cancel it.
        transport.account.state(CreateLedger).unclaim(job_id)
        raise
    raise CreateOutcomeUnknown(
        f"this create was carried out, but its response was lost, and its result can't be fetched: {reason}",
        method=request.method,
        url=request.log_path,
        prediction_id=job_id,
        candidates=[job_id],
    ) from error


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
        self._server_clock = transport.account.state(CreateLedger).server_clock
        self._lock = asyncio.Lock()
        self._oldest = inf
        self._next: asyncio.Task[list[Job]] | None = None
        # A running task needs a reference.
        self._current: asyncio.Task[list[Job]] | None = None

    async def since(self, sent_at: float) -> list[Job]:
        """Return what was created since a create was sent, newest first, from a list that is read from now on."""
        self._oldest = min(self._oldest, sent_at)
        if self._next is None or self._next.done():
            # It serves every caller, so it runs in an empty context. It is never eager, so that it starts later.
            create_task = partial(asyncio.Task, loop=asyncio.get_running_loop())
            self._next = Context().run(create_task, self._read_next())
            self._next.add_done_callback(consume_exception)
            # What is canceled at the end of the program may have to be found first.
            background.keep(self._next)
        reading = self._next
        await asyncio.wait([reading])
        return self._server_clock.created_since(reading.result(), sent_at)

    async def _read_next(self) -> list[Job]:
        async with self._lock:
            self._current, self._next = self._next, None
            oldest, self._oldest = self._oldest, inf
            return await self._read(oldest)

    async def _read(self, sent_at: float) -> list[Job]:
        """Return what was created since then."""
        page_type = PageData[Training] if self._kind is Training else PageData[Prediction]
        request = Request[Any]("GET", list_path(self._kind), page_type, self._options, skips_queue=True)
        jobs: list[Job] = []
        for _ in range(_MAX_PAGES):
            response = await self._transport.send(request)
            # The server's clock decides, because the server has dated what it created.
            self._server_clock.learn_from(response)
            page = response.parse()
            if not all(isinstance(job, self._kind) for job in page.results):
                raise APIError("the list has unreadable items")
            recent = self._server_clock.created_since(page.results, sent_at)
            jobs += recent
            if not page.next or len(recent) < len(page.results):
                return jobs
            request = next_page(request, page.next)
        raise APIError(f"more than {_MAX_PAGES} pages were created since then")


def _outcome_unknown(call: Call[Any], reason: str, candidates: list[str]) -> CreateOutcomeUnknown:
    return CreateOutcomeUnknown(
        f"it is unknown whether this create was carried out ({reason}): "
        "check predictions.list() or trainings.list() before you repeat it",
        method=call.request.method,
        url=call.request.log_path,
        candidates=candidates,
    )
