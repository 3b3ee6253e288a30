"""Waiting for many predictions at once: no result is lost, no poll is wasted, and the API's limits hold."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from rawserver import RawServer, answer
from replicate_async import (
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AsyncReplicate,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ReplicateError,
)
from replicate_async._http.request import Request
from replicate_async._http.state import StateOwner
from replicate_async._predictions.polled_job import poll_interval
from replicate_async._predictions.polling import wait_until_done
from replicate_async.hooks import Hooks
from replicate_async.testing import LocalServer
from replicate_async.types import PageData, Prediction, Training
from simulated_api import SimulatedApi
from simulation import START, Simulation, simulate

# Three fifths of what the API documents.
MAX_POLLS_PER_SECOND = 30

# --- a simulated API, which stands in for the transport ---


class Job(msgspec.Struct, kw_only=True):
    """A prediction that runs by itself, and how well the list shows it."""

    id: str
    created: float
    duration: float
    final_status: str = "succeeded"
    # All the time before, in place of the API's own.
    running_status: str | None = None
    # By so many seconds the list is behind.
    lag: float = 0.0
    # Or: twice, omitted, garbled, undated, without output.
    listed: str = "well"

    def at(self, now: float) -> dict[str, Any]:
        """Return the prediction as the API shows it at a time."""
        age = now - self.created
        done = now >= self.created + self.duration
        running = "starting" if age < self.duration / 5 else "processing"
        return {
            "id": self.id,
            "model": "owner/name",
            "version": "hidden",
            "input": {},
            "urls": {},
            "created_at": (START + timedelta(seconds=self.created)).isoformat(),
            "status": self.final_status if done else self.running_status or running,
            "completed_at": (START + timedelta(seconds=self.created + self.duration)).isoformat() if done else None,
            "logs": "." * int(5 * min(1.0, max(0.0, age / self.duration))) if self.duration else "",
            "output": f"output of {self.id}" if done and self.final_status == "succeeded" else None,
            "error": "no luck" if done and self.final_status == "failed" else None,
        }

    def prediction(self, now: float, kind: Any = Prediction) -> Any:
        return msgspec.convert(self.at(now), kind)


class Api:
    """Answers polls after some latency, in place of a transport and its session."""

    def __init__(self, sim: Simulation, *, max_retries: int | None = None, latency: float = 0.05) -> None:
        self.settings = SimpleNamespace(max_retries=max_retries)
        self.options_key = ()
        self.hooks = Hooks()
        session = StateOwner()
        self.pool = SimpleNamespace(current=lambda: session)
        self.jobs: dict[str, Job] = {}
        self.waiting: Counter[str] = Counter()
        self.polls: list[tuple[float, str]] = []
        self.fail: Callable[[float, str], Exception | None] = lambda _now, _path: None
        # Returns the cursor of each page in place of the right one.
        self.cursor: Callable[[], str] | None = None
        # The list's answer in place of the right one.
        self.page: Any = None
        self._sim, self._latency = sim, latency

    @property
    def decoding(self) -> Api:
        return self

    async def call(self, request: Request[Any]) -> Any:
        now = self._sim.monotonic()
        self.polls.append((now, request.path))
        job_id = "".join(request.path.partition("?")[0].split("/")[2:])
        assert not job_id or self.waiting[job_id], "a job is polled that has no caller"
        assert any(self.waiting.values()), "the list is polled without any caller"
        if self._latency:
            await asyncio.sleep(self._latency)
        now = self._sim.monotonic()
        if (error := self.fail(now, request.path)) is not None:
            raise error
        if not job_id:
            return self.page or self._page(request, now)
        job = self.jobs.get(job_id)
        if job is None:
            raise NotFoundError("no such prediction", status_code=404)
        return job.prediction(now, request.response_type)

    def _page(self, request: Request[Any], now: float) -> PageData[Raw]:
        query = parse_qs(request.path.partition("?")[2])
        skip = int(query.get("skip", ["0"])[0])
        before: datetime | None = (request.query or {}).get("created_before")  # type: ignore[assignment]
        if before is None and "before" in query:
            before = datetime.fromisoformat(query["before"][0])
        newest_first = sorted(self.jobs.values(), key=lambda job: (job.created, job.id), reverse=True)
        visible = [
            job
            for job in newest_first
            if job.listed != "omitted"
            and job.created <= now - job.lag
            and (before is None or START + timedelta(seconds=job.created) < before)
        ]
        following = f"/predictions?skip={skip + 100}" + (f"&before={before.isoformat()}" if before else "")
        following = following.replace("+00:00", "%2B00:00")
        return PageData(
            results=[entry for job in visible[skip : skip + 100] for entry in _list_entries(job, now)],
            next=self.cursor() if self.cursor else following if len(visible) > skip + 100 else None,
        )

    def add(self, number: int, created: float, duration: float, **how: Any) -> Job:
        job = self.jobs[f"p{number:05}"] = Job(id=f"p{number:05}", created=created, duration=duration, **how)
        return job

    async def wait(self, job: Job, *, by_id: bool = False, start: Any = None, **how: Any) -> Prediction:
        """Wait for a job, and check the result."""
        start = job.id if by_id else start or job.prediction(self._sim.monotonic(), how.get("kind", Prediction))
        self.waiting[job.id] += 1
        try:
            kind = how.pop("kind", Prediction)
            result: Any = await wait_until_done(self, start, kind, how.pop("options", {}), **how)  # type: ignore[arg-type]
        finally:
            self.waiting[job.id] -= 1
        expected = job.prediction(job.created + job.duration)
        assert (result.id, result.status) == (expected.id, expected.status)
        assert (result.output, result.error) == (expected.output, expected.error)
        return result

    async def is_idle(self) -> bool:
        """Return whether no task is left, and no poll is made in the next minute."""
        polls = len(self.polls)
        for seconds in (0.01, 60):
            await asyncio.sleep(seconds)
            if asyncio.all_tasks() != {asyncio.current_task()}:
                return False
        return len(self.polls) == polls

    def single_polls(self) -> list[str]:
        return [path for _, path in self.polls if path.count("/") > 1]

    def list_polls(self) -> list[str]:
        return [path for _, path in self.polls if path.count("/") == 1]


def _list_entries(job: Job, now: float) -> Iterator[Raw]:
    entry = job.at(now - job.lag)
    if job.listed == "undated":
        entry["created_at"] = None
    if job.listed == "without output":
        del entry["output"], entry["logs"], entry["error"]
    yield Raw(b'{"id": 7}' if job.listed == "garbled" else msgspec.json.encode(entry))
    if job.listed == "twice":
        stale = {"status": "processing", "completed_at": None, "output": None, "error": None} if entry["output"] else {}
        yield Raw(msgspec.json.encode({**entry, **stale}))


def latest_end(job: Job, since: float, pages: int = 1, *, arrives: float = 0) -> float:
    """Return by when a caller must have the result of a job that has been polled since a time."""
    end = max(job.created + job.duration + job.lag, since, arrives)
    return end + 2 * poll_interval(end - since) + 3 + pages


class Caller(msgspec.Struct):
    """A caller that waits for a job, for a while or to the end."""

    job: int
    arrives: float
    patience: float | None
    by_id: bool
    wants_updates: bool


def seconds(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(10 * least, 10 * most).map(lambda tenths: tenths / 10)


CALLERS = st.lists(
    st.builds(
        Caller,
        job=st.integers(0, 19),
        arrives=seconds(0, 60),
        patience=st.one_of(st.none(), st.none(), seconds(0, 60)),
        by_id=st.booleans(),
        wants_updates=st.booleans(),
    ),
    max_size=40,
)
JOBS = st.lists(
    st.tuples(
        seconds(-100, 0),
        seconds(0, 150),
        st.sampled_from(["succeeded", "failed", "canceled"]),
        st.sampled_from([0.0, 0.0, 0.0, 2.0]),
        st.sampled_from(["well", "well", "well", "twice", "omitted", "garbled", "undated", "without output"]),
    ),
    min_size=20,
    max_size=20,
)
OUTAGES = st.lists(st.tuples(seconds(0, 200), seconds(0, 60), st.sampled_from([500, 502, 429])), max_size=2)


class Scenario(msgspec.Struct):
    """Jobs, their callers, and what goes wrong."""

    jobs: list[tuple[float, float, str, float, str]]
    callers: list[Caller]
    outages: list[tuple[float, float, int]]
    others: int
    listable: bool

    def failure(self, now: float, path: str) -> Exception | None:
        if not self.listable and not path.startswith("/predictions/"):
            return PermissionDeniedError("not yours", status_code=403)
        down = [status for since, seconds, status in self.outages if since <= now < since + seconds]
        return InternalServerError("down", status_code=down[0]) if down else None

    @property
    def max_delay(self) -> float:
        """By how much outages may delay results."""
        return sum(seconds + 12 for _, seconds, _ in self.outages)


SCENARIOS = st.builds(
    Scenario, jobs=JOBS, callers=CALLERS, outages=OUTAGES, others=st.integers(0, 150), listable=st.booleans()
)


class Updates:
    """Receives updates, and checks that they only go forward."""

    def __init__(self, job: Job) -> None:
        self._stages = ["starting", "processing", job.final_status]
        self._job = job
        self.last = (0, 0)

    def __call__(self, prediction: Prediction) -> None:
        now = self._stages.index(prediction.status), len(prediction.logs or "")
        assert prediction.id == self._job.id
        assert all(before <= after for before, after in zip(self.last, now, strict=True))
        self.last = now


async def _wait_as(api: Api, scenario: Scenario, caller: Caller) -> None:
    job = api.jobs[f"p{caller.job:05}"]
    await asyncio.sleep(caller.arrives)
    updates = Updates(job)
    await api.wait(job, by_id=caller.by_id, on_update=updates if caller.wants_updates else None)
    since = min(other.arrives for other in scenario.callers if other.job == caller.job)
    end = latest_end(job, since, arrives=caller.arrives) + scenario.max_delay
    assert asyncio.get_running_loop().time() <= end
    assert updates.last[0] == (2 if caller.wants_updates else 0)


@settings(max_examples=150, deadline=None)
@given(SCENARIOS)
def test_every_caller_gets_its_result_whatever_happens(scenario):
    """Any number of callers come, leave and receive updates, and the list shows their jobs well or badly.

    Each caller that stays gets its result soon after the end. Updates come in order. Only jobs with callers are
    polled, within the rate limit, and when the last caller has left, nothing runs.
    """

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = scenario.failure
        for number, (created, duration, final_status, lag, listed) in enumerate(scenario.jobs):
            api.add(number, created, duration, final_status=final_status, lag=lag, listed=listed)
        for number in range(scenario.others):
            api.add(1000 + number, -number / 2, 1000)
        tasks = [asyncio.create_task(_wait_as(api, scenario, caller)) for caller in scenario.callers]
        for task, caller in zip(tasks, scenario.callers, strict=True):
            if caller.patience is not None:
                asyncio.get_running_loop().call_later(caller.arrives + caller.patience, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for caller, result in zip(scenario.callers, results, strict=True):
            if isinstance(result, Exception):
                raise result
            assert result is None or caller.patience is not None
        assert len(api.polls) <= MAX_POLLS_PER_SECOND * (sim.monotonic() + 1) + len(scenario.jobs) + 2
        assert await api.is_idle()

    simulate(main)


def test_many_jobs_are_polled_by_the_list():
    """A thousand jobs that end together cost some pages of a hundred, and hardly any single polls."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, -number / 1000, 30) for number in range(1000)]
        await asyncio.gather(*[api.wait(job) for job in jobs])
        assert sim.monotonic() < 38
        assert len(api.polls) < 500
        assert len(api.single_polls()) < 20

    simulate(main)


