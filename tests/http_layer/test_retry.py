"""Retries: which calls are repeated after a failure, how often, after which delay, and which never are."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import tenacity

from rawserver import (
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

pytestmark = pytest.mark.anyio

Call = Callable[[AsyncReplicate], Awaitable[Any]]
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


async def get(client: AsyncReplicate) -> Any:
    return await client.account.get()


async def create(client: AsyncReplicate) -> Any:
    return await client.predictions.create(version=VERSION, input={"text": "Alice"})


# Calls that create something or cost money. They are not repeated while the outcome of the first attempt is unknown.
NOT_IDEMPOTENT: dict[str, Call] = {
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
# Calls that change nothing, or that set the same state again.
IDEMPOTENT: dict[str, Call] = {
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
# The call may have been carried out.
UNCERTAIN = {
    "hang up": None,
    "close": close,
    "reset": reset,
    "half a response": part_of(answer(200, ACCOUNT)[:-5]),
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
    """Make a call to a server that always responds the same; return the number of requests, and the delays.

    aiohttp itself repeats requests with an idempotent method once if a connection closes without a response.
    """
    timeout = 0.1 if step in SLOW.values() else 30
    async with RawServer(step) as server, server.client(timeout=timeout, **options) as client:
        delays = record_pauses()
        with pytest.raises(APIError):
            await call(client)
        # The lookup after a create does not count.
        sent = [request for request in server.requests if request.method == server.requests[0].method]
        return server.connections if step is None else len(sent), delays


@pytest.mark.parametrize("step", UNCERTAIN.values(), ids=UNCERTAIN)
async def test_only_idempotent_calls_are_repeated_after_an_unknown_outcome(step):
    """If the outcome of a call is unknown, a GET is sent three times, a create once."""
    count, delays = await attempts(get, step)
    assert len(delays) == 2
    assert count in {3, 6}
    if step is not None:
        assert (await attempts(create, step))[0] == 1


@pytest.mark.parametrize("step", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", [get, create, NOT_IDEMPOTENT["post"], NOT_IDEMPOTENT["streaming"]])
async def test_refused_calls_are_repeated(call, step):
    """After 429, and after 503 with Retry-After, even creates are repeated.

    429 responses do not count as retries: creates are repeated for ten minutes, all other calls for one, and five times
    at least.
    """
    count, delays = await attempts(call, step)
    if step is REFUSED["503 hint"]:
        assert (count, len(delays)) == (3, 2)
    else:
        patience = 600 if call is not get and call is not NOT_IDEMPOTENT["post"] else 60
        assert patience < sum(delays) < patience + 100
        assert count >= 6


@pytest.mark.parametrize("step", FINAL.values(), ids=FINAL)
@pytest.mark.parametrize("call", [get, create])
async def test_final_errors_are_not_repeated(call, step):
    """Statuses that would come again are raised at once."""
    assert await attempts(call, step) == (1, [])


@pytest.mark.parametrize("call", NOT_IDEMPOTENT.values(), ids=NOT_IDEMPOTENT)
async def test_no_create_is_repeated_after_an_unknown_outcome(call):
    """Whichever method creates a prediction, training, model, deployment or file, an unknown outcome is raised."""
    assert (await attempts(call, answer(500)))[0] == 1
    assert (await attempts(call, close))[0] == 1


@pytest.mark.parametrize("operation", ["files.create", "models.create", "deployments.create", "post"])
@pytest.mark.parametrize("status", [400, 408, 409])
async def test_a_broken_error_body_is_no_reason_to_repeat(operation, status):
    """A call that is neither idempotent nor billed is not repeated if the body of an error breaks off."""
    broken = part_of(answer(status, {"detail": "no"})[:-5])
    assert await attempts(NOT_IDEMPOTENT[operation], broken) == (1, [])


@pytest.mark.parametrize("call", IDEMPOTENT.values(), ids=IDEMPOTENT)
async def test_idempotent_calls_are_repeated(call):
    """Calls that read, delete, cancel or set fields to given values are repeated."""
    assert (await attempts(call, answer(500)))[0] == 3
    assert len((await attempts(call, close))[1]) == 2


@pytest.mark.parametrize("call", [get, create])
async def test_calls_that_were_not_sent_are_repeated(call):
    """If there was no connection, even a create is repeated, and succeeds when the server is back."""
    server = RawServer(answer(200, {**ACCOUNT, **prediction()}), port=free_port())
    async with AsyncExitStack() as stack, server.client() as client:
        delays: list[float] = []

        async def sleep(seconds: float) -> None:
            delays.append(seconds)
            if len(delays) == 2:
                await stack.enter_async_context(server)

        sdk_clock.current = JumpingClock(sleep)
        await call(client)
        assert len(delays) == 2
        assert len(server.requests) == 1


@pytest.mark.parametrize("call", [get, create])
async def test_no_connection_at_all(call):
    """Without a listener, the error says that nothing was sent."""
    async with AsyncReplicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}/v1") as client:
        delays = record_pauses()
        with pytest.raises(APIConnectionError, match="no connection") as caught:
            await call(client)
        assert not caught.value.sent
        assert len(delays) == 2


async def test_every_attempt_sends_the_same():
    """All attempts send the same headers and body, even if the body is sent as a file."""
    for size in (10, 2_000_000):
        body = {"text": "x" * size}
        async with (
            RawServer(answer(429), answer(429), answer(201, prediction())) as server,
            server.client() as client,
        ):
            record_pauses()
            await client.predictions.create(version=VERSION, input=body, prefer="wait=5")
            first, *repeated = server.requests
            assert len(repeated) == 2
            assert all((request.headers, request.body) == (first.headers, first.body) for request in repeated)
            assert len(first.body) > size


async def test_retries_taken():
    """A response has the number of failed attempts before it."""
    for failures in range(3):
        async with (
            RawServer(*[answer(500, b"", {"Retry-After": "0"})] * failures, answer(200, ACCOUNT)) as server,
            server.client() as client,
        ):
            assert (await client.account.with_raw_response.get()).retries_taken == failures


async def test_retries_taken_by_a_streamed_response():
    """A response that is read on demand has the number of failed attempts before it."""
    for failures in range(3):
        async with (
            RawServer(*[answer(502, b"", {"Retry-After": "0"})] * failures, answer(200, ACCOUNT)) as server,
            server.client() as client,
            client.account.with_streaming_response.get() as response,
        ):
            assert (response.retries_taken, (await response.parse()).username) == (failures, "alice")


async def test_the_last_failure_is_raised():
    """The error of the last attempt is raised, not one of the retry library."""
    async with (
        RawServer(answer(500), part_of(answer(200, ACCOUNT)[:-5]), answer(504, {"title": "late"})) as server,
        server.client() as client,
    ):
        record_pauses()
        with pytest.raises(InternalServerError, match="504 late"):
            await client.account.get()
        assert len(server.requests) == 3


async def test_a_final_error_ends_the_retries():
    """An attempt with a final error is the last one, even if more are allowed."""
    async with RawServer(answer(500), answer(404), answer(200, ACCOUNT)) as server, server.client() as client:
        delays = record_pauses()
        with pytest.raises(NotFoundError):
            await client.account.get()
        assert (len(server.requests), len(delays)) == (2, 1)


async def test_a_create_that_may_have_been_billed_is_not_repeated():
    """A create is repeated after a 429 response, but not after an attempt with an unknown outcome."""
    for step in (answer(500), close, part_of(answer(201, prediction())[:-5])):
        async with RawServer(answer(429), step, answer(201, prediction())) as server, server.client() as client:
            record_pauses()
            with pytest.raises(CreateOutcomeUnknown):
                await create(client)
            assert [request.method for request in server.requests].count("POST") == 2


# --- how often ---


async def test_max_retries():
    """The call's ``max_retries`` takes precedence over the client's, and that over the default of two."""
    step = answer(500)
    assert (await attempts(get, step))[0] == 3
    assert (await attempts(get, step, max_retries=0))[0] == 1
    assert (await attempts(get, step, max_retries=5))[0] == 6
    assert (await attempts(lambda client: client.account.get(max_retries=1), step, max_retries=5))[0] == 2
    assert (await attempts(lambda client: client.account.get(max_retries=0), step))[0] == 1
    assert (await attempts(lambda client: client.with_options(max_retries=0).account.get(), step))[0] == 1


async def test_no_retries_means_no_delay():
    """With ``max_retries=0``, the error is raised without waiting."""
    for step in (answer(429, b"", {"Retry-After": "30"}), part_of(answer(200, ACCOUNT)[:-5])):
        assert await attempts(get, step, max_retries=0) == (1, [])


# --- how long ---


async def test_delays_grow_and_differ():
    """Without Retry-After, each delay is about twice the last, up to eight seconds, with jitter."""
    _, first = await attempts(get, answer(500), max_retries=7)
    _, second = await attempts(get, answer(500), max_retries=7)
    for number, delay in enumerate(first):
        longest = min(8.0, 0.5 * 2**number)
        assert longest / 2 <= delay <= longest
    assert first != second


@pytest.mark.parametrize(
    ("step", "minimum"),
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
async def test_retry_after_is_respected(step, minimum):
    """The delay is the server's Retry-After, plus a jitter that grows from a twentieth of a second to a second."""
    _, delays = await attempts(get, step, max_retries=4)
    assert len(delays) >= 4
    assert minimum <= delays[0] <= minimum + 0.05
    assert all(minimum <= delay <= minimum + 1 for delay in delays)


