"""Creates in line, and those whose answers are lost: found and adopted, made again, or left to the caller."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    AsyncReplicate,
    CreateOutcomeUnknown,
    InternalServerError,
    RateLimitError,
    UnprocessableEntityError,
)
from replicate_async._http.ratelimit import AdaptiveConcurrencyLimiter
from replicate_async._http.request import Request
from replicate_async._predictions.creates import CreateLedger
from replicate_async.testing import LocalServer
from replicate_async.types import Prediction, PredictionUrls, Training

from .rawserver import RawServer, answer, prediction, reset
from .simulation import Simulation, simulate

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
OTHER = VERSION[::-1]
CREATES = "*predictions.create"

# --- what is like what ---


def made(number: int = 0, *, model: str = "owner/name", version: str = VERSION, **fields: Any) -> Prediction:
    """Return what a list tells of a prediction."""
    now = datetime(2025, 1, 1, tzinfo=timezone.utc)
    fields = {"id": f"p{number}", "status": "starting", "input": {}, **fields}
    return Prediction(model=model, version=version, created_at=now, urls=PredictionUrls(), **fields)


def create(given: Any, *, path: str = "/predictions", **fields: Any) -> Request[Any]:
    """Return a create."""
    return Request("POST", path, Prediction, {}, json={"input": given, **fields}, creates=True)


def match(request: Request[Any], *candidates: Prediction | Training, lost: int = 1) -> tuple[str | None, list[str]]:
    return CreateLedger().match(request, candidates, lost=lost)


ON_MODEL = "/models/owner/name/predictions"
ON_DEPLOYMENT = "/deployments/owner/name/predictions"


@pytest.mark.parametrize(
    ("request_", "candidate"),
    [
        (create({}, version=VERSION), made()),
        (create({}, version=f"owner/name:{VERSION}"), made()),
        (create({}, version="owner/name"), made(version="hidden")),
        (create({}, path=ON_MODEL), made(version="hidden")),
        (create({}, path=ON_MODEL), made()),
        (create({}, path=ON_DEPLOYMENT), made(model="some/model", deployment="owner/name")),
        (create({"a": [1, {"b": None}]}, version=VERSION), made(input={"a": [1.0, {"b": None}]})),
        (create({"a": "data:text/plain,x"}, version=VERSION), made(input={"a": "data:text/plain,x"})),
        (create(None, version=VERSION), made()),
    ],
)
def test_what_a_create_has_made(request_, candidate):
    """Model or version, in whichever form, and input are those of the create: that is it."""
    assert match(request_, candidate) == ("p0", [])


@pytest.mark.parametrize(
    ("request_", "candidate"),
    [
        (create({}, version=OTHER), made()),
        (create({}, version=f"other/name:{VERSION}"), made()),
        (create({}, version=f"other/name:{VERSION}"), made(version="hidden")),
        (create({}, version="owner/other"), made()),
        (create({}, version="other/name"), made(version="hidden")),
        (create({}, path=ON_MODEL), made(model="owner/other")),
        (create({}, path=ON_DEPLOYMENT), made()),
        (create({}, path=ON_DEPLOYMENT), made(deployment="owner/other")),
        (create({"a": 1}, version=VERSION), made()),
        (create({"a": 1}, version=VERSION), made(input={"a": 2})),
        (create({"a": [1]}, version=VERSION), made(input={"a": [1, 2]})),
        (create({"a": {"b": 1}}, version=VERSION), made(input={"a": {"b": 1, "c": 2}})),
        (create({"a": "data:text/plain,x"}, version=VERSION), made(input={"a": "data:text/plain,y"})),
        (create({"a": "https://x/1"}, version=VERSION), made(input={"a": "https://x/2"})),
    ],
)
def test_what_a_create_has_not_made(request_, candidate):
    """Another model, version, deployment or input: that is another's."""
    assert match(request_, candidate) == (None, [])


