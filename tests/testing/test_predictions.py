# ruff: noqa: T201 (models may print)
"""The life of a prediction: statuses, waiting, deadlines, canceling, logs, output."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import pytest

from replicate_async.testing import VirtualClock, models
from replicate_async.testing._jobs import Job

from .conftest import Caller, eventually

pytestmark = pytest.mark.anyio

WAIT = {"Prefer": "wait"}


async def test_from_starting_to_succeeded(call: Caller) -> None:
    """Without Prefer the create returns at once, as starting; then the prediction is processing, then succeeded."""
    go = asyncio.Event()

    @call.server.model("me/patient")
    async def patient(text: str) -> str:
        await go.wait()
        return text.upper()

    started = await call.start("me/patient", text="a")
    assert (started["status"], "started_at" in started, started["output"]) == ("starting", False, None)
    running = await call.until(started, "processing")
    assert running["started_at"] is not None
    assert "completed_at" not in running
    go.set()
    ended = await call.until(started, "succeeded")
    assert (ended["output"], ended["error"]) == ("A", None)
    assert ended["metrics"]["total_time"] >= ended["metrics"]["predict_time"] >= 0
    created, started_at, completed = (
        datetime.fromisoformat(f"{ended[key].removesuffix('Z')[:26]}+00:00")
        for key in ("created_at", "started_at", "completed_at")
    )
    assert created <= started_at <= completed
    assert created.tzinfo is not None


async def test_what_a_prediction_says(call: Caller) -> None:
    """A prediction has an id of 26 characters, its model and version, and URLs of this server."""
    call.server.model("me/echo")(models.hello_world)
    call.server.model("me/official", official=True)(models.hello_world)
    call.server.model("me/stream")(models.stream_text)
    prediction = await call.run("me/echo", text="a")
    assert re.fullmatch(r"[a-z2-7]{26}", prediction["id"])
    version = (await call("GET", "/models/me/echo")).data["latest_version"]["id"]
    assert (prediction["model"], prediction["version"]) == ("me/echo", version)
    assert (prediction["source"], prediction["data_removed"]) == ("api", False)
    url = f"{call.server.base_url}/predictions/{prediction['id']}"
    web = f"https://replicate.com/p/{prediction['id']}"
    stream = prediction["urls"].pop("stream")
    assert stream.startswith(f"{call.server.delivery_url}/v1/files/")
    assert prediction["urls"] == {"get": url, "cancel": f"{url}/cancel", "web": web}
    assert (await call.run("me/official", text="a"))["version"] == "hidden"
    assert (await call.run("me/stream", delay=0))["urls"]["stream"] != stream


async def test_waiting(slow_call: Caller, clock: VirtualClock) -> None:
    """With Prefer: wait=n the create returns when the prediction ends, or, as starting, after the time."""

    @slow_call.server.model("me/slow")
    async def slow(seconds: float) -> str:
        await clock.sleep(seconds)
        return "done"

    async def create(seconds: float, prefer: str) -> Any:
        body = {"input": {"seconds": seconds}}
        return await slow_call("POST", "/models/me/slow/predictions", body, headers={"Prefer": prefer})

    requests = [
        asyncio.create_task(create(seconds, prefer))
        for seconds, prefer in [(5, "wait=6"), (6.5, "wait=6"), (20, "respond-async, wait"), (50, "wait=60")]
    ]
    predictions = slow_call.server.predictions
    await eventually(lambda: [each.status for each in predictions.values()] == ["processing"] * len(requests))
    # The server's option hold is 30 seconds, so the last request is held no longer.
    await clock.advance(31)
    answers = [await request for request in requests]
    assert [(answer.status, answer.data["status"]) for answer in answers] == [
        (201, "succeeded"),
        (201, "starting"),
        (201, "succeeded"),
        (201, "starting"),
    ]
    assert (await slow_call.get(answers[1].data))["output"] == "done"


@pytest.mark.parametrize(
    "prefer", ["wait=0", "wait=61", "wait=x", "wait=", "wait=-1", "wait=1.5", "wait=" + "1" * 5000]
)
async def test_bad_waits(call: Caller, prefer: str) -> None:
    """A wait outside of 1 to 60 seconds is a 422, and nothing is created."""
    models.register(call.server)
    body = {"input": {"text": "a"}}
    answer = await call("POST", "/models/replicate/hello-world/predictions", body, headers={"Prefer": prefer})
    assert (answer.status, "between 1 and 60 seconds" in answer.data["detail"]) == (422, True)
    assert not call.server.predictions


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("5", 5), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h1m1s", 3661)]
)
async def test_deadlines(slow_call: Caller, clock: VirtualClock, text: str, seconds: int) -> None:
    """A prediction that is running at its deadline is canceled, and its function stops."""
    stopped: list[float] = []

    @slow_call.server.model("me/endless")
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(clock.monotonic())

    prediction = await slow_call.start("me/endless", {"Cancel-After": text})
    deadline = datetime.fromisoformat(prediction["deadline"].replace("Z", "+00:00"))
    created = datetime.fromisoformat(prediction["created_at"].replace("Z", "+00:00"))
    assert (deadline - created).total_seconds() == seconds
    await clock.advance(seconds - 0.5)
    assert (await slow_call.get(prediction))["status"] == "processing"
    await clock.advance(1)
    ended = await slow_call.get(prediction)
    assert (ended["status"], ended["output"]) == ("canceled", None)
    assert ended["metrics"]["total_time"] == seconds
    assert stopped == [seconds]


async def test_deadline_before_the_start(slow_call: Caller, clock: VirtualClock) -> None:
    """A prediction that is starting at its deadline is aborted."""
    slow_call.server.model("me/cold", startup=60)(models.hello_world)
    prediction = await slow_call.start("me/cold", {"Cancel-After": "30"}, text="a")
    await clock.advance(31)
    ended = await slow_call.get(prediction)
    assert (ended["status"], "started_at" in ended) == ("aborted", False)
    assert "predict_time" not in ended["metrics"]


async def test_deadline_after_the_end(slow_call: Caller, clock: VirtualClock) -> None:
    """A deadline doesn't change a prediction that has ended."""
    slow_call.server.model("me/quick", inline=True)(models.hello_world)
    prediction = await slow_call.start("me/quick", {"Cancel-After": "5"}, text="a")
    await clock.advance(6)
    assert (await slow_call.get(prediction))["status"] == "succeeded"