def test_few_jobs_are_polled_one_by_one():
    """For three jobs a page would save nothing, and be larger."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(3)])
        assert api.list_polls() == []

    simulate(main)


def test_listed_outputs_are_not_fetched_again():
    """An output that is on the page is used; one that is missing there is fetched, once for each job."""

    async def main(sim: Simulation) -> None:
        for listed, fetched in (("well", 0), ("without output", 20)):
            api = Api(sim)
            now = sim.monotonic()
            jobs = [api.add(number, now, 10, listed=listed) for number in range(20)]
            await asyncio.gather(*[api.wait(job) for job in jobs])
            assert len(api.single_polls()) == fetched

    simulate(main)


def test_a_forbidden_list():
    """If the token may not read the list, it is tried once; then each job is polled by itself."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda _, path: (
            None if path.startswith("/predictions/") else PermissionDeniedError("no", status_code=403)
        )
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(20)])
        assert len(api.list_polls()) == 1

    simulate(main)


def test_other_programs_predictions_are_skipped():
    """Pages with five thousand predictions of other programs are jumped over."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        old = [api.add(number, -1000 - number / 10, 1010) for number in range(50)]
        new = [api.add(100 + number, -1 - number / 10, 11) for number in range(5)]
        for number in range(5000):
            api.add(1000 + number, -100 - number / 10, 10_000)
        await asyncio.gather(*[api.wait(job) for job in [*old, *new]])
        assert len(api.polls) < 100
        assert len(api.single_polls()) < 50

    simulate(main)


def test_a_list_that_lags_behind():
    """A list that lags behind does not undo what a single poll has shown."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 30, lag=8)
        updates = Updates(job)
        waiting = asyncio.create_task(api.wait(job, on_update=updates))
        await asyncio.sleep(8)
        assert updates.last[0] == 1
        await asyncio.gather(*[api.wait(api.add(number, 8, 2)) for number in range(1, 10)])
        await waiting
        assert api.list_polls()

    simulate(main)


