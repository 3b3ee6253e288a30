"""Creates: their concurrency limit, and lost responses, whose creates are adopted, repeated or reported."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callers import transport_of
from rawserver import RawServer, after, answer, prediction, record_pauses, reset
from replicate_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncReplicate,
    CreateOutcomeUnknown,
    InternalServerError,
    RateLimitError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.concurrency import AdaptiveConcurrencyLimiter
from replicate_async._http.options import Settings
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse
from replicate_async._http.sessions import SessionPool
from replicate_async._http.transport import Transport
from replicate_async._predictions.creates import CreateLedger, CreateSlots
from replicate_async._predictions.matching import Match, ServerClock, compare
from replicate_async.testing import LocalServer
from replicate_async.types import DeploymentRelease, Prediction, PredictionUrls, Training
from simulated_api import ApiLimit, SimulatedApi
from simulation import Simulation, simulate

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
OTHER = VERSION[::-1]
CREATES = "*predictions.create"

# --- matching creates and predictions ---


def listed(number: int = 0, *, model: str = "owner/name", version: str = VERSION, **fields: Any) -> Prediction:
    """Return a prediction as a list shows it."""
    fields = {"id": f"p{number}", "status": "starting", "input": {}, "created_at": CREATED, **fields}
    return Prediction(model=model, version=version, urls=PredictionUrls(), **fields)


TRANSPORT = Transport(Settings(base_url="https://api.replicate.com/v1", token="r8_x"), SessionPool(None, 1))


def create(input: Any, *, path: str = "/predictions", **fields: Any) -> Call[Any]:
    """Return a create that is ready to be sent."""
    return TRANSPORT.prepare(Request("POST", path, Prediction, {}, json={"input": input, **fields}, billable=True))


CREATED = datetime(2025, 1, 1, tzinfo=timezone.utc)


def exact_clock() -> ServerClock:
    """Return a server's clock that is known exactly."""
    server_clock = ServerClock()
    server_clock.earliest = server_clock.latest = CREATED.timestamp()
    return server_clock


def match(call: Call[Any], *candidates: Prediction | Training, release: DeploymentRelease | None = None) -> Any:
    matches = [
        (job.id, compare(call, msgspec.json.decode(call.body), job, exact_clock(), 1.0, release)) for job in candidates
    ]
    return CreateLedger().find(matches, unconfirmed=1)


ON_MODEL = "/models/owner/name/predictions"
ON_DEPLOYMENT = "/deployments/owner/name/predictions"


@pytest.mark.parametrize(
    ("call", "candidate"),
    [
        (create({}, version=VERSION), listed()),
        (create({}, version=f"owner/name:{VERSION}"), listed()),
        (create({}, version="owner/name"), listed(version="hidden")),
        (create({}, path=ON_MODEL), listed(version="hidden")),
        (create({}, path=ON_MODEL), listed()),
        (create({}, path="/models/Owner/Name/predictions"), listed()),
        (create({}, version=f"owner/name:{VERSION}"), listed(model="Owner/Name")),
        (create({}, path=ON_DEPLOYMENT), listed(model="some/model", deployment="owner/name")),
        (create({"a": [1, {"b": None}]}, version=VERSION), listed(input={"a": [1.0, {"b": None}]})),
        (create({"a": "data:text/plain,x"}, version=VERSION), listed(input={"a": "data:text/plain,x"})),
        (create(None, version=VERSION), listed()),
    ],
)
def test_certain_matches(call, candidate):
    """A prediction with the create's model or version, in any form, and its input is the create's result."""
    assert match(call, candidate) == ("p0", [])


@pytest.mark.parametrize(
    ("call", "candidate"),
    [
        (create({}, version=OTHER), listed()),
        (create({}, version=f"other/name:{VERSION}"), listed()),
        (create({}, version=f"other/name:{VERSION}"), listed(version="hidden")),
        (create({}, version="owner/other"), listed()),
        (create({}, version="other/name"), listed(version="hidden")),
        (create({}, path=ON_MODEL), listed(model="owner/other")),
        (create({}, path=ON_DEPLOYMENT), listed(deployment="owner/other")),
        (create({"a": 1}, version=VERSION), listed(input={"b": 1})),
        (create({"a": 1}, version=VERSION), listed(input={"a": 2})),
        (create({"a": [1]}, version=VERSION), listed(input={"a": [1, 2]})),
        (create({"a": {"b": 1}}, version=VERSION), listed(input={"a": {"b": 1, "c": 2}})),
        (create({"a": "data:text/plain,x"}, version=VERSION), listed(input={"a": "data:text/plain,y"})),
        (create({"a": "https://x/1"}, version=VERSION), listed(input={"a": "https://x/2"})),
    ],
)
def test_no_matches(call, candidate):
    """A prediction with another model, version, deployment or input is not the create's result."""
    assert match(call, candidate) == (None, [])


