"""The blocking client and the bridge: threads, running loops, Ctrl-C, exit and fork."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
import tenacity

import programs
import replicate_async
from rawserver import free_port
from replicate_async import (
    APIConnectionError,
    APITimeoutError,
    ModelError,
    Page,
    PredictionCanceledError,
    Replicate,
    ReplicateError,
    _bridge,
)
from replicate_async.testing import LocalServer

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"


@pytest.fixture
def go_on() -> threading.Event:
    """Return the event that lets the slow model continue."""
    return threading.Event()


@pytest.fixture
def server(go_on: threading.Event) -> Iterator[LocalServer]:
    with LocalServer(tidy=True, page_size=3) as server:

        @server.model("owner/echo", version=VERSION)
        async def echo(text: str = "nobody") -> str:
            return f"hello {text}"

        @server.model("owner/broken")
        async def broken() -> str:
            raise ValueError("no luck today")

        @server.model("owner/slow")
        async def slow(text: str = "") -> str:
            while not go_on.is_set():  # noqa: ASYNC110 - tests run in another thread
                await asyncio.sleep(0.005)
            return f"slow {text}"

        @server.model("owner/endless")
        async def endless() -> AsyncIterator[str]:
            yield "once "
            yield "upon"
            await asyncio.sleep(3600)

        yield server
        go_on.set()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with client_of(server) as client:
        yield client


def client_of(server: LocalServer, **options: Any) -> Replicate:
    return Replicate(bearer_token=server.token, base_url=server.base_url, **options)


def environment(server: LocalServer) -> dict[str, str]:
    return {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]


def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.002)


# --- calls ---


@pytest.mark.parametrize("ref", ["owner/echo", f"owner/echo:{VERSION}", VERSION])
def test_each_kind_of_reference_runs(server, client, ref):
    """The blocking run takes the same references as the asynchronous one, and sends the same single request."""
    assert client.run(ref, input={"text": "Alice"}) == "hello Alice"
    assert len(server.requests) == 1


def test_errors_keep_type_and_cause(client):
    """Errors of background calls are raised as they are: class, attributes, cause, and the user's line."""
    with pytest.raises(ModelError, match="no luck today") as failed:
        client.run("owner/broken")
    assert failed.value.prediction.status == "failed"
    with (
        Replicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}", max_retries=0) as nowhere,
        pytest.raises(APIConnectionError) as caught,
    ):
        nowhere.account.get()
    assert isinstance(caught.value.__cause__, OSError)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[0].name == "test_errors_keep_type_and_cause"


def test_bad_arguments_raise(client, server):
    """TypeError and ValueError are raised as by any function, and nothing is sent."""
    with pytest.raises(ValueError, match="ref="):
        client.run("nonsense")
    with pytest.raises(TypeError, match="'timout'"):
        client.account.get(timout=5)
    assert server.requests == []


def test_a_time_limit_cancels_the_prediction(server, client):
    """The time limit applies to blocking calls as well."""
    with pytest.raises(APITimeoutError) as caught:
        client.run("owner/slow", wait=False, time_limit=0.3)
    assert statuses(server) == ["canceled"]
    assert caught.value.prediction_id == next(iter(server.predictions))


def test_a_prediction_that_another_thread_cancels(server, client):
    """If another thread cancels a prediction, the wait for it ends."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(client.run, "owner/slow")
        until(lambda: statuses(server) == ["processing"])
        client.predictions.cancel(next(iter(server.predictions)))
        with pytest.raises(PredictionCanceledError):
            running.result(10)


def test_pages(server, client):
    """A list is its first page; iterating it fetches further pages as they are needed."""
    outputs = [client.run("owner/echo", input={"text": str(number)}) for number in range(7)][::-1]
    server.requests.clear()
    page = client.predictions.list()
    assert isinstance(page, Page)
    assert [prediction.output for prediction in page.results] == outputs[:3]
    assert (page.has_next_page(), page.previous, len(server.requests)) == (True, None, 1)
    assert repr(page) == "<Page of 3, more follow>"
    seen = []
    for prediction in page:
        seen.append(prediction.output)
        assert len(server.requests) == (len(seen) + 2) // 3
    assert seen == outputs
    second = page.get_next_page()
    assert isinstance(second, Page)
    assert [prediction.output for prediction in second] == outputs[3:]
    assert [len(each.results) for each in page.iter_pages()] == [3, 3, 1]
    last = second.get_next_page()
    with pytest.raises(RuntimeError, match="last page"):
        last.get_next_page()


def test_stopping_early_fetches_no_more(server, client):
    """A loop that ends on the first page has fetched one."""
    for number in range(5):
        client.run("owner/echo", input={"text": str(number)})
    server.requests.clear()
    for _ in client.predictions.list():
        break
    assert len(server.requests) == 1


def test_with_options_and_copies(server, client):
    """Copies are blocking clients of the same kind, and are closed with the original."""
    copied = client.with_options(timeout=5)
    assert type(copied) is Replicate
    assert copied.run("owner/echo") == "hello nobody"
    client.close()
    client.close()
    assert copied.is_closed()
    with pytest.raises(ReplicateError, match="closed"):
        copied.run("owner/echo")


def test_subclasses_stay_subclasses(server):
    """A user's subclass keeps its class in copies and in with statements."""

    class Mine(Replicate):
        pass

    with Mine(bearer_token=server.token, base_url=server.base_url) as client:
        assert type(client) is Mine
        assert type(client.with_options(timeout=5)) is Mine


