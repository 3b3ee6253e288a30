"""Runs from input to output, waits, cancellation, and lists, with the asynchronous client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import anyio
import msgspec
import pytest

from callers import calling
from rawserver import TOKEN, RawServer, after, answer, close, prediction, record_pauses, stall
from replicate_async import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncReplicate,
    CreateOutcomeUnknown,
    InternalServerError,
    ModelError,
    NotFoundError,
    PredictionCanceledError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async._predictions.polled_job import poll_interval
from replicate_async.testing import LocalServer
from replicate_async.types import Model, Prediction
from simulation import Simulation, simulate

pytestmark = pytest.mark.anyio

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


class Models:
    """Models on a server; ``go_on`` lets the slow model continue."""

    def __init__(self, server: LocalServer) -> None:
        self.go_on = asyncio.Event()
        self.begun = 0

        @server.model("owner/echo", version=VERSION)
        async def echo(text: str = "nobody") -> str:
            return f"hello {text}"

        @server.model("owner/words")
        async def words(text: str) -> AsyncIterator[str]:
            for word in text.split():
                yield word

        @server.model("owner/broken")
        async def broken() -> str:
            print("about to fail")  # noqa: T201
            raise ValueError("no luck today")

        @server.model("owner/slow")
        async def slow(text: str = "") -> str:
            self.begun += 1
            await self.go_on.wait()
            return f"slow {text}"

        @server.model("owner/starting", startup=3600)
        async def starting() -> None:
            pass


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(tidy=True, page_size=3) as server:
        yield server


@pytest.fixture
def hosted(server: LocalServer) -> Models:
    return Models(server)


@pytest.fixture
async def client(server: LocalServer, hosted: Models) -> AsyncIterator[AsyncReplicate]:
    async with client_of(server) as client:
        yield client


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options)


def operations(server: LocalServer) -> list[str]:
    return [request.operation for request in server.requests]


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.002)


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 10)


# --- from input to output ---


@pytest.mark.parametrize(
    ("ref", "operation"),
    [
        ("owner/echo", "models.predictions.create"),
        (f"owner/echo:{VERSION}", "predictions.create"),
        (VERSION, "predictions.create"),
    ],
)
async def test_each_kind_of_reference_runs(server, client, ref, operation):
    """A model's name, a version of it, and a bare version id each run with one held request."""
    assert await client.run(ref, input={"text": "Alice"}) == "hello Alice"
    assert operations(server) == [operation]
    (request,) = server.requests
    assert request.headers["Prefer"] == "wait"
    assert request.json() == {"input": {"text": "Alice"}, **({"version": VERSION} if ref != "owner/echo" else {})}


async def test_fetched_models_and_versions_run(client):
    """A model or a version that was fetched can be run as it is."""
    assert await client.run(await client.models.get("owner/echo"), input={"text": "A"}) == "hello A"
    assert await client.run(await client.models.versions.get("owner", "echo", VERSION)) == "hello nobody"


async def test_a_model_whose_name_is_no_path_segment(client, server):
    """A model object with a strange name does not call another operation."""
    with pytest.raises(ValueError, match="name"):
        await client.run(Model(owner="owner", name="../../predictions"))
    assert operations(server) == []


async def test_outputs_are_not_changed(client):
    """A list stays a list; nothing is joined or unpacked."""
    assert await client.run("owner/words", input={"text": "a b c"}) == ["a", "b", "c"]


async def test_many_at_once(server, client):
    """Hundreds of concurrent runs each get their own output, and each is billed once."""
    outputs = await asyncio.gather(*[client.run("owner/echo", input={"text": str(number)}) for number in range(300)])
    assert outputs == [f"hello {number}" for number in range(300)]
    assert len(server.predictions) == 300


async def test_a_failed_prediction(client):
    """A model's failure raises an error with its message, and with the prediction."""
    with pytest.raises(ModelError, match="failed: no luck today") as caught:
        await client.run("owner/broken")
    assert type(caught.value) is ModelError
    assert caught.value.prediction.status == "failed"
    assert "about to fail" in (caught.value.prediction.logs or "")


@pytest.mark.parametrize(("ref", "status"), [("owner/slow", "canceled"), ("owner/starting", "aborted")])
@pytest.mark.parametrize("wait", [True, False])
async def test_a_prediction_that_is_canceled_elsewhere(server, client, ref, status, wait):
    """A prediction that was canceled while it ran, or aborted before, raises an error of its own class."""
    task = asyncio.ensure_future(client.run(ref, wait=wait))
    await until(lambda: statuses(server) == ["processing" if status == "canceled" else "starting"])
    await client.predictions.cancel(next(iter(server.predictions)))
    with pytest.raises(PredictionCanceledError, match=status) as caught:
        await task
    assert caught.value.prediction.status == status