@pytest.mark.parametrize(
    ("call", "candidate"),
    [
        (create({"a": 1}, version=VERSION), listed(input={"a": 1, "default": 2})),
        (create({"a": "data:text/plain,x"}, version=VERSION), listed(input={"a": "https://x/1"})),
        (
            create({"a": ["data:text/plain,x", 1]}, version=VERSION),
            listed(input={"a": ["http://x/1", 1]}),
        ),
        (create({"a": {"b": "data:,x"}}, version=VERSION), listed(input={"a": {"b": "http://x/1"}})),
        (create({}, version=f"owner/name:{VERSION}"), listed(version="hidden")),
        (create({}, version=VERSION), listed(version="hidden")),
        (create({}, version=VERSION), listed(version=None)),
        (create({}, path=ON_MODEL), listed(model=None)),
        (create({}, path=ON_DEPLOYMENT), listed()),
        (create({"a": 1}, version=VERSION), listed(input=None)),
        (create({"a": 1}, version=VERSION), listed(input="removed")),
        (create({}, version=VERSION), listed(created_at=None)),
        (create({}, version=VERSION), listed(created_at="yesterday")),
        (create({}, version=VERSION), listed(created_at=CREATED - timedelta(seconds=1))),
        (create({}, version=VERSION), listed(created_at=CREATED + timedelta(seconds=2))),
    ],
    ids=[
        *("defaults", "file", "files", "nested file", "hidden version", "bare hidden version"),
        *("no version", "no model", "no deployment", "no input", "an odd input", "no time", "an odd time"),
        *("created before it was sent", "created after it was lost"),
    ],
)
def test_possible_matches(call, candidate):
    """What the API has left out, hidden, replaced, or dated otherwise decides nothing: the match is ambiguous."""
    assert match(call, candidate) == (None, ["p0"])


def test_deployments_match_by_their_release():
    """If the list does not name the deployment, a prediction of its current release is the create's result."""
    call, release = create({}, path=ON_DEPLOYMENT), DeploymentRelease(model="owner/name", version=VERSION)
    assert match(call, listed(), release=release) == ("p0", [])
    assert match(call, listed(version=OTHER), release=release) == (None, ["p0"])
    assert match(call, listed(deployment="owner/other"), release=release) == (None, [])


@pytest.mark.parametrize("missing", [{"model": None}, {"version": None}, {"model": None, "version": None}])
def test_a_release_without_a_model_decides_nothing(missing):
    """Members that both the release and the prediction lack don't show that they belong together."""
    call = create({}, path=ON_DEPLOYMENT)
    release = DeploymentRelease(**{"model": "owner/name", "version": VERSION, **missing})
    assert match(call, listed(**missing), release=release) == (None, ["p0"])


@pytest.mark.parametrize("release", ["v1", 5, [], {}, {"model": 5, "version": []}, None])
def test_a_release_of_another_type(release):
    """If the release of a deployment can't be read, a lost create is ambiguous; it is neither repeated nor adopted."""

    async def main() -> None:
        record_pauses()
        page = {"results": [prediction(model="a/b", created_at=datetime.now(timezone.utc).isoformat())]}
        deployment = {"owner": "owner", "name": "name", "current_release": release}
        async with RawServer(reset, answer(200, deployment), answer(200, page)) as server, server.client() as client:
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await client.deployments.predictions.create("owner", "name", input={})
        assert caught.value.candidates == [prediction()["id"]]
        assert [request.method for request in server.requests].count("POST") == 1

    asyncio.run(main())


def test_trainings_match_by_their_base_version():
    """A training matches by the version in the create's path."""
    call = create({"x": 1}, path=f"/models/owner/name/versions/{VERSION}/trainings", destination="me/mine")
    training = Training(id="t1", status="starting", version=VERSION, input={"x": 1}, created_at=CREATED)
    assert match(call, training) == ("t1", [])
    assert match(call, Training(id="t1", status="starting", version=OTHER, input={"x": 1})) == (None, [])


@settings(max_examples=200)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(["same", "maybe", "other"]), st.booleans()), max_size=8),
    unconfirmed=st.integers(1, 4),
)
def test_ambiguous_matches_are_not_adopted(kinds, unconfirmed):
    """Claimed predictions never match. The oldest certain match is adopted if there are at most as many as creates."""
    inputs = {"same": {"a": 1}, "maybe": {"a": 1, "b": 2}, "other": {"a": 2}}
    ledger = CreateLedger()
    candidates = []
    unclaimed: dict[str, list[str]] = {kind: [] for kind in inputs}
    for number, (kind, is_claimed) in enumerate(kinds):
        candidates.append(listed(number, input=inputs[kind]))
        if is_claimed:
            ledger.claim(f"p{number}")
        else:
            unclaimed[kind].append(f"p{number}")
    call = create({"a": 1}, version=VERSION)
    matches = [(job.id, compare(call, msgspec.json.decode(call.body), job, exact_clock(), 1.0)) for job in candidates]
    job_id, ambiguous = ledger.find(matches, unconfirmed=unconfirmed)
    if 0 < len(unclaimed["same"]) <= unconfirmed:
        assert (job_id, ambiguous) == (unclaimed["same"][-1], [])
    else:
        assert job_id is None
        assert set(ambiguous) == {*unclaimed["same"], *unclaimed["maybe"]}