@pytest.mark.parametrize(
    ("request_", "candidate"),
    [
        (create({"a": 1}, version=VERSION), made(input={"a": 1, "default": 2})),
        (create({"a": "data:text/plain,x"}, version=VERSION), made(input={"a": "https://x/1"})),
        (create({"a": ["data:text/plain,x", 1]}, version=VERSION), made(input={"a": ["http://x/1", 1]})),
        (create({"a": {"b": "data:,x"}}, version=VERSION), made(input={"a": {"b": "http://x/1"}})),
        (create({}, version=f"owner/name:{VERSION}"), made(version="hidden")),
        (create({}, version=VERSION), made(version="hidden")),
    ],
    ids=["defaults", "file", "files", "nested file", "hidden version", "bare hidden version"],
)
def test_what_a_create_may_have_made(request_, candidate):
    """Where the API has filled something in, replaced or hidden it, another create may have made the same."""
    assert match(request_, candidate) == (None, ["p0"])


def test_trainings_are_known_by_the_version_they_start_from():
    """A training's path names its version."""
    request = create({"x": 1}, path=f"/models/owner/name/versions/{VERSION}/trainings", destination="me/mine")
    found = Training(id="t1", status="starting", version=VERSION, input={"x": 1})
    assert match(request, found) == ("t1", [])
    assert match(request, Training(id="t1", status="starting", version=OTHER, input={"x": 1})) == (None, [])


@settings(max_examples=200)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(["same", "maybe", "other"]), st.booleans()), max_size=8),
    lost=st.integers(1, 4),
)
def test_nothing_is_adopted_in_doubt(kinds, lost):
    """What is owned already is nobody else's; of as many twins as are lost, the oldest; of more, none."""
    inputs = {"same": {"a": 1}, "maybe": {"a": 1, "b": 2}, "other": {"a": 2}}
    ledger = CreateLedger()
    candidates = []
    for number, (kind, owned) in enumerate(kinds):
        candidates.append(made(number, input=inputs[kind]))
        if owned:
            ledger.own(f"p{number}")
    found, doubtful = ledger.match(create({"a": 1}, version=VERSION), candidates, lost=lost)
    free = {kind: [f"p{n}" for n, (one, owned) in enumerate(kinds) if one == kind and not owned] for kind in inputs}
    if 0 < len(free["same"]) <= lost:
        assert (found, doubtful) == (free["same"][-1], [])
    else:
        assert found is None
        assert set(doubtful) == {*free["same"], *free["maybe"]}


def test_a_ledger_does_not_grow_for_ever(monkeypatch):
    """Of what was made long ago nothing is kept: it is in no list of what was made since."""
    monkeypatch.setattr("replicate_async._predictions.creates._KNOWN_MAX", 3)
    ledger = CreateLedger()
    for number in range(5):
        ledger.own(f"p{number}")
    found, doubtful = ledger.match(create({}, version=VERSION), [made(4), made(1)])
    assert (found, doubtful) == ("p1", [])


# --- on a server ---

Way = Callable[[AsyncReplicate], Awaitable[Any]]
WAYS: dict[str, Way] = {
    "predictions": lambda client: client.predictions.create(version=VERSION, input={"text": "x"}),
    "models": lambda client: client.models.predictions.create("owner", "name", input={"text": "x"}),
    "deployments": lambda client: client.deployments.predictions.create("local", "mine", input={"text": "x"}),
    "trainings": lambda client: client.trainings.create(
        "owner", "name", VERSION, destination="local/trained", input={"text": "x"}
    ),
    "raw": lambda client: _parsed(client.predictions.with_raw_response.create(version=VERSION, input={"text": "x"})),
    "held": lambda client: client.predictions.create(version=VERSION, input={"text": "x"}, prefer="wait"),
}


async def _parsed(call: Awaitable[Any]) -> Any:
    return (await call).parse()


LOSSES: dict[str, dict[str, Any]] = {
    "reset": {"kind": "reset", "after": True},
    "stall": {"kind": "stall", "after": True},
    "502": {"kind": "html", "after": True},
    "garbled": {"kind": "json", "body": "{", "status": 201, "after": True},
    "another shape": {"kind": "json", "body": {"detail": "hm"}, "status": 201, "after": True},
    "truncated": {"kind": "truncate", "at": 20},
}


