"""Waiting for many things at once: nothing is lost, nobody is looked at in vain, and the API isn't asked too often."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from replicate_async import (
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    AsyncReplicate,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ReplicateError,
)
from replicate_async._http.request import Request
from replicate_async._predictions import polling
from replicate_async._predictions.polling import wait_until_done
from replicate_async.testing import LocalServer
from replicate_async.types import PageData, Prediction

from .simulation import START, Simulation, simulate

# --- the waiter, and an API that exists only in thought ---


class Thing(msgspec.Struct, kw_only=True):
    """A prediction as it goes on by itself, and how well the list tells of it."""

    id: str
    created: float
    lasts: float
    ends: str = "succeeded"
    lag: float = 0.0  # of the list
    listed: str = "well"  # or: omitted, garbled, undated, without output

    def at(self, now: float) -> dict[str, Any]:
        """Return what the API tells of it."""
        age = now - self.created
        done = now >= self.created + self.lasts
        return {
            "id": self.id,
            "model": "owner/name",
            "version": "hidden",
            "input": {},
            "urls": {},
            "created_at": (START + timedelta(seconds=self.created)).isoformat(),
            "status": self.ends if done else "starting" if age < self.lasts / 5 else "processing",
            "completed_at": (START + timedelta(seconds=self.created + self.lasts)).isoformat() if done else None,
            "logs": "." * int(5 * min(1.0, max(0.0, age / self.lasts))) if self.lasts else "",
            "output": f"output of {self.id}" if done and self.ends == "succeeded" else None,
            "error": "no luck" if done and self.ends == "failed" else None,
        }

    def prediction(self, now: float) -> Prediction:
        return msgspec.convert(self.at(now), Prediction)


class Api:
    """Answers what a waiter asks, after a while; it is its transport as well."""

    def __init__(self, sim: Simulation, *, max_retries: int | None = None, latency: float = 0.05) -> None:
        self.settings = SimpleNamespace(max_retries=max_retries)
        self.options_key = ()
        self.pool = SimpleNamespace(here=lambda: SimpleNamespace(pollers=self.pollers))
        self.pollers: dict[Any, Any] = {}
        self.things: dict[str, Thing] = {}
        self.awaited: Counter[str] = Counter()
        self.looks: list[tuple[float, str]] = []
        self.fail: Callable[[float, str], Exception | None] = lambda _now, _path: None
        self._sim, self._latency = sim, latency

    @property
    def plain(self) -> Api:
        return self

    async def call(self, request: Request[Any]) -> Any:
        now = self._sim.monotonic()
        self.looks.append((now, request.path))
        job_id = request.path.partition("/predictions/")[2]
        assert not job_id or self.awaited[job_id], "nobody waits for what is looked at"
        assert any(self.awaited.values()), "nobody waits for anything"
        await asyncio.sleep(self._latency)
        now = self._sim.monotonic()
        if (error := self.fail(now, request.path)) is not None:
            raise error
        if not job_id:
            return self._page(request, now)
        thing = self.things.get(job_id)
        if thing is None:
            raise NotFoundError("no such prediction", status_code=404)
        return thing.prediction(now)

    def _page(self, request: Request[Any], now: float) -> PageData[Raw]:
        query = parse_qs(request.path.partition("?")[2])
        skip = int(query.get("skip", ["0"])[0])
        before: datetime | None = (request.query or {}).get("created_before")  # type: ignore[assignment]
        if before is None and "before" in query:
            before = datetime.fromisoformat(query["before"][0])
        newest = sorted(self.things.values(), key=lambda one: (one.created, one.id), reverse=True)
        shown = [
            one
            for one in newest
            if one.listed != "omitted"
            and one.created <= now - one.lag
            and (before is None or START + timedelta(seconds=one.created) < before)
        ]
        following = f"/predictions?skip={skip + 100}" + (f"&before={before.isoformat()}" if before else "")
        following = following.replace("+00:00", "%2B00:00")
        return PageData(
            results=[_listed(one, now) for one in shown[skip : skip + 100]],
            next=following if len(shown) > skip + 100 else None,
        )

    def add(self, number: int, created: float, lasts: float, **how: Any) -> Thing:
        thing = self.things[f"p{number:05}"] = Thing(id=f"p{number:05}", created=created, lasts=lasts, **how)
        return thing

    async def wait(self, thing: Thing, *, by_id: bool = False, **how: Any) -> Prediction:
        """Wait for a thing, and check what is told of it."""
        job: Any = thing.id if by_id else thing.prediction(self._sim.monotonic())
        self.awaited[thing.id] += 1
        try:
            found = await wait_until_done(self, job, Prediction, how.pop("options", {}), **how)  # type: ignore[arg-type]
        finally:
            self.awaited[thing.id] -= 1
        expected = thing.prediction(thing.created + thing.lasts)
        assert (found.id, found.status) == (expected.id, expected.status)
        assert (found.output, found.error) == (expected.output, expected.error)
        return found

    def idle(self) -> bool:
        """Return whether no waiter works."""
        return all(waiter._task is None and not waiter._polled for waiter in self.pollers.values())

    def singles(self) -> list[str]:
        return [path for _, path in self.looks if path.startswith("/predictions/")]

    def pages(self) -> list[str]:
        return [path for _, path in self.looks if not path.startswith("/predictions/")]


def _listed(thing: Thing, now: float) -> Raw:
    told = thing.at(now - thing.lag)
    if thing.listed == "undated":
        told["created_at"] = None
    if thing.listed == "without output":
        del told["output"], told["logs"], told["error"]
    return Raw(b'{"id": 7}' if thing.listed == "garbled" else msgspec.json.encode(told))


def latest(thing: Thing, since: float, pages: int = 1, *, comes: float = 0) -> float:
    """Return when the end of a thing that is awaited since then is known at the latest, by who comes later too."""
    end = max(thing.created + thing.lasts + thing.lag, since, comes)
    return end + 2 * polling.poll_interval(end - since) + 3 + pages


class Visit(msgspec.Struct):
    """Somebody who waits, for a while or to the end."""

    thing: int
    comes: float
    patience: float | None
    by_id: bool
    listens: bool


def seconds(least: int, most: int) -> st.SearchStrategy[float]:
    return st.integers(10 * least, 10 * most).map(lambda tenths: tenths / 10)


VISITS = st.lists(
    st.builds(
        Visit,
        thing=st.integers(0, 19),
        comes=seconds(0, 60),
        patience=st.one_of(st.none(), st.none(), seconds(0, 60)),
        by_id=st.booleans(),
        listens=st.booleans(),
    ),
    max_size=40,
)
THINGS = st.lists(
    st.tuples(
        seconds(-100, 0),
        seconds(0, 150),
        st.sampled_from(["succeeded", "failed", "canceled"]),
        st.sampled_from([0.0, 0.0, 0.0, 2.0]),
        st.sampled_from(["well", "well", "well", "omitted", "garbled", "undated", "without output"]),
    ),
    min_size=20,
    max_size=20,
)
OUTAGES = st.lists(st.tuples(seconds(0, 200), seconds(0, 60), st.sampled_from([500, 502, 429])), max_size=2)


class Story(msgspec.Struct):
    """What is waited for, by whom, and what goes wrong."""

    things: list[tuple[float, float, str, float, str]]
    visits: list[Visit]
    outages: list[tuple[float, float, int]]
    others: int
    listable: bool

    def failure(self, now: float, path: str) -> Exception | None:
        if not self.listable and not path.startswith("/predictions/"):
            return PermissionDeniedError("not yours", status_code=403)
        down = [status for since, seconds, status in self.outages if since <= now < since + seconds]
        return InternalServerError("down", status_code=down[0]) if down else None

    @property
    def trouble(self) -> float:
        """Return by how much the news may be late."""
        return sum(seconds + 12 for _, seconds, _ in self.outages)


STORIES = st.builds(
    Story, things=THINGS, visits=VISITS, outages=OUTAGES, others=st.integers(0, 150), listable=st.booleans()
)


class Told:
    """Notes updates, and checks that they go forwards only."""

    def __init__(self, thing: Thing) -> None:
        self._stages = ["starting", "processing", thing.ends]
        self._thing = thing
        self.last = (0, 0)

    def __call__(self, job: Prediction) -> None:
        now = self._stages.index(job.status), len(job.logs or "")
        assert job.id == self._thing.id
        assert all(before <= after for before, after in zip(self.last, now, strict=True))
        self.last = now


async def _visit(api: Api, story: Story, visit: Visit) -> None:
    thing = api.things[f"p{visit.thing:05}"]
    await asyncio.sleep(visit.comes)
    told = Told(thing)
    # Whoever comes with an id looks at once, and is told if that fails.
    by_id = visit.by_id and not story.outages
    await api.wait(thing, by_id=by_id, on_update=told if visit.listens else None)
    since = min(other.comes for other in story.visits if other.thing == visit.thing)
    assert asyncio.get_running_loop().time() <= latest(thing, since, comes=visit.comes) + story.trouble
    assert told.last[0] == (2 if visit.listens else 0)


@settings(max_examples=150, deadline=None)
@given(STORIES)
def test_whatever_happens_everyone_is_told(story):
    """However many wait, come, go and listen, and however badly the list tells of what they wait for.

    Each that stays gets what it waits for, soon after its end; updates come in order; nobody is looked at in vain,
    nor more often than documented; and when the last has gone nothing is going on.
    """

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = story.failure
        for number, (created, lasts, ends, lag, listed) in enumerate(story.things):
            api.add(number, created, lasts, ends=ends, lag=lag, listed=listed)
        for number in range(story.others):
            api.add(1000 + number, -number / 2, 1000)
        tasks = [asyncio.create_task(_visit(api, story, visit)) for visit in story.visits]
        for task, visit in zip(tasks, story.visits, strict=True):
            if visit.patience is not None:
                asyncio.get_running_loop().call_later(visit.comes + visit.patience, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for visit, result in zip(story.visits, results, strict=True):
            if isinstance(result, Exception):
                raise result
            assert result is None or visit.patience is not None
        assert api.idle()
        assert len(api.looks) <= polling._POLLS_PER_SECOND * (sim.monotonic() + 1) + len(story.things) + 2
        looks = len(api.looks)
        await asyncio.sleep(60)
        assert len(api.looks) == looks
        assert asyncio.all_tasks() == {asyncio.current_task()}

    simulate(main)


def test_many_are_swept():
    """A thousand that end together cost some pages, each of which tells of a hundred."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        own = [api.add(number, -number / 1000, 30) for number in range(1000)]
        await asyncio.gather(*[api.wait(one) for one in own])
        assert sim.monotonic() < 38
        assert len(api.looks) < 500
        assert len(api.singles()) < 20

    simulate(main)