def test_the_module_is_a_client(server, monkeypatch):
    """The package's functions and resources use a client that is created on first use, from the environment."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    replicate_async.default_client.cache_clear()
    try:
        assert replicate_async.run("owner/echo", input={"text": "Alice"}) == "hello Alice"
        assert replicate_async.account.get().username == "local"
        assert replicate_async.predictions.list().results[0].output == "hello Alice"
        assert replicate_async.default_client() is replicate_async.default_client()
        replicate_async.default_client().close()
    finally:
        replicate_async.default_client.cache_clear()


# --- threads and loops ---


def test_sixty_four_threads(server, client):
    """Many threads share a client, a background thread and its connections; each gets its own output."""

    def work(thread: int) -> list[str]:
        return [client.run("owner/echo", input={"text": f"{thread} {number}"}) for number in range(3)]

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        outputs = list(pool.map(work, range(64)))
    assert outputs == [[f"hello {thread} {number}" for number in range(3)] for thread in range(64)]
    assert len(server.predictions) == 192
    assert [thread.name for thread in threading.enumerate()].count("replicate_async") == 1


def test_inside_a_running_loop(client):
    """Blocking calls work in a running loop, as in notebooks."""

    async def cell() -> Any:
        return client.run("owner/echo", input={"text": "notebook"})

    assert asyncio.run(cell()) == "hello notebook"


def test_clients_share_one_background_loop(server):
    """Each client has its own connections, but all share one thread."""
    with client_of(server) as first, client_of(server) as second:
        first.run("owner/echo")
        second.run("owner/echo")
        first.close()
        assert second.run("owner/echo") == "hello nobody"
    assert [thread.name for thread in threading.enumerate()].count("replicate_async") == 1


def test_a_blocking_call_from_the_background_loop_is_an_error(server, client):
    """A call that would wait for itself for ever raises a RuntimeError that says what to do instead."""

    async def on_the_loop() -> str:
        for call in (client.account.get, client.predictions.list, lambda: list(_bridge.iterate(_numbers(1)))):
            with pytest.raises(RuntimeError, match="AsyncReplicate"):
                call()
        return "survived"

    assert _bridge.run(on_the_loop()) == "survived"
    assert client.run("owner/echo") == "hello nobody"


def test_a_blocking_call_from_a_callback_of_the_client(server):
    """A retry policy's callbacks run on the background loop: a blocking call there raises, without a deadlock."""
    errors: list[BaseException] = []

    def before_sleep(_: tenacity.RetryCallState) -> None:
        try:
            client.account.get()
        except RuntimeError as error:
            errors.append(error)

    retry = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2), before_sleep=before_sleep)
    with (
        Replicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}", retry=retry) as client,
        pytest.raises(APIConnectionError),
    ):
        client.account.get()
    assert len(errors) == 1


place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


def test_context_variables_are_visible(server):
    """The caller's context variables are visible to code that runs for it, such as a policy's callbacks."""
    seen: list[str] = []
    retry = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(2), before_sleep=lambda _: seen.append(place.get()), wait=tenacity.wait_none()
    )
    with Replicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}", retry=retry) as client:
        for name in ("here", "there"):
            context = contextvars.copy_context()
            context.run(place.set, name)
            with pytest.raises(APIConnectionError):
                context.run(client.account.get)
    assert seen == ["here", "there"]
    assert place.get() == "nowhere"


