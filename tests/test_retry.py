"""Which calls are made again after a failure, how often, after which pause; and which never are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import tenacity

from replicate_async import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncReplicate,
    CreateOutcomeUnknown,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    ReplicateError,
)
from replicate_async._http import clock as sdk_clock

from .rawserver import (
    ACCOUNT,
    JumpingClock,
    RawServer,
    answer,
    close,
    drip,
    free_port,
    part_of,
    prediction,
    record_pauses,
    reset,
    stall,
)

pytestmark = pytest.mark.anyio

Call = Callable[[AsyncReplicate], Awaitable[Any]]
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


async def get(client: AsyncReplicate) -> Any:
    return await client.account.get()


async def create(client: AsyncReplicate) -> Any:
    return await client.predictions.create(version=VERSION, input={"text": "Alice"})


# Calls that bill or make something, each by its own way: none is made twice without knowing what became of the first.
UNSAFE: dict[str, Call] = {
    "predictions.create": create,
    "models.predictions.create": lambda client: client.models.predictions.create("owner", "name", input={}),
    "deployments.predictions.create": lambda client: client.deployments.predictions.create("owner", "name", input={}),
    "run": lambda client: client.run("owner/name", input={}),
    "trainings.create": lambda client: client.trainings.create("o", "n", VERSION, destination="o/n", input={}),
    "models.create": lambda client: client.models.create(owner="o", name="n", visibility="private", hardware="cpu"),
    "deployments.create": lambda client: client.deployments.create(
        name="n", model="o/n", version=VERSION, hardware="cpu", min_instances=0, max_instances=1
    ),
    "files.create": lambda client: client.files.create(content=b"abc"),
    "post": lambda client: client.post("/predictions", json={}),
    "streaming": lambda client: _enter(
        client.predictions.with_streaming_response.create(version=VERSION, input={"text": "Alice"})
    ),
    "raw": lambda client: client.predictions.with_raw_response.create(version=VERSION, input={}),
}
# Calls that change nothing, or that change the same thing to the same state.
SAFE: dict[str, Call] = {
    "account.get": get,
    "predictions.list": lambda client: client.predictions.list(),
    "predictions.cancel": lambda client: client.predictions.cancel("abc"),
    "trainings.cancel": lambda client: client.trainings.cancel("abc"),
    "models.update": lambda client: client.models.update("owner", "name", description="x"),
    "deployments.update": lambda client: client.deployments.update("owner", "name", max_instances=1),
    "models.delete": lambda client: client.models.delete("owner", "name"),
    "models.search": lambda client: client.models.search("x"),
    "get": lambda client: client.get("/account"),
}


async def _enter(manager: Any) -> None:
    async with manager:
        pass


SLOW = {"stall": stall, "drip": drip(answer(200, ACCOUNT), every=0.02)}
# What may have been carried out although no good answer came.
UNCERTAIN = {
    "hang up": None,
    "close": close,
    "reset": reset,
    "half an answer": part_of(answer(200, ACCOUNT)[:-5]),
    "half the headers": part_of(b"HTTP/1.1 200 OK\r\nContent-Type: app"),
    "garbage": part_of(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    **SLOW,
    "408": answer(408),
    "409": answer(409),
    "500": answer(500),
    "502 html": answer(502, b"<html>", {"Content-Type": "text/html"}),
    "503": answer(503),
    "504": answer(504),
}
REFUSED = {
    "429": answer(429),
    "429 hint": answer(429, {"detail": "resets in ~30s"}, {"Retry-After": "3"}),
    "503 hint": answer(503, b"", {"Retry-After": "1"}),
}
FINAL = {str(status): answer(status, {"detail": "no"}) for status in (400, 401, 402, 403, 404, 405, 413, 422)}


async def attempts(call: Call, step: Any, **options: Any) -> tuple[int, list[float]]:
    """Make a call to a server that always answers the same; return how often it came there, and the pauses.

    A call with a method that HTTP calls idempotent may come once more per attempt: aiohttp doesn't wait for us to
    repeat it when a connection closes without an answer.
    """
    timeout = 0.1 if step in SLOW.values() else 30
    async with RawServer(step) as server, server.client(timeout=timeout, **options) as client:
        pauses = record_pauses()
        with pytest.raises(APIError):
            await call(client)
        # After a create, it may be looked for in the list; that isn't counted.
        made = [request for request in server.requests if request.method == server.requests[0].method]
        return server.connections if step is None else len(made), pauses


@pytest.mark.parametrize("step", UNCERTAIN.values(), ids=UNCERTAIN)
async def test_what_may_have_been_done_is_repeated_only_where_that_is_safe(step):
    """After a failure that leaves open what became of the call, a GET is made three times, a create once."""
    made, pauses = await attempts(get, step)
    assert len(pauses) == 2
    assert made in {3, 6}
    if step is not None:
        assert (await attempts(create, step))[0] == 1


@pytest.mark.parametrize("step", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", [get, create, UNSAFE["post"], UNSAFE["streaming"]])
async def test_what_was_refused_is_repeated(call, step):
    """429, and 503 with a hint when to come back, mean that nothing happened: creates are repeated as well.

    A limit is no failure of the call: some more refusals are put up with.
    """
    made, pauses = await attempts(call, step)
    expected = 3 if step is REFUSED["503 hint"] else 6
    assert (made, len(pauses)) == (expected, expected - 1)


@pytest.mark.parametrize("step", FINAL.values(), ids=FINAL)
@pytest.mark.parametrize("call", [get, create])
async def test_what_was_answered_is_not_repeated(call, step):
    """A refusal that would be the same again is raised at once."""
    assert await attempts(call, step) == (1, [])


@pytest.mark.parametrize("call", UNSAFE.values(), ids=UNSAFE)
async def test_no_way_to_create_is_repeated(call):
    """However a prediction, training, model, deployment or file is created: a failure in the middle is raised."""
    assert (await attempts(call, answer(500)))[0] == 1
    assert (await attempts(call, close))[0] == 1


@pytest.mark.parametrize("call", SAFE.values(), ids=SAFE)
async def test_safe_calls_are_repeated(call):
    """Reading, deleting, cancelling and setting fields to given values can be done again."""
    assert (await attempts(call, answer(500)))[0] == 3
    assert len((await attempts(call, close))[1]) == 2


@pytest.mark.parametrize("call", [get, create])
async def test_what_never_left_is_repeated(call):
    """Where no connection could be made nothing has happened: a later attempt may succeed."""
    port = free_port()
    async with (
        RawServer(answer(200, {**ACCOUNT, **prediction()}), port=port) as server,
        AsyncReplicate(bearer_token="x", base_url=f"http://127.0.0.1:{port}/v1") as client,
    ):
        server._server.close()
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                server._server = await asyncio.start_server(server._serve, "127.0.0.1", port)

        sdk_clock.current = JumpingClock(sleep)
        await call(client)
        assert len(pauses) == 2
        assert len(server.requests) == 1


@pytest.mark.parametrize("call", [get, create])
async def test_no_connection_at_all(call):
    """When nobody listens the error says so, and that nothing was sent."""
    async with AsyncReplicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}/v1") as client:
        pauses = record_pauses()
        with pytest.raises(APIConnectionError, match="no connection") as caught:
            await call(client)
        assert not caught.value.sent
        assert len(pauses) == 2


async def test_every_attempt_sends_the_same():
    """A repeated request is the first one again, body and all, also where the body is sent as a file."""
    for size in (10, 2_000_000):
        body = {"text": "x" * size}
        async with (
            RawServer(answer(429), answer(429), answer(201, prediction())) as server,
            server.client() as client,
        ):
            record_pauses()
            await client.predictions.create(version=VERSION, input=body, prefer="wait=5")
            first, *others = server.requests
            assert len(others) == 2
            assert all((other.headers, other.body) == (first.headers, first.body) for other in others)
            assert len(first.body) > size


async def test_retries_taken():
    """An answer tells how many attempts failed before it."""
    for failures in range(3):
        async with (
            RawServer(*[answer(500, b"", {"Retry-After": "0"})] * failures, answer(200, ACCOUNT)) as server,
            server.client() as client,
        ):
            assert (await client.account.with_raw_response.get()).retries_taken == failures


async def test_retries_taken_by_a_streamed_answer():
    """An answer that is read on demand has had its attempts before it is there."""
    failure = answer(502, b"", {"Retry-After": "0"})
    async with (
        RawServer(failure, answer(200, ACCOUNT)) as server,
        server.client() as client,
        client.account.with_streaming_response.get() as response,
    ):
        assert (response.retries_taken, (await response.parse()).username) == (1, "alice")


async def test_the_last_failure_is_raised():
    """What the last attempt met is what the caller sees, with nothing of the machinery around it."""
    async with (
        RawServer(answer(500), part_of(answer(200, ACCOUNT)[:-5]), answer(504, {"title": "late"})) as server,
        server.client() as client,
    ):
        record_pauses()
        with pytest.raises(InternalServerError, match="504 late"):
            await client.account.get()
        assert len(server.requests) == 3


async def test_a_final_answer_ends_the_repeating():
    """An attempt that meets a refusal is the last one, even if more were allowed."""
    async with RawServer(answer(500), answer(404), answer(200, ACCOUNT)) as server, server.client() as client:
        pauses = record_pauses()
        with pytest.raises(NotFoundError):
            await client.account.get()
        assert (len(server.requests), len(pauses)) == (2, 1)


async def test_a_create_stops_where_it_may_have_been_billed():
    """A create that was refused once is made again, but an uncertain end of that attempt is the end."""
    for step in (answer(500), close, part_of(answer(201, prediction())[:-5])):
        async with RawServer(answer(429), step, answer(201, prediction())) as server, server.client() as client:
            record_pauses()
            with pytest.raises(CreateOutcomeUnknown):
                await create(client)
            assert [request.method for request in server.requests].count("POST") == 2


# --- how often ---


async def test_max_retries():
    """The call's number wins over the client's, and that over the default of two; zero means one attempt."""
    step = answer(500)
    assert (await attempts(get, step))[0] == 3
    assert (await attempts(get, step, max_retries=0))[0] == 1
    assert (await attempts(get, step, max_retries=5))[0] == 6
    assert (await attempts(lambda client: client.account.get(max_retries=1), step, max_retries=5))[0] == 2
    assert (await attempts(lambda client: client.account.get(max_retries=0), step))[0] == 1
    assert (await attempts(lambda client: client.with_options(max_retries=0).account.get(), step))[0] == 1


async def test_no_retries_means_no_pause():
    """With ``max_retries=0`` the failure is raised without waiting for anything."""
    for step in (answer(429, b"", {"Retry-After": "30"}), part_of(answer(200, ACCOUNT)[:-5])):
        assert await attempts(get, step, max_retries=0) == (1, [])


# --- how long ---


async def test_pauses_grow_and_differ():
    """Without a hint each pause is about twice the last, up to eight seconds, and nobody waits exactly as long."""
    _, first = await attempts(get, answer(500), max_retries=7)
    _, second = await attempts(get, answer(500), max_retries=7)
    for number, pause in enumerate(first):
        longest = min(8.0, 0.5 * 2**number)
        assert longest / 2 <= pause <= longest
    assert first != second


@pytest.mark.parametrize(
    ("step", "least"),
    [
        (answer(429, b"", {"Retry-After": "7"}), 7),
        (answer(503, b"", {"Retry-After": "0.2"}), 0.2),
        (answer(429, {"retry_after": 12}), 12),
        (answer(429, {"detail": "Request was throttled. Your rate limit resets in ~30s."}), 30),
        (answer(429, {"detail": "resets in ~2s", "retry_after": 4}, {"Retry-After": "3"}), 4),
        (
            answer(
                503,
                b"",
                {"Retry-After": "Wed, 21 Oct 2026 07:28:20 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            ),
            20,
        ),
        (answer(500, b"", {"retry-after": "5"}), 5),
        (answer(429, b"", {"Retry-After": "0"}), 0),
        (answer(429, {"retry_after": 300}), 300),
    ],
)
async def test_hints_are_obeyed(step, least):
    """What the server asks for is waited for, plus a little that differs from caller to caller."""
    _, pauses = await attempts(get, step)
    assert len(pauses) >= 2
    most = least + 0.25 if least else 1  # without a hint to go by, refusals make the pace slower
    assert all(least <= pause <= most for pause in pauses)


async def test_a_hint_beyond_reason_is_raised():
    """Nobody is put to sleep for an hour: the error is raised at once, and says how long."""
    async with RawServer(answer(429, b"", {"Retry-After": "3600"})) as server, server.client() as client:
        pauses = record_pauses()
        with pytest.raises(RateLimitError) as caught:
            await client.account.get()
        assert (pauses, caught.value.retry_after) == ([], 3600)


async def test_a_pause_can_be_cancelled():
    """Cancelling the caller ends the repeating: no further attempt is made."""
    async with RawServer(answer(429, b"", {"Retry-After": "60"})) as server, server.client() as client:
        sleeping = asyncio.Event()
        wait = asyncio.sleep

        async def sleep(seconds: float) -> None:
            sleeping.set()
            await wait(seconds)

        sdk_clock.current = JumpingClock(sleep)
        task = asyncio.ensure_future(client.account.get())
        await sleeping.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 1


async def test_closing_the_client_ends_the_repeating():
    """A client that is closed during a pause says so, instead of trying in vain for the rest of the attempts."""
    async with RawServer(answer(500)) as server, server.client(max_retries=5) as client:
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await client.close()

        sdk_clock.current = JumpingClock(sleep)
        with pytest.raises(ReplicateError, match="closed"):
            await client.account.get()
        assert (len(server.requests), len(pauses)) == (1, 1)


async def test_repeating_is_logged(caplog):
    """Who wonders why a call took so long finds each repetition, and its cause, in the log."""
    caplog.set_level(logging.INFO, "replicate_async")
    await attempts(get, answer(500, {"detail": "overloaded"}))
    texts = [record.getMessage() for record in caplog.records]
    assert [text[:7] for text in texts] == ["retry 1", "retry 2"]
    assert all("GET /account" in text and "500 overloaded" in text for text in texts)


# --- a policy of the user's own ---


def policy(**settings: Any) -> tuple[tenacity.AsyncRetrying, list[float]]:
    """Return a policy that repeats four times, and the list of its pauses."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    defaults = {"stop": tenacity.stop_after_attempt(5), "wait": tenacity.wait_fixed(1.5), "sleep": sleep}
    return tenacity.AsyncRetrying(**{**defaults, **settings}), pauses