def test_old_claims_are_dropped():
    """A ledger keeps the last 100,000 claims, because older predictions are in no list of recent ones."""
    ledger = CreateLedger()
    for number in range(100_001):
        ledger.claim(f"p{number}")
    assert ledger.find([("p100000", Match.YES), ("p0", Match.YES)], unconfirmed=1) == ("p0", [])
    assert ledger.find([("p100000", Match.YES), ("p1", Match.YES)], unconfirmed=1) == (None, [])


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
    """Return a server with a model, and a destination for trainings."""
    server = LocalServer(tidy=True, clock=options.pop("clock", sim), **options)

    @server.model("owner/name", version=VERSION, official=False)
    async def model(text: str = "", seconds: float = 0.0) -> str:
        await sim.sleep(seconds)
        return f"hello {text}"

    server.model("local/trained")(model)
    return server


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(base_url=server.base_url, bearer_token=server.token, timeout=5, **options)


async def create_elsewhere(server: LocalServer, **inputs: Any) -> str:
    """Create a prediction that the clients in this process don't know, and return its id."""
    body = {"version": VERSION, "input": {"text": "x", **inputs}}
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.post("/v1/predictions", json=body) as response,
    ):
        job_id: str = (await response.json())["id"]
        return job_id


def jobs(server: LocalServer) -> list[Any]:
    """Return all predictions and trainings, which would be billed."""
    return [*server.predictions.values(), *server._store.trainings.values()]


def creates(server: LocalServer) -> int:
    return sum(call.operation.endswith(("predictions.create", "trainings.create")) for call in server.requests)


async def deploy(client: AsyncReplicate) -> None:
    await client.deployments.create(
        name="mine", model="owner/name", version=VERSION, hardware="cpu", min_instances=0, max_instances=1
    )


# --- the concurrency limit ---


def limiter_of(client: AsyncReplicate) -> AdaptiveConcurrencyLimiter:
    return transport_of(client).pool.current().state(CreateSlots).limiter


def free_slots(client: AsyncReplicate) -> int:
    """Return how many creates could be sent at once now."""
    limiter = limiter_of(client)
    slots = 0
    while limiter.try_acquire():
        slots += 1
    for _ in range(slots):
        limiter.release()
    return slots


def create_x(client: AsyncReplicate, **options: Any) -> Awaitable[Prediction]:
    """Create a prediction."""
    return client.predictions.create(**{"version": VERSION, "input": {"text": "x"}, **options})


def test_waiting_creates_keep_their_input():
    """A create that waits for a slot sends its input as it was when it was passed."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            shared: dict[str, str] = {}

            async def one(text: str) -> str:
                shared["text"] = text
                return (await create_x(client, input=shared)).input["text"]

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
    ids=["refused", "not created", "lost"],
)
def test_repeated_creates_keep_their_input(fault):
    """Changing the input during a create changes neither the next attempt nor the lookup."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, **fault)
            passed = {"text": "first"}
            task = asyncio.ensure_future(create_x(client, input=passed))
            await asyncio.sleep(0.1)
            assert server.requests
            passed["text"] = "second"
            assert (await task).input == {"text": "first"}
            assert len(jobs(server)) == 1

    simulate(main)


@pytest.mark.parametrize(
    ("options", "error"), [({"extra_body": {"x": float("nan")}}, ValueError), ({"timeout": "soon"}, TypeError)]
)
def test_invalid_arguments_raise_before_waiting(options, error):
    """Invalid arguments raise at once, without waiting for a slot."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=AdaptiveConcurrencyLimiter.max_slots, kind="delay", seconds=3)
            waiting = [asyncio.ensure_future(create_x(client)) for _ in range(AdaptiveConcurrencyLimiter.max_slots)]
            await asyncio.sleep(0.1)
            assert free_slots(client) == 0
            with pytest.raises(error):
                await create_x(client, **options)
            assert sim.monotonic() < 1
            await asyncio.gather(*waiting)

    simulate(main)


@pytest.mark.parametrize("options", [{"prefer": "wait"}, {"extra_headers": {"prefer": "wait=9"}}], ids=str)
def test_held_creates_need_no_slot(options):
    """Creates whose responses the API holds take no slot, whichever way the hold is requested."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            count = 32
            server.faults.add(operation=CREATES, times=count, kind="delay", seconds=3)
            await asyncio.gather(*[create_x(client, **options) for _ in range(count)])
            assert sim.monotonic() < 4
            # Held responses say nothing about how many creates the API can take.
            assert free_slots(client) == AdaptiveConcurrencyLimiter.first_slots

    simulate(main)


FAULTS: dict[str, dict[str, Any]] = {
    "cancelled": {"kind": "delay", "seconds": 3},
    "cancelled in the queue": {"kind": "delay", "seconds": 3},
    "422": {"kind": "status", "status": 422},
    "429": {"kind": "rate_limit", "retry_after": 0.01},
    "502": {"kind": "html"},
}