ENDED = {"completed_at": "2025-01-01T00:00:01Z"}


@pytest.mark.parametrize("first", [201, 202])
async def test_an_unknown_final_status(first):
    """An unknown status with a time of completion is final: the run returns the output."""
    ended = prediction(status="exploded", output=["pieces"], **ENDED)
    if first == 201:
        steps = [answer(201, ended)]
    else:
        steps = [answer(202, prediction(status="queued")), answer(200, prediction(status="new")), answer(200, ended)]
    async with RawServer(*steps) as server, server.client() as client:
        record_pauses()
        assert await client.run("owner/name") == ["pieces"]
        assert len(server.requests) == len(steps)


async def test_an_unknown_final_status_with_an_error():
    """An unknown final status that comes with an error is a failure."""
    failed = prediction(status="exploded", error="boom", **ENDED)
    async with RawServer(answer(201, failed)) as server, server.client() as client:
        with pytest.raises(ModelError, match="exploded: boom"):
            await client.run("owner/name")


@pytest.mark.parametrize(
    "arguments",
    [
        {"ref": "nonsense"},
        {"ref": "owner/echo", "input": "text"},
        {"ref": "owner/echo", "input": {"x": object()}},
        {"ref": "owner/echo", "input": {"x": float("nan")}},
        {"ref": "owner/echo", "wait": 61},
        {"ref": "owner/echo", "wait": 0},
        {"ref": "owner/echo", "cancel_after": 1},
        {"ref": "owner/echo", "webhook_events_filter": ["done"]},
        {"ref": "owner/echo", "timeout": 0},
        {"ref": "owner/echo", "prompt": "x"},
        {"ref": "owner/echo", "extra_headers": {"X": "a\n"}},
    ],
    ids=",".join,
)
async def test_bad_arguments_send_nothing(server, client, arguments):
    """Invalid arguments raise before anything is billed."""
    with pytest.raises((ValueError, TypeError)):
        await client.run(**arguments)
    assert server.requests == []


async def test_inputs_that_the_model_refuses(server, client):
    """Inputs that only the model can check raise the API's 422 with its message, and start nothing."""
    with pytest.raises(UnprocessableEntityError, match="text"):
        await client.run("owner/echo", input={"text": ["Alice"]})
    assert len(server.predictions) == 0


async def test_arguments_are_sent(server, client):
    """``run`` takes everything that a create takes, including falsy values."""
    await client.run(
        "owner/echo",
        {},
        wait=5,
        stream=False,
        webhook="https://example.com/hook",
        cancel_after="5m",
        extra_headers={"X-Mine": "1"},
        # The API refuses members that it doesn't know.
        extra_body={"webhook_events_filter": ["completed"]},
    )
    (request,) = server.requests
    assert request.json() == {
        "input": {},
        "stream": False,
        "webhook": "https://example.com/hook",
        "webhook_events_filter": ["completed"],
    }
    assert request.headers["Prefer"] == "wait=5"
    assert request.headers["Cancel-After"] == "5m"
    assert request.headers["X-Mine"] == "1"


# --- waiting ---


async def test_polling_without_a_hold(server, client, hosted):
    """With ``wait=False`` the create is answered at once, and the prediction is polled until it has ended."""
    pauses = record_pauses()
    task = asyncio.ensure_future(client.run("owner/slow", input={"text": "x"}, wait=False))
    await until(lambda: len(pauses) > 3)
    hosted.go_on.set()
    assert await task == "slow x"
    assert "Prefer" not in server.requests[0].headers
    polls = len(server.requests) - 1
    assert operations(server) == ["models.predictions.create", *["predictions.get"] * polls]
    assert polls in {len(pauses), len(pauses) - 1}, "at the end there may be one more pause, which is not awaited"


async def test_polling_after_a_hold():
    """After the hold, the prediction is polled at once without a delay, then less and less often."""
    async with LocalServer(tidy=True, hold=0.05) as server:
        hosted = Models(server)
        async with client_of(server) as client:
            pauses = record_pauses()
            task = asyncio.ensure_future(client.run("owner/slow", wait=1))
            await until(lambda: len(pauses) > 1)
            hosted.go_on.set()
            assert await task == "slow "
            assert len(server.requests) - 2 in {len(pauses), len(pauses) - 1}


