"""Predictions that nobody waits for any more are canceled, whatever happens meanwhile, and whoever has gone."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from programs import run as run_program
from programs import start
from rawserver import RawServer, after, answer, prediction
from replicate_async import AsyncReplicate, Replicate, ReplicateError, hooks
from replicate_async.testing import LocalServer
from simulation import Simulation, simulate

MODEL = "owner/endless"


def add_model(server: LocalServer) -> LocalServer:
    """Give a server a model that never ends."""

    @server.model(MODEL, official=True)
    async def endless(n: int = 0) -> None:
        await asyncio.Event().wait()

    @server.model("owner/counting", official=True)
    async def counting(n: int = 1_000) -> AsyncIterator[str]:
        for number in range(n):
            yield str(number)
            await asyncio.sleep(0.01)

    return server


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with add_model(LocalServer()) as server:
        yield server


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options)


def statuses(server: LocalServer) -> set[str]:
    return {prediction.status for prediction in server.predictions.values()}


def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["a run", "a handle"])
def test_cancels_have_the_callers_headers(server, how):
    """What a gateway needs to let a create pass, it needs to let the cancel pass."""
    options: Any = {"wait": False, "extra_headers": {"X-Tenant": "ours"}}

    async def main() -> None:
        async with client_of(server) as client:
            if how == "a handle":
                await (await client.submit(MODEL, extra_headers=options["extra_headers"])).cancel()
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.run(MODEL, **options), 0.5)

    asyncio.run(main())
    cancels = [request for request in server.requests if request.path.endswith("/cancel")]
    assert [request.headers.get("X-Tenant") for request in cancels] == ["ours"]


def test_headers_of_a_create_do_not_hold_up_its_cancel(server):
    """What says how a create is answered concerns no other call: a cancel that stalls is repeated after seconds."""
    server.faults.add(operation="predictions.cancel", kind="stall", times=1)

    async def main() -> None:
        async with client_of(server) as client:
            headers = {"Prefer": "wait=30", "Cancel-After": "60s", "content-type": "application/json"}
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.run(MODEL, wait=False, extra_headers=headers), 0.5)

    asyncio.run(main())
    cancels = [request for request in server.requests if request.path.endswith("/cancel")]
    assert len(cancels) == 2
    assert not {"Prefer", "Cancel-After", "Content-Type"} & {name.title() for name in cancels[0].headers}
    assert statuses(server) == {"canceled"}


def test_a_handles_cancel_is_retried(server):
    """The number of retries of a create does not count for the cancel of what it has made."""

    async def main() -> None:
        async with client_of(server) as client:
            handle = await client.submit(MODEL, max_retries=0)
            server.faults.add(operation="predictions.cancel", kind="status", status=503, times=1)
            assert (await handle.cancel()).status == "canceled"

    asyncio.run(main())


@pytest.mark.parametrize("how", ["a stream", "a map"])
def test_a_cancellation_while_leaving(server, how):
    """A task that is canceled while it leaves an iteration, which cancels its predictions, ends canceled."""
    server.faults.add(operation="predictions.cancel", kind="delay", seconds=1)

    async def leave(client: AsyncReplicate) -> None:
        if how == "a stream":
            iterator: Any = client.stream("owner/counting")
        else:
            iterator = client.map("owner/counting", [{"n": 1}, {"n": 1_000}], ordered=False)
        async with aclosing(iterator) as items:
            async for _ in items:
                break
        pytest.fail("the cancellation is lost")

    async def main() -> None:
        async with client_of(server) as client:
            task = asyncio.ensure_future(leave(client))
            await asyncio.to_thread(until, lambda: any(each.path.endswith("/cancel") for each in server.requests))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_cancel_at_the_end_of_a_program_that_needs_a_connection(server):
    """The end of a program cancels what daemon threads run, also if the host's name must be resolved again."""
    code = f"""
    import threading, time
    import aiohttp
    connector = aiohttp.TCPConnector
    aiohttp.TCPConnector = lambda **options: connector(**options, force_close=True, use_dns_cache=False)
    import replicate_async as replicate
    threading.Thread(target=lambda: replicate.run({MODEL!r}, wait=False), daemon=True).start()
    print("begun", flush=True)
    input()
    """
    base_url = server.base_url.replace("127.0.0.1", "localhost")
    with start(code, REPLICATE_API_TOKEN=server.token, REPLICATE_BASE_URL=base_url) as process:
        until(lambda: statuses(server) == {"processing"})
        output, errors = process.communicate("\n", timeout=30)
    assert (output, errors) == ("begun\n", "")
    assert statuses(server) == {"canceled"}


# --- the client closes ---