def test_few_are_looked_at_singly():
    """For three a page would be no less, but larger."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(3)])
        assert api.pages() == []

    simulate(main)


def test_what_the_list_brings_is_not_fetched_again():
    """An output that came with the page is the output; one that didn't is fetched, each once."""

    async def main(sim: Simulation) -> None:
        for listed, fetched in (("well", 0), ("without output", 20)):
            api = Api(sim)
            now = sim.monotonic()
            own = [api.add(number, now, 10, listed=listed) for number in range(20)]
            await asyncio.gather(*[api.wait(one) for one in own])
            assert len(api.singles()) == fetched

    simulate(main)


def test_a_list_that_may_not_be_read():
    """A token that may not list is not asked to again and again: each is looked at for itself."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda _, path: (
            None if path.startswith("/predictions/") else PermissionDeniedError("no", status_code=403)
        )
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(20)])
        assert len(api.pages()) == 1

    simulate(main)


def test_a_list_of_others_is_skipped():
    """Where five thousand predictions of somebody else are in between, they aren't walked through."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        old = [api.add(number, -1000 - number / 10, 1010) for number in range(50)]
        new = [api.add(100 + number, -1 - number / 10, 11) for number in range(5)]
        for number in range(5000):
            api.add(1000 + number, -100 - number / 10, 10_000)
        await asyncio.gather(*[api.wait(one) for one in [*old, *new]])
        assert len(api.looks) < 100
        assert len(api.singles()) < 50

    simulate(main)