DATA = "data:image/png;base64,aGVsbG8="
URL = "https://replicate.delivery/xezq/out-0.png"
WHOLE_OUTPUTS: dict[str, Any] = {
    "text": "done",
    "empty text": "",
    "number": 0,
    "object": {"image": "https://example.com/1.png", "scores": [1, 2]},
}


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("output", WHOLE_OUTPUTS.values(), ids=WHOLE_OUTPUTS)
async def test_a_held_response_with_the_whole_output(kind, output):
    """A held response that says "processing" has the whole output if that is no list: one request is enough."""
    # As the API sends it: members that don't apply yet are absent.
    processing = prediction(status="processing", output=output)
    del processing["error"]
    held = answer(201, processing, {"Preference-Applied": "wait"})
    ended = answer(200, prediction(status="succeeded", output="too late", **ENDED))
    async with RawServer(held, held, ended) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        assert await call("run", "owner/name", use_file_output=False) == output
        assert len(server.requests) == 1
        assert await call.all(call.client.map("owner/name", [{}], use_file_output=False)) == [output]
        assert len(server.requests) == 2


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_the_file_of_a_held_response(kind):
    """A file that a held response has brought is read without another request."""
    held = answer(201, prediction(status="processing", output=DATA), {"Preference-Applied": "wait"})
    ended = answer(200, prediction(status="succeeded", output=URL, **ENDED))
    async with RawServer(held, ended) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        file = await call("run", "owner/name")
        assert await call.of(file.read) == b"hello"
        assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_a_list_in_a_held_response(kind):
    """A list in a held response may be partial: it is looked at once more, and the files it has brought are kept."""
    steps = [
        answer(201, prediction(status="processing", output=[DATA, "a text", {"image": DATA}])),
        answer(200, prediction(status="processing", output=[URL, "a text"])),
        answer(200, prediction(status="succeeded", output=[URL, "a text", {"image": URL, "n": 1}, URL], **ENDED)),
    ]
    async with RawServer(*steps) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        pauses = record_pauses()
        output = await call("run", "owner/name", use_file_output=False)
        assert output == [DATA, "a text", {"image": DATA, "n": 1}, URL]
        assert len(server.requests) == 3
        assert pauses, "it was polled at once, and then after a delay"


async def test_other_outputs_of_a_held_response():
    """Files are kept only where the final output has a URL, and without an output there is nothing to return yet."""
    for held, final in [
        ([DATA, DATA], ["a text", None]),
        ([DATA, DATA], [URL.replace("https", "ftp")]),
        ([DATA], URL),
        ([DATA], {"image": URL}),
        ([[DATA]], [URL]),
        ([], [URL]),
        (["a", "b"], ["a", "b", "c"]),
        (None, URL),
    ]:
        steps = [
            answer(201, prediction(status="processing", output=held)),
            answer(200, prediction(status="succeeded", output=final, **ENDED)),
        ]
        async with RawServer(*steps) as server, server.client() as client:
            assert await client.run("owner/name", use_file_output=False) == final
            assert len(server.requests) == 2


async def test_updates_after_a_held_response():
    """``on_update`` gets the end, too; so the prediction is looked at again, but the file is kept."""
    updates: list[tuple[str, Any]] = []
    steps = [
        answer(201, prediction(status="processing", output=DATA)),
        answer(200, prediction(status="succeeded", output=URL, **ENDED)),
    ]
    async with RawServer(*steps) as server, server.client() as client:
        output = await client.run(
            "owner/name",
            wait=5,
            use_file_output=False,
            on_update=lambda prediction: updates.append((prediction.status, prediction.output)),
        )
        assert (output, updates) == (DATA, [("succeeded", URL)])


async def test_a_response_that_was_not_held():
    """Without a hold, an output does not stand for the end."""
    steps = [
        answer(201, prediction(status="processing", output="don")),
        answer(200, prediction(status="succeeded", output="done", **ENDED)),
    ]
    async with RawServer(*steps) as server, server.client() as client:
        assert await client.run("owner/name", wait=False) == "done"


def test_poll_intervals_grow_with_age():
    """A short prediction is polled every quarter of a second, one of ten minutes some dozen times in all."""
    pauses = [poll_interval(age) for age in range(1200)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.25, 10.0)
    age, polls = 0.0, 0
    while age < 600:
        age += poll_interval(age)
        polls += 1
    assert polls < 100