async def _wait_for(client: AsyncReplicate, options: dict[str, Any]) -> None:
    await asyncio.wait_for(asyncio.gather(*[client.run(MODEL, {"n": n}, **options) for n in range(20)]), 0.6)


async def _cancel_one(client: AsyncReplicate, options: dict[str, Any]) -> None:
    tasks = [asyncio.ensure_future(client.run(MODEL, {"n": n}, **options)) for n in range(20)]
    asyncio.get_running_loop().call_later(0.6, tasks[7].cancel)
    await asyncio.gather(*tasks)


async def _cancel_itself(client: AsyncReplicate, options: dict[str, Any]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.6, task.cancel)
    await asyncio.gather(*[client.run(MODEL, {"n": n}, **options) for n in range(20)])


@pytest.mark.parametrize("options", [{}, {"wait": False}, {"input": {"n": 0}}], ids=["held", "polled", "equal inputs"])
@pytest.mark.parametrize("how", [_wait_for, _cancel_one, _cancel_itself])
def test_gathered_runs_are_canceled_although_their_client_closes(server, how, options):
    """A client that closes waits for all cancellations under way, whoever began them."""

    async def main() -> None:
        async with client_of(server) as client:
            await how(client, {key: value for key, value in options.items() if key != "input"})

    with pytest.raises((asyncio.CancelledError, TimeoutError, asyncio.TimeoutError)):
        asyncio.run(main())
    assert len(server.predictions) <= 20
    assert statuses(server) == {"canceled"}


async def _submit(client: AsyncReplicate, n: int) -> Any:
    return await client.submit(MODEL, {"n": n})


async def _create(client: AsyncReplicate, n: int) -> Any:
    return await client.use(MODEL).create(n=n)


async def _read_stream(client: AsyncReplicate, n: int) -> Any:
    return await client.use(MODEL, streaming=True)(n=n).read()


@pytest.mark.parametrize("call", [_submit, _create, _read_stream])
def test_creates_in_flight_are_canceled_although_their_client_closes(call):
    """Creates of handles and streams that nobody will get are canceled like runs, when their client closes."""
    with add_model(LocalServer(latency=0.3)) as server:

        async def main() -> None:
            async with client_of(server) as client:
                await asyncio.wait_for(asyncio.gather(*[call(client, n) for n in range(20)]), 0.15)

        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(main())
        until(lambda: statuses(server) == {"canceled"})


async def _run(client: AsyncReplicate, n: int) -> Any:
    return await client.run(MODEL, {"n": n}, wait=False)


@pytest.mark.parametrize("call", [_run, _submit, _create, _read_stream])
def test_a_hook_that_raises_when_a_prediction_was_created(server, call):
    """What was created is canceled, because its caller gets the error of the hook."""

    class Unexpected(BaseException):
        pass

    def hook(event: hooks.Event) -> None:
        if isinstance(event, hooks.ResponseReceived) and event.status_code == 201:
            raise Unexpected

    async def main() -> None:
        async with client_of(server, hooks=[hook]) as client:
            with pytest.raises(Unexpected):
                await call(client, 1)

    asyncio.run(main())
    until(lambda: statuses(server) == {"canceled"})