def test_a_final_status_in_the_list_without_logs():
    """If the list shows a final status but not the logs, they are fetched, because callers have seen them before."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, -10, 20, final_status="canceled", listed="without output") for number in range(10)]
        updates = [Updates(job) for job in jobs]
        await asyncio.gather(*[api.wait(job, on_update=update) for job, update in zip(jobs, updates, strict=True)])
        assert {update.last for update in updates} == {(2, 5)}

    simulate(main)


def test_an_end_without_another_status():
    """A status that is not documented is final as soon as the list has a completion time."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, 0, 20, running_status="resting", final_status="resting") for number in range(10)]
        await asyncio.wait_for(asyncio.gather(*[api.wait(job) for job in jobs]), 30)
        assert api.single_polls() == []

    simulate(main)


def test_updates_come_from_the_list_too():
    """Callers that want updates get new logs from the list, without a single poll."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, 0, 30) for number in range(10)]
        seen: dict[str, list[str | None]] = {job.id: [] for job in jobs}
        waits = [api.wait(job, on_update=lambda update: seen[update.id].append(update.logs)) for job in jobs]
        await asyncio.gather(*waits)
        assert list(seen.values()) == [["", ".", "..", "...", "....", "....."]] * 10
        assert api.single_polls() == []

    simulate(main)


def test_a_later_callers_updates_only_go_forward():
    """A caller that arrives with a newer state than the last poll has shown does not get that poll's update."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 100)
        first = asyncio.create_task(api.wait(job, on_update=Updates(job)))
        await asyncio.sleep(81)
        await api.wait(job, on_update=Updates(job))
        await first

    simulate(main)


