"""Waiting for predictions and trainings to end: all that the callers of a client wait for is watched together."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from contextvars import Context
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Generic

import anyio
import msgspec
from msgspec import Raw

from replicate_async import _clock, _retry
from replicate_async._arguments import check_time_limit
from replicate_async._jobs import Job, look, looking_manner, looking_options
from replicate_async._wire import Request
from replicate_async.errors import APIError, APITimeoutError
from replicate_async.types import PageData, Prediction, Time, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_async._arguments import QueryValue, RequestOptions
    from replicate_async._transport import Transport

logger = logging.getLogger("replicate_async")

_FEW = 3  # as many are looked at one by one; more are swept
_AT_ONCE = 8  # single looks under way
_A_SECOND = 30  # looks, on average: three fifths of what the API documents to allow
_EARLY = 0.25  # of its pause: what is due so soon is looked at along with the rest
_PATIENCE = 120.0  # seconds for which looks may fail before those who wait are told
_SECOND = timedelta(seconds=1)


def pause(age: float) -> float:
    """Return how long to wait before looking again at something that has been awaited for ``age`` seconds."""
    return min(max(0.25, age / 5), 10.0)


async def until_done(
    transport: Transport,
    job: Job | str,
    kind: type[Job],
    options: RequestOptions,
    *,
    time_limit: float | None = None,
    look_now: bool = False,
    on_update: Callable[[Job], None] | None = None,
) -> Job:
    """Wait until a job has ended; ``look_now`` skips the first pause.

    Raises:
        APITimeoutError: the time limit has passed.
        APIError: looking failed. Both have the job's id.
    """
    check_time_limit(time_limit)
    job_id = job if isinstance(job, str) else job.id
    with _clock.time_limit(time_limit):
        found = (
            await look(transport, job_id, kind, options) if isinstance(job, str) or (look_now and not job.done) else job
        )
        if on_update is not None:
            on_update(found)
        if not found.done:
            found = await (await _waiter(transport, kind, options)).wait(found, on_update)
        return found
    raise APITimeoutError(f"not done after {time_limit} s, the time limit", prediction_id=job_id)


async def _waiter(transport: Transport, kind: type[Job], options: RequestOptions) -> Waiter[Job]:
    """Return the waiter that is shared by all who would look in the same way."""
    connections = transport.pool.here() or await transport.pool.open()
    options = looking_options(options)
    key = kind, *looking_manner(transport, options)
    waiter: Waiter[Job] | None = connections.waiters.get(key)
    if waiter is None:
        waiter = connections.waiters[key] = Waiter(transport, kind, options)
    return waiter


class _Seen(msgspec.Struct):
    """What a list tells of a job, as far as it matters here."""

    id: str
    status: str
    created_at: Time | None = None
    completed_at: Time | None = None

    @property
    def done(self) -> bool:
        return has_ended(self.status, self.completed_at)


_SEEN = msgspec.json.Decoder(_Seen)


class _Listener(Generic[Job]):
    """Somebody who waits for a job, and takes up what is told in a task of their own."""

    __slots__ = ("_failure", "_news", "_woken", "wants_updates")

    def __init__(self, *, wants_updates: bool) -> None:
        self.wants_updates = wants_updates
        self._woken: asyncio.Future[None] | None = None
        self._news: Job | None = None
        self._failure: Exception | None = None

    def tell(self, job: Job) -> None:
        if self._news is None or not self._news.done:  # an end stays one, whatever a list that lags says after it
            self._news = job
        self._wake()

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._wake()

    def cancel(self) -> None:
        if self._woken is not None:
            self._woken.cancel()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def told(self) -> Job:
        """Wait for news, and return the newest."""
        while self._news is None:
            if self._failure is not None:
                raise self._failure
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        news, self._news = self._news, None
        return news


class _Watched(Generic[Job]):
    """A job that somebody waits for."""

    __slots__ = ("created_at", "due", "failing_since", "id", "listeners", "since", "state")

    def __init__(self, job: Job, now: float) -> None:
        self.id: str = job.id
        self.state: tuple[str, str | None] = job.status, job.logs
        self.created_at: datetime | None = job.created_at
        self.since: float = now
        self.due: float = now + pause(0)
        self.failing_since: float | None = None
        self.listeners: dict[_Listener[Job], None] = {}  # in the order in which they came

    def is_due(self, now: float) -> bool:
        return self.due <= now + _EARLY * pause(now - self.since)

    def put_off(self, now: float) -> None:
        self.due = now + pause(now - self.since)


class Waiter(Generic[Job]):
    """Looks at all jobs that somebody waits for, less and less often, with as few requests as it takes.

    Few of them are looked at one by one; many by sweeping over the list of all, of which each page tells the states
    of a hundred. It lives in one event loop, and works as long as anybody waits.
    """

    def __init__(self, transport: Transport, kind: type[Job], options: RequestOptions) -> None:
        self._transport = transport
        self._kind: type[Job] = kind
        self._options = options
        self._watched: dict[str, _Watched[Job]] = {}
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._sweeps = True
        self._rests_until = self._wakes_at = -inf

    async def wait(self, job: Job, on_update: Callable[[Job], None] | None = None) -> Job:
        """Wait until a job has ended; it is looked at for the first time after a pause."""
        listener = _Listener[Job](wants_updates=on_update is not None)
        watched = self._watched.get(job.id)
        if watched is None:
            watched = self._watched[job.id] = _Watched(job, _clock.current.monotonic())
        watched.listeners[listener] = None
        if self._task is None:
            # It works for all: nothing of who came first, such as a trace's span, shall stick to it.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._work())
            self._task.add_done_callback(_hear_out)
        if max(watched.due, self._rests_until) < self._wakes_at:
            self._woken.set()
        try:
            while True:
                found = await listener.told()
                if on_update is not None:
                    on_update(found)
                if found.done:
                    return found
        finally:
            watched.listeners.pop(listener, None)
            if not watched.listeners:
                self._watched.pop(job.id, None)
            if not self._watched:
                self._stop()

    def _stop(self) -> None:
        """Rest: nobody waits any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _work(self) -> None:
        try:
            while self._watched:
                now = _clock.current.monotonic()
                due = [one for one in self._watched.values() if one.is_due(now)] if now >= self._rests_until else []
                if due:
                    # Many single looks are the budget's to pace: newcomers mustn't wait for them.
                    self._rests_until = now + min(await self._look_at(due) / _A_SECOND, pause(inf))
                else:
                    soonest = min(one.due for one in self._watched.values())
                    await self._rest(now, max(soonest, self._rests_until))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to know
            self._fail(list(self._watched.values()), error)
        finally:
            if self._task is asyncio.current_task():  # not stopped, but cancelled along with its loop
                self._task = None
                for listener in [listener for one in self._watched.values() for listener in one.listeners]:
                    listener.cancel()

    async def _rest(self, now: float, until: float) -> None:
        """Wait until something is due, or somebody comes for something that is due before."""
        self._woken.clear()
        self._wakes_at = until
        timer = _clock.current.call_later(until - now, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            self._wakes_at = -inf
            timer.cancel()

    async def _look_at(self, due: list[_Watched[Job]]) -> int:
        """Look at those that are due; return how many requests that took."""
        requests = 0
        now = _clock.current.monotonic()
        for one in due:
            one.put_off(now)
        if self._sweeps and len(due) > _FEW:
            try:
                due, requests = await self._sweep(due)
            except APIError as error:
                if self._is_transient(error):
                    self._failed(due, error)
                    return 1
                self._sweeps = False  # the list can't be had, or not be read: each for itself will do
        requests += len(due)
        queue = deque(due)

        async def look_at_each() -> None:
            while queue:
                one = queue.popleft()
                if one.listeners:
                    await self._look_at_one(one)

        if len(due) == 1:
            await look_at_each()
        else:
            async with anyio.create_task_group() as group:
                for _ in range(min(_AT_ONCE, len(due))):
                    group.start_soon(look_at_each)
        return requests

    async def _look_at_one(self, one: _Watched[Job]) -> None:
        try:
            job = await look(self._transport, one.id, self._kind, self._options)
        except APIError as error:
            self._failed([one], error)
        except Exception as error:  # noqa: BLE001 - such as that the client was closed
            self._fail([one], error)
        else:
            self._tell(one, job)

    async def _sweep(self, due: list[_Watched[Job]]) -> tuple[list[_Watched[Job]], int]:
        """Look at many by the list of all, newest first.

        Returns:
            Those that have to be looked at one by one, and how many pages were read.
        """
        left: list[_Watched[Job]] = [one for one in due if one.created_at is None]
        rest: deque[_Watched[Job]] = deque(
            sorted((one for one in due if one.created_at), key=_created_at, reverse=True)
        )
        listed_at = "/predictions" if self._kind is Prediction else "/trainings"
        at = listed_at
        query: Mapping[str, QueryValue] | None = None
        met: set[str] = set()
        pages = 0
        while len(rest) > _FEW:
            request = Request[PageData[Raw]]("GET", at, PageData[Raw], self._options, query=query)
            page = await self._transport.plain.call(request)
            pages += 1
            seen = [(one, raw) for raw in page.results if (one := _seen(raw)) is not None]
            ours = [(watched, one, raw) for one, raw in seen if (watched := self._watched.get(one.id)) is not None]
            met.update(one.id for _, one, _ in ours)
            left += [watched for watched, one, raw in ours if not self._take_note(watched, one, raw)]
            oldest = min((one.created_at for one, _ in seen if one.created_at), default=None)
            while rest and (rest[0].id in met or (oldest and _created_at(rest[0]) > oldest)):
                if rest[0].id not in met:
                    left.append(rest[0])
                rest.popleft()
            if page.next is None or not rest:
                break
            if ours or self._kind is not Prediction:
                at, query = page.next, None
            elif query is None:  # a stretch of others' predictions: it needn't be walked through
                at, query = listed_at, {"created_before": _created_at(rest[0]) + _SECOND}
            else:
                break
        left.extend(rest)
        return left, pages

    def _take_note(self, watched: _Watched[Job], seen: _Seen, raw: Raw) -> bool:
        """Tell those who wait what a list says; False: it says too little."""
        updates = any(listener.wants_updates for listener in watched.listeners)
        if not seen.done and seen.status == watched.state[0] and not updates:
            watched.failing_since = None
            return True
        try:
            job = msgspec.json.decode(raw, type=self._kind)
        except msgspec.MsgspecError:
            return False
        if job.status in {"succeeded", "failed"} and job.output is None and job.error is None:
            return False
        if job.done and len(job.logs or "") < len(watched.state[1] or ""):
            return False
        self._tell(watched, job)
        return True

    def _tell(self, watched: _Watched[Job], job: Job) -> None:
        """Tell those who wait for a job how it is now."""
        watched.failing_since = None
        state = job.status, job.logs
        if not job.done and _is_older(state, watched.state):
            return  # lists may lag behind
        changed, watched.state = state != watched.state, state
        for listener in watched.listeners:
            if job.done or (changed and listener.wants_updates):
                listener.tell(job)

    def _is_transient(self, error: APIError) -> bool:
        retries = self._options.get("max_retries", self._transport.settings.max_retries)
        return retries != 0 and _retry.repeatable(Request("GET", "", None, {}), error)

    def _failed(self, those: list[_Watched[Job]], error: APIError) -> None:
        """Tell those who wait that looking failed, unless it may go better soon: what they wait for has been paid."""
        if not self._is_transient(error):
            self._fail(those, error)
            return
        logger.info("looking at %d that are waited for failed, and is tried again: %s", len(those), error)
        now = _clock.current.monotonic()
        given_up: list[_Watched[Job]] = []
        for one in those:
            since = one.failing_since = now if one.failing_since is None else one.failing_since
            if now - since >= _PATIENCE:
                given_up.append(one)
        self._fail(given_up, error)

    def _fail(self, those: list[_Watched[Job]], error: Exception) -> None:
        for watched in those:
            for listener in watched.listeners:
                mine = copy.copy(error)
                mine.__cause__ = error.__cause__
                if isinstance(mine, APIError):
                    mine.prediction_id = watched.id
                listener.fail(mine)


def _hear_out(task: asyncio.Task[None]) -> None:
    """Take note of what ended a task, so that asyncio makes no noise: before Python 3.11, Ctrl-C may hit any."""
    if not task.cancelled():
        task.exception()


def _is_older(state: tuple[str, str | None], known: tuple[str, str | None]) -> bool:
    return (state[0] == "starting" != known[0]) or len(state[1] or "") < len(known[1] or "")


def _created_at(one: _Watched[Any]) -> datetime:
    assert one.created_at is not None  # noqa: S101
    return one.created_at


def _seen(raw: Raw) -> _Seen | None:
    try:
        return _SEEN.decode(raw)
    except msgspec.MsgspecError:
        return None  # whoever waits for it looks at it alone, and is told what is wrong