@pytest.mark.parametrize("text", ["4", "4s", "0", "", "1d", "5 m", "m", "-30", "9999h", "9" * 30])
async def test_bad_deadlines(call: Caller, text: str) -> None:
    """A Cancel-After that is too short, too long or not a duration is a 422."""
    models.register(call.server)
    body = {"input": {"text": "a"}}
    answer = await call("POST", "/models/replicate/hello-world/predictions", body, headers={"Cancel-After": text})
    assert (answer.status, "Cancel-After" in answer.data["detail"]) == (422, True)


async def test_cancel(call: Caller) -> None:
    """Canceling ends a prediction at once, whatever its function does; a later result is ignored."""
    threads_may_end = asyncio.Event()
    loop = asyncio.get_running_loop()

    @call.server.model("me/async")
    async def endless() -> None:
        await asyncio.Event().wait()

    @call.server.model("me/thread")
    def blocked() -> str:
        asyncio.run_coroutine_threadsafe(threads_may_end.wait(), loop).result(10)
        print("too late")
        return "too late"

    @call.server.model("me/generator")
    def generator() -> Iterator[str]:
        yield "first"
        asyncio.run_coroutine_threadsafe(threads_may_end.wait(), loop).result(10)
        yield "second"

    predictions = [await call.start(name) for name in ("me/async", "me/thread", "me/generator")]
    for prediction in predictions:
        await call.until(prediction, "processing")
    generator_prediction = call.server.predictions[predictions[2]["id"]]
    await eventually(lambda: generator_prediction.output)
    answers = [await call("POST", prediction["urls"]["cancel"]) for prediction in predictions]
    assert [answer.data["status"] for answer in answers] == ["canceled"] * 3
    assert [answer.data["output"] for answer in answers] == [None, None, ["first"]]
    threads_may_end.set()
    await asyncio.sleep(0.05)
    again = [await call("POST", prediction["urls"]["cancel"]) for prediction in predictions]
    assert [answer.data for answer in again] == [answer.data for answer in answers]