@pytest.mark.parametrize("how", FAULTS)
def test_creates_release_their_slots(how):
    """After creates end in any way, all slots are free, and none is in flight or unconfirmed."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            server.faults.add(operation=CREATES, times=5, **FAULTS[how])
            tasks = [asyncio.ensure_future(create_x(client, input={"text": str(number % 3)})) for number in range(12)]
            await asyncio.sleep(0.1)
            for task in {"cancelled": tasks[:6], "cancelled in the queue": tasks[4:]}.get(how, []):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # After a reset, exactly these are free, unless slots were lost or released twice.
            limiter_of(client).on_throttled()
            assert free_slots(client) == AdaptiveConcurrencyLimiter.min_slots
            ledger = transport_of(client).account.state(CreateLedger)
            assert not ledger.in_flight
            assert not ledger.unconfirmed

    simulate(main)


def test_no_run_waits_in_a_closed_client():
    """A client that is closed ends all runs at once, however many wait for the rate limit or to be made ready."""

    async def main(sim: Simulation) -> None:
        client = SimulatedApi(sim, creates=ApiLimit(0.1, 1)).client()
        runs = [asyncio.ensure_future(client.run("owner/model", input={"number": number})) for number in range(500)]
        await asyncio.sleep(30)
        await client.close()
        closed_at = sim.monotonic()
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
        assert sum(isinstance(outcome, ReplicateError) for outcome in outcomes) > 490
        assert sim.monotonic() - closed_at < 1

    simulate(main)


def test_creates_that_are_retried_hold_up_no_others():
    """While hundreds of creates of a broken model are retried, those of another model are sent at once."""

    async def main(sim: Simulation) -> None:
        broken = answer(503, {"detail": "unavailable"}, {"Retry-After": "20"})
        done = answer(201, prediction(status="succeeded", output="hello", completed_at="2025-01-01T00:00:01Z"))
        async with RawServer(broken) as server, server.client() as client:
            runs = [asyncio.ensure_future(client.run("owner/broken", input={"number": n})) for n in range(300)]
            await asyncio.sleep(3)
            started = sim.monotonic()
            server.steps = [done]
            assert await client.run("owner/name", input={}) == "hello"
            assert sim.monotonic() - started < 1
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)

    simulate(main)


def test_runs_with_a_journal_hold_up_no_others(tmp_path):
    """While hundreds of runs with a journal wait for one another, a run without one is created at once."""

    async def main(sim: Simulation) -> None:
        client = SimulatedApi(sim).client()
        options: dict[str, Any] = {"journal": tmp_path / "journal.db"}
        runs = [
            asyncio.ensure_future(client.run("owner/model", input={}, key=str(number), **options))
            for number in range(300)
        ]
        await asyncio.sleep(1)
        started = sim.monotonic()
        await client.submit("owner/model", input={"text": "x"})
        assert sim.monotonic() - started < 1
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await client.close()

    simulate(main)


def test_slots_follow_the_responses():
    """Fast responses add slots, a 429 response resets them, and other errors change nothing."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            server.faults.add(operation=CREATES, kind="delay", seconds=0.2)
            await asyncio.gather(*[create_x(client) for _ in range(300)])
            server.faults.clear()
            many = free_slots(client)
            assert many > AdaptiveConcurrencyLimiter.min_slots
            server.faults.add(operation=CREATES, times=1, kind="status", status=422)
            with pytest.raises(UnprocessableEntityError):
                await create_x(client)
            assert free_slots(client) == many
            server.faults.add(operation=CREATES, times=1, kind="rate_limit", retry_after=0)
            with pytest.raises(RateLimitError):
                await create_x(client)
            assert free_slots(client) == AdaptiveConcurrencyLimiter.min_slots

    simulate(main)


def test_a_too_long_retry_after_changes_no_limit():
    """A 429 response whose Retry-After is too long counts as neither accepted nor throttled."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            await create_x(client)
            bucket = transport_of(client).account.limits.creates
            server.faults.add(operation=CREATES, times=1, kind="rate_limit", retry_after=301)
            with pytest.raises(RateLimitError):
                await create_x(client)
            assert bucket.accepted_at == 0
            assert bucket.reserve(sim.monotonic(), 0) == 0, "it blocks no other create"

    simulate(main)


@pytest.mark.parametrize(
    "body", ['{"id":"p1","status":5}', '{"id":"p1"}', '{"id":"p1","status":"starting","input":[]}']
)
def test_an_odd_response_with_an_id(body):
    """The result is claimed, so nothing is looked up or repeated, and the response is decoded as far as possible."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201, after=True)
            assert (await create_x(client)).id == "p1"
            assert [call.operation for call in server.requests] == ["predictions.create"]
            ledger = transport_of(client).account.state(CreateLedger)
            assert ledger.find([("p1", Match.YES)], unconfirmed=1) == (None, []), "it is claimed"

    simulate(main)


