"""Waiting until predictions and trainings end: all that are waited for are polled together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from math import inf
from operator import itemgetter
from typing import Any, Generic
from weakref import WeakValueDictionary

import msgspec
from msgspec import Raw

from replicate_async._http import clock
from replicate_async._http.options import QueryValue, RequestOptions, follow_up_options, max_retries_of
from replicate_async._http.request import Request, next_page
from replicate_async._http.response import decoder_for
from replicate_async._http.retry import is_transient
from replicate_async._http.transport import Transport
from replicate_async._logging import logger
from replicate_async._predictions.deliveries import deliveries_for
from replicate_async._predictions.jobs import JobT, check_job, fetch_job, list_path, poll_key
from replicate_async._predictions.listing import ListedJob, created_at_of, decode_listed, is_older, lacks_result
from replicate_async._predictions.patience import Patience
from replicate_async._predictions.polled_job import MAX_INTERVAL, PolledJob
from replicate_async._predictions.requests import check_time_limit
from replicate_async._tasks import consume_exception, for_each
from replicate_async.errors import APIError, APITimeoutError, ReplicateError
from replicate_async.types import PageData, Prediction, Training, logs_of

# At most this many jobs are polled one by one. More are polled by the list, of which each page has a hundred.
_LIST_POLL_ABOVE = 3
# The jobs that are polled by one page of the list.
_WINDOW = 100
_MAX_CONCURRENT_POLLS, _MAX_CONCURRENT_PAGES = 8, 16
# The average rate of requests: three fifths of what the API documents.
_POLLS_PER_SECOND = 30
# While jobs are ending, the list is polled as often as each request will find this many ends, if they go on like that.
_ENDS_PER_REQUEST = 2
# How long jobs are polled one by one after the list could not be read, in seconds.
_LIST_PAUSE = 30.0


async def wait_until_done(
    transport: Transport,
    job: JobT | str,
    kind: type[JobT],
    options: RequestOptions,
    *,
    time_limit: float | None = None,
    poll_now: bool = False,
    on_update: Callable[[JobT], None] | None = None,
) -> JobT:
    """Wait until a job has ended; ``poll_now`` skips the first delay.

    Raises:
        APITimeoutError: the time limit has passed; the error has the job's id.
        APIError: polling failed; the error has the job's id.
    """
    check_time_limit(time_limit)
    check_job(job, kind)
    job_id = job if isinstance(job, str) else job.id
    with clock.time_limit(time_limit):
        if isinstance(job, str) or (poll_now and not job.done):
            try:
                job = await fetch_job(transport, job_id, kind, options)
            except APIError as error:
                max_retries = max_retries_of(transport.settings, options)
                if not Patience(not isinstance(job, str)).on_failure(error, max_retries):
                    raise
        fetched = None if isinstance(job, str) else job
        if fetched is not None and on_update is not None:
            on_update(fetched)
        if fetched is not None and fetched.done:
            return fetched
        return await _poller(transport, kind, options).wait(job_id, fetched, on_update)
    raise APITimeoutError(f"not done after {time_limit} s, the time limit", prediction_id=job_id)


class _Pollers(WeakValueDictionary[object, Any]):
    """The pollers of one event loop."""


def _poller(transport: Transport, kind: type[JobT], options: RequestOptions) -> Poller[JobT]:
    """Return the poller that all callers share whose polls are interchangeable."""
    pollers = transport.pool.current().state(_Pollers)
    options = follow_up_options(options)
    key = kind, *poll_key(transport, options)
    poller: Poller[JobT] | None = pollers.get(key)
    if poller is None:
        poller = pollers[key] = Poller(transport, kind, options)
    return poller


# Jobs and when they were created, newest first.
_Window = deque[tuple[datetime, PolledJob[JobT]]]


class Poller(Generic[JobT]):
    """Polls all jobs that callers of one event loop wait for: a few one by one, many by the list of all."""

    def __init__(self, transport: Transport, kind: type[JobT], options: RequestOptions) -> None:
        self._transport = transport
        self._kind: type[JobT] = kind
        self._options = options
        self._jobs: dict[str, PolledJob[JobT]] = {}
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._max_retries = max_retries_of(transport.settings, options)
        # Whether parts of the list can be read at the same time. That of trainings has no times to start from.
        self._skips_exactly = kind is Prediction
        self._paused_until = self._sleeps_until = self._list_from = -inf

    async def wait(self, job_id: str, job: JobT | None = None, on_update: Callable[[JobT], None] | None = None) -> JobT:
        """Wait until a job has ended; its first poll comes after a delay. The job is None if it was never fetched."""
        polled = self._polled(job_id, job)
        polled.subscribers += 1
        polled.watchers += on_update is not None
        if self._task is None:
            # It serves every caller, so it runs in an empty context: without the first caller's trace span, say.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._run())
            self._task.add_done_callback(consume_exception)
        if max(polled.due, self._paused_until) < self._sleeps_until:
            self._woken.set()
        update = None if polled.latest is None or polled.latest.done else polled.latest
        try:
            while update is None or not update.done:
                update = await polled.next_update(update)
                if on_update is not None:
                    on_update(update)
        finally:
            polled.subscribers -= 1
            polled.watchers -= on_update is not None
            if not polled.subscribers:
                polled.unsubscribe()
                if self._jobs.get(polled.id) is polled:
                    del self._jobs[polled.id]
            if not self._jobs:
                self._stop()
        return update

    def _polled(self, job_id: str, job: JobT | None) -> PolledJob[JobT]:
        polled = self._jobs.get(job_id)
        # A job with an error is left to the callers that have not taken the error yet.
        if polled is None or polled.error is not None:
            now = clock.current.monotonic()
            polled = PolledJob[JobT](job_id, now, now, Patience(exists=job is not None))
            if job is not None:
                polled.state, polled.created_at = (job.status, logs_of(job)), created_at_of(job)
                deliveries = deliveries_for(self._transport) if job.webhook else None
                if deliveries is not None and deliveries.url == job.webhook:
                    polled.deliveries = deliveries
            polled.reschedule(now)
            self._jobs[job_id] = polled
            if polled.deliveries is not None:
                polled.unsubscribe = polled.deliveries.subscribe(job_id, partial(self._on_delivery, polled))
        return polled

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            while self._jobs:
                now = clock.current.monotonic()
                due = [job for job in self._jobs.values() if job.is_due(now)] if now >= self._paused_until else []
                if due:
                    # The pause bounds the rate of requests, but not for so long that it delays new jobs.
                    self._paused_until = now + min(await self._poll(due) / _POLLS_PER_SECOND, MAX_INTERVAL)
                else:
                    next_due = min(job.due for job in self._jobs.values())
                    await self._sleep(now, max(next_due, self._paused_until))
        except Exception as error:  # noqa: BLE001 - it is raised to every waiting caller
            self._publish_error(list(self._jobs.values()), error)
        finally:
            # This has an effect only if the task was canceled together with its loop, and not by wait().
            if self._task is asyncio.current_task():
                self._task = None
                for wakeup in [wakeup for job in self._jobs.values() for wakeup in job.wakeups]:
                    wakeup.cancel()

    async def _sleep(self, now: float, until: float) -> None:
        """Wait until a poll is due, or a new job comes whose poll is due before."""
        self._woken.clear()
        self._sleeps_until = until
        timer = clock.current.call_later(until - now, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            self._sleeps_until = -inf
            timer.cancel()

    async def _poll(self, due: list[PolledJob[JobT]]) -> int:
        """Poll the jobs that are due; return the number of requests."""
        now = clock.current.monotonic()
        for job in due:
            job.reschedule(now)
        requests = 0
        if now >= self._list_from and len(due) > _LIST_POLL_ABOVE:
            try:
                polled, (due, requests) = due, await self._poll_list(due)
                self._hasten(polled, requests, now)
            except Exception as error:
                # Whatever the list has, there are better ways. A client that was closed has none.
                if isinstance(error, ReplicateError) and not isinstance(error, APIError):
                    raise
                due, requests = self._on_list_error(due, error), 1
        due = [job for job in due if not job.settled]
        await for_each(self._poll_one, due, _MAX_CONCURRENT_POLLS)
        return requests + len(due)

    def _hasten(self, polled: list[PolledJob[JobT]], requests: int, now: float) -> None:
        """Let the next poll come earlier while jobs are ending."""
        pending = [job for job in polled if not job.settled]
        if ends := len(polled) - len(pending):
            for job in pending:
                job.reschedule(now, min(1, _ENDS_PER_REQUEST * requests / ends))

    async def _poll_one(self, polled: PolledJob[JobT]) -> None:
        if polled.settled:
            return
        try:
            job = await fetch_job(self._transport, polled.id, self._kind, self._options)
        except APIError as error:
            if not polled.patience.on_failure(error, self._max_retries):
                self._publish_error([polled], error)
        except Exception as error:  # noqa: BLE001 - for example, the client was closed
            self._publish_error([polled], error)
        else:
            self._publish(polled, job)

    async def _poll_list(self, due: list[PolledJob[JobT]]) -> tuple[list[PolledJob[JobT]], int]:
        """Poll many jobs by the list of all: a hundred at a time, at the same time.

        Returns:
            The jobs to poll one by one, and the number of pages that were read.
        """
        unlisted = [job for job in due if job.created_at is None]
        dated = [(job.created_at, job) for job in due if job.created_at is not None]
        pending = deque(sorted(dated, key=itemgetter(0), reverse=True))
        windows: list[_Window[JobT]] = []
        while pending:
            # A few jobs at the end are no window of their own.
            size = _WINDOW if self._skips_exactly and len(pending) > _WINDOW + _LIST_POLL_ABOVE else len(pending)
            windows.append(deque(pending.popleft() for _ in range(size)))
        pages, errors = 0, list[Exception]()

        async def read(window: _Window[JobT]) -> None:
            nonlocal pages
            try:
                missing, count = await self._poll_window(window, from_start=window is windows[0])
            except Exception as error:  # noqa: BLE001 - the first one is raised below
                errors.append(error)
            else:
                pages += count
                unlisted.extend(missing)

        await for_each(read, windows, _MAX_CONCURRENT_PAGES)
        if errors:
            raise errors[0]
        return list(dict.fromkeys(unlisted)), pages

    async def _poll_window(self, pending: _Window[JobT], *, from_start: bool) -> tuple[list[PolledJob[JobT]], int]:
        """Poll jobs by the list, newest first; return the jobs to poll one by one, and the number of pages."""
        unlisted: list[PolledJob[JobT]] = []
        listed_ids: set[str] = set()
        first = request = Request[PageData[Raw]]("GET", list_path(self._kind), PageData[Raw], self._options)
        pages, oldest_before, skipped_to = 0, None, None if from_start else pending[0]
        query = skipped_to and self._skip_to(skipped_to)
        while len(pending) > _LIST_POLL_ABOVE:
            if query:
                request = msgspec.structs.replace(first, query=query)
            page = await self._transport.decoding.call(request)
            pages += 1
            listed = [(entry, raw) for raw in page.results if (entry := decode_listed(raw)) is not None]
            if query and skipped_to and self._skips_exactly and not skipped_to[1].settled:
                # The page begins with the job, unless the API ignores fractions of a second.
                self._skips_exactly = any(entry.id == skipped_to[1].id for entry, _ in listed)
                if not self._skips_exactly:
                    query = self._skip_to(skipped_to)
                    continue
            matches = [(job, entry, raw) for entry, raw in listed if (job := self._jobs.get(entry.id)) is not None]
            has_new_matches = any(entry.id not in listed_ids for _, entry, _ in matches)
            listed_ids.update(entry.id for _, entry, _ in matches)
            unlisted += [job for job, entry, raw in matches if not self._apply_listed(job, entry, raw)]
            oldest = min((entry.created_at for entry, _ in listed if entry.created_at), default=None)
            while pending and (pending[0][1].id in listed_ids or (oldest and pending[0][0] > oldest)):
                _, job = pending.popleft()
                if job.id not in listed_ids:
                    unlisted.append(job)
            # Pages that are read at the same time overlap.
            pending = deque(item for item in pending if not item[1].settled)
            if page.next is None or not pending:
                break
            # A list may lead in circles. Only a page that brings something new is followed.
            goes_back = oldest is not None and (oldest_before is None or oldest < oldest_before)
            oldest_before = oldest or oldest_before
            is_near = pending[0] is skipped_to
            if has_new_matches or (goes_back and (is_near or self._kind is not Prediction)):
                request, query = next_page(request, page.next), None
            elif self._kind is Prediction and not is_near:
                # The page has others' predictions only. Skip to the newest one that is pending.
                skipped_to = pending[0]
                query = self._skip_to(skipped_to)
            else:
                break
        unlisted.extend(job for _, job in pending)
        return unlisted, pages

    def _skip_to(self, dated: tuple[datetime, object]) -> Mapping[str, QueryValue]:
        """Return the query for the part of the list that begins with a job."""
        margin = timedelta(microseconds=1) if self._skips_exactly else timedelta(seconds=1)
        return {"created_before": dated[0] + margin}

    def _on_list_error(self, due: list[PolledJob[JobT]], error: Exception) -> list[PolledJob[JobT]]:
        """Return the jobs to poll one by one instead."""
        logger.info("polling %d jobs by the list failed: %s", len(due), error)
        if isinstance(error, APIError) and is_transient(error):
            # An outage, or a rate limit. Jobs for which it has lasted too long are polled by themselves.
            due = [job for job in due if not job.patience.on_failure(error, self._max_retries)]
        if due:
            self._list_from = clock.current.monotonic() + _LIST_PAUSE
        return due

    def _apply_listed(self, polled: PolledJob[JobT], entry: ListedJob, raw: Raw) -> bool:
        """Publish a list's entry; return False if it says too little, so that the job must be polled by itself."""
        if not entry.done and entry.status == polled.state[0] and not polled.watchers:
            polled.patience.on_success()
            return True
        try:
            job: JobT = decoder_for(self._kind)(bytes(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if lacks_result(job) or (job.done and len(logs_of(job)) < len(polled.state[1])):
            return False
        self._publish(polled, job)
        return True

    def _on_delivery(self, polled: PolledJob[JobT], job: Prediction | Training | None) -> None:
        """Publish what a webhook says, or poll at once if it says too little."""
        if isinstance(job, self._kind) and not lacks_result(job):
            self._publish(polled, job, delivered=True)
        else:
            polled.due = clock.current.monotonic()
            self._woken.set()

    def _publish(self, polled: PolledJob[JobT], job: JobT, *, delivered: bool = False) -> None:
        """Publish a job to the callers that wait for it."""
        if job.done and not delivered and polled.deliveries is not None and not polled.settled:
            # The webhook is late, or lost. Until the next one comes, jobs are polled as if there were none.
            polled.deliveries.reliable = False
        polled.patience.on_success()
        polled.created_at = polled.created_at or created_at_of(job)
        state = job.status, logs_of(job)
        if not job.done and is_older(state, polled.state):
            # Lists may lag behind.
            return
        self._transport.hooks.observe(job, clock.current.monotonic())
        changed, polled.state = state != polled.state, state
        if job.done or (changed and polled.watchers):
            polled.publish(job)

    def _publish_error(self, jobs: Sequence[PolledJob[JobT]], error: Exception) -> None:
        for job in jobs:
            job.error = error
            job.wake()