async def test_functions_that_refuse_to_be_cancelled(call: Caller) -> None:
    """A canceled prediction neither changes nor notifies listeners, whatever an async function still does."""
    events: list[tuple[str, str]] = []
    cancelled: list[str] = []
    call.listen(lambda job, event: events.append((job.record.model or "", event)))

    @call.server.model("me/function")
    async def function() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("function")
        return "too late"

    @call.server.model("me/generator")
    async def generator() -> AsyncIterator[str]:
        yield "one"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        try:
            yield "too late"
        finally:
            cancelled.append("generator")

    @call.server.model("me/silent")
    async def silent() -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
            yield "never"
        except asyncio.CancelledError:
            cancelled.append("silent")

    @call.server.model("local/source", train=function)
    def source() -> None:
        raise NotImplementedError

    call.server.model("local/trained")(source)
    versions = (await call("GET", "/models/local/source/versions")).data["results"]
    jobs = [await call.start(f"me/{name}") for name in ("function", "generator", "silent")]
    body = {"destination": "local/trained", "input": {}}
    path = f"/models/local/source/versions/{versions[0]['id']}/trainings"
    jobs.append((await call("POST", path, body)).data)
    for job in jobs:
        await call.until(job, "processing")
    await eventually(lambda: ("me/generator", "output") in events)
    canceled = [(await call("POST", job["urls"]["cancel"])).data for job in jobs]
    assert [job["output"] for job in canceled] == [None, ["one"], None, None]
    events_before = list(events)
    await eventually(lambda: sorted(cancelled) == ["function", "function", "generator", "silent"])
    assert [await call.get(job) for job in jobs] == canceled
    assert events == events_before
    stream = (await call("GET", jobs[1]["urls"]["stream"])).body.decode()
    assert stream.endswith('data: one\n\nevent: done\ndata: {"reason":"canceled"}\n\n')
    assert len((await call("GET", "/models/local/trained/versions")).data["results"]) == 1


async def test_cancel_while_starting(slow_call: Caller) -> None:
    """A prediction that is canceled before it starts is aborted."""
    slow_call.server.model("me/cold", startup=60)(models.hello_world)
    prediction = await slow_call.start("me/cold", text="a")
    assert (await slow_call("POST", prediction["urls"]["cancel"])).data["status"] == "aborted"


async def test_cancel_after_the_end(call: Caller) -> None:
    """Canceling a prediction that has ended changes nothing."""
    models.register(call.server)
    prediction = await call.run("replicate/hello-world", text="a")
    answer = await call("POST", prediction["urls"]["cancel"])
    assert (answer.status, answer.data) == (200, prediction)


async def test_failures(call: Caller) -> None:
    """An error of the function is the prediction's error, and the logs end with the function's traceback."""

    @call.server.model("me/raises")
    def raises() -> None:
        print("so far")
        raise ValueError("no more paint")

    @call.server.model("me/exits")
    async def exits() -> None:
        sys.exit(3)

    @call.server.model("me/stops")
    def stops() -> None:
        raise StopIteration

    @call.server.model("me/strange")
    def strange() -> object:
        return object()

    @call.server.model("me/breaks")
    def breaks() -> Iterator[str]:
        yield "one"
        raise OSError

    failed = await call.run("me/raises")
    assert (failed["status"], failed["error"], failed["output"]) == ("failed", "no more paint", None)
    assert failed["logs"].startswith("so far\nTraceback")
    assert "in raises" in failed["logs"]
    assert "_jobs.py" not in failed["logs"]
    assert (await call.run("me/exits"))["error"] == "3"
    assert "StopIteration" in (await call.run("me/stops"))["error"]
    assert "object" in (await call.run("me/strange"))["error"]
    broken = await call.run("me/breaks")
    assert (broken["status"], broken["error"], broken["output"]) == ("failed", "OSError", ["one"])


class Odd(BaseException):
    """An error that isn't an Exception, like that of pytest.fail(), and whose message can't be read."""

    def __str__(self) -> str:
        raise Odd


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (pytest.fail.Exception("must not be called"), "must not be called"),
        (pytest.skip.Exception("not here"), "not here"),
        (GeneratorExit("no more"), "no more"),
        (asyncio.CancelledError("the model's own"), "the model's own"),
        (Odd(), "Odd"),
    ],
)
async def test_failures_that_are_no_exceptions(call: Caller, error: BaseException, message: str) -> None:
    """Any error fails the prediction, in functions and generators of both kinds."""

    @call.server.model("me/plain")
    def plain() -> None:
        raise error

    @call.server.model("me/async")
    async def asynchronous() -> None:
        raise error

    @call.server.model("me/generator")
    def generator() -> Iterator[str]:
        yield "one"
        raise error

    @call.server.model("me/asyncgen")
    async def async_generator() -> AsyncIterator[str]:
        yield "one"
        raise error

    for name, output in [("plain", None), ("async", None), ("generator", ["one"]), ("asyncgen", ["one"])]:
        failed = await call.run(f"me/{name}")
        assert (name, failed["status"], failed["output"]) == (name, "failed", output)
        assert message in failed["error"]
        assert type(error).__name__ in failed["logs"]