# --- the bridge on its own ---


async def _numbers(
    count: int, log: list[str] | None = None, failure: BaseException | None = None
) -> AsyncIterator[int]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            if log is not None:
                log.append(str(number))
            yield number
        if failure is not None:
            raise failure
    finally:
        if log is not None:
            log.append("closed")


def test_iterating():
    """An async iterator is read completely and in order, however long it is compared to the read-ahead."""
    for count in (0, 1, 63, 64, 65, 1000):
        assert list(_bridge.iterate(_numbers(count))) == list(range(count))


def test_iterating_fails_after_what_came_before():
    """An error is raised at its place in the sequence, after the items before it."""
    seen: list[int] = []

    def read() -> None:
        for number in _bridge.iterate(_numbers(5, failure=KeyError("end"))):
            seen.append(number)  # noqa: PERF402

    with pytest.raises(KeyError):
        read()
    assert seen == [0, 1, 2, 3, 4]


def test_leaving_an_iteration_closes_its_source():
    """A source that is left early completes its cleanup before close() returns, and is not read to its end."""
    log: list[str] = []
    iterator = _bridge.iterate(_numbers(10**6, log))
    assert next(iterator) == 0
    iterator.close()
    assert log[-1] == "closed"
    assert len(log) < 200


def test_reading_ahead_is_bounded():
    """A source that is faster than its reader waits for it."""
    log: list[str] = []
    iterator = _bridge.iterate(_numbers(10**6, log))
    next(iterator)
    time.sleep(0.05)
    assert len(log) < 200
    iterator.close()


def test_an_iterator_may_move_between_threads():
    """Each item may be taken by another thread, as a web server does with a streamed response."""
    iterator = _bridge.iterate(_numbers(100))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [pool.submit(next, iterator).result() for _ in range(100)] == list(range(100))


def test_timeouts_inside_iterators_keep_working():
    """A cancel scope that is open across items belongs to one task, and stays in it."""

    async def slow() -> AsyncIterator[int]:
        with anyio.move_on_after(0.1):
            for number in range(3):
                yield number
            await asyncio.sleep(60)
        yield 99

    assert list(_bridge.iterate(slow())) == [0, 1, 2, 99]


def test_results_of_every_kind():
    """None, exceptions as values, and errors that are not Exceptions arrive as they are."""

    async def give(value: Any) -> Any:
        return value

    async def fail(error: BaseException) -> None:
        raise error

    assert _bridge.run(give(None)) is None
    error = ValueError("a value")
    assert _bridge.run(give(error)) is error
    for raised in (KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), StopIteration(5)):
        with pytest.raises((type(raised), RuntimeError)):
            _bridge.run(fail(raised))
    assert _bridge.run(give("still there")) == "still there"


# --- Ctrl-C ---

INTERRUPTED = """
import asyncio
import replicate_async as replicate

client = replicate.Replicate()

async def blocking_there():
    client.run("owner/slow")

print(client.run("owner/echo", input={{"text": "before"}}), flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(client.run("owner/echo", input={{"text": "after"}}), flush=True)
"""


@pytest.mark.parametrize(
    "call",
    [
        'client.run("owner/slow")',
        'client.run("owner/slow", wait=False)',
        'replicate.run("owner/slow")',
        "asyncio.run(blocking_there())",
        'list(client.stream("owner/endless"))',
        'list(client.stream("owner/slow"))',
    ],
    ids=["held", "polled", "module", "in a loop", "stream", "no stream"],
)
def test_ctrl_c_cancels_the_prediction(server, call):
    """Ctrl-C in a call or an iteration is raised soon, the prediction is canceled, and the client still works.

    Also under ``asyncio.run()``, which from Python 3.11 on turns Ctrl-C into a cancellation.
    """
    with programs.start(INTERRUPTED.format(call=call), **environment(server)) as process:
        until(lambda: statuses(server) == ["succeeded", "processing"])
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        output, errors = process.communicate(timeout=10)
        assert time.monotonic() - started < 5
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines() == ["hello before", "interrupted", "hello after"]
    assert statuses(server) == ["succeeded", "canceled", "succeeded"]