def serving(sim: Simulation, **options: Any) -> LocalServer:
    """Return a server with a model, a place for what is trained, and a model that takes its time."""
    server = LocalServer(clock=options.pop("clock", sim), **options)

    @server.model("owner/name", version=VERSION, official=False)
    async def model(text: str = "", seconds: float = 0.0) -> str:
        await sim.sleep(seconds)
        return f"hello {text}"

    server.model("local/trained")(model)
    return server


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(base_url=server.base_url, bearer_token=server.token, timeout=5, **options)


async def somebody_else_creates(server: LocalServer, text: str = "x") -> str:
    """Create a prediction of which the clients in this process don't know; return its id."""
    body = {"version": VERSION, "input": {"text": text}}
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.post("/v1/predictions", json=body) as response,
    ):
        found: str = (await response.json())["id"]
        return found


def jobs(server: LocalServer) -> list[Any]:
    """Return all that would have been billed."""
    return [*server.predictions.values(), *server._store.trainings.values()]


def creates(server: LocalServer) -> int:
    return sum(call.operation.endswith(("predictions.create", "trainings.create")) for call in server.requests)


async def deploy(client: AsyncReplicate) -> None:
    await client.deployments.create(
        name="mine", model="owner/name", version=VERSION, hardware="cpu", min_instances=0, max_instances=1
    )


# --- in line ---


def line_of(client: AsyncReplicate) -> AdaptiveConcurrencyLimiter:
    connections = client._transport.pool.current()
    assert connections is not None
    return connections.creates


def x(client: AsyncReplicate, **options: Any) -> Awaitable[Prediction]:
    """Create a prediction."""
    return client.predictions.create(**{"version": VERSION, "input": {"text": "x"}, **options})


def test_whoever_waits_in_line_sends_what_was_passed():
    """An input that its caller goes on to use for the next create is sent as it was when it was passed."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            shared: dict[str, str] = {}

            async def one(text: str) -> str:
                shared["text"] = text
                return (await x(client, input=shared)).input["text"]

            texts = [str(number) for number in range(40)]
            assert await asyncio.gather(*map(one, texts)) == texts

    simulate(main)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}},
        {"kind": "html"},
        {"kind": "stall", "after": True},
    ],
    ids=["refused", "not made", "lost"],
)
def test_a_repeated_create_sends_the_same(fault):
    """What a caller does with an input meanwhile changes neither the next attempt nor what is looked for."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, **fault)
            passed = {"text": "first"}
            task = asyncio.ensure_future(x(client, input=passed))
            await asyncio.sleep(0.1)
            assert server.requests
            passed["text"] = "second"
            assert (await task).input == {"text": "first"}
            assert len(jobs(server)) == 1

    simulate(main)


@pytest.mark.parametrize(
    ("options", "error"), [({"extra_body": {"x": float("nan")}}, ValueError), ({"timeout": "soon"}, TypeError)]
)
def test_bad_arguments_show_at_once(options, error):
    """Whoever passes what can't be sent isn't made to wait in line to be told so."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=AdaptiveConcurrencyLimiter.most, kind="delay", seconds=3)
            waiting = [asyncio.ensure_future(x(client)) for _ in range(AdaptiveConcurrencyLimiter.most)]
            await asyncio.sleep(0.1)
            assert not line_of(client).try_acquire()
            with pytest.raises(error):
                await x(client, **options)
            assert sim.monotonic() < 1
            await asyncio.gather(*waiting)

    simulate(main)


@pytest.mark.parametrize("options", [{"prefer": "wait"}, {"extra_headers": {"prefer": "wait=9"}}], ids=str)
def test_held_creates_are_not_in_line(options):
    """Creates whose answers the server was asked to keep back wait for none of the others, however it was asked."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            count = 2 * AdaptiveConcurrencyLimiter.most
            server.faults.add(operation=CREATES, times=count, kind="delay", seconds=3)
            await asyncio.gather(*[x(client, **options) for _ in range(count)])
            assert sim.monotonic() < 4
            assert line_of(client)._places == AdaptiveConcurrencyLimiter.least  # they were no measure for it

    simulate(main)