def test_a_caller_that_arrives_with_the_end():
    """A caller that begins to wait just as the final status is published gets it, and its callback too."""

    async def main(sim: Simulation) -> None:
        api = Api(sim, latency=0)
        job = api.add(0, 0, 0.5)
        first = asyncio.create_task(api.wait(job))
        await asyncio.sleep(0)
        starting = job.prediction(0)

        async def wait(steps: int) -> int:
            await asyncio.sleep(0.5)
            # Some arrive before the poll, some between the poll and the first caller, some after it.
            for _ in range(steps):
                await asyncio.sleep(0)
            updates = Updates(job)
            await api.wait(job, start=starting, on_update=updates)
            return updates.last[0]

        assert await asyncio.gather(*[wait(steps) for steps in range(10)]) == [2] * 10
        await first

    simulate(main)


def test_list_entries_that_cannot_be_used():
    """An entry without a date, or of another shape, hides no other entry, wherever on a page it is."""

    async def main(sim: Simulation) -> None:
        for listed in ("undated", "garbled"):
            api = Api(sim)
            now = sim.monotonic()
            jobs = [api.add(number, now - number / 10, 30 + number / 10) for number in range(250)]
            for number in (0, 99, 100, 199):
                jobs[number].listed = listed
            await asyncio.gather(*[api.wait(job) for job in jobs])
            assert len(api.single_polls()) < 100

    simulate(main)


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100)), min_size=4, max_size=150),
    others=st.lists(st.floats(0, 1000), max_size=400),
)
def test_list_polls_find_jobs_anywhere_in_the_list(times, others):
    """Wherever in the list the jobs are, between those of other programs, hardly any needs a single poll."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, -created, created + duration) for number, (created, duration) in enumerate(times)]
        for number, created in enumerate(others):
            api.add(1000 + number, -created, 10_000)
        await asyncio.gather(*[api.wait(job) for job in jobs])
        # A page costs no less than a few single polls, so a few jobs are always polled one by one.
        assert len(api.polls) <= MAX_POLLS_PER_SECOND * (sim.monotonic() + 1) + len(jobs)
        assert await api.is_idle()

    simulate(main)


def test_poll_intervals_grow():
    """A job of ten minutes is polled some dozen times, however many callers wait for it."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 600)
        await asyncio.gather(*[api.wait(job) for _ in range(50)])
        assert len(api.polls) < 100

    simulate(main)


def test_a_new_job_is_polled_soon():
    """A new job is polled within a second, even if others have been waited for for minutes."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        old = [asyncio.create_task(api.wait(api.add(number, 0, 600))) for number in range(20)]
        await asyncio.sleep(301)
        await api.wait(api.add(100, 301, 1))
        assert sim.monotonic() < 303
        await asyncio.gather(*old)

    simulate(main)


# --- failing polls ---


def _failing(error: Exception, since: float, until: float) -> Callable[[float, str], Exception | None]:
    return lambda now, _: error if since <= now < until else None


@pytest.mark.parametrize("count", [1, 3, 20])
def test_an_outage_is_survived(count):
    """Waits survive an outage of a minute and a half, because the predictions have been paid for."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = _failing(InternalServerError("down", status_code=502), 5, 95)
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(count)])

    simulate(main)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_an_outage_without_end_is_raised(count):
    """After two minutes every caller gets the error, with the id of its own prediction."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = _failing(InternalServerError("down", status_code=502), 5, 10_000)
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(error, InternalServerError) for error in errors)
        assert [error.prediction_id for error in errors if isinstance(error, APIError)] == list(api.jobs)
        assert 120 <= sim.monotonic() < 200
        assert await api.is_idle()

    simulate(main)


def test_a_job_that_always_fails_raises_although_others_succeed():
    """Successful polls of other jobs do not prolong the time for which a job may fail."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda _, path: (
            InternalServerError("down", status_code=500) if path.endswith(("/p00000", "/predictions")) else None
        )
        others = [asyncio.create_task(api.wait(api.add(number, 0, 1000))) for number in (1, 2)]
        with pytest.raises(InternalServerError) as caught:
            await api.wait(api.add(0, 0, 1))
        assert caught.value.prediction_id == "p00000"
        assert sim.monotonic() < 200
        await asyncio.gather(*others)

    simulate(main)