def test_a_list_that_lags_behind():
    """What one look has told isn't taken back by a list that doesn't know of it yet."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        thing = api.add(0, 0, 30, lag=8)
        told = Told(thing)
        waiting = asyncio.create_task(api.wait(thing, on_update=told))
        await asyncio.sleep(8)
        assert told.last[0] == 1
        await asyncio.gather(*[api.wait(api.add(number, 8, 2)) for number in range(1, 10)])
        await waiting
        assert api.pages()

    simulate(main)


def test_an_end_in_the_list_without_its_logs():
    """Where the list tells of an end, but not the logs, they are fetched: whoever listens has seen them before."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        things = [api.add(number, -10, 20, ends="canceled", listed="without output") for number in range(10)]
        told = [Told(thing) for thing in things]
        await asyncio.gather(*[api.wait(thing, on_update=one) for thing, one in zip(things, told, strict=True)])
        assert {one.last for one in told} == {(2, 5)}

    simulate(main)


def test_items_of_the_list_that_cannot_be_used():
    """An item without a date, or of another shape, hides none of the others, wherever on a page it is."""

    async def main(sim: Simulation) -> None:
        for listed in ("undated", "garbled"):
            api = Api(sim)
            now = sim.monotonic()
            own = [api.add(number, now - number / 10, 30 + number / 10) for number in range(250)]
            for number in (0, 99, 100, 199):
                own[number].listed = listed
            await asyncio.gather(*[api.wait(one) for one in own])
            assert len(api.singles()) < 100

    simulate(main)