async def test_the_jitter_after_retry_after(monkeypatch):
    """Its maximum grows by a twentieth of a second with each attempt, up to a second."""
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    _, delays = await attempts(get, answer(503, b"", {"Retry-After": "1"}), max_retries=25)
    assert delays == pytest.approx([1 + min(1.0, 0.05 * number) for number in range(1, 26)])


async def test_a_too_long_retry_after_is_raised():
    """A Retry-After of an hour is raised at once."""
    async with RawServer(answer(429, b"", {"Retry-After": "3600"})) as server, server.client() as client:
        delays = record_pauses()
        with pytest.raises(RateLimitError) as caught:
            await client.account.get()
        assert (delays, caught.value.retry_after) == ([], 3600)


async def test_a_delay_can_be_cancelled():
    """If the caller is cancelled during a delay, there is no further attempt."""
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


async def test_closing_the_client_ends_the_retries():
    """If the client is closed during a delay, the error says so, and there is no further attempt."""
    async with RawServer(answer(500)) as server, server.client(max_retries=5) as client:
        delays: list[float] = []

        async def sleep(seconds: float) -> None:
            delays.append(seconds)
            await client.close()

        sdk_clock.current = JumpingClock(sleep)
        with pytest.raises(ReplicateError, match="closed"):
            await client.account.get()
        assert (len(server.requests), len(delays)) == (1, 1)