FAULTS: dict[str, dict[str, Any]] = {
    "cancelled": {"kind": "delay", "seconds": 3},
    "cancelled in line": {"kind": "delay", "seconds": 3},
    "422": {"kind": "status", "status": 422},
    "429": {"kind": "rate_limit", "retry_after": 0.01},
    "502": {"kind": "html"},
}


@pytest.mark.parametrize("how", FAULTS)
def test_creates_leave_no_trace(how):
    """However creates end, all their places are free afterwards, and none counts as under way or lost."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            server.faults.add(operation=CREATES, times=5, **FAULTS[how])
            tasks = [asyncio.ensure_future(x(client, input={"text": str(number % 3)})) for number in range(12)]
            await asyncio.sleep(0.1)
            for task in {"cancelled": tasks[:6], "cancelled in line": tasks[4:]}.get(how, []):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            line, ledger = line_of(client), client._transport.account.state(CreateLedger)
            assert sum(line.try_acquire() for _ in range(100)) == line._places
            assert not ledger.in_flight
            assert not ledger.lost

    simulate(main)


def test_the_line_learns_from_the_answers():
    """Answers in time give more places; a refusal takes them back, and an answer of another kind doesn't."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            await asyncio.gather(*[x(client) for _ in range(300)])
            many = line_of(client)._places
            assert many > AdaptiveConcurrencyLimiter.least
            server.faults.add(operation=CREATES, times=1, kind="status", status=422)
            with pytest.raises(UnprocessableEntityError):
                await x(client)
            assert line_of(client)._places == many
            server.faults.add(operation=CREATES, times=1, kind="rate_limit", retry_after=0)
            with pytest.raises(RateLimitError):
                await x(client)
            assert line_of(client)._places == AdaptiveConcurrencyLimiter.least

    simulate(main)


def test_a_pause_that_is_not_kept_teaches_nothing():
    """A refusal that asks for longer than anybody waits counts neither as accepted nor as a lesson."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            await x(client)
            budget = client._transport.account.limits.creates
            before = budget.accepted
            server.faults.add(operation=CREATES, times=1, kind="rate_limit", retry_after=301)
            with pytest.raises(RateLimitError):
                await x(client)
            assert (budget.accepted, budget.paced) == (before, False)

    simulate(main)


@pytest.mark.parametrize(
    "body", ['{"id":"p1","status":5}', '{"id":"p1"}', '{"id":"p1","status":"starting","input":[]}']
)
def test_an_unreadable_answer_that_has_an_id(body):
    """It is known what was made: nothing is looked for or made again, and what is wrong is told."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201, after=True)
            with pytest.raises(APIResponseValidationError, match="is not Prediction"):
                await x(client)
            assert [call.operation for call in server.requests] == ["predictions.create"]
            assert "p1" in client._transport.account.state(CreateLedger)._known

    simulate(main)


@pytest.mark.parametrize(
    "body",
    ['{"x":' + "[" * 100_000 + "]" * 100_000 + "}", '{"id":"p1","x":"', "<html>", '{"id":5}'],
    ids=["deep", "cut off", "html", "a number"],
)
def test_an_unreadable_answer_without_an_id(body):
    """Whatever makes it unreadable, what was made is looked for, and found."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201, after=True)
            assert (await x(client)).id in server.predictions
            assert creates(server) == 1

    simulate(main)


# --- lost ---


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_was_made_is_adopted(way, loss):
    """However the answer is lost and whichever way the create went: what it made is found, and is the only one."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            await deploy(client)
            server.faults.add(operation="*s.create", times=1, **loss)
            job = await way(client)
            assert [one.id for one in jobs(server)] == [job.id]
            assert creates(server) == 1

    simulate(main)