@pytest.mark.parametrize(
    "body",
    ['{"x":' + "[" * 100_000 + "]" * 100_000 + "}", '{"x":"', "<html>", '{"id":5}'],
    ids=["deep", "cut off", "html", "a number"],
)
def test_an_invalid_response_without_an_id(body):
    """The result of a create with an unreadable response is looked up and adopted."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201, after=True)
            assert (await create_x(client)).id in server.predictions
            assert creates(server) == 1

    simulate(main)


UNREADABLE = {
    "cut off": '{"input":{"id":"no"},"id":"ID","output":"',
    "deep": '{"output":' + "[" * 100_000 + "]" * 100_000 + ',"id":"ID"}',
    "followed by more": '{"id":"ID","status":"starting"} and more',
}


@pytest.mark.parametrize("form", UNREADABLE)
@pytest.mark.parametrize("found_after", [0, 2])
def test_an_unreadable_response_with_a_readable_id(form, found_after):
    """The prediction is fetched by its id, also if it is not available at once: nothing is paid twice or lost."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            paid = await create_x(client)
            body = UNREADABLE[form].replace("ID", paid.id)
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201)
            if found_after:
                server.faults.add(operation="predictions.get", times=found_after, kind="status", status=404)
            assert (await client.predictions.create(version=VERSION, input={"x": "other"})).id == paid.id
            assert [call.operation for call in server.requests].count("predictions.list") == 0

    simulate(main)


@pytest.mark.parametrize("form", UNREADABLE)
def test_an_unreadable_response_keeps_its_id(form):
    """If the prediction can't be fetched either, the error has its id, and nothing is repeated."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            body = UNREADABLE[form].replace("ID", "p1")
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201, after=True)
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await create_x(client)
            assert (caught.value.prediction_id, caught.value.candidates) == ("p1", ["p1"])
            assert creates(server) == 1

    simulate(main)


# --- lost responses ---


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_lost_results_are_adopted(way, loss):
    """However the response is lost, and whichever method creates, its result is found and is the only one."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            await deploy(client)
            server.faults.add(operation="*s.create", times=1, **loss)
            job = await way(client)
            assert [created.id for created in jobs(server)] == [job.id]
            assert creates(server) == 1

    simulate(main)