async def test_polls_carry_no_body(server, client, hosted):
    """Extra body and query are sent with the create only; headers and timeouts apply to polls too."""
    hosted.go_on.set()
    record_pauses()
    await client.run(
        "owner/slow",
        wait=False,
        extra_body={"stream": True},
        extra_query={"q": "1"},
        extra_headers={"X-Mine": "1"},
    )
    create, *polls = server.requests
    assert polls
    assert create.json()["stream"] is True
    for poll in polls:
        assert (poll.body, poll.query_string, poll.headers["X-Mine"]) == (b"", "", "1")


async def test_a_poll_that_fails_is_repeated():
    """A transient failure of a poll is retried after a delay."""
    ended = prediction(status="succeeded", output="done", **ENDED)
    steps = answer(202, prediction()), answer(502), close, answer(429), answer(200, ended)
    async with RawServer(*steps) as server, server.client(max_retries=3) as client:
        record_pauses()
        assert await client.run("owner/name", wait=False) == "done"


HTML = {"Content-Type": "text/html"}
PASSING = {
    "a page": answer(200, b"<html>please wait</html>", HTML),
    "a page with status 403": answer(403, b"<html>blocked</html>", HTML),
    "nothing": answer(200, b""),
    "nothing with status 403": answer(403, b""),
    "null": answer(200, None),
    "a list": answer(200, []),
    "no id": answer(200, {"status": "succeeded"}),
    "cut off": answer(200, b'{"id": "abcdefghijklmnop", "status": "succ'),
    "deeply nested": answer(200, b"[" * 100_000),
    "no text": answer(200, b"\xff\xfe\x00"),
    "unknown": answer(404, {"detail": "Prediction not found", "status": 404}),
}


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("passing", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("way", ["run", "held run", "wait", "wait for an id"])
async def test_responses_that_are_not_predictions(kind, passing, way):
    """Polls survive what a proxy, or an API that has not heard of the prediction yet, responds once or twice."""
    ended = prediction(status="succeeded", output="done", **ENDED)
    steps: list[bytes] = [passing, passing, answer(200, ended)]
    if "run" in way:
        steps.insert(0, answer(201, prediction()))
    requests = len(steps)
    async with RawServer(*steps) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        record_pauses()
        if "run" in way:
            assert await call("run", "owner/name", wait="held" in way) == "done"
        else:
            job = msgspec.convert(prediction(), Prediction, strict=False)
            waited = await call("predictions.wait", job.id if "id" in way else job)
            assert (waited.status, waited.output) == ("succeeded", "done")
        assert len(server.requests) == requests


@pytest.mark.parametrize(
    ("step", "error"),
    [(answer(404), NotFoundError), (answer(500), InternalServerError), (stall, APITimeoutError)],
    ids=["404", "500", "stall"],
)
async def test_a_poll_that_keeps_failing_names_the_prediction(step, error):
    """If the prediction can't be polled any more, the error has its id, because it may still be billed."""
    timeout = 0.03 if step is stall else 30
    async with RawServer(answer(202, prediction(id="p123")), step) as server, server.client(timeout=timeout) as client:
        record_pauses()
        with pytest.raises(error, match="prediction p123") as caught:
            await client.run("owner/name", wait=False)
        assert caught.value.prediction_id == "p123"


async def test_wait_takes_a_prediction_or_an_id(client, hosted):
    """``predictions.wait`` waits for an existing prediction, and returns it whatever its status."""
    hosted.go_on.set()
    record_pauses()
    created = await client.predictions.create(version=VERSION, input={"text": "Alice"})
    assert (await client.predictions.wait(created)).output == "hello Alice"
    assert (await client.predictions.wait(created.id)).output == "hello Alice"
    failing = await client.models.predictions.create("owner/broken", input={})
    assert (await client.predictions.wait(failing)).status == "failed"


async def test_waiting_for_a_done_prediction_sends_nothing(server, client):
    """A prediction that is done is returned without a request."""
    created = await client.models.predictions.create("owner/echo", input={}, prefer="wait")
    before = len(server.requests)
    assert await client.predictions.wait(created) is created
    assert len(server.requests) == before


async def test_wait_has_a_limit_that_cancels_nothing(server, client):
    """When the time limit of a wait passes, the error has the id, and the prediction runs on."""
    created = await client.models.predictions.create("owner/slow", input={})
    with pytest.raises(APITimeoutError, match=r"not done after 0\.05 s") as caught:
        await client.predictions.wait(created, time_limit=0.05)
    assert caught.value.prediction_id == created.id
    assert statuses(server) == ["processing"]


# --- cancellation ---


@pytest.mark.parametrize("wait", [True, False], ids=["held", "polled"])
async def test_a_time_limit_cancels_the_prediction(server, client, wait):
    """When the time limit has passed, the prediction is canceled, and the error has its id."""
    with pytest.raises(APITimeoutError, match=r"not done after 0\.3 s, the time limit") as caught:
        await client.run("owner/slow", wait=wait, time_limit=0.3)
    assert statuses(server) == ["canceled"]
    assert caught.value.prediction_id == next(iter(server.predictions))


async def test_a_time_limit_may_leave_the_prediction_alone(server, client):
    """With ``cancel_on_abort=False`` the prediction runs on, and the error has its id."""
    with pytest.raises(APITimeoutError) as caught:
        await client.run("owner/slow", wait=False, time_limit=0.3, cancel_on_abort=False)
    assert statuses(server) == ["processing"]
    assert caught.value.prediction_id == next(iter(server.predictions))
    assert "predictions.cancel" not in operations(server)


async def test_a_time_limit_that_is_not_reached(client):
    """A prediction that ends in time is not affected by the limit."""
    assert await client.run("owner/echo", time_limit=10) == "hello nobody"


@pytest.mark.parametrize("wait", [True, False], ids=["held", "polled"])
async def test_a_cancelled_task_cancels_the_prediction(server, client, wait):
    """A task that is cancelled cancels its prediction, whether the create is held or the prediction is polled."""
    task = asyncio.ensure_future(client.run("owner/slow", wait=wait))
    await until(lambda: statuses(server) == ["processing"])
    if not wait:
        await until(lambda: server.requests[0].status)
        await asyncio.sleep(0.05)
    await cancelled(task)
    assert statuses(server) == ["canceled"]


@pytest.mark.parametrize("wait", [True, False], ids=["held", "polled"])
async def test_a_cancelled_task_may_leave_the_prediction_alone(server, client, hosted, wait):
    """With ``cancel_on_abort=False`` nothing is sent when the task is cancelled."""
    task = asyncio.ensure_future(client.run("owner/slow", wait=wait, cancel_on_abort=False))
    await until(lambda: statuses(server) == ["processing"])
    await asyncio.sleep(0.05)
    await cancelled(task)
    assert set(operations(server)) <= {"models.predictions.create", "predictions.get"}
    hosted.go_on.set()
    await until(lambda: statuses(server) == ["succeeded"])


async def test_a_prediction_that_has_not_started_is_aborted(server, client):
    """Canceling a prediction that has not started aborts it."""
    with pytest.raises(APITimeoutError):
        await client.run("owner/starting", time_limit=0.3)
    assert statuses(server) == ["aborted"]


@pytest.mark.parametrize("way", ["wait_for", "fail_after", "task group"])
async def test_every_way_to_stop_waiting(server, client, way):
    """Timeouts of asyncio and anyio, and a sibling's failure in a task group, cancel the prediction."""
    if way == "wait_for":
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.run("owner/slow"), 0.3)
    elif way == "fail_after":
        with pytest.raises(TimeoutError), anyio.fail_after(0.3):
            await client.run("owner/slow", wait=False)
    else:

        async def fail() -> None:
            await until(lambda: statuses(server) == ["processing"])
            raise KeyError("sibling")

        with pytest.raises(BaseException) as caught:  # noqa: PT012 - a group, which Python 3.10 doesn't know
            async with anyio.create_task_group() as group:
                group.start_soon(client.run, "owner/slow")
                group.start_soon(fail)
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert statuses(server) == ["canceled"]