@pytest.mark.parametrize("kind", ["reset", "stall", "html"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_was_not_made_is_made_again(way, kind):
    """A create that the server hasn't carried out is made again, once it has been looked for in vain for a while."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            await deploy(client)
            server.faults.add(operation="*s.create", times=1, kind=kind)
            job = await way(client)
            assert [one.id for one in jobs(server)] == [job.id]
            assert creates(server) == 2
            looks = sum(call.operation in {"predictions.list", "trainings.list"} for call in server.requests)
            assert looks >= 3

    simulate(main)


def test_a_create_that_arrives_late_is_adopted():
    """What shows up only seconds after its caller has lost patience is found all the same."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="delay", seconds=7)
            job = await WAYS["predictions"](client)
            assert [one.id for one in jobs(server)] == [job.id]
            assert creates(server) == 1

    simulate(main)


def test_without_retries_it_is_looked_for_but_not_made_again():
    """``max_retries=0``: what was made is adopted, and what wasn't is the caller's to repeat."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            server.faults.add(operation=CREATES, times=1, kind="html", after=True)
            job = await WAYS["predictions"](client)
            assert [one.id for one in jobs(server)] == [job.id]
            server.faults.add(operation=CREATES, times=1, kind="html")
            with pytest.raises(InternalServerError):
                await WAYS["predictions"](client)
            assert creates(server) == 2

    simulate(main)


def test_attempts_are_counted():
    """A server that loses every create without carrying it out is asked three times, like for any other call."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, kind="reset")
            with pytest.raises(APIConnectionError) as caught:
                await WAYS["predictions"](client)
            assert not isinstance(caught.value, CreateOutcomeUnknown)
            assert (creates(server), jobs(server)) == (3, [])

    simulate(main)


# --- can't tell ---


def test_two_that_it_may_have_made():
    """With another one just like it by somebody else, it isn't known which is which: the caller has to decide."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="stall", after=True)
            lost = asyncio.create_task(WAYS["predictions"](client))
            await sim.sleep(2)
            await somebody_else_creates(server)
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await lost
            assert sorted(caught.value.candidates) == sorted(server.predictions)
            assert isinstance(caught.value.__cause__, APITimeoutError)
            assert caught.value.url == "/predictions"
            assert creates(server) == 2
            copied = pickle.loads(pickle.dumps(caught.value))
            assert (type(copied), copied.candidates, str(copied)) == (
                CreateOutcomeUnknown,
                caught.value.candidates,
                str(caught.value),
            )
            assert isinstance(copied, APIConnectionError)
            assert all(candidate in server.predictions for candidate in copied.candidates)

    simulate(main)


def test_a_list_that_cannot_be_had():
    """When looking fails too, nothing is known, and nothing is made again."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="reset", after=True)
            server.faults.add(operation="predictions.list", kind="status", status=500)
            with pytest.raises(CreateOutcomeUnknown, match="looking for it failed too") as caught:
                await WAYS["predictions"](client)
            assert caught.value.candidates == []
            assert type(caught.value.__cause__) is APIConnectionError
            assert creates(server) == 1

    simulate(main)


def test_more_made_since_than_can_be_looked_through(monkeypatch):
    """Where a create can't be found for all that came after it, it isn't taken for one that was never made."""
    monkeypatch.setattr("replicate_async._predictions.creates._PAGES_MAX", 20)

    async def main(sim: Simulation) -> None:
        async with serving(sim, page_size=2) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="stall", after=True)
            lost = asyncio.create_task(WAYS["predictions"](client))
            await sim.sleep(2)
            await asyncio.gather(*[somebody_else_creates(server, str(number)) for number in range(50)])
            with pytest.raises(CreateOutcomeUnknown, match="20 pages"):
                await lost
            assert creates(server) == 51

    simulate(main)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limit", "retry_after": 1},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 404},
        {"kind": "reset"},
    ],
    ids=["429", "500", "404", "reset"],
)
def test_what_was_found_and_cannot_be_fetched_is_not_made_again(fault):
    """A refusal to show what was found is no refusal to make it: it was, and the error has its id."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="html", after=True)
            server.faults.add(operation="predictions.get", **fault)
            with pytest.raises(CreateOutcomeUnknown, match="can't be fetched") as caught:
                await WAYS["predictions"](client)
            (job,) = jobs(server)
            assert (caught.value.prediction_id, caught.value.candidates) == (job.id, [job.id])
            assert creates(server) == 1

    simulate(main)


# --- since when ---


class _WrongClock(Simulation):
    """A server's clock that is wrong."""

    def __init__(self, sim: Simulation, hours: float) -> None:
        super().__init__(sim._loop)
        self._wrong_by = timedelta(hours=hours)

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self._wrong_by + timedelta(seconds=self.monotonic())