@pytest.mark.parametrize("kind", ["reset", "stall", "html"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_creates_that_were_not_carried_out_are_repeated(way, kind):
    """A create that the API did not carry out is repeated after several lookups."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            await deploy(client)
            server.faults.add(operation="*s.create", times=1, kind=kind)
            job = await way(client)
            assert [created.id for created in jobs(server)] == [job.id]
            assert creates(server) == 2
            lookups = sum(call.operation in {"predictions.list", "trainings.list"} for call in server.requests)
            assert lookups >= 3

    simulate(main)


def test_late_results_are_not_adopted():
    """A result that appears seconds after the timeout may be someone else's: the error has its id."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="delay", seconds=7)
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await WAYS["predictions"](client)
            assert caught.value.candidates == [created.id for created in jobs(server)]
            assert creates(server) == 1

    simulate(main)


@pytest.mark.parametrize("seconds", [-1, 0.5, 3], ids=["before", "during the lookup", "at its end"])
@pytest.mark.parametrize("kind", ["reset", "html", "stall"])
def test_someone_elses_prediction_is_not_adopted(kind, seconds):
    """A create that was not carried out does not take over the same prediction of another program, nor cancel it."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            await sim.sleep(10)
            if seconds < 0:
                await create_elsewhere(server)
                await sim.sleep(-seconds)
            server.faults.add(operation="predictions.create", times=1, kind=kind)
            run = asyncio.create_task(client.run(f"owner/name:{VERSION}", {"text": "x"}, wait=False))
            if seconds >= 0:
                await sim.sleep(5 * (kind == "stall") + seconds)
                await create_elsewhere(server)
            await asyncio.wait([run], timeout=2)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            await sim.sleep(10)
            (other,) = jobs(server)
            assert other.status == "succeeded"

    simulate(main)


@pytest.mark.parametrize("is_first", [True, False], ids=["first create", "later create"])
@pytest.mark.parametrize("latency", [0.0, 0.2])
@pytest.mark.parametrize("before", [None, 0.8, 0.5, 0.2, 0.1])
def test_creates_that_were_lost_shortly_after_an_identical_one(before, latency, is_first):
    """The prediction that someone else made before is neither adopted nor canceled, the own one always is adopted."""

    async def lose(sim: Simulation, phase: float, cancel_after: float | None) -> None:
        async with serving(sim, latency=latency) as server, client_of(server, max_retries=0) as client:
            if not is_first:
                await client.predictions.create(version=VERSION, input={"text": "y"})
            await sim.sleep(phase)
            others: set[str] = set()
            if before is not None:
                others = {await create_elsewhere(server, seconds=40)}
                # The request below is on its way as long as this one was, so that it is late by its latency.
                await sim.sleep(before)
            server.faults.add(operation="predictions.create", times=1, kind="reset", after=before is None)
            times: list[float] = []
            inputs = {"text": "x", "seconds": 40}
            run = client.run(
                f"owner/name:{VERSION}", inputs, wait=False, on_update=lambda _: times.append(sim.monotonic())
            )
            started, task = sim.monotonic(), asyncio.create_task(run)
            if cancel_after is not None:
                await sim.sleep(latency + cancel_after)
                task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            await sim.sleep(10)
            statuses = {job.id: job.status for job in jobs(server) if job.input["text"] == "x"}
            lookups = sum(call.operation == "predictions.list" for call in server.requests)
            if before is not None:
                assert statuses == dict.fromkeys(others, "processing")
                assert isinstance(result, (CreateOutcomeUnknown, asyncio.CancelledError))
            elif cancel_after is None:
                assert result == "hello x"
                assert lookups <= (14 if is_first else 1)
                assert times[0] - started < 4.25 + latency * (lookups + 2)
            else:
                assert [*statuses.values()] == ["canceled"]

    async def main(sim: Simulation) -> None:
        await asyncio.gather(*[lose(sim, phase, after) for phase in (0.1, 0.4, 0.64, 0.97) for after in (None, 0.3)])

    simulate(main)


@pytest.mark.parametrize(("offset", "result"), [(-0.8, Match.MAYBE), (-0.5, Match.MAYBE), (0.0, Match.YES)])
def test_predictions_of_servers_without_dates(offset, result):
    """Without a ``Date`` header, the client's clock says what was created before a create was sent."""
    server_clock, call = ServerClock(), create({}, version=VERSION)
    call.sent_at = clock.current.monotonic()
    created_at = datetime.now(timezone.utc) + timedelta(seconds=offset)
    server_clock.learn_from(APIResponse(call.request, call.url, 200, {}, b"", 0.2))
    sent = msgspec.json.decode(call.body)
    assert compare(call, sent, listed(created_at=created_at), server_clock, call.sent_at + 1) is result


def test_without_retries_results_are_adopted_but_not_repeated():
    """With ``max_retries=0``, an existing result is adopted, and a create that was not carried out raises."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server, max_retries=0) as client:
            server.faults.add(operation=CREATES, times=1, kind="html", after=True)
            job = await WAYS["predictions"](client)
            assert [created.id for created in jobs(server)] == [job.id]
            server.faults.add(operation=CREATES, times=1, kind="html")
            with pytest.raises(InternalServerError):
                await WAYS["predictions"](client)
            assert creates(server) == 2

    simulate(main)


def test_attempts_are_counted():
    """A create that is never carried out is sent three times, like any other call."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, kind="reset")
            with pytest.raises(APIConnectionError) as caught:
                await WAYS["predictions"](client)
            assert not isinstance(caught.value, CreateOutcomeUnknown)
            assert (creates(server), jobs(server)) == (3, [])

    simulate(main)


# --- unknown outcomes ---


@pytest.mark.parametrize("created_at", ["5", '"yesterday"', '"0001-01-01T00:00:00Z"', '"2025-01-01T00:00:00"', "null"])
def test_odd_creation_times(created_at):
    """A creation time that can't be read, or that is wrong, changes neither a create nor the lookup of the next one."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            body = f'{{"id":"p1","status":"starting","created_at":{created_at}}}'
            server.faults.add(operation=CREATES, times=1, kind="json", body=body, status=201)
            assert (await create_x(client)).id == "p1"
            server.faults.add(operation=CREATES, times=1, kind="reset", after=True)
            assert [(await create_x(client)).id] == [*server.predictions]

    simulate(main)


def test_two_candidates():
    """If someone else creates an identical prediction, the outcome is unknown, and the error has both ids."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="stall", after=True)
            lost = asyncio.create_task(WAYS["predictions"](client))
            await sim.sleep(2)
            await create_elsewhere(server)
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


def test_a_failing_lookup():
    """If the lookup fails, the outcome is unknown, and nothing is repeated."""

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


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_is_closed_while_a_create_is_in_flight(way):
    """Nobody can look for a create any more if its client is closed: the error says that it may have been made."""
    arrived = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with RawServer(hold) as server, server.client() as client:
        creating = asyncio.ensure_future(WAYS[way](client))
        await arrived.wait()
        await client.close()
        with pytest.raises(CreateOutcomeUnknown, match="closed"):
            await creating


@pytest.mark.anyio
async def test_a_list_that_is_too_long():
    """A lookup ends after 1000 pages of recent predictions, and the outcome of the create is unknown."""
    async with RawServer(reset, b"") as server, server.client() as client:
        tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
        page = {"results": [prediction(created_at=tomorrow)], "next": f"{server.url}/v1/predictions?cursor=x"}
        server.steps[1] = answer(200, page)
        with pytest.raises(CreateOutcomeUnknown, match="1000 pages"):
            await WAYS["predictions"](client)
        assert [request.method for request in server.requests] == ["POST"] + ["GET"] * 1000


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
def test_found_results_that_can_not_be_fetched(fault):
    """If the result is found but can't be fetched, the error has its id, and the create is not repeated."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="html", after=True)
            server.faults.add(operation="predictions.get", **fault)
            with pytest.raises(CreateOutcomeUnknown, match=r"can't be fetched: \w") as caught:
                await WAYS["predictions"](client)
            (job,) = jobs(server)
            assert (caught.value.prediction_id, caught.value.candidates) == (job.id, [job.id])
            assert creates(server) == 1

    simulate(main)


def test_an_identical_create_waits_for_a_lookup():
    """No identical create is sent while a lost one is looked for, because their results could not be told apart."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, kind="reset")
            lost = asyncio.ensure_future(WAYS["predictions"](client))
            await sim.sleep(1)
            second = asyncio.ensure_future(WAYS["predictions"](client))
            await sim.sleep(1)
            assert creates(server) == 1
            assert len({(await lost).id, (await second).id}) == len(jobs(server)) == 2
            assert creates(server) == 3

    simulate(main)


# --- the time since which creates are recent ---


class WrongClock(Simulation):
    """A server's clock that is hours off."""

    def __init__(self, sim: Simulation, hours: float) -> None:
        super().__init__(sim.loop)
        self._wrong_by = timedelta(hours=hours)

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self._wrong_by + timedelta(seconds=self.monotonic())


@pytest.mark.parametrize("after", [True, False], ids=["created", "not created"])
@pytest.mark.parametrize("hours", [-1, 1])
def test_the_servers_clock_decides(hours, after):
    """The ``Date`` header of responses decides which predictions are recent, even if the clocks differ by an hour."""

    async def main(sim: Simulation) -> None:
        async with serving(sim, clock=WrongClock(sim, hours)) as server, client_of(server) as client:
            older = await create_elsewhere(server)
            await sim.sleep(60)
            server.faults.add(operation=CREATES, times=1, kind="reset", after=after)
            job = await WAYS["predictions"](client)
            assert sorted(server.predictions) == sorted([older, job.id])

    simulate(main)


@pytest.mark.parametrize(
    ("date", "created"),
    [("", None), ("yesterday", None), ("Wed, 01 Jan 2025 00:00:00 -0000", "2025-01-01T00:00:00.05Z")],
)
def test_an_unusable_date(date, created):
    """Without a usable ``Date`` header, the local clock decides; a date without a time zone is in UTC."""

    async def main(_: Simulation) -> None:
        job = prediction(created_at=created or datetime.now(timezone.utc).isoformat())
        # A date says the time less precisely, so that the list is read until that is enough.
        pages = [answer(200, {"results": [job]}, {"Date": date})] * (1 if created is None else 10)
        async with RawServer(reset, *pages, answer(200, job)) as server, server.client() as client:
            adopted = await client.models.predictions.create("owner", "name", input={})
            assert adopted.id == job["id"]
            assert [request.method for request in server.requests] == ["POST", *["GET"] * len(pages), "GET"]

    simulate(main)


if hasattr(asyncio, "eager_task_factory"):

    def test_each_lookup_reads_the_list_under_eager_tasks():
        """With eager tasks too, each lookup reads the list: a prediction that it shows late is not created twice."""

        async def main(_: Simulation) -> None:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            job = prediction(created_at=datetime.now(timezone.utc).isoformat())
            pages = [answer(200, {"results": results}) for results in ([], [job])]
            async with RawServer(reset, *pages, answer(200, job)) as server, server.client() as client:
                adopted = await client.models.predictions.create("owner", "name", input={})
                assert adopted.id == job["id"]
                assert [request.method for request in server.requests] == ["POST", "GET", "GET", "GET"]

        simulate(main)


@pytest.mark.anyio
async def test_predictions_are_canceled_although_the_loop_ends_during_a_lookup():
    """The end of a loop cancels all tasks, the one that reads the list among them; what was lost is still canceled."""
    server = LocalServer()

    @server.model("owner/endless", official=True)
    async def endless(n: int) -> None:
        await asyncio.Event().wait()

    with server:
        server.faults.add(operation="models.predictions.create", kind="reset", after=True, times=2)
        server.faults.add(operation="predictions.list", kind="delay", seconds=1.0, times=1)

        async def main() -> list[asyncio.Task[Any]]:
            client = AsyncReplicate(base_url=server.base_url, bearer_token=server.token)
            tasks = []
            for n in range(2):
                tasks.append(asyncio.create_task(client.run("owner/endless", {"n": n}, wait=False)))
                await asyncio.sleep(0.3)
            return tasks

        await asyncio.to_thread(asyncio.run, main())
        assert [job.status for job in server.predictions.values()] == ["canceled", "canceled"]


# --- identical creates ---


@pytest.mark.parametrize("after", [True, False], ids=["created", "not created"])
def test_identical_creates_are_told_apart(after):
    """Twenty runs with the same input, a third of which lose their response, get one prediction each."""

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
def test_cancelling_one_of_two_identical_runs(ref, first):
    """Cancelling one of two runs with the same input cancels only its own prediction."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            run = {"input": {"text": "same", "seconds": 40}}
            tasks = [asyncio.create_task(client.run(ref, **run)) for _ in range(2)]
            await sim.sleep(2)
            cancelled, kept = tasks if first else reversed(tasks)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert sim.monotonic() < 3
            assert await kept == "hello same"
            assert sorted(job.status for job in jobs(server)) == ["canceled", "succeeded"]

    simulate(main)


# --- cancellation during the lookup ---


@pytest.mark.parametrize("seconds", [3.5, 5.02, 5.05, 5.3, 5.55, 5.7, 6.1, 6.3])
@pytest.mark.parametrize("fault", [{"kind": "stall", "after": True}, {"kind": "delay", "seconds": 5.4}])
def test_cancellation_around_the_lookup(fault, seconds):
    """A run that is cancelled before or during the lookup of its create cancels the resulting prediction."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, times=1, **fault)
            # Listing and fetching take a while, so that there are more moments in which it can be cancelled.
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
    """200 runs, a fifth of which lose their response, make exactly 200 predictions and get all outputs."""

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


def test_lookups_share_the_list():
    """When hundreds of creates are looked up at once, each read of the list serves all of them."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:
            server.faults.add(operation=CREATES, kind="html", times=300)
            server.faults.add(operation="predictions.list", kind="delay", seconds=0.1)
            calls = [client.predictions.create(version=VERSION, input={"text": str(number)}) for number in range(300)]
            jobs = await asyncio.gather(*calls)
            assert {job.id for job in jobs} == set(server.predictions)
            assert creates(server) == 600
            assert sum(call.operation == "predictions.list" for call in server.requests) < 100

    simulate(main)


def test_a_create_that_takes_the_result_of_an_identical_one():
    """If a lost create takes the result of an identical one, which is held, that one's lookup finds the other."""

    async def main(sim: Simulation) -> None:
        async with serving(sim) as server, client_of(server) as client:

            def start() -> asyncio.Task[Any]:
                return asyncio.create_task(client.run(f"owner/name:{VERSION}", input={"text": "x", "seconds": 3600}))

            # The server's clock is known from now on, so that lookups take no time.
            await client.run(f"owner/name:{VERSION}", input={"text": "y", "seconds": 0})
            held = start()
            # Both are created at the same time, by the clock.
            for _ in range(100_000):
                if len(server.predictions) == 2:
                    break
                await asyncio.sleep(0)
            server.faults.add(operation=CREATES, kind="stall", after=True, times=1)
            lost = start()
            await sim.sleep(1)
            # The lookup of the held one waits for the other, which is canceled before that one looks again.
            held.cancel()
            await sim.sleep(0.02)
            lost.cancel()
            await asyncio.gather(held, lost, return_exceptions=True)
            await sim.sleep(60)
            statuses = [job.status for job in server.predictions.values()]
            assert statuses == ["succeeded", "canceled", "canceled"]

    simulate(main)


def test_servers_that_repeat_an_id():
    """A canceled create cancels what its response names, also if an earlier create got the same id from a mere mock."""

    async def main(sim: Simulation) -> None:
        made, later = answer(201, prediction(status="succeeded")), after(0.1, answer(201, prediction()))
        async with RawServer(made, later, answer(200, prediction(status="canceled"))) as server:
            async with server.client() as client:
                await client.run("owner/name", input={})
                task = asyncio.ensure_future(client.run("owner/name", input={"x": 1}, wait=False))
                await sim.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])
            assert [request.method for request in server.requests] == ["POST"] * 3
            assert server.requests[2].target.endswith("/cancel")

    simulate(main)