@settings(max_examples=30, deadline=None)
@given(
    mine=st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100)), min_size=4, max_size=150),
    others=st.lists(st.floats(0, 1000), max_size=400),
)
def test_a_sweep_tells_of_all(mine, others):
    """Wherever in the list they are, among whomever's, sweeping finds them: hardly any has to be looked at singly."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        own = [api.add(number, -created, created + lasts) for number, (created, lasts) in enumerate(mine)]
        for number, created in enumerate(others):
            api.add(1000 + number, -created, 10_000)
        await asyncio.gather(*[api.wait(one) for one in own])
        # A page costs no less than a few singles, so some are always looked at like that.
        assert len(api.looks) <= polling._POLLS_PER_SECOND * (sim.monotonic() + 1) + len(own)
        assert api.idle()

    simulate(main)


def test_looks_grow_rare():
    """What takes ten minutes is looked at some dozen times, however many wait for it."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        thing = api.add(0, 0, 600)
        await asyncio.gather(*[api.wait(thing) for _ in range(50)])
        assert len(api.looks) < 100

    simulate(main)


def test_a_late_comer_is_looked_at_soon():
    """While others have been waited for for long, a new one is noticed within a second."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        old = [asyncio.create_task(api.wait(api.add(number, 0, 600))) for number in range(20)]
        await asyncio.sleep(301)
        await api.wait(api.add(100, 301, 1))
        assert sim.monotonic() < 303
        await asyncio.gather(*old)

    simulate(main)


# --- failing looks ---


def _failing(error: Exception, since: float, until: float) -> Callable[[float, str], Exception | None]:
    return lambda now, _: error if since <= now < until else None


@pytest.mark.parametrize("count", [1, 3, 20])
def test_an_outage_is_survived(count):
    """What has been paid for isn't given up because the API can't be reached for a minute and a half."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = _failing(InternalServerError("down", status_code=502), 5, 95)
        await asyncio.gather(*[api.wait(api.add(number, 0, 20)) for number in range(count)])

    simulate(main)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_an_outage_without_end_is_told(count):
    """After some minutes everybody gets the error, each with the id of what they waited for."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = _failing(InternalServerError("down", status_code=502), 5, 10_000)
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(error, InternalServerError) for error in errors)
        assert [error.prediction_id for error in errors if isinstance(error, APIError)] == list(api.things)
        assert 120 <= sim.monotonic() < 200
        assert api.idle()

    simulate(main)


def test_one_that_always_fails_is_told_although_others_go_well():
    """The patience with one is not renewed by what is heard of others."""

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


def test_an_error_for_good_does_not_shorten_the_patience_with_others():
    """One that doesn't exist is told at once; an outage a while later is survived as any other."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        other = asyncio.create_task(api.wait(api.add(1, 0, 400)))
        missing = api.add(0, 0, 1)
        waiting = asyncio.create_task(api.wait(missing))
        await asyncio.sleep(0)
        del api.things[missing.id]
        with pytest.raises(NotFoundError, match="prediction p00000"):
            await waiting
        api.fail = _failing(InternalServerError("down", status_code=502), 200, 290)
        await other

    simulate(main)