async def test_cancelling_twice_still_cancels_the_prediction(server, client):
    """Further cancellations do not interrupt the request that cancels the prediction."""
    task = asyncio.ensure_future(client.run("owner/slow"))
    await until(lambda: statuses(server) == ["processing"])
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0.001)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(server) == ["canceled"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_an_identical_run_that_continues_is_left_alone(first, second):
    """If one of two runs with the same input is cancelled, the other gets its output, whichever way each waits."""

    async def main(sim: Simulation) -> None:
        async with LocalServer(tidy=True, clock=sim) as server, client_of(server) as client:
            hosted = Models(server)
            cancelled_run = asyncio.ensure_future(client.run("owner/slow", input={"text": "same"}, wait=first))
            await until(lambda: len(server.predictions) == 1)
            other_run = asyncio.ensure_future(client.run("owner/slow", input={"text": "same"}, wait=second))
            await until(lambda: statuses(server) == ["processing"] * 2)
            await asyncio.sleep(0.05)
            await cancelled(cancelled_run)
            hosted.go_on.set()
            assert await other_run == "slow same"
            assert statuses(server).count("canceled") <= 1

    simulate(main)


def test_an_identical_run_of_another_client_is_left_alone():
    """If it is unknown which of two predictions belongs to which client, neither is canceled."""

    async def main(sim: Simulation) -> None:
        async with LocalServer(tidy=True, clock=sim) as server, client_of(server) as client, client_of(server) as other:
            hosted = Models(server)
            other_run = asyncio.ensure_future(other.run("owner/slow", input={"text": "same"}))
            await until(lambda: len(server.predictions) == 1)
            cancelled_run = asyncio.ensure_future(client.run("owner/slow", input={"text": "same"}))
            await until(lambda: statuses(server) == ["processing"] * 2)
            await cancelled(cancelled_run)
            hosted.go_on.set()
            assert await other_run == "slow same"

    simulate(main)


async def test_an_older_prediction_is_left_alone(server, client, hosted):
    """An earlier prediction with the same input is not mistaken for the cancelled run's."""
    async with client_of(server) as other:
        earlier = await other.models.predictions.create("owner/slow", input={"text": "same"})
        await until(lambda: statuses(server) == ["processing"])
        server.predictions[earlier.id].created_at = datetime(2025, 1, 1, tzinfo=timezone.utc)
        task = asyncio.ensure_future(client.run("owner/slow", input={"text": "same"}))
        await until(lambda: statuses(server) == ["processing"] * 2)
        await cancelled(task)
        assert statuses(server) == ["processing", "canceled"]


async def test_a_create_that_was_not_sent_is_not_looked_for(server, client, hosted):
    """A run that is cancelled in the queue, or in the delay after a refusal, sends no lookup."""
    async with client_of(server, max_connections=1) as narrow:
        first = asyncio.ensure_future(narrow.run("owner/slow", input={"text": "first"}))
        await until(lambda: len(server.predictions) == 1)
        queued = [asyncio.ensure_future(narrow.run("owner/slow", input={"text": "queued"})) for _ in range(10)]
        await asyncio.sleep(0.01)
        for task in queued:
            await cancelled(task)
        assert operations(server) == ["models.predictions.create"]
        hosted.go_on.set()
        assert await first == "slow first"
    async with RawServer(answer(429, b"", {"Retry-After": "60"})) as refusing, refusing.client() as client:
        task = asyncio.ensure_future(client.run("owner/name"))
        await until(lambda: refusing.requests)
        await asyncio.sleep(0.02)
        await cancelled(task)
        assert len(refusing.requests) == 1


async def test_cancellations_skip_the_queue(server, hosted):
    """With all connections taken by held creates, a cancellation is sent at once."""
    async with client_of(server, max_connections=1) as client:
        cancelled_run = asyncio.ensure_future(client.run("owner/slow", input={"text": "first"}))
        await until(lambda: len(server.predictions) == 1)
        waiting = asyncio.ensure_future(client.run("owner/slow", input={"text": "second"}))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await cancelled(cancelled_run)
        assert time.monotonic() - started < 3
        await until(lambda: statuses(server) == ["canceled", "processing"])
        hosted.go_on.set()
        assert await waiting == "slow second"


async def test_a_create_that_arrives_late_is_found():
    """A create may arrive after its caller has left, so it is looked for more than once."""
    late = prediction(id="late", created_at=datetime.now(timezone.utc).isoformat(), status="processing")
    steps = (
        stall,
        answer(200, {"results": [], "next": None}),
        answer(200, {"results": [late], "next": None}),
        answer(200, {**late, "status": "canceled"}),
    )
    async with RawServer(*steps) as server, server.client() as client:
        pauses = record_pauses()
        task = asyncio.ensure_future(client.run("owner/name"))
        await until(lambda: server.requests)
        await cancelled(task)
        assert [f"{request.method} {request.target}" for request in server.requests] == [
            "POST /v1/models/owner/name/predictions",
            "GET /v1/predictions",
            "GET /v1/predictions",
            "POST /v1/predictions/late/cancel",
        ]
        assert sum(pauses) < 2


def test_cancelling_takes_a_limited_time(caplog):
    """A server that does not respond delays the cancellation by five seconds; in the end, the log has a warning."""

    async def main(sim: Simulation) -> None:
        async with RawServer(answer(202, prediction(id="p123")), stall) as server, server.client() as client:
            task = asyncio.ensure_future(client.run("owner/name", wait=False))
            await until(lambda: server.requests)
            await asyncio.sleep(0.02)
            started = sim.monotonic()
            await cancelled(task)
            assert 4 < sim.monotonic() - started < 6
            assert not caplog.records
            await sim.sleep(700)

    simulate(main)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_timeout_of_the_create_names_no_prediction():
    """A create that times out is not repeated, and the error says that its outcome is unknown."""
    async with RawServer(stall) as server, server.client(timeout=0.1) as client:
        with pytest.raises(CreateOutcomeUnknown) as caught:
            await client.run("owner/name", wait=False)
        assert isinstance(caught.value.__cause__, APITimeoutError)
        creates = [request for request in server.requests if request.method == "POST"]
        assert len(creates) == 1


# --- lists ---


@pytest.fixture
async def ten(client: AsyncReplicate, server: LocalServer) -> list[str]:
    """Return the outputs of ten predictions, newest first, on pages of three."""
    outputs = [await client.run("owner/echo", input={"text": str(number)}) for number in range(10)]
    server.requests.clear()
    return outputs[::-1]


async def test_one_page(server, client, ten):
    """Awaiting a list fetches its first page, and nothing else."""
    page = await client.predictions.list()
    assert [prediction.output for prediction in page.results] == ten[:3]
    assert page.has_next_page()
    assert page.next is not None
    assert page.previous is None
    assert len(server.requests) == 1
    assert repr(page) == "<AsyncPage of 3, more follow>"


async def test_all_pages_lazily(server, client, ten):
    """Iterating a list covers all pages, each fetched when its first item is needed."""
    seen = []
    async for item in client.predictions.list():
        seen.append(item.output)
        assert len(server.requests) == (len(seen) + 2) // 3
    assert seen == ten
    assert len(server.requests) == 4


async def test_stopping_early_fetches_no_more(server, client, ten):
    """A loop that ends on the second page has fetched two."""
    async for item in client.predictions.list():
        if item.output == ten[4]:
            break
    assert len(server.requests) == 2


async def test_page_by_page(server, client, ten):
    """Pages know the next page and the previous one; asking for a page after the last raises an error."""
    page = await client.predictions.list()
    pages = [page]
    while page.has_next_page():
        page = await page.get_next_page()
        pages.append(page)
    assert [prediction.output for page in pages for prediction in page.results] == ten
    assert [len(page.results) for page in pages] == [3, 3, 3, 1]
    assert page.previous is not None
    assert repr(page) == "<AsyncPage of 1>"
    with pytest.raises(RuntimeError, match="last page"):
        await page.get_next_page()
    assert len(server.requests) == 4


async def test_pages_can_be_iterated(client, ten):
    """From any page on, its items and the following ones can be iterated, or the pages themselves."""
    second = await (await client.predictions.list()).get_next_page()
    assert [prediction.output async for prediction in second] == ten[3:]
    assert [len(page.results) async for page in second.iter_pages()] == [3, 3, 1]
    assert [prediction.output async for prediction in second] == ten[3:], "again"


async def test_a_list_can_be_used_again(server, client, ten):
    """Awaiting or iterating a list again sends new requests."""
    listing = client.predictions.list()
    assert server.requests == []
    assert (await listing).results[0].output == ten[0]
    await client.run("owner/echo", input={"text": "new"})
    assert (await listing).results[0].output == "hello new"


async def test_queries_are_not_repeated_on_later_pages(server, ten):
    """The URL of a next page has the query already: nothing in it is sent twice."""
    async with client_of(server, default_query={"d": "1"}) as client:
        page = await client.predictions.list(source="web", extra_query={"e": "2"})
        assert page.results == []
        page = await client.predictions.list(extra_query={"e": "2"})
        await page.get_next_page()
    first, second = server.requests[1:]
    assert (first.query["d"], first.query["e"]) == ("1", "2")
    names = [pair.partition("=")[0] for pair in second.query_string.split("&")]
    assert sorted(names) == ["cursor", "d", "e"]


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_list_that_leads_in_circles(kind, length):
    """A list whose last page leads back to an earlier one raises an error instead of going on for ever."""
    page = {"results": [prediction()], "previous": None}
    pages = [answer(200, {**page, "next": f"/predictions?cursor={number}"}) for number in range(length)]
    first = answer(200, {**page, "next": "/predictions?cursor=first"})
    async with RawServer(first, *pages * 10) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
        with anyio.fail_after(10), pytest.raises(APIError, match="the list leads in circles"):
            await call.all(await call("predictions.list"))
        assert len(server.requests) <= 4 * length + 2


def test_the_latest_version_is_remembered_for_a_minute():
    """A community model's latest version is looked up once; its runs in the next minute are created at once."""

    async def main(sim: Simulation) -> None:
        async with LocalServer(clock=sim) as server:
            Models(server)
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                lookups = []
                for pause in (0, 55, 10):
                    await sim.sleep(pause)
                    assert await client.run("owner/echo", input={"text": "A"}) == "hello A"
                    operations = [request.operation for request in server.requests]
                    lookups.append((operations.count("models.get"), operations.count("models.predictions.create")))
        assert lookups == [(1, 1), (1, 1), (2, 2)]

    simulate(main)


async def test_what_is_not_held():
    """A stream and a submitted run begin at once: the API is not asked to hold their creates."""
    done = answer(201, prediction(status="succeeded", output="done", **ENDED))
    async with RawServer(done) as server, server.client() as client:
        assert await (await client.submit("owner/name", input={})).output() == "done"
        assert [str(event) async for event in client.stream("owner/name", input={})] == ["done", ""]
        assert [request.headers.get("prefer") for request in server.requests] == [None, None]


@pytest.mark.parametrize("cursor", ["http://host:port/", "http://[::1/", "http://127.0.0.1:99999/"])
async def test_a_page_with_an_impossible_cursor(cursor):
    """A cursor that is no URL is an APIError, after the items of its page."""
    page = answer(200, {"results": [prediction()], "previous": None, "next": cursor})
    async with RawServer(page) as server, server.client() as client:
        items = aiter(client.predictions.list())
        assert (await anext(items)).id == prediction()["id"]
        with pytest.raises(APIError):
            await anext(items)


async def test_a_failing_page_ends_the_list():
    """An error in the middle of a list is raised there, after the items before it."""
    async with RawServer(answer(404)) as server, server.client() as client:
        first = answer(200, {"results": [prediction(id="one")], "next": f"{server.url}/v1/predictions?cursor=2"})
        server.steps.insert(0, first)
        seen = []

        async def collect() -> None:
            async for item in client.predictions.list():
                seen.append(item.id)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(NotFoundError):
            await collect()
        assert seen == ["one"]


async def test_a_slow_response():
    """A create whose response takes a while is still awaited."""
    ended = prediction(status="succeeded", output="done", **ENDED)
    async with RawServer(after(0.1, answer(201, ended))) as server, server.client() as client:
        assert await client.run("owner/name") == "done"


async def test_errors_of_the_create_are_the_apis():
    """A refused create raises the class for its status, and no prediction is looked for."""
    async with RawServer(answer(402, {"title": "Payment required", "detail": "add a card"})) as server:
        async with server.client() as client:
            with suppress(APIConnectionError), pytest.raises(APIStatusError, match="add a card"):
                await client.run("owner/name")
        assert len(server.requests) == 1


# --- progress ---


async def test_on_update(server, client, hosted):
    """``on_update`` is called with each change, from the first status to the last."""
    record_pauses()
    seen: list[str] = []

    def on_update(prediction: Prediction) -> None:
        seen.append(prediction.status)
        if prediction.status == "processing":
            hosted.go_on.set()

    assert await client.run("owner/slow", input={"text": "x"}, on_update=on_update) == "slow x"
    assert seen[0] in {"starting", "processing"}
    assert seen[-1] == "succeeded"
    assert len(seen) == len(set(seen)), "no state is repeated"
    assert "Prefer" not in server.requests[0].headers, "an answer that is held would keep what happens back"


async def test_an_error_in_on_update(server, client, hosted):
    """An error in the caller's callback ends the run, and cancels the prediction."""

    def on_update(_: Prediction) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.run("owner/slow", on_update=on_update)
    assert statuses(server) == ["canceled"]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(("cancel_on_abort", "status"), [(True, "canceled"), (False, "processing")])
async def test_closing_the_client_cancels_runs(server, client, hosted, wait, cancel_on_abort, status):
    """Closing a client ends its runs, held or polled, and cancels their predictions."""
    run = asyncio.create_task(client.run("owner/slow", wait=wait, cancel_on_abort=cancel_on_abort))
    await until(lambda: statuses(server) == ["processing"])
    await client.close()
    with pytest.raises(ReplicateError):
        await run
    assert statuses(server) == [status]