def test_a_permanent_error_of_one_job_does_not_affect_others():
    """A job that the API refuses to show raises at once; others still survive a later outage."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        other = asyncio.create_task(api.wait(api.add(1, 0, 400)))
        refusal = PermissionDeniedError("not yours", status_code=403, detail="not yours")
        api.fail = lambda _, path: refusal if path.endswith("/p00000") else None
        with pytest.raises(PermissionDeniedError, match="prediction p00000"):
            await api.wait(api.add(0, 0, 1))
        assert sim.monotonic() < 1
        api.fail = _failing(InternalServerError("down", status_code=502), 200, 290)
        await other

    simulate(main)


# What a proxy or an overloaded API may respond with, and what the API says of a job that was just created.
PASSING: dict[str, APIError] = {
    "not readable": APIResponseValidationError("the response is not Prediction"),
    "a page with status 403": PermissionDeniedError("<html>", status_code=403),
    "a login page": APIStatusError("redirected", status_code=302),
    "unknown": NotFoundError("not found", status_code=404, detail="Prediction not found"),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("path", ["/predictions", "/predictions/p"], ids=["all polls", "single polls"])
def test_what_may_pass_is_survived_like_an_outage(error, count, path):
    """Responses that are not the API's own refusals are survived for a minute and a half."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda now, called: error if path in called and 5 <= now < 95 else None
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(count)])

    simulate(main)


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("count", [1, 20])
def test_what_does_not_pass_is_raised_with_the_id(error, count):
    """After two minutes of such responses every caller gets an error with the id of its own prediction."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = _failing(error, 5, 10_000)
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(raised) for raised in errors} == {type(error)}
        assert [raised.prediction_id for raised in errors if isinstance(raised, APIError)] == list(api.jobs)
        assert 120 <= sim.monotonic() < 200
        assert await api.is_idle()

    simulate(main)


@pytest.mark.parametrize("error", [*PASSING.values(), InternalServerError("down", status_code=500)])
def test_a_list_that_never_works(error):
    """If only the list fails, whatever the reason, every caller still gets its result."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda _, path: None if path.startswith("/predictions/") else error
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(20)])
        # The list may be retried for two minutes. Then each job is polled by itself.
        assert sim.monotonic() < 150
        assert len(api.polls) < 500

    simulate(main)


def test_an_id_that_the_api_does_not_show_yet():
    """Waiting for the id of a job that was just created survives its absence."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 10)
        missing = NotFoundError("not found", status_code=404, detail="Prediction not found")
        api.fail = _failing(missing, 0, 0.5)
        updates = Updates(job)
        assert (await api.wait(job, by_id=True, on_update=updates)).id == job.id
        assert updates.last == (2, 5)

    simulate(main)


def test_an_id_that_does_not_exist():
    """Waiting for an id that does not exist raises after a moment."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 10)
        del api.jobs[job.id]
        with pytest.raises(NotFoundError, match="prediction p00000"):
            await api.wait(job, by_id=True)
        assert sim.monotonic() < 3

    simulate(main)


CURSORS: dict[str, Callable[[], Iterator[str]]] = {
    "itself": lambda: itertools.repeat("/predictions"),
    "two pages": lambda: itertools.cycle(["/predictions?skip=100", "/predictions?skip=0"]),
    "new cursors": lambda: (f"/predictions?cursor={number}" for number in itertools.count()),
}