@pytest.mark.parametrize("call", [_run, _submit, _create, _read_stream])
def test_nothing_is_canceled_that_could_not_be_sent(server, call, monkeypatch, caplog):
    """A create that fails before it is sent, here for its token, raises that alone."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", "not a token")

    async def main() -> None:
        async with AsyncReplicate(base_url=server.base_url) as client:
            with pytest.raises(ValueError, match="bearer_token contains invalid characters"):
                await call(client, 1)
        gc.collect()

    asyncio.run(main())
    assert caplog.text == ""
    assert server.requests == []


def test_a_client_that_is_closed_elsewhere(server):
    """Closing a client in one loop cancels what it runs in another."""
    client, began = client_of(server), threading.Event()
    errors: list[BaseException] = []

    async def work() -> None:
        task = asyncio.ensure_future(client.run(MODEL, wait=False))
        asyncio.get_running_loop().call_later(0.3, began.set)
        try:
            await task
        except ReplicateError as error:
            errors.append(error)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert began.wait(10)
    asyncio.run(client.close())
    thread.join(10)
    assert len(errors) == 1
    assert statuses(server) == {"canceled"}


def test_a_client_that_closes_begins_nothing_new(server):
    """What still waits for its turn when the client closes says that it is closed, and costs nothing."""

    async def main() -> list[Any]:
        async with client_of(server, max_connections=1) as client:
            tasks = [asyncio.ensure_future(client.run(MODEL, {"n": n}, wait=False)) for n in range(30)]
            while not server.predictions:  # noqa: ASYNC110 - the server knows nothing of tests
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert {type(result) for result in results} == {ReplicateError}
    assert statuses(server) == {"canceled"}
    assert len(server.predictions) < 30


# --- the API does not take the cancellation ---

FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": "rate_limit", "retry_after": 10, "times": 1},
    "429s": {"kind": "rate_limit", "retry_after": 20, "times": 5},
    "stall": {"kind": "stall", "times": 2},
    "503s": {"kind": "status", "status": 503, "times": 3},
    "500s": {"kind": "status", "status": 500, "times": 7},
    "html": {"kind": "html", "times": 2},
    "resets": {"kind": "reset", "times": 4},
    "404s": {"kind": "status", "status": 404, "times": 2},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("closes", [True, False])
def test_cancellations_are_tried_on(fault, closes, caplog):
    """A cancellation that fails is repeated in the background: the caller waits for at most five seconds."""

    async def main(sim: Simulation) -> None:
        async with add_model(LocalServer(clock=sim)) as server:
            client = client_of(server, max_retries=0)
            task = asyncio.ensure_future(client.run(MODEL, wait=False))
            await sim.sleep(3)
            server.faults.add(operation="predictions.cancel", **fault)
            task.cancel()
            started = sim.monotonic()
            await asyncio.wait([task])
            if closes:
                await client.close()
            assert sim.monotonic() - started <= 5.1
            assert task.cancelled()
            await sim.sleep(130)
            assert statuses(server) == {"canceled"}
            assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
            await client.close()

    simulate(main)


@pytest.mark.parametrize(("status", "seconds"), [(503, 600), (429, 600), (404, 30), (401, 30)])
def test_cancellations_that_never_succeed_are_logged(status, seconds, caplog):
    """After ten minutes, or half a minute if the API refuses, the log says what may run on, why, and what to do."""

    async def main(sim: Simulation) -> str:
        async with add_model(LocalServer(clock=sim)) as server, client_of(server) as client:
            task = asyncio.ensure_future(client.run(MODEL, wait=False))
            await sim.sleep(3)
            server.faults.add(operation="predictions.cancel", kind="status", status=status)
            task.cancel()
            await asyncio.wait([task])
            await sim.sleep(seconds / 2)
            assert not caplog.records
            await sim.sleep(seconds / 2 + 10)
            assert statuses(server) == {"processing"}
            return "".join(server.predictions)

    prediction_id = simulate(main)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"prediction {prediction_id} could not be canceled" in record.getMessage()
    assert str(status) in record.getMessage()
    assert f"predictions.cancel('{prediction_id}')" in record.getMessage()


@pytest.mark.parametrize(("jitter", "delays"), [(0, [0.25, 0.5, 1.0]), (1, [0.5, 1.0, 2.0])])
def test_the_delays_between_attempts(jitter, delays, monkeypatch):
    """The delay doubles with each attempt, and jitter shortens it to half of that at most."""
    monkeypatch.setattr(random, "uniform", lambda *bounds: bounds[jitter])

    async def main(sim: Simulation) -> list[float]:
        times: list[float] = []
        async with add_model(LocalServer(clock=sim)) as server, client_of(server) as client:
            task = asyncio.ensure_future(client.run(MODEL, wait=False))
            await sim.sleep(3)
            server.faults.add(
                kind="status",
                status=503,
                operation="predictions.cancel",
                times=6,
                when=lambda _: times.append(sim.monotonic()) or True,
            )
            task.cancel()
            await asyncio.wait([task])
            return times

    times = simulate(main)
    assert [after - before for before, after in itertools.pairwise(times[:4])] == pytest.approx(delays, abs=0.1)


# --- the create is still on its way ---


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.4])
@pytest.mark.parametrize("after", [True, False], ids=["the response is late", "the create is late"])
def test_runs_that_are_canceled_while_they_are_created(held, seconds, after):
    """However long the create takes, up to the bound, its prediction is canceled, and the task ends by then."""

    async def main(sim: Simulation) -> None:
        async with add_model(LocalServer(clock=sim)) as server, client_of(server) as client:
            server.faults.add(operation="*.create", kind="delay", seconds=2.5, after=after, times=1)
            task = asyncio.ensure_future(client.run(MODEL, wait=held))
            await sim.sleep(seconds)
            task.cancel()
            await asyncio.wait([task])
            assert sim.monotonic() < seconds + 5.1
            assert statuses(server) == {"canceled"}
            assert len(server.predictions) == 1

    simulate(main)


@pytest.mark.parametrize("after", [True, False], ids=["the response is lost", "the create is lost"])
def test_the_background_takes_over_from_a_loop_that_goes_on(server, after, caplog):
    """A program that cancels all of its tasks leaves an interrupted create to the background loop, as a whole."""

    async def main() -> None:
        async with client_of(server) as client:
            await client.account.get()
            server.faults.add(operation="*.create", kind="stall", after=after, times=1)
            task = asyncio.ensure_future(client.run(MODEL, wait=False))
            while not server.requests[1:]:  # noqa: ASYNC110 - the server knows nothing of tests
                await asyncio.sleep(0.01)
            for _ in range(2):
                for other in asyncio.all_tasks() - {asyncio.current_task()}:
                    other.cancel()
                await asyncio.sleep(0.05)
            assert task.cancelled()
            end = time.monotonic() + 10
            while after and statuses(server) != {"canceled"}:
                assert time.monotonic() < end
                await asyncio.sleep(0.01)

    # The debug mode raises an error where one thread changes what belongs to the loop of another.
    asyncio.run(main(), debug=True)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_create_that_is_canceled_and_answered_unreadably():
    """What an unreadable response has created is canceled by its id, also if it can't be fetched."""

    async def main(sim: Simulation) -> None:
        created = after(0.5, answer(201, b'{"id": "p1", "status":'))
        canceled = answer(200, prediction(id="p1", status="canceled"))
        async with RawServer(created, answer(403, {}), canceled) as server, server.client() as client:
            task = asyncio.ensure_future(client.run("owner/name", wait=False))
            await sim.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            targets = [request.target for request in server.requests]
            assert targets == ["/v1/models/owner/name/predictions", "/v1/predictions/p1", "/v1/predictions/p1/cancel"]

    simulate(main)