@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
@pytest.mark.parametrize("hours", [-1, 1])
def test_the_servers_clock_decides(hours, after):
    """What is recent is told by the ``Date`` of the server's answers, also if its clock and ours differ by an hour."""

    async def main(sim: Simulation) -> None:
        async with serving(sim, clock=_WrongClock(sim, hours)) as server, client_of(server) as client:
            older = await somebody_else_creates(server)
            await sim.sleep(60)
            server.faults.add(operation=CREATES, times=1, kind="reset", after=after)
            job = await WAYS["predictions"](client)
            assert sorted(server.predictions) == sorted([older, job.id])

    simulate(main)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 01 Jan 2025 00:00:00 -0000"])
def test_a_date_that_says_nothing(date):
    """Without a usable ``Date`` the local clock has to do; nothing breaks."""

    async def main(_: Simulation) -> None:
        found = prediction(created_at=(datetime.now(timezone.utc) + timedelta(days=1)).isoformat())
        listed = answer(200, {"results": [found]}, {"Date": date})
        async with RawServer(reset, listed, answer(200, found)) as server, server.client() as client:
            job = await client.models.predictions.create("owner", "name", input={})
            assert job.id == found["id"]
            assert [request.method for request in server.requests] == ["POST", "GET", "GET"]

    simulate(main)


# --- twins ---


@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
def test_twins_are_told_apart(after):
    """Of twenty runs with the same input a third is lost: each has a prediction of its own, and there is no other."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, probability=0.33, seed=3, kind="stall", after=after)
            ids: list[str] = []
            runs = [
                client.run(
                    f"owner/name:{VERSION}",
                    input={"text": "same", "seconds": 1},
                    on_update=lambda job: ids.append(job.id),
                )
                for _ in range(20)
            ]
            assert await asyncio.gather(*runs) == ["hello same"] * 20
            assert set(ids) == set(server.predictions)
            assert len(server.predictions) == 20
            assert Counter(call.fault is None for call in server.requests)[False] >= 5

    simulate(main)


@pytest.mark.parametrize("ref", [f"owner/name:{VERSION}", "owner/name"], ids=["version", "latest version"])
@pytest.mark.parametrize("first", [True, False])
def test_a_twin_that_is_given_up(ref, first):
    """Of two runs with the same input one is cancelled: at once, and what the other waits for is left alone."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            run = {"input": {"text": "same", "seconds": 40}}
            one, other = (asyncio.create_task(client.run(ref, **run)) for _ in range(2))
            await sim.sleep(2)
            given_up, kept = (one, other) if first else (other, one)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert sim.monotonic() < 3
            assert await kept == "hello same"
            assert sorted(job.status for job in jobs(server)) == ["canceled", "succeeded"]

    simulate(main)


# --- giving up meanwhile ---


@pytest.mark.parametrize("seconds", [3.5, 5.02, 5.05, 5.3, 5.55, 5.7, 6.1, 6.3])
@pytest.mark.parametrize("fault", [{"kind": "stall", "after": True}, {"kind": "delay", "seconds": 5.4}])
def test_giving_up_while_it_is_looked_for(fault, seconds):
    """Whenever a run is cancelled, before or while its lost create is looked for: what it made is canceled."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, **fault)
            # Listing and fetching take a while: there are more moments in which it can be cancelled.
            server.faults.add(operation="predictions.list", times=2, kind="delay", seconds=0.1)
            server.faults.add(operation="predictions.get", times=1, kind="delay", seconds=0.5)
            running = client.run(f"owner/name:{VERSION}", input={"text": "x", "seconds": 60}, wait=False)
            task = asyncio.create_task(running)
            await sim.sleep(seconds)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await sim.sleep(10)
            assert {job.status for job in jobs(server)} == {"canceled"}
            assert len(jobs(server)) == 1

    simulate(main)


# --- many ---


def test_a_fifth_of_the_creates_is_lost():
    """200 runs, a fifth of whose creates are cut off after the server accepted them: 200 predictions and outputs."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            for seed, kind in enumerate(["reset", "stall", "html"]):
                server.faults.add(operation=CREATES, probability=0.07, seed=seed, kind=kind, after=True)
            runs = [
                client.run(f"owner/name:{VERSION}", input={"text": str(number), "seconds": 0.5})
                for number in range(200)
            ]
            assert await asyncio.gather(*runs) == [f"hello {number}" for number in range(200)]
            assert len(server.predictions) == 200
            assert Counter(call.fault is None for call in server.requests)[False] > 20

    simulate(main)