async def _run_pairs(
    sim: Simulation, count: int, seed: int, chances: dict[str, float], cancelled: dict[int, float]
) -> None:
    """Run pairs with equal inputs, some cut off, lost, throttled or cancelled, and check the result of each."""
    limits = {"creates": 1200, "create_burst": 30}
    async with serving(sim, limits=limits) as server, client_of(server) as client:
        for kind, after, chance in [
            ("reset", True, chances["cut_off"]),
            ("html", True, chances["cut_off"]),
            ("stall", True, chances["cut_off"]),
            ("reset", False, chances["lost"]),
        ]:
            seed += 1
            server.faults.add(
                operation=CREATES, probability=chance, seed=seed, kind=kind, after=after, times=count // 5
            )
        server.faults.add(
            probability=chances["throttled"], seed=seed, kind="rate_limit", retry_after=1, times=count // 2
        )

        def start(number: int) -> asyncio.Task[Any]:
            pair = number // 2
            inputs = {"text": str(pair), "seconds": 3600 if pair in cancelled else pair % 7}
            return asyncio.create_task(client.run(f"owner/name:{VERSION}", input=inputs, max_retries=8))

        tasks = [start(number) for number in range(count)]
        for pair, seconds in cancelled.items():
            for number in (2 * pair, 2 * pair + 1):
                asyncio.get_running_loop().call_later(seconds, tasks[number].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await sim.sleep(60)
        for number, result in enumerate(results):
            if number // 2 in cancelled:
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert result == f"hello {number // 2}"
        statuses = Counter(job.status for job in server.predictions.values())
        assert statuses["succeeded"] == count - 2 * len(cancelled)
        assert statuses["processing"] == statuses["starting"] == 0
        assert len(server.predictions) <= count


@pytest.mark.endurance
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    chances=st.fixed_dictionaries(
        {"cut_off": st.floats(0, 0.3), "lost": st.floats(0, 0.3), "throttled": st.floats(0, 0.1)}
    ),
    cancelled=st.dictionaries(st.integers(0, 24), st.floats(0, 15), max_size=8),
)
def test_no_create_is_lost_or_billed_twice(seed, chances, cancelled):
    """With random faults and cancellations, each run gets its output or is canceled, from one prediction."""
    simulate(lambda sim: _run_pairs(sim, 50, seed, chances, cancelled))


def test_three_hundred_at_once():
    """The same with 300 runs and rate limits."""
    chances = {"cut_off": 0.05, "lost": 0.05, "throttled": 0.02}
    cancelled = {pair: pair / 5 for pair in range(0, 150, 5)}
    simulate(lambda sim: _run_pairs(sim, 300, 7, chances, cancelled))
