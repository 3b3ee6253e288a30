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

from replicate_async._http import clock, retry
from replicate_async._http.options import follow_up_options
from replicate_async._http.request import Request
from replicate_async._predictions.jobs import JobT, look, poll_key
from replicate_async._predictions.requests import check_time_limit
from replicate_async.errors import APIError, APITimeoutError
from replicate_async.types import PageData, Prediction, Time, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_async._http.options import QueryValue, RequestOptions
    from replicate_async._http.transport import Transport

logger = logging.getLogger("replicate_async")

_LIST_POLL_ABOVE = 3  # as many are looked at one by one; more are swept
_MAX_CONCURRENT_POLLS = 8  # single looks under way
_POLLS_PER_SECOND = 30  # looks, on average: three fifths of what the API documents to allow
_COALESCE = 0.25  # of its pause: what is due so soon is looked at along with the rest
_MAX_FAILING_SECONDS = 120.0  # seconds for which looks may fail before those who wait are told
_SECOND = timedelta(seconds=1)


def poll_interval(age: float) -> float:
    """Return how long to wait before looking again at something that has been awaited for ``age`` seconds."""
    return min(max(0.25, age / 5), 10.0)


async def wait_until_done(
    transport: Transport,
    job: JobT | str,
    kind: type[JobT],
    options: RequestOptions,
    *,
    time_limit: float | None = None,
    look_now: bool = False,
    on_update: Callable[[JobT], None] | None = None,
) -> JobT:
    """Wait until a job has ended; ``look_now`` skips the first pause.

    Raises:
        APITimeoutError: the time limit has passed.
        APIError: looking failed. Both have the job's id.
    """
    check_time_limit(time_limit)
    job_id = job if isinstance(job, str) else job.id
    with clock.time_limit(time_limit):
        found = (
            await look(transport, job_id, kind, options) if isinstance(job, str) or (look_now and not job.done) else job
        )
        if on_update is not None:
            on_update(found)
        if not found.done:
            found = await (await _poller(transport, kind, options)).wait(found, on_update)
        return found
    raise APITimeoutError(f"not done after {time_limit} s, the time limit", prediction_id=job_id)


async def _poller(transport: Transport, kind: type[JobT], options: RequestOptions) -> Poller[JobT]:
    """Return the waiter that is shared by all who would look in the same way."""
    connections = transport.pool.here() or await transport.pool.open()
    options = follow_up_options(options)
    key = kind, *poll_key(transport, options)
    waiter: Poller[JobT] | None = connections.pollers.get(key)
    if waiter is None:
        waiter = connections.pollers[key] = Poller(transport, kind, options)
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


class _Subscriber(Generic[JobT]):
    """Somebody who waits for a job, and takes up what is told in a task of their own."""

    __slots__ = ("_failure", "_news", "_woken", "wants_updates")

    def __init__(self, *, wants_updates: bool) -> None:
        self.wants_updates = wants_updates
        self._woken: asyncio.Future[None] | None = None
        self._news: JobT | None = None
        self._failure: Exception | None = None

    def publish(self, job: JobT) -> None:
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

    async def next_update(self) -> JobT:
        """Wait for news, and return the newest."""
        while self._news is None:
            if self._failure is not None:
                raise self._failure
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        news, self._news = self._news, None
        return news


class _PolledJob(Generic[JobT]):
    """A job that somebody waits for."""

    __slots__ = ("created_at", "due", "failing_since", "id", "since", "state", "subscribers")

    def __init__(self, job: JobT, now: float) -> None:
        self.id: str = job.id
        self.state: tuple[str, str | None] = job.status, job.logs
        self.created_at: datetime | None = job.created_at
        self.since: float = now
        self.due: float = now + poll_interval(0)
        self.failing_since: float | None = None
        self.subscribers: dict[_Subscriber[JobT], None] = {}  # in the order in which they came

    def is_due(self, now: float) -> bool:
        return self.due <= now + _COALESCE * poll_interval(now - self.since)

    def put_off(self, now: float) -> None:
        self.due = now + poll_interval(now - self.since)