def test_when_all_creates_are_lost_the_list_is_not_stormed():
    """In an outage hundreds are looked for at once: each reading of the list serves all of them, and all are made."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, kind="html", times=300)
            server.faults.add(operation="predictions.list", kind="delay", seconds=0.1)
            calls = [client.predictions.create(version=VERSION, input={"text": str(number)}) for number in range(300)]
            made = await asyncio.gather(*calls)
            assert {one.id for one in made} == set(server.predictions)
            assert creates(server) == 600
            assert sum(call.operation == "predictions.list" for call in server.requests) < 100

    simulate(main)


async def _go_through(
    sim: Simulation, count: int, seed: int, chances: dict[str, float], given_up: dict[int, float]
) -> None:
    """Run pairs of twins of which some are cut off, lost, refused and given up, and check what became of each."""
    limits = {"creates": 1200, "create_burst": 30}
    async with serving(sim, limits=limits) as server, client_of(server) as client:
        for kind, after, chance in [
            ("reset", True, chances["cut"]),
            ("html", True, chances["cut"]),
            ("stall", True, chances["cut"]),
            ("reset", False, chances["lost"]),
        ]:
            seed += 1
            server.faults.add(
                operation=CREATES, probability=chance, seed=seed, kind=kind, after=after, times=count // 5
            )
        server.faults.add(probability=chances["refused"], seed=seed, kind="rate_limit", retry_after=1, times=count // 2)

        def start(number: int) -> asyncio.Task[Any]:
            pair = number // 2
            inputs = {"text": str(pair), "seconds": 3600 if pair in given_up else pair % 7}
            return asyncio.create_task(client.run(f"owner/name:{VERSION}", input=inputs, max_retries=8))

        tasks = [start(number) for number in range(count)]
        for pair, seconds in given_up.items():
            for twin in (2 * pair, 2 * pair + 1):
                asyncio.get_running_loop().call_later(seconds, tasks[twin].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await sim.sleep(10)
        for number, result in enumerate(results):
            if number // 2 in given_up:
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert result == f"hello {number // 2}"
        statuses = Counter(job.status for job in server.predictions.values())
        assert statuses["succeeded"] == count - 2 * len(given_up)
        assert statuses["processing"] == statuses["starting"] == 0
        assert len(server.predictions) <= count


@pytest.mark.endurance
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    chances=st.fixed_dictionaries({"cut": st.floats(0, 0.3), "lost": st.floats(0, 0.3), "refused": st.floats(0, 0.1)}),
    given_up=st.dictionaries(st.integers(0, 24), st.floats(0, 15), max_size=8),
)
def test_whatever_goes_wrong_nothing_is_lost_and_nothing_made_twice(seed, chances, given_up):
    """Of runs among which some are cut off, lost, refused and cancelled, each gets its output, or is canceled.

    There is one prediction for each that went to its end, and what was given up doesn't go on.
    """
    simulate(lambda sim: _go_through(sim, 50, seed, chances, given_up))


def test_three_hundred_at_once():
    """The same with many: limits, faults and cancellations together."""
    chances = {"cut": 0.05, "lost": 0.05, "refused": 0.02}
    given_up = {pair: pair / 5 for pair in range(0, 150, 5)}
    simulate(lambda sim: _go_through(sim, 300, 7, chances, given_up))