async def test_broken_unicode(call: Caller) -> None:
    """Lone surrogates in logs and errors are replaced, so that the prediction and lists can be encoded."""

    @call.server.model("me/half")
    def half() -> None:
        print("half an emoji: \ud83d")
        raise OSError("no file \udcff")

    failed = await call.run("me/half")
    assert (failed["status"], failed["error"]) == ("failed", "no file ?")
    assert failed["logs"].startswith("half an emoji: ?\nTraceback")
    assert (await call("GET", "/predictions")).data["results"] == [failed]


async def test_growing_output(call: Caller) -> None:
    """The output of a generator is a list that grows while the prediction is processing."""
    steps: asyncio.Queue[str | None] = asyncio.Queue()

    @call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        while (word := await steps.get()) is not None:
            yield word

    prediction = await call.start("me/words")
    await call.until(prediction, "processing")
    record = call.server.predictions[prediction["id"]]
    expected: list[str] = []
    for word in "abc":
        steps.put_nowait(word)
        expected.append(word)
        await eventually(lambda: record.output == expected)
        running = await call.get(prediction)
        assert (running["status"], running["output"]) == ("processing", expected)
    steps.put_nowait(None)
    assert (await call.until(prediction, "succeeded"))["output"] == ["a", "b", "c"]


@pytest.mark.parametrize("inline", [True, False])
async def test_plain_generators(call: Caller, inline: bool) -> None:
    """Plain generators stream like async ones, in a thread or inline; without items the output is an empty list."""

    @call.server.model("me/count", inline=inline)
    def count(n: int) -> Iterator[int]:
        print("counting")
        yield from range(n)

    prediction = await call.run("me/count", n=3)
    assert (prediction["output"], prediction["logs"]) == ([0, 1, 2], "counting\n")
    assert (await call.run("me/count", n=0))["output"] == []


async def test_delays(slow_call: Caller, clock: VirtualClock) -> None:
    """``startup`` delays the start, ``output_delay`` each item; both on the server's clock."""
    slow_call.server.model("me/slow", startup=10, output_delay=2)(models.stream_text)
    prediction = await slow_call.start("me/slow", prompt="a b", delay=0)
    await asyncio.sleep(0)
    seen = []
    for seconds in (9, 2, 2, 2):
        await clock.advance(seconds)
        now = await slow_call.get(prediction)
        seen.append((now["status"], now["output"]))
    assert seen == [
        ("starting", None),
        ("processing", None),
        ("processing", ["a"]),
        ("succeeded", ["a", " b"]),
    ]


async def test_a_sleeping_function_blocks_nobody(call: Caller) -> None:
    """A plain function runs in a thread, so it doesn't block the server."""
    alarm = threading.Event()

    @call.server.model("me/sleepy")
    def sleepy() -> str:
        assert alarm.wait(10)
        return "awake"

    models.register(call.server)
    prediction = await call.start("me/sleepy")
    await call.run("replicate/hello-world", text="a")
    alarm.set()
    assert (await call.until(prediction, "succeeded"))["output"] == "awake"


async def test_many_plain_functions(call: Caller) -> None:
    """There is always a thread for another plain function, however many run, or continue after they were canceled."""
    alarm = threading.Event()

    @call.server.model("me/stuck")
    def stuck() -> None:
        alarm.wait(60)

    call.server.model("me/hello")(models.hello_world)
    stuck_ones = [await call.start("me/stuck") for _ in range(150)]
    try:
        for prediction in stuck_ones[:75]:
            await call("POST", prediction["urls"]["cancel"])
        assert (await asyncio.wait_for(call.run("me/hello", text="a"), 10))["output"] == "hello a"
    finally:
        alarm.set()


async def test_idle_threads_are_used_again(call: Caller) -> None:
    """Consecutive predictions use one thread."""
    seen: set[int] = set()

    @call.server.model("me/thread")
    def thread() -> None:
        seen.add(threading.get_ident())

    for _ in range(20):
        await call.run("me/thread")
    # The first thread may still be busy when the next call is submitted.
    assert len(seen) <= 2