def test_a_create_that_was_refused_is_not_repeated_for_nobody(server):
    """A run that is canceled while its create waits for a retry creates nothing."""

    async def main(sim: Simulation) -> None:
        async with add_model(LocalServer(clock=sim)) as server, client_of(server) as client:
            server.faults.add(operation="*.create", kind="rate_limit", retry_after=10, times=1)
            task = asyncio.ensure_future(client.run(MODEL))
            await sim.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert sim.monotonic() < 1.5
            await sim.sleep(60)
            assert not server.predictions

    simulate(main)


# --- the loop or the program ends ---

PROGRAM = """
import asyncio, sys
import replicate_async as replicate

async def main():
    global client
    client = replicate.AsyncReplicate()
    # The import of aiohttp takes long.
    await client.account.get()
    {begin}
    print("begun", flush=True)
    {wait}

try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.TimeoutError):
    pass
"""
BEGINNINGS = {
    "a task": 'tasks = [asyncio.ensure_future(client.run("owner/endless", {"n": n})) for n in range(3)]',
    "polled": 'tasks = [asyncio.ensure_future(client.run("owner/endless", {"n": n}, wait=False)) for n in range(3)]',
    "in flight": 'tasks = [asyncio.ensure_future(client.run("owner/endless", wait=False))]',
}


def _environment(server: LocalServer) -> dict[str, str]:
    return {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("wait", ["await asyncio.sleep(0.7)", "await asyncio.wait_for(asyncio.gather(*tasks), 0.7)"])
def test_the_end_of_a_loop(server, begin, wait):
    """The end of a loop cancels what its tasks ran, although the client is not closed, and prints nothing."""
    output = run_program(PROGRAM.format(begin=begin, wait=wait), **_environment(server))
    assert output == "begun\n"
    assert statuses(server) == {"canceled"}


@pytest.mark.parametrize("blocking", [True, False])
def test_a_program_that_ends_while_the_api_refuses(server, blocking):
    """A program that is interrupted while the API is busy ends within the bound, and has canceled what it ran."""
    code = (
        'import replicate_async as replicate\nprint("begun", flush=True)\n'
        'try:\n    replicate.run("owner/endless", wait=False)\nexcept KeyboardInterrupt:\n    pass\n'
        if blocking
        else PROGRAM.format(begin=BEGINNINGS["polled"], wait="await asyncio.sleep(60)")
    )
    with start(code, **_environment(server)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        until(lambda: statuses(server) == {"processing"})
        time.sleep(0.5)
        count = len(server.predictions)
        server.faults.add(operation="predictions.cancel", kind="rate_limit", retry_after=2, times=count)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait(15) == 0
    assert statuses(server) == {"canceled"}


def test_a_blocking_client_that_is_closed_in_another_thread(server):
    """Closing a blocking client cancels the runs of all threads."""
    client = Replicate(bearer_token=server.token, base_url=server.base_url)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            client.run(MODEL)
        except ReplicateError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: len(server.predictions) == 5)
    client.close()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 5
    assert statuses(server) == {"canceled"}