@pytest.mark.parametrize("count", [1, 20])
def test_without_retries_the_first_failure_is_told(count):
    """With ``max_retries=0`` nobody is patient."""

    async def main(sim: Simulation) -> None:
        api = Api(sim, max_retries=0)
        api.fail = _failing(InternalServerError("down", status_code=502), 0, 10_000)
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(error, InternalServerError) for error in errors)
        assert sim.monotonic() < 1

    simulate(main)


@pytest.mark.parametrize("count", [2, 20])
def test_what_is_no_answer_at_all_is_told_as_it_is(count):
    """An error that is none of the API's, such as that the client was closed, reaches everybody who waits."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        api.fail = lambda *_: ReplicateError("this client is closed")
        waits = [api.wait(api.add(number, 0, 20)) for number in range(count)]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [ReplicateError] * count
        assert len({id(error) for error in errors}) == count, "a traceback of one's own"
        assert api.idle()

    simulate(main)


def test_an_answer_that_cannot_be_read():
    """Something of another shape is told to those who wait for it, and nobody else."""

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


# --- limits and callbacks ---


def test_a_time_limit_is_ones_own():
    """Who has waited long enough is told, with the id; others for the same go on waiting."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        thing = api.add(0, 0, 20)
        patient = asyncio.create_task(api.wait(thing))
        with pytest.raises(APITimeoutError, match="not done after 5 s") as caught:
            await api.wait(thing, time_limit=5)
        assert (caught.value.prediction_id, sim.monotonic()) == (thing.id, 5)
        await patient

    simulate(main)


@pytest.mark.parametrize("count", [0, 20])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("mine"), KeyError),
        (StopIteration(), RuntimeError),  # as of any coroutine
        (SystemExit(3), SystemExit),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
def test_what_a_callback_raises_reaches_its_caller_alone(count, error, told):
    """A callback that fails, whatever it raises, ends that one wait; others, also those for the same, go on."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        thing = api.add(0, 0, 20)
        others = [asyncio.create_task(api.wait(api.add(number + 1, 0, 20))) for number in range(count)]
        others.append(asyncio.create_task(api.wait(thing, on_update=lambda _: None)))
        calls = []

        def fail(job: Prediction) -> None:
            calls.append(job.status)
            if job.status == "processing":
                raise error

        with pytest.raises(told):
            await api.wait(thing, on_update=fail)
        assert calls == ["starting", "processing"]
        await asyncio.gather(*others)

    simulate(main)


def test_a_callback_is_called_where_its_caller_waits():
    """It runs in the caller's task, with the caller's context variables, each time."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        place: ContextVar[str] = ContextVar("place", default="nowhere")
        seen = set()

        async def wait(name: str) -> None:
            place.set(name)
            await api.wait(thing, on_update=lambda _: seen.add((name, place.get(), asyncio.current_task())))

        thing = api.add(0, 0, 20)
        tasks = {name: asyncio.create_task(wait(name)) for name in ("here", "there")}
        await asyncio.gather(*tasks.values())
        assert seen == {(name, name, task) for name, task in tasks.items()}

    simulate(main)


def test_news_and_a_failure_at_once():
    """What was told before looking failed is heard first; both are heard by a caller who was late."""

    async def main(sim: Simulation) -> None:
        api = Api(sim, max_retries=0)
        thing = api.add(0, 0, 20)
        seen = []
        waiting = asyncio.create_task(api.wait(thing, on_update=lambda job: seen.append(job.status)))
        await sim.sleep(0.01)
        (waiter,) = api.pollers.values()
        (watched,) = waiter._polled.values()
        waiter._publish(watched, thing.prediction(10))
        waiter._raise_to_subscribers([watched], PermissionDeniedError("no more", status_code=403))
        with pytest.raises(PermissionDeniedError):
            await waiting
        assert seen == ["starting", "processing"]

    simulate(main)