@pytest.mark.parametrize("cursors", CURSORS.values(), ids=CURSORS)
@pytest.mark.parametrize("kind", [Prediction, Training])
def test_a_list_that_leads_in_circles(cursors, kind):
    """Pages that bring nothing new are not followed: the jobs that they lack are polled one by one."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        following = cursors()
        api.cursor = lambda: next(following)
        jobs = [api.add(number, -number, 10 + number, listed="omitted", final_status="failed") for number in range(20)]
        for number in range(300):
            api.add(1000 + number, -number / 10, 10_000)
        await asyncio.gather(*[api.wait(job, kind=kind) for job in jobs])
        assert sim.monotonic() < 20
        assert len(api.list_polls()) < 3 * len(api.single_polls()) / 10
        assert len(api.polls) <= MAX_POLLS_PER_SECOND * (sim.monotonic() + 1) + len(jobs)
        assert await api.is_idle()

    simulate(main)


def test_a_list_with_impossible_content():
    """Whatever the list has in place of its entries, its date or its cursor, each job is polled by itself."""

    async def main(sim: Simulation) -> None:
        for results, cursor in [
            (None, None),
            ([Raw(b"null"), Raw(b"[[" * 50_000 + b"]]" * 50_000)], "http://host:port/"),
            ([Raw(b'{"id": "p00000", "status": "processing", "created_at": "9999-12-31T23:59:59.999999Z"}')], 7),
        ]:
            api = Api(sim)
            page: Any = PageData(results=results, next=cursor)  # type: ignore[arg-type]
            api.page = page
            now = sim.monotonic()
            jobs = [api.add(number, now, 20) for number in range(10)]
            await asyncio.gather(*[api.wait(job) for job in jobs])
            assert sim.monotonic() < now + 30

    simulate(main)


@pytest.mark.parametrize("count", [1, 20])
def test_without_retries_the_first_failure_is_raised(count):
    """With ``max_retries=0`` the first failed poll is raised to all callers."""

    async def main(sim: Simulation) -> None:
        api = Api(sim, max_retries=0)
        api.fail = _failing(InternalServerError("down", status_code=502), 0, 10_000)
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(error, InternalServerError) for error in errors)
        assert sim.monotonic() < 1

    simulate(main)


@pytest.mark.parametrize("count", [2, 20])
def test_errors_that_are_not_the_apis_reach_every_caller(count):
    """Another error, for example that the client was closed, reaches every caller."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda *_: ReplicateError("this client is closed")
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [ReplicateError] * count
        assert len({id(error) for error in errors}) == count, "each has a traceback of its own"
        assert await api.is_idle()

    simulate(main)


def test_waiting_again_after_an_error_that_has_ended_the_polling():
    """A caller that waits again before others have taken the error starts the polling again."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda *_: ReplicateError("no luck at first") if len(api.polls) == 1 else None

        async def wait_twice(job: Job) -> None:
            with pytest.raises(ReplicateError, match="no luck"):
                await api.wait(job)
            await api.wait(job)

        # So many are polled by the list, whose error ends the polling.
        await asyncio.wait_for(asyncio.gather(*[wait_twice(api.add(number, 0, 20)) for number in range(5)]), 60)

    simulate(main)


def test_a_response_that_cannot_be_read():
    """A response of another shape is raised to the callers of its job, and to no other."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda _, path: (
            APIResponseValidationError("hm") if path.endswith(("/p00000", "/predictions")) else None
        )
        results = await asyncio.gather(
            *[api.wait(api.add(number, 0, 20)) for number in range(10)], return_exceptions=True
        )
        assert [isinstance(result, APIResponseValidationError) for result in results] == [True] + [False] * 9

    simulate(main)


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("seconds", [60, 1000])
def test_a_response_about_another_job(by_id, seconds):
    """Nobody gets somebody else's output if a proxy mixes up responses: that is survived, or an error with the id."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job, other = api.add(0, 0, 20), api.add(1, 0, 1)
        api.jobs[job.id] = other

        async def mend() -> None:
            await asyncio.sleep(seconds)
            api.jobs[job.id] = job

        _, result = await asyncio.gather(mend(), api.wait(job, by_id=by_id), return_exceptions=True)
        assert isinstance(result, Prediction if seconds == 60 else APIResponseValidationError)
        assert result.id == job.id if isinstance(result, Prediction) else result.prediction_id == job.id

    simulate(main)


# --- limits and callbacks ---


def test_each_caller_has_its_own_time_limit():
    """A caller whose time limit has passed gets an error with the id; others still wait for the same job."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 20)
        patient = asyncio.create_task(api.wait(job))
        with pytest.raises(APITimeoutError, match="not done after 5 s") as caught:
            await api.wait(job, time_limit=5)
        assert (caught.value.prediction_id, sim.monotonic()) == (job.id, 5)
        await patient

    simulate(main)


@pytest.mark.parametrize("count", [0, 20])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyError("mine"), KeyError),
        # Coroutines turn StopIteration into RuntimeError.
        (StopIteration(), RuntimeError),
        (SystemExit(3), SystemExit),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