async def test_a_policy_decides_how_often_and_how_long():
    """The policy's stop and wait replace the built-in ones; the error stays the API's."""
    mine, pauses = policy()
    assert await attempts(get, answer(500), retry=mine) == (5, [])
    assert pauses == [1.5] * 4


async def test_max_retries_wins_over_the_policy():
    """Where both are given, the policy says when and ``max_retries`` how often."""
    mine, pauses = policy()
    assert (await attempts(get, answer(500), retry=mine, max_retries=1))[0] == 2
    assert (await attempts(lambda client: client.account.get(max_retries=2), answer(500), retry=mine))[0] == 3
    assert pauses == [1.5] * 3


async def test_a_policy_may_choose_what_to_repeat():
    """What is safe to repeat is repeated only if the policy wants to."""

    def timed_out(error: BaseException) -> bool:
        return isinstance(error, APITimeoutError)

    mine, _ = policy(retry=tenacity.retry_if_exception(timed_out))
    assert (await attempts(get, answer(500), retry=mine))[0] == 1
    assert (await attempts(get, stall, retry=mine, max_retries=1))[0] == 2


@pytest.mark.parametrize(
    "retry",
    [tenacity.retry_always, tenacity.retry_if_result(lambda _: True), tenacity.retry_if_exception(lambda _: True)],
    ids=["always", "any result", "any error"],
)
async def test_a_policy_cannot_repeat_what_may_be_billed(retry):
    """However eager a policy is, a create whose end is uncertain is not made again, be it the first attempt or not."""
    mine, _ = policy(retry=retry)
    for steps in ([answer(500)], [close], [answer(429), answer(500)], [answer(429), close], [answer(503)]):
        async with RawServer(*steps, answer(201, prediction())) as server, server.client(retry=mine) as client:
            with pytest.raises(APIError):
                await create(client)
            assert [request.method for request in server.requests].count("POST") <= len(steps), steps