def test_ctrl_c_ends_a_program(server):
    """A program that doesn't catch Ctrl-C ends soon, like any other, with the prediction canceled."""
    program = 'import replicate_async as replicate\nreplicate.run("owner/slow")'
    with programs.start(program, **environment(server)) as process:
        until(lambda: statuses(server) == ["processing"])
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - started < 5
    assert process.returncode in {-signal.SIGINT, 1}
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in errors
    assert "Exception ignored" not in errors
    assert statuses(server) == ["canceled"]


def test_ctrl_c_with_a_server_that_is_gone(server):
    """Ctrl-C does not hang if the server is gone and nothing can be canceled."""
    with LocalServer() as other:

        @other.model("owner/slow")
        async def slow() -> None:
            await asyncio.sleep(3600)

        program = 'import replicate_async as replicate\nreplicate.run("owner/slow", wait=False)'
        process = programs.start(program, **environment(other))
        until(lambda: statuses(other) == ["processing"])
        time.sleep(0.05)
    with process:
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - started < 8
    assert process.returncode != 0
    assert "Error" in errors or "KeyboardInterrupt" in errors


def test_an_error_from_a_signal_handler(server):
    """An error from a signal handler, such as an alarm's timeout, ends the call like Ctrl-C."""
    program = """
    import signal
    import replicate_async as replicate

    def alarm(*_):
        raise TimeoutError("alarm")

    signal.signal(signal.SIGALRM, alarm)
    try:
        replicate.run("owner/slow")
    except TimeoutError as error:
        print(error)
    print(replicate.run("owner/echo"))
    """
    with programs.start(program, **environment(server)) as process:
        until(lambda: statuses(server) == ["processing"])
        time.sleep(0.05)
        process.send_signal(signal.SIGALRM)
        output, errors = process.communicate(timeout=10)
    assert (output.splitlines(), errors) == (["alarm", "hello nobody"], "")
    assert statuses(server) == ["canceled", "succeeded"]


# --- the end ---


@pytest.mark.parametrize(
    "program",
    [
        "import replicate_async as replicate\nprint(replicate.run('owner/echo'))",
        "import replicate_async as replicate\nclient = replicate.Replicate()\nprint(client.run('owner/echo'))",
        "import replicate_async as replicate\nprint(replicate.Replicate().run('owner/echo'))",
        """
        import threading, time, replicate_async as replicate
        # Once the main thread has ended, Python refuses new threads.
        replicate.account.get()
        def work():
            time.sleep(0.1)
            print(replicate.run("owner/echo"))
        threading.Thread(target=work).start()
        """,
        """
        import replicate_async as replicate
        with replicate.Replicate() as client:
            print(client.run("owner/echo"))
        """,
        """
        import atexit
        import replicate_async as replicate
        replicate.account.get()
        atexit.register(lambda: print(replicate.run("owner/echo")))
        """,
        """
        import threading, replicate_async as replicate
        print(replicate.run("owner/echo"), flush=True)
        threading.Thread(target=lambda: replicate.run("owner/slow"), daemon=True).start()
        """,
        """
        import replicate_async as replicate
        pages = iter(replicate.predictions.list())
        print(replicate.run("owner/echo"))
        """,
        """
        import atexit
        import replicate_async as replicate
        # After the import, before the first call.
        atexit.register(lambda: print(replicate.run("owner/echo")))
        replicate.account.get()
        """,
        """
        import replicate_async as replicate
        class Service:
            def __init__(self):
                self.client = replicate.Replicate()
            def __del__(self):
                self.client.close()
        service = Service()
        print(service.client.run("owner/echo"))
        """,
        """
        import atexit, contextlib
        stack = contextlib.ExitStack()
        # Runs last.
        atexit.register(stack.close)
        import replicate_async as replicate
        print(stack.enter_context(replicate.Replicate()).run("owner/echo"))
        """,
        """
        import replicate_async as replicate
        def outputs():
            with replicate.Replicate() as client:
                yield client.run("owner/echo")
        generator = outputs()
        print(next(generator))
        """,
        """
        import replicate_async as replicate
        def answers():
            with replicate.predictions.with_streaming_response.list() as answer:
                yield answer
        generator = answers()
        answer = next(generator)
        print(replicate.run("owner/echo"))
        """,
    ],
    ids=[
        *("module", "client", "dropped", "thread", "closed", "atexit", "daemon", "iterator"),
        *("atexit before the first call", "closed by a finalizer", "closed after the loop"),
        *("client in a generator", "answer in a generator"),
    ],
)
def test_programs_end_quickly_and_silently(server, program):
    """A program that leaves a client open, a call running or an iterator unread ends at once, without warnings."""
    # A client that is dropped while its loop runs gives a warning; that is tested elsewhere.
    quiet = ("-W", "ignore::ResourceWarning")
    started = time.monotonic()
    assert programs.run(program, *quiet, **environment(server)) == "hello nobody\n"
    assert time.monotonic() - started < 10