def test_a_callbacks_error_reaches_its_own_caller_only(count, error, raised):
    """A callback that raises anything ends its own wait; other waits continue, also those for the same job."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 20)
        others = [asyncio.create_task(api.wait(api.add(number + 1, 0, 20))) for number in range(count)]
        others.append(asyncio.create_task(api.wait(job, on_update=lambda _: None)))
        calls = []

        def fail(prediction: Prediction) -> None:
            calls.append(prediction.status)
            if prediction.status == "processing":
                raise error

        with pytest.raises(raised):
            await api.wait(job, on_update=fail)
        assert calls == ["starting", "processing"]
        await asyncio.gather(*others)

    simulate(main)


def test_callbacks_run_in_their_callers_task():
    """A callback always runs in the caller's task, with the caller's context variables."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        place: ContextVar[str] = ContextVar("place", default="nowhere")
        seen = set()

        async def wait(name: str) -> None:
            place.set(name)
            await api.wait(job, on_update=lambda _: seen.add((name, place.get(), asyncio.current_task())))

        job = api.add(0, 0, 20)
        tasks = {name: asyncio.create_task(wait(name)) for name in ("here", "there")}
        await asyncio.gather(*tasks.values())
        assert seen == {(name, name, task) for name, task in tasks.items()}

    simulate(main)


def test_an_update_and_an_error_at_once():
    """A caller that has not yet received the last update when an error follows gets both, in this order."""

    async def main(sim: Simulation) -> None:
        api = Api(sim, latency=0)
        # The second page fails, before any caller could receive what the first page has shown.
        requests = itertools.count(1)
        api.fail = lambda _now, _path: ReplicateError("this client is closed") if next(requests) == 2 else None
        jobs = [api.add(number, -number, 1000) for number in range(110)]
        statuses: list[str] = []
        jobs[0].duration = 1
        waits = [api.wait(job) for job in jobs[1:]]
        waits.append(api.wait(jobs[0], on_update=lambda prediction: statuses.append(prediction.status)))
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(error) for error in errors} == {ReplicateError}
        assert statuses == ["starting", "processing"]

    simulate(main)


def test_a_final_status_is_kept():
    """A stale list entry that follows the final status, before its caller has received it, does not replace it."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        jobs = [api.add(number, 0, 10, listed="twice") for number in range(20)]
        updates = [Updates(job) for job in jobs]
        await asyncio.gather(*[api.wait(job, on_update=update) for job, update in zip(jobs, updates, strict=True)])
        assert len([time for time, _ in api.polls if time >= 10]) == 1
        assert api.single_polls() == []

    simulate(main)


def test_callbacks_may_start_and_cancel_waits():
    """A callback may start another wait, or cancel one."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        tasks: list[asyncio.Task[Any]] = []

        def chain(prediction: Prediction) -> None:
            if prediction.done:
                tasks[0].cancel()
                tasks.append(asyncio.create_task(api.wait(api.add(9, sim.monotonic(), 5))))

        tasks.append(asyncio.create_task(api.wait(api.add(0, 0, 100))))
        await api.wait(api.add(1, 0, 10), on_update=chain)
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await tasks[1]
        assert await api.is_idle()

    simulate(main)