async def test_logs_do_not_mix(call: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    """A prediction's logs contain what it prints to either stream, in a task or a thread, and nothing else."""

    @call.server.model("me/async")
    async def chatty(name: str) -> None:
        for _ in range(3):
            print(name)
            await asyncio.sleep(0)

    @call.server.model("me/thread")
    def threaded(name: str) -> None:
        for _ in range(3):
            print(name, file=sys.stderr)
            time.sleep(0.001)

    runs = [call.run(model, name=f"{model}{n}") for n in range(5) for model in ("me/async", "me/thread")]
    print("not a model")
    predictions = await asyncio.gather(*runs)
    assert [prediction["logs"] for prediction in predictions] == [
        f"{prediction['input']['name']}\n" * 3 for prediction in predictions
    ]
    print("nor this")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("not a model\nnor this\n", "")


async def test_writing_lines(call: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    """The logs contain what a model writes with writelines."""

    @call.server.model("me/lines")
    def lines() -> None:
        sys.stdout.writelines(["a\n", "b\n"])
        sys.stderr.writelines(iter(["c\n"]))

    assert (await call.run("me/lines"))["logs"] == "a\nb\nc\n"
    sys.stdout.writelines(["not a model\n"])
    assert capsys.readouterr() == ("not a model\n", "")


async def test_generators_behind_wrappers(call: Caller) -> None:
    """A generator that a plain function returns provides the output, and its prints are in the logs."""

    def wrapped(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(**inputs: Any) -> Any:
            return function(**inputs)

        return wrapper

    def plain(n: int):  # type: ignore[no-untyped-def]
        for number in range(n):
            print(number)
            yield {"number": number}

    async def asynchronous(n: int):  # type: ignore[no-untyped-def]
        for item in plain(n):
            await asyncio.sleep(0)
            yield item

    async def returned(n: int):  # type: ignore[no-untyped-def]
        return plain(n)

    for function, options in [(plain, {}), (plain, {"inline": True}), (asynchronous, {}), (returned, {})]:
        call.server.model("me/wrapped", **options)(wrapped(function))
        prediction = await call.run("me/wrapped", n=2)
        assert (prediction["output"], prediction["logs"]) == ([{"number": 0}, {"number": 1}], "0\n1\n")


async def test_long_logs(call: Caller) -> None:
    """Consecutive prints are added to the logs together, so that long logs don't take quadratic time."""
    events: list[str] = []
    call.listen(lambda _, event: events.append(event))

    @call.server.model("me/async")
    async def asynchronous(lines: int) -> None:
        for line in range(lines):
            print(line)

    @call.server.model("me/thread")
    def thread(lines: int) -> None:
        for line in range(lines):
            print(line)

    for name in ("me/async", "me/thread"):
        events.clear()
        prediction = await call.run(name, lines=10_000)
        assert prediction["logs"] == "".join(f"{line}\n" for line in range(10_000))
        assert (events[0], events[-1]) == ("start", "completed")
        assert events.count("logs") < 4000


async def test_threads_of_async_models(call: Caller) -> None:
    """The logs and the stream contain what an async model prints in threads of its own."""

    @call.server.model("me/threads")
    async def threads() -> AsyncIterator[str]:
        await asyncio.gather(*(asyncio.to_thread(sys.stdout.write, f"{n}\n") for n in range(3)))
        yield "done"

    prediction = await call.run("me/threads")
    assert (prediction["status"], sorted(prediction["logs"].split())) == ("succeeded", ["0", "1", "2"])


async def test_progress_bars(call: Caller) -> None:
    """Each step of a progress bar is a line of the logs, although it ends with a carriage return."""

    @call.server.model("me/bar")
    def bar() -> None:
        for step in range(3):
            sys.stderr.write(f"\r{step * 50:3}%|#####| {step}/2")
            sys.stderr.flush()

    assert (await call.run("me/bar"))["logs"].split("\n")[1:] == [
        "  0%|#####| 0/2",
        " 50%|#####| 1/2",
        "100%|#####| 2/2",
    ]


async def test_input_is_echoed(call: Caller) -> None:
    """The prediction's input is what the client sent: without defaults, and with unknown inputs."""
    models.register(call.server)
    prediction = await call.run("replicate/hello-world", text="a", unknown=[1])
    assert (prediction["input"], prediction["output"]) == ({"text": "a", "unknown": [1]}, "hello a")


async def test_wrong_inputs(call: Caller) -> None:
    """Inputs that don't match the signature are a 422 that names each field, and nothing is created."""
    models.register(call.server)
    body = {"input": {"width": 0, "height": "tall"}}
    answer = await call("POST", "/models/replicate-local/gradient/predictions", body)
    assert (answer.status, answer.data["title"]) == (422, "Input validation failed")
    assert [field["field"] for field in answer.data["invalid_fields"]] == ["input.width", "input.height"]
    assert answer.data["detail"].startswith("- input.width: ")
    assert not call.server.predictions


async def test_which_version(call: Caller) -> None:
    """predictions.create takes a version id, with or without its model, or the name of an official model."""
    first, second = "ab" * 32, "cd" * 32
    call.server.model("me/two", version=first)(models.hello_world)
    call.server.model("me/two", version=second)(models.stream_text)
    call.server.model("me/official", official=True)(models.hello_world)

    async def create(version: str) -> Any:
        body = {"version": version, "input": {"text": "a", "delay": 0}}
        return await call("POST", "/predictions", body, headers=WAIT)

    assert (await create(first)).data["output"] == "hello a"
    assert (await create(f"me/two:{first}")).data["version"] == first
    assert (await create("me/official")).data["output"] == "hello a"
    assert (await call.run("me/two", delay=0))["version"] == second
    references = ("me/two", f"me/official:{first}", "ef" * 32, "nonsense", "", "me/nobody")
    refused = [await create(version) for version in references]
    assert [answer.status for answer in refused] == [422] * 6
    assert {answer.data["title"] for answer in refused} == {"Invalid version or not permitted"}


async def test_data_removal(slow_call: Caller, clock: VirtualClock) -> None:
    """An hour after its end, the input, output and logs of a prediction are removed, and data_removed is true."""
    slow_call.server.model("me/quick", inline=True)(models.hello_world)
    prediction = await slow_call.run("me/quick", text="a")
    await clock.advance(3599)
    assert await slow_call.get(prediction) == prediction
    await clock.advance(1)
    removed = await slow_call.get(prediction)
    assert (removed["data_removed"], removed["output"], removed["input"], removed["logs"]) == (True, None, {}, None)
    assert (await slow_call("GET", "/predictions")).data["results"] == [removed]


async def test_many_at_once(call: Caller) -> None:
    """A thousand predictions can be pending, each with a held request."""
    go = asyncio.Event()

    @call.server.model("me/patient")
    async def patient(n: int) -> int:
        await go.wait()
        return n

    runs = [asyncio.create_task(call.run("me/patient", n=n)) for n in range(80)]
    started = await asyncio.gather(*(call.start("me/patient", n=n) for n in range(1000)))
    assert len(started) == 1000
    go.set()
    assert [run["output"] for run in await asyncio.gather(*runs)] == list(range(80))


async def test_billing_journal(call: Caller) -> None:
    """server.predictions contains all predictions in order, in their current state."""
    models.register(call.server)
    ids = [(await call.run("replicate/hello-world", text=text))["id"] for text in "abc"]
    assert list(call.server.predictions) == ids
    assert [prediction.output for prediction in call.server.predictions.values()] == ["hello a", "hello b", "hello c"]
    run_count = (await call("GET", "/models/replicate/hello-world")).data["run_count"]
    assert run_count == 3


async def test_the_journal_while_it_grows(call: Caller) -> None:
    """server.predictions can be iterated while predictions are created; the mapping contains new ones."""
    models.register(call.server)
    predictions = call.server.predictions
    ids = [(await call.run("replicate/hello-world", text=text))["id"] for text in "ab"]
    seen = []
    for go_through in (predictions.__iter__, predictions.keys, predictions.values, predictions.items):
        seen.append(0)
        for _ in go_through():
            seen[-1] += 1
            ids.append((await call.run("replicate/hello-world", text="c"))["id"])
    assert seen == [2, 4, 8, 16]
    assert list(predictions) == ids
    assert predictions == dict(predictions) == {each: predictions[each] for each in ids}
    assert predictions.get(ids[-1]) is call.server.predictions[ids[-1]]
    assert ids[0] in repr(predictions)


async def test_events(call: Caller) -> None:
    """Listeners of jobs are called at the start, for each piece of output or logs, and at the end."""
    events: list[tuple[str, Any, Any]] = []

    def listen(job: Job[Any], event: str) -> None:
        events.append((event, job.record.status, list(job.record.output or [])))

    call.listen(listen)

    @call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        yield "a"
        sys.stdout.write("log")
        yield "b"

    await call.run("me/words")
    assert events == [
        ("start", "processing", []),
        ("output", "processing", ["a"]),
        ("logs", "processing", ["a"]),
        ("output", "processing", ["a", "b"]),
        ("completed", "succeeded", ["a", "b"]),
    ]