def test_an_end_is_not_taken_back():
    """What a lagging list says, before an end that was told is taken up, doesn't take its place."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        thing = api.add(0, 0, 20)
        waiting = asyncio.create_task(api.wait(thing, on_update=lambda _: None))
        await sim.sleep(0.01)
        (waiter,) = api.pollers.values()
        (watched,) = waiter._polled.values()
        waiter._publish(watched, thing.prediction(20))
        looks = len(api.looks)
        stale = thing.prediction(19)
        stale.logs = thing.prediction(20).logs
        waiter._publish(watched, stale)
        await waiting
        assert len(api.looks) == looks

    simulate(main)


def test_a_wait_may_begin_and_end_others():
    """A callback may start another wait, or cancel one."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        tasks: list[asyncio.Task[Any]] = []

        def chain(job: Prediction) -> None:
            if job.done:
                tasks[0].cancel()
                tasks.append(asyncio.create_task(api.wait(api.add(9, sim.monotonic(), 5))))

        tasks.append(asyncio.create_task(api.wait(api.add(0, 0, 100))))
        await api.wait(api.add(1, 0, 10), on_update=chain)
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await tasks[1]
        assert api.idle()

    simulate(main)


def test_who_waits_in_the_same_way_shares_a_waiter():
    """Options that make no difference to looking don't part anybody; other headers and timeouts do."""

    async def main(sim: Simulation) -> None:
        api = Api(sim)
        for options in (
            {},
            {"extra_body": {"a": 1}},
            {"extra_query": {"b": 2}},
            {"extra_headers": {}},
            {"extra_headers": {"X-Tenant": "1"}},
            {"timeout": 3},
            {"max_retries": 1},
        ):
            await api.wait(api.add(0, sim.monotonic(), 1), options=options)
        assert len(api.pollers) == 4

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


def _runs(server: LocalServer, count: int) -> list[str]:
    async def main() -> list[str]:
        async with AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client:
            runs = [client.run("owner/slow", input={"text": str(number)}) for number in range(count)]
            return list(await asyncio.gather(*runs))

    return asyncio.run(main())


def test_loops_in_several_threads(server):
    """Each loop has a waiter of its own: three threads wait for forty predictions each."""
    outputs: list[list[str]] = []
    threads = [threading.Thread(target=lambda: outputs.append(_runs(server, 40))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [[f"hello {number}" for number in range(40)]] * 3
    assert len(server.predictions) == 120


def test_one_client_under_one_loop_after_the_other(server):
    """A client whose waiter worked in a loop that has ended waits in the next one as well."""
    client = AsyncReplicate(base_url=server.base_url, bearer_token=server.token)

    async def some() -> None:
        await asyncio.gather(*[client.run("owner/slow", wait=False) for _ in range(5)])

    async def leave() -> None:
        left = [asyncio.ensure_future(client.run("owner/slow", wait=False, cancel_on_abort=False)) for _ in range(5)]
        while len(server.predictions) < 10:  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.01)
        for task in left:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*left)

    asyncio.run(some())
    asyncio.run(leave())
    asyncio.run(some())
    asyncio.run(client.close())
    assert len(server.predictions) == 15


def test_trainings_and_predictions_on_small_pages():
    """Both kinds are swept over however many pages it takes, each in its own list."""

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
            trained = await asyncio.gather(*[client.trainings.wait(one) for one in trainings])
            assert [one.id for one in trained] == [one.id for one in trainings]
            assert {one.status for one in trained} == {"succeeded"}
            done = await asyncio.gather(*[client.predictions.wait(one.id) for one in predictions])
            assert [one.output for one in done] == [str(number) for number in range(12)]
            asked = Counter(call.operation for call in server.requests)
            assert asked["trainings.list"] >= 3
            assert asked["trainings.get"] < 60
            assert asked["predictions.get"] == 12

    simulate(main)


def test_closing_the_client_ends_the_waits():
    """Who still waits when the client is closed is told so, whether there are few or many."""

    async def main(sim: Simulation) -> None:
        for count in (2, 30):
            server = LocalServer(clock=sim)

            @server.model("owner/slow", official=True)
            async def slow(text: str = "") -> str:
                await sim.sleep(3600)
                return text

            async with server:
                client = AsyncReplicate(base_url=server.base_url, bearer_token=server.token)
                made = [
                    await client.models.predictions.create("owner", "slow", input={"text": str(number)})
                    for number in range(count)
                ]
                waits = [asyncio.create_task(client.predictions.wait(one)) for one in made]
                await sim.sleep(30)
                await client.close()
                results = await asyncio.gather(*waits, return_exceptions=True)
                assert {type(result) for result in results} == {ReplicateError}
                assert "closed" in str(results[0])

    simulate(main)