def test_dropping_a_client_warns():
    """A blocking client that is dropped with open connections gives one ResourceWarning, and no traceback."""
    program = """
    import gc, warnings
    import replicate_async as replicate
    from replicate_async.testing import LocalServer, models

    with LocalServer() as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models.register(server)
        client = replicate.Replicate(bearer_token=server.token, base_url=server.base_url)
        client.run("replicate/hello-world", input={"text": "x"})
        del client
        gc.collect()
        messages = [str(warning.message) for warning in caught]
        caught.clear()
    print(len(messages), "without being closed" in messages[0])
    """
    assert programs.run(program) == "1 True\n"


def test_calls_at_the_very_end():
    """A call after the bridge has stopped raises an error that says so, and does not hang."""
    program = """
    import atexit

    def late():
        try:
            client.account.get()
        except RuntimeError as error:
            print(error)

    # Runs last.
    atexit.register(late)
    import replicate_async as replicate
    client = replicate.Replicate()
    """
    output = programs.run(program, REPLICATE_API_TOKEN="x", REPLICATE_BASE_URL="http://127.0.0.1:9")
    assert "the program is ending" in output


# --- fork ---

FORK = """
import gc, os, sys, warnings
# One child drops its client.
warnings.filterwarnings("ignore", category=ResourceWarning)
# This test forks a process with threads.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
import replicate_async as replicate

client = replicate.Replicate()
print("parent", client.run("owner/echo"), flush=True)
for number in range(2):
    child = os.fork()
    if child == 0:
        print("child", client.run("owner/echo"), flush=True)
        print("child", replicate.run("owner/echo"), flush=True)
        {child}
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    print("parent", client.run("owner/echo"), flush=True)
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize(
    "child",
    ["client.close(); sys.exit()", "del client; gc.collect(); sys.exit()", "sys.exit()", "os._exit(0)"],
    ids=["closed", "dropped", "exit", "_exit"],
)
def test_after_fork_parent_and_child_work(server, child):
    """A client that was used before a fork works in the child and in the parent; both end silently."""
    output = programs.run(FORK.format(child=child), **environment(server))
    both = ["child hello nobody", "child hello nobody", "parent hello nobody"]
    assert output.splitlines() == ["parent hello nobody", *both, *both]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_that_is_forked_while_others_call(server):
    """A fork in the middle of another thread's call, as in a prefork worker, leaves no lock behind."""
    program = """
    import os, threading, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    import replicate_async as replicate

    # A fork while another thread imports something would be stuck in Python itself.
    replicate.run("owner/echo")
    stop = threading.Event()

    def call():
        while not stop.is_set():
            replicate.run("owner/echo")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            print(replicate.run("owner/echo"), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    stop.set()
    for thread in threads:
        thread.join()
    """
    assert programs.run(program, **environment(server)) == "hello nobody\n" * 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_multiprocessing_workers(server):
    """Workers that are forked after the client's first use each run models with it."""
    program = """
    import multiprocessing, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    import replicate_async as replicate

    def work(number):
        return replicate.run("owner/echo", input={"text": str(number)})

    print(work(0))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(*pool.map(work, range(1, 5)))
        pool.close()
        pool.join()
    """
    output = programs.run(program, **environment(server))
    assert output == "hello 0\nhello 1 hello 2 hello 3 hello 4\n"


def test_spawned_workers(server):
    """Errors from spawned workers arrive complete in the parent."""
    program = """
    import concurrent.futures, multiprocessing, sys
    import replicate_async as replicate

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            print(pool.submit(replicate.run, "owner/echo").result())
            try:
                pool.submit(replicate.run, "owner/broken").result()
            except replicate.ModelError as error:
                print(error.prediction.status, error)
    """
    output = programs.run(program, **environment(server)).splitlines()
    assert output[0] == "hello nobody"
    assert output[1].startswith("failed prediction ")
    assert output[1].endswith("failed: no luck today")