def test_callers_with_interchangeable_options_share_polls():
    """Options that make no difference to polls don't separate callers; other headers, timeouts and retries do."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        job = api.add(0, 0, 20)
        options: list[dict[str, Any]] = [
            {},
            {"extra_body": {"a": 1}},
            {"extra_query": {"b": 2}},
            {"extra_headers": {}},
            {"extra_headers": {"X-Tenant": "1"}},
            {"timeout": 3},
            {"max_retries": 1},
        ]
        await asyncio.gather(*[api.wait(job, options=one) for one in options])
        polls_at = Counter(time for time, _ in api.polls)
        assert len(polls_at) > 3
        assert set(polls_at.values()) == {4}

    simulate(main)


# --- in a client ---


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:

        @server.model("owner/slow", official=True)
        async def slow(text: str = "", seconds: float = 0.3) -> str:
            await asyncio.sleep(seconds)
            return f"hello {text}"

        yield server


def _run_many(server: LocalServer, count: int) -> list[str]:
    async def main() -> list[str]:
        async with AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client:
            runs = [client.run("owner/slow", input={"text": str(number)}) for number in range(count)]
            return list(await asyncio.gather(*runs))

    return asyncio.run(main())


def test_loops_in_several_threads(server):
    """Each loop polls for itself: three threads wait for forty predictions each."""
    outputs: list[list[str]] = []
    threads = [threading.Thread(target=lambda: outputs.append(_run_many(server, 40))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [[f"hello {number}" for number in range(40)]] * 3
    assert len(server.predictions) == 120


def test_one_client_under_several_loops_in_turn(server):
    """A client that was polling in a loop that has ended waits in the next loop as well."""
    client = AsyncReplicate(base_url=server.base_url, bearer_token=server.token)

    async def run_some() -> None:
        await asyncio.gather(*[client.run("owner/slow", wait=False) for _ in range(5)])

    async def leave_some() -> None:
        tasks = [asyncio.ensure_future(client.run("owner/slow", wait=False, cancel_on_abort=False)) for _ in range(5)]
        while len(server.predictions) < 10:  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)

    asyncio.run(run_some())
    asyncio.run(leave_some())
    asyncio.run(run_some())
    asyncio.run(client.close())
    assert len(server.predictions) == 15


def test_trainings_and_predictions_on_small_pages():
    """Both kinds are polled by their own lists, over as many pages as necessary."""

    async def main(sim: Simulation) -> None:
        server = LocalServer(clock=sim, page_size=5)

        async def train(text: str) -> None:
            await sim.sleep(20)

        @server.model("local/slow", version="a" * 64, train=train)
        async def slow(text: str) -> str:
            await sim.sleep(20)
            return text

        async with server, AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client:
            trainings = [
                await client.trainings.create("local", "slow", "a" * 64, destination="local/slow", input={"text": "x"})
                for _ in range(12)
            ]
            predictions = [
                await client.predictions.create(version="a" * 64, input={"text": str(number)}) for number in range(12)
            ]
            trained = await asyncio.gather(*[client.trainings.wait(training) for training in trainings])
            assert [training.id for training in trained] == [training.id for training in trainings]
            assert {training.status for training in trained} == {"succeeded"}
            done = await asyncio.gather(*[client.predictions.wait(prediction.id) for prediction in predictions])
            assert [prediction.output for prediction in done] == [str(number) for number in range(12)]
            requests = Counter(call.operation for call in server.requests)
            assert requests["trainings.list"] >= 3
            assert requests["trainings.get"] < 60
            assert requests["predictions.get"] == 12

    simulate(main)


def test_closing_the_client_ends_the_waits():
    """Callers that still wait when the client is closed get an error that says so, whether they are few or many."""

    async def main(sim: Simulation) -> None:
        for count in (2, 30):
            server = LocalServer(clock=sim)

            @server.model("owner/slow", official=True)
            async def slow(text: str = "") -> str:
                await sim.sleep(3600)
                return text

            async with server:
                client = AsyncReplicate(base_url=server.base_url, bearer_token=server.token)
                predictions = [
                    await client.models.predictions.create("owner", "slow", input={"text": str(number)})
                    for number in range(count)
                ]
                waits = [asyncio.create_task(client.predictions.wait(prediction)) for prediction in predictions]
                await sim.sleep(30)
                await client.close()
                results = await asyncio.gather(*waits, return_exceptions=True)
                assert {type(result) for result in results} == {ReplicateError}
                assert "closed" in str(results[0])

    simulate(main)


@pytest.mark.anyio
async def test_waiting_again_after_an_error_polls_again():
    """An error is raised once to each caller: one that waits again at once gets a new poll, not the old error."""
    body = {
        "id": "p",
        "model": "a/b",
        "version": "hidden",
        "input": {},
        "urls": {},
        "created_at": "2026-01-01T00:00:00Z",
    }
    job = msgspec.convert({**body, "status": "processing"}, Prediction, strict=False)
    refusal, end = answer(403, {"detail": "no"}), answer(200, {**body, "status": "succeeded", "output": "x"})
    async with RawServer(refusal, end) as server, server.client() as client:

        async def wait_patiently() -> str:
            while True:
                with suppress(APIError):
                    return (await client.predictions.wait(job)).status

        async def wait_once() -> type[APIError]:
            with pytest.raises(APIError) as caught:
                await client.predictions.wait(job)
            return caught.type

        with anyio.fail_after(10):
            assert await asyncio.gather(wait_patiently(), wait_once()) == ["succeeded", PermissionDeniedError]
        assert len(server.requests) == 2


# --- parts of the list at the same time ---


@pytest.mark.parametrize("fractions", [True, False])
def test_many_jobs_are_polled_by_several_pages_at_the_same_time(fractions):
    """The ends of a thousand jobs are noticed within two round trips, also if the API ignores fractions of a second."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2, ignores_fractions=not fractions)
        client = api.client()
        started = sim.monotonic()
        runs = [client.run("owner/model", input={"seconds": 6.0, "number": number}) for number in range(1000)]
        await asyncio.gather(*runs)
        # The creates take two and a half seconds, and there is a second between polls.
        assert sim.monotonic() - started < (10 if fractions else 13)
        assert api.requests < (1300 if fractions else 1500)

    simulate(main)


@pytest.mark.parametrize(("count", "seconds", "delay"), [(100, 5.0, 0.4), (1000, 5.0, 0.4), (1000, 29.7, 3.0)])
def test_ends_that_come_together_are_noticed_soon(count, seconds, delay):
    """Once ends are found, the others are looked for sooner, for 1.3 requests a run at most."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0)
        async with api.client() as client:
            runs = [
                client.run("owner/model", input={"text": str(n), "seconds": seconds + 0.6 * n / count})
                for n in range(count)
            ]
            await asyncio.gather(*runs)
        assert sim.monotonic() <= seconds + 0.6 + delay
        assert api.requests <= 1.3 * count

    simulate(main)