async def test_retries_are_logged(caplog):
    """The log has each retry and its reason."""
    caplog.set_level(logging.INFO, "replicate_async")
    await attempts(get, answer(500, {"detail": "overloaded"}))
    texts = [record.getMessage() for record in caplog.records]
    assert [text[:7] for text in texts] == ["retry 1", "retry 2"]
    assert all("GET /account" in text and "500 overloaded" in text for text in texts)


# --- the user's own policy ---


def policy(**settings: Any) -> tuple[tenacity.AsyncRetrying, list[float]]:
    """Return a policy with four retries, and the list of its delays."""
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    defaults = {"stop": tenacity.stop_after_attempt(5), "wait": tenacity.wait_fixed(1.5), "sleep": sleep}
    return tenacity.AsyncRetrying(**{**defaults, **settings}), delays


async def test_a_policy_replaces_stop_and_wait():
    """The policy's stop and wait replace the default ones; the error is still the API's."""
    own, delays = policy()
    assert await attempts(get, answer(500), retry=own) == (5, [])
    assert delays == [1.5] * 4


async def test_max_retries_takes_precedence_over_the_policy():
    """If both are set, the policy determines the delays and ``max_retries`` the number of retries."""
    own, delays = policy()
    assert (await attempts(get, answer(500), retry=own, max_retries=1))[0] == 2
    assert (await attempts(lambda client: client.account.get(max_retries=2), answer(500), retry=own))[0] == 3
    assert delays == [1.5] * 3


async def test_a_policy_may_exclude_errors():
    """A call that may be repeated is repeated only if the policy says so."""

    def timed_out(error: BaseException) -> bool:
        return isinstance(error, APITimeoutError)

    own, _ = policy(retry=tenacity.retry_if_exception(timed_out))
    assert (await attempts(get, answer(500), retry=own))[0] == 1
    assert (await attempts(get, stall, retry=own, max_retries=1))[0] == 2


@pytest.mark.parametrize(
    "retry",
    [tenacity.retry_always, tenacity.retry_if_result(lambda _: True), tenacity.retry_if_exception(lambda _: True)],
    ids=["always", "any result", "any error"],
)
async def test_a_policy_can_not_repeat_creates_with_an_unknown_outcome(retry):
    """No policy repeats a create with an unknown outcome, in the first attempt or later."""
    own, _ = policy(retry=retry)
    for steps in ([answer(500)], [close], [answer(429), answer(500)], [answer(429), close], [answer(503)]):
        async with RawServer(*steps, answer(201, prediction())) as server, server.client(retry=own) as client:
            with pytest.raises(APIError):
                await create(client)
            assert [request.method for request in server.requests].count("POST") <= len(steps), steps


async def test_a_policy_does_not_repeat_success():
    """A successful attempt is the last one, even if the policy would continue."""
    own, _ = policy(retry=tenacity.retry_always)
    async with RawServer(answer(429), answer(201, prediction())) as server, server.client(retry=own) as client:
        assert (await create(client)).id == prediction()["id"]
        assert len(server.requests) == 2


async def test_a_policy_never_replaces_the_error():
    """Callers get neither tenacity's RetryError nor the result of a callback."""
    for settings in ({"reraise": False}, {"retry_error_callback": lambda _: "swallowed"}, {"reraise": True}):
        own, _ = policy(**settings)
        async with RawServer(answer(500)) as server, server.client(retry=own) as client:
            with pytest.raises(InternalServerError):
                await client.account.get()
            assert len(server.requests) == 5


async def test_a_policy_is_not_changed():
    """A policy serves concurrent calls, which neither change it nor count the attempts of others."""
    own, _ = policy()
    before = (own.stop, own.reraise)
    async with RawServer(answer(500)) as server, server.client(retry=own) as client:
        calls = [client.account.get(max_retries=number) for number in (0, 1, 2, 3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, APIStatusError) for result in results)
        assert len(server.requests) == 1 + 2 + 3 + 4
    assert (own.stop, own.reraise) == before


async def test_with_options_changes_the_policy():
    """A copy of the client may have another policy, or the default one again."""
    own, _ = policy()
    assert (await attempts(lambda client: client.with_options(retry=own).account.get(), answer(500)))[0] == 5
    async with RawServer(answer(500)) as server, server.client(retry=own) as client:
        plain = client.with_options(retry=None)
        record_pauses()
        with suppress(InternalServerError):
            await plain.account.get()
        assert len(server.requests) == 3