async def test_a_policy_does_not_repeat_success():
    """A good answer ends the repeating, also for a policy that always wants more."""
    mine, _ = policy(retry=tenacity.retry_always)
    async with RawServer(answer(429), answer(201, prediction())) as server, server.client(retry=mine) as client:
        assert (await create(client)).id == prediction()["id"]
        assert len(server.requests) == 2


async def test_a_policy_never_replaces_the_error():
    """Neither tenacity's RetryError nor what its callbacks return reaches the caller."""
    for settings in ({"reraise": False}, {"retry_error_callback": lambda _: "swallowed"}, {"reraise": True}):
        mine, _ = policy(**settings)
        async with RawServer(answer(500)) as server, server.client(retry=mine) as client:
            with pytest.raises(InternalServerError):
                await client.account.get()
            assert len(server.requests) == 5


async def test_a_policy_stays_as_it_is():
    """One policy serves many calls at once: none changes it, and none counts the attempts of others."""
    mine, _ = policy()
    before = (mine.stop, mine.reraise)
    async with RawServer(answer(500)) as server, server.client(retry=mine) as client:
        calls = [client.account.get(max_retries=number) for number in (0, 1, 2, 3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, APIStatusError) for result in results)
        assert len(server.requests) == 1 + 2 + 3 + 4
    assert (mine.stop, mine.reraise) == before


async def test_with_options_changes_the_policy():
    """A copy of the client may have another policy, or the built-in one again."""
    mine, _ = policy()
    assert (await attempts(lambda client: client.with_options(retry=mine).account.get(), answer(500)))[0] == 5
    async with RawServer(answer(500)) as server, server.client(retry=mine) as client:
        plain = client.with_options(retry=None)
        record_pauses()
        with suppress(InternalServerError):
            await plain.account.get()
        assert len(server.requests) == 3