class Poller(Generic[JobT]):
    """Looks at all jobs that somebody waits for, less and less often, with as few requests as it takes.

    Few of them are looked at one by one; many by sweeping over the list of all, of which each page tells the states
    of a hundred. It lives in one event loop, and works as long as anybody waits.
    """

    def __init__(self, transport: Transport, kind: type[JobT], options: RequestOptions) -> None:
        self._transport = transport
        self._kind: type[JobT] = kind
        self._options = options
        self._polled: dict[str, _PolledJob[JobT]] = {}
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._sweeps = True
        self._rests_until = self._wakes_at = -inf

    async def wait(self, job: JobT, on_update: Callable[[JobT], None] | None = None) -> JobT:
        """Wait until a job has ended; it is looked at for the first time after a pause."""
        subscriber = _Subscriber[JobT](wants_updates=on_update is not None)
        watched = self._polled.get(job.id)
        if watched is None:
            watched = self._polled[job.id] = _PolledJob(job, clock.current.monotonic())
        watched.subscribers[subscriber] = None
        if self._task is None:
            # It works for all: nothing of who came first, such as a trace's span, shall stick to it.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._run())
            self._task.add_done_callback(_consume_exception)
        if max(watched.due, self._rests_until) < self._wakes_at:
            self._woken.set()
        try:
            while True:
                found = await subscriber.next_update()
                if on_update is not None:
                    on_update(found)
                if found.done:
                    return found
        finally:
            watched.subscribers.pop(subscriber, None)
            if not watched.subscribers:
                self._polled.pop(job.id, None)
            if not self._polled:
                self._stop()

    def _stop(self) -> None:
        """Rest: nobody waits any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            while self._polled:
                now = clock.current.monotonic()
                due = [one for one in self._polled.values() if one.is_due(now)] if now >= self._rests_until else []
                if due:
                    # Many single looks are the budget's to pace: newcomers mustn't wait for them.
                    self._rests_until = now + min(await self._poll(due) / _POLLS_PER_SECOND, poll_interval(inf))
                else:
                    soonest = min(one.due for one in self._polled.values())
                    await self._rest(now, max(soonest, self._rests_until))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to know
            self._raise_to_subscribers(list(self._polled.values()), error)
        finally:
            if self._task is asyncio.current_task():  # not stopped, but cancelled along with its loop
                self._task = None
                for subscriber in [subscriber for one in self._polled.values() for subscriber in one.subscribers]:
                    subscriber.cancel()

    async def _rest(self, now: float, until: float) -> None:
        """Wait until something is due, or somebody comes for something that is due before."""
        self._woken.clear()
        self._wakes_at = until
        timer = clock.current.call_later(until - now, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            self._wakes_at = -inf
            timer.cancel()

    async def _poll(self, due: list[_PolledJob[JobT]]) -> int:
        """Look at those that are due; return how many requests that took."""
        requests = 0
        now = clock.current.monotonic()
        for one in due:
            one.put_off(now)
        if self._sweeps and len(due) > _LIST_POLL_ABOVE:
            try:
                due, requests = await self._poll_list(due)
            except APIError as error:
                if self._is_transient(error):
                    self._on_poll_error(due, error)
                    return 1
                self._sweeps = False  # the list can't be had, or not be read: each for itself will do
        requests += len(due)
        queue = deque(due)

        async def look_at_each() -> None:
            while queue:
                one = queue.popleft()
                if one.subscribers:
                    await self._poll_one(one)

        if len(due) == 1:
            await look_at_each()
        else:
            async with anyio.create_task_group() as group:
                for _ in range(min(_MAX_CONCURRENT_POLLS, len(due))):
                    group.start_soon(look_at_each)
        return requests

    async def _poll_one(self, one: _PolledJob[JobT]) -> None:
        try:
            job = await look(self._transport, one.id, self._kind, self._options)
        except APIError as error:
            self._on_poll_error([one], error)
        except Exception as error:  # noqa: BLE001 - such as that the client was closed
            self._raise_to_subscribers([one], error)
        else:
            self._publish(one, job)

    async def _poll_list(self, due: list[_PolledJob[JobT]]) -> tuple[list[_PolledJob[JobT]], int]:
        """Look at many by the list of all, newest first.

        Returns:
            Those that have to be looked at one by one, and how many pages were read.
        """
        left: list[_PolledJob[JobT]] = [one for one in due if one.created_at is None]
        rest: deque[_PolledJob[JobT]] = deque(
            sorted((one for one in due if one.created_at), key=_created_at, reverse=True)
        )
        listed_at = "/predictions" if self._kind is Prediction else "/trainings"
        at = listed_at
        query: Mapping[str, QueryValue] | None = None
        met: set[str] = set()
        pages = 0
        while len(rest) > _LIST_POLL_ABOVE:
            request = Request[PageData[Raw]]("GET", at, PageData[Raw], self._options, query=query)
            page = await self._transport.plain.call(request)
            pages += 1
            seen = [(one, raw) for raw in page.results if (one := _seen(raw)) is not None]
            ours = [(watched, one, raw) for one, raw in seen if (watched := self._polled.get(one.id)) is not None]
            met.update(one.id for _, one, _ in ours)
            left += [watched for watched, one, raw in ours if not self._apply_listed(watched, one, raw)]
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

    def _apply_listed(self, watched: _PolledJob[JobT], seen: _Seen, raw: Raw) -> bool:
        """Tell those who wait what a list says; False: it says too little."""
        updates = any(subscriber.wants_updates for subscriber in watched.subscribers)
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
        self._publish(watched, job)
        return True

    def _publish(self, watched: _PolledJob[JobT], job: JobT) -> None:
        """Tell those who wait for a job how it is now."""
        watched.failing_since = None
        state = job.status, job.logs
        if not job.done and _is_older(state, watched.state):
            return  # lists may lag behind
        changed, watched.state = state != watched.state, state
        for subscriber in watched.subscribers:
            if job.done or (changed and subscriber.wants_updates):
                subscriber.publish(job)

    def _is_transient(self, error: APIError) -> bool:
        retries = self._options.get("max_retries", self._transport.settings.max_retries)
        return retries != 0 and retry.repeatable(Request("GET", "", None, {}), error)

    def _on_poll_error(self, those: list[_PolledJob[JobT]], error: APIError) -> None:
        """Tell those who wait that looking failed, unless it may go better soon: what they wait for has been paid."""
        if not self._is_transient(error):
            self._raise_to_subscribers(those, error)
            return
        logger.info("looking at %d that are waited for failed, and is tried again: %s", len(those), error)
        now = clock.current.monotonic()
        given_up: list[_PolledJob[JobT]] = []
        for one in those:
            since = one.failing_since = now if one.failing_since is None else one.failing_since
            if now - since >= _MAX_FAILING_SECONDS:
                given_up.append(one)
        self._raise_to_subscribers(given_up, error)

    def _raise_to_subscribers(self, those: list[_PolledJob[JobT]], error: Exception) -> None:
        for watched in those:
            for subscriber in watched.subscribers:
                mine = copy.copy(error)
                mine.__cause__ = error.__cause__
                if isinstance(mine, APIError):
                    mine.prediction_id = watched.id
                subscriber.fail(mine)


def _consume_exception(task: asyncio.Task[None]) -> None:
    """Take note of what ended a task, so that asyncio makes no noise: before Python 3.11, Ctrl-C may hit any."""
    if not task.cancelled():
        task.exception()


def _is_older(state: tuple[str, str | None], known: tuple[str, str | None]) -> bool:
    return (state[0] == "starting" != known[0]) or len(state[1] or "") < len(known[1] or "")


def _created_at(one: _PolledJob[Any]) -> datetime:
    assert one.created_at is not None  # noqa: S101
    return one.created_at


def _seen(raw: Raw) -> _Seen | None:
    try:
        return _SEEN.decode(raw)
    except msgspec.MsgspecError:
        return None  # whoever waits for it looks at it alone, and is told what is wrong
