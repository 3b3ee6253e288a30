"""From the first call to the last: signals, exits, forks, copies, tracebacks, and what many calls leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import gc
import json
import os
import pickle
import re
import signal
import subprocess
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import tenacity

import programs
from rawserver import free_port
from replicate_async import (
    APIConnectionError,
    AsyncReplicate,
    FileOutput,
    ModelError,
    NotFoundError,
    Replicate,
    ReplicateError,
    _bridge,
)
from replicate_async.testing import LocalServer, OutputFile, models

HELLO = "replicate/hello-world"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(tidy=True) as server:
        models.register(server)

        @server.model("owner/broken")
        async def broken() -> str:
            raise ValueError("no luck today")

        @server.model("owner/endless")
        async def endless() -> AsyncIterator[str]:
            # More than is read ahead.
            for _ in range(200):
                yield "on and "
            await asyncio.sleep(3600)

        @server.model("owner/brief")
        async def brief() -> AsyncIterator[str]:
            yield "less than is read ahead"
            await asyncio.sleep(3600)

        @server.model("owner/reader")
        async def reader(file: Path) -> AsyncIterator[str]:
            yield file.name
            await asyncio.sleep(3600)

        @server.model("owner/painter")
        def painter() -> OutputFile:
            return OutputFile(b"\x89PNG\r\n\x1a\n", "image/png", "out.png")

        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


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


@contextlib.contextmanager
def running(code: str, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and kill it at the end if it still runs."""
    with programs.start(code, *options, **environment) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], within: float = 5) -> tuple[int, str, str]:
    """Wait for a program that should be about to end, and return its status, output and errors."""
    assert process.stdout is not None
    assert process.stderr is not None
    started = time.monotonic()
    # Not communicate(), which misses what was read together with a line.
    output = process.stdout.read(), process.stderr.read()
    code = process.wait()
    assert time.monotonic() - started < within
    return code, *output


# --- signals ---

WAITING = """
import asyncio, signal, sys
import replicate_async as replicate
{handler}
print(replicate.run("owner/endless"))
"""


def test_sigterm_ends_a_program(server):
    """Without a handler SIGTERM ends the process at once."""
    with running(WAITING.format(handler=""), **environment(server)) as process:
        until(lambda: statuses(server) == ["processing"])
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (-signal.SIGTERM, "", "")


def test_a_sigterm_handler_that_exits(server):
    """A handler's ``sys.exit()`` ends the call like Ctrl-C: the prediction is canceled, and the status is kept."""
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))"
    with running(WAITING.format(handler=handler), **environment(server)) as process:
        until(lambda: statuses(server) == ["processing"])
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (3, "", "")
    assert statuses(server) == ["canceled"]


def test_a_sigterm_handler_that_sets_a_flag():
    """A handler that only sets a flag runs while the call waits, and the call continues to its result."""
    go_on = threading.Event()
    program = """
    import signal
    import replicate_async as replicate
    signals = []
    signal.signal(signal.SIGTERM, lambda *_: (signals.append("SIGTERM"), print("SIGTERM", flush=True)))
    print(replicate.run("owner/patient"), *signals)
    """
    with LocalServer() as server:

        @server.model("owner/patient")
        def patient() -> str:
            assert go_on.wait(20)
            return "done"

        with running(program, **environment(server)) as process:
            until(lambda: statuses(server) == ["processing"])
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            # Before the call has ended.
            assert process.stdout.readline() == "SIGTERM\n"
            go_on.set()
            assert ended(process) == (0, "done SIGTERM\n", "")


def test_a_handler_that_makes_calls(server):
    """A handler may make blocking calls, even while it interrupts one: here it cancels the prediction."""
    handler = """
def cancel(*_):
    for prediction in replicate.predictions.list():
        replicate.predictions.cancel(prediction.id)
    print("canceled", flush=True)
signal.signal(signal.SIGTERM, cancel)
"""
    with running(WAITING.format(handler=handler), **environment(server)) as process:
        until(lambda: statuses(server) == ["processing"])
        process.send_signal(signal.SIGTERM)
        code, output, errors = ended(process)
    assert (code, output) == (1, "canceled\n")
    assert "PredictionCanceledError" in errors.splitlines()[-1]


def test_a_handler_that_interrupts_the_first_call():
    """A handler may make a call at any moment of the first call: both run, on the same loop."""
    program = """
    import asyncio, sys, threading
    from replicate_async import _background, _bridge

    async def get_loop():
        return asyncio.get_running_loop()

    # Called when any function begins or ends, as a signal's handler may be.
    def handler(*_):
        global steps_to_go
        # While this lock is held, no thread at all can be started.
        steps_to_go -= not threading._active_limbo_lock._is_owned()
        if steps_to_go == 0 and not interrupted:
            loops.add(_bridge.run(get_loop()))
            interrupted.append(step)

    step, interrupted = 0, [0]
    while interrupted:
        step += 1
        steps_to_go, loops, interrupted = step, set(), []
        sys.setprofile(handler)
        loops.add(_bridge.run(get_loop()))
        sys.setprofile(None)
        assert len(loops) == 1, step
        # The next step starts again.
        _background.stop()
        _background._exiting = False
    print(step > 30)
    """
    assert programs.run(program) == "True\n"


def test_a_loop_that_cannot_be_started():
    """If no loop can be created, the caller gets the reason; the next call tries again."""
    program = """
    import asyncio
    from replicate_async import _bridge

    async def value():
        return "fine"

    def fail():
        raise OSError("too many open files")

    create, asyncio.new_event_loop = asyncio.new_event_loop, fail
    try:
        _bridge.run(value())
    except OSError as error:
        print(error)
    asyncio.new_event_loop = create
    print(_bridge.run(value()))
    """
    assert programs.run(program) == "too many open files\nfine\n"


def test_no_loop_is_started_at_the_end():
    """After the background has stopped, nothing starts its thread again."""
    program = """
    import threading
    from replicate_async import _background

    _background.get_loop()
    _background.stop()
    try:
        _background.submit(None)
    except RuntimeError as error:
        print(error)
    print(threading.active_count())
    """
    assert programs.run(program) == "the program is ending: no more calls can be made\n1\n"


INTERRUPTED = """
import asyncio, sys, time
from replicate_async import _bridge
{setting}
async def work(seconds):
    try:
        print("begun", flush=True)
        await asyncio.sleep(3600)
    finally:
        print("cleaning", flush=True)
        await asyncio.sleep(seconds)
        print("clean", flush=True)

async def value():
    return "still there"

try:
    _bridge.run(work({seconds}))
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(_bridge.run(value()))
"""


def test_ctrl_c_runs_the_cleanup():
    """The coroutine is cancelled, and completes its cleanup before Ctrl-C is raised."""
    with running(INTERRUPTED.format(setting="", seconds=0.1)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, "cleaning\nclean\ninterrupted\nstill there\n", "")


def test_ctrl_c_as_on_windows():
    """On Windows, Ctrl-C does not wake a thread that waits for a lock; this kind of interrupt does so nowhere."""
    setting = """
import _thread, threading
# The loop is one of the real system.
_bridge.run(asyncio.sleep(0))
sys.platform = "win32"
def interrupt():
    sys.stdin.readline()
    _thread.interrupt_main()
threading.Thread(target=interrupt, daemon=True).start()
"""
    with running(INTERRUPTED.format(setting=setting, seconds=0.1)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.05)
        process.stdin.write("\n")
        process.stdin.flush()
        assert ended(process, within=4) == (0, "cleaning\nclean\ninterrupted\nstill there\n", "")


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_ctrl_c_does_not_wait_for_a_long_cleanup(again):
    """A long cleanup gets a limited time; a second Ctrl-C ends the wait at once."""
    with running(INTERRUPTED.format(setting="", seconds=3600)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning\n"
        # Python can miss a signal that comes just as a thread begins to wait for a lock.
        time.sleep(0.05)
        started = time.monotonic()
        if again:
            process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - started < (1 if again else 2)
        code, output, errors = ended(process)
        assert (code, output, errors) == (0, "still there\n", "")


def test_ctrl_c_before_the_call_is_submitted():
    """A call that is aborted before its loop has received it never starts, and gives no warning."""

    async def work() -> None:
        raise AssertionError("it began")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call = _bridge._Call(work())
        call.abort()
        assert call.ended
        del call
        gc.collect()


def test_ctrl_c_as_the_result_comes():
    """An interrupt that comes together with the result does not wait for another result."""

    async def work() -> str:
        return "done"

    call = _bridge._Call(work())
    call.submit()
    assert call.done.acquire(timeout=10)
    started = time.monotonic()
    call.abort()
    assert time.monotonic() - started < 1
    assert call.value == "done"


def test_cleaning_up_in_a_cancelled_task(client):
    """In a running loop, a task that is being cancelled can make blocking calls: only a new Ctrl-C ends them."""

    async def cell() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return str(_bridge.run(asyncio.sleep(0.3, "cleaned")))
        return "not cancelled"

    async def main() -> str:
        task = asyncio.ensure_future(cell())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main()) == "cleaned"


# --- the end of a program ---

# What is registered before the import runs after the package's own end.
BEGINNING = """
import atexit
last = []
atexit.register(lambda: [function() for function in last])
import replicate_async as replicate
"""


@pytest.mark.parametrize("call", ["replicate.run('owner/endless')", "list(replicate.stream('owner/endless'))"])
def test_programs_that_wait_for_a_daemon_thread_at_their_end(server, call):
    """A daemon thread in a call that the end of the program has canceled gets the error in the end."""
    program = f"""{BEGINNING}
import threading
from replicate_async import _background
_background.EXIT_SECONDS = 0.3
def work():
    try:
        {call}
    except BaseException as error:
        print(type(error).__name__, flush=True)
thread = threading.Thread(target=work, daemon=True)
last.append(thread.join)
thread.start()
print("end", flush=True)
"""
    with running(program, "-W", "ignore::ResourceWarning", **environment(server)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "end\n"
        code, output, errors = ended(process)
    assert (code, errors) == (0, "")
    assert output in {"CancelledError\n", "RuntimeError\n"}


READER = """
        import threading, time
        begun, ending = threading.Event(), threading.Event()
        def work():
            for event in replicate.stream("MODEL"):
                begun.set()
                ending.wait()
        last.append(lambda: (ending.set(), time.sleep(0.2)))
        threading.Thread(target=work, daemon=True).start()
        begun.wait(10)
        print("end", flush=True)
    """

ENDS = {
    "open": """
        client = replicate.Replicate()
        print(client.run("replicate/hello-world", input={"text": "x"}), flush=True)
    """,
    "half-read": """
        stream = replicate.stream("owner/endless")
        print(next(stream), flush=True)
    """,
    "half-read, of a file": """
        from pathlib import Path
        stream = replicate.stream("owner/reader", input={"file": Path(replicate.__file__)})
        print(next(stream), flush=True)
    """,
    "half-read response": """
        page = replicate.predictions.with_streaming_response.list()
        print(page.__enter__().status_code, flush=True)
    """,
    "daemon in a call": """
        import threading, time
        threading.Thread(target=lambda: replicate.run("owner/endless"), daemon=True).start()
        while not replicate.predictions.list().results:
            time.sleep(0.01)
        print("end", flush=True)
    """,
    "daemon with many calls": """
        import threading
        def work():
            while True:
                replicate.account.get()
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(20):
            replicate.account.get()
        print("end", flush=True)
    """,
    "daemon in a stream": """
        import threading
        begun = threading.Event()
        def work():
            for event in replicate.stream("owner/endless"):
                begun.set()
        threading.Thread(target=work, daemon=True).start()
        begun.wait(10)
        print("end", flush=True)
    """,
    "daemon that reads on": READER.replace("MODEL", "owner/endless"),
    "daemon that has read all": READER.replace("MODEL", "owner/brief"),
    "loop held up": """
        import tenacity, threading, time
        held = threading.Event()
        policy = tenacity.AsyncRetrying(before_sleep=lambda _: (held.set(), time.sleep(3600)))
        client = replicate.Replicate(base_url="http://127.0.0.1:9", retry=policy)
        threading.Thread(target=client.account.get, daemon=True).start()
        held.wait(10)
        print("end", flush=True)
    """,
    "exit": """
        print(replicate.run("replicate/hello-world", input={"text": "x"}), flush=True)
        raise SystemExit(7)
    """,
    "exception": """
        stream = replicate.stream("owner/endless")
        print(next(stream), flush=True)
        raise LookupError("on its way")
    """,
    "client that outlives its module": """
        account = vars(replicate.Replicate)['account']
        # Keeps this module's names alive.
        replicate.Replicate.account = property(lambda self: account.func(self))
        print(replicate.default_client().account.get().username, flush=True)
    """,
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_programs_end_with_their_own_status(server, program):
    """A program ends soon, with its own status and output, whatever is open or running."""
    program = BEGINNING + dedent(program)
    with running(program, "-W", "ignore::ResourceWarning", **environment(server)) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        code, output, errors = ended(process)
    assert output == ""
    if "LookupError" not in program:
        assert (code, errors) == (7 if "SystemExit(7)" in program else 0, "")
        return
    assert code == 1
    lines = errors.splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "LookupError: on its way")
    assert all(line.startswith(" ") for line in lines[1:-1])


@pytest.mark.parametrize(
    "waits",
    [
        'threading.Thread(target=lambda: replicate.run("owner/endless"), daemon=True).start()',
        'stream = replicate.stream("owner/endless"); next(stream)',
    ],
    ids=["daemon", "half-read"],
)
def test_programs_end_without_the_server(server, waits):
    """A server that no longer responds keeps a program for seconds from ending; a warning names the prediction."""
    program = f"""
    import asyncio, atexit, threading
    # Runs last.
    atexit.register(lambda: print(loop.is_closed()))
    import replicate_async as replicate
    from replicate_async import _bridge
    {waits}

    async def get_loop():
        return asyncio.get_running_loop()

    loop = _bridge.run(get_loop())
    print("waiting", flush=True)
    input()
    """
    with running(program, **environment(server)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        until(lambda: statuses(server) == ["processing"])
        server.faults.add(kind="stall")
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        code, output, errors = ended(process, within=15)
    assert (code, output) == (0, "True\n")
    # The list does not respond either, so the prediction whose create is still held has no name yet.
    named = f"prediction {''.join(server.predictions)}|a prediction whose create was interrupted"
    assert re.fullmatch(f"({named}) could not be canceled, and may run on: .*\n", errors)


# --- fork ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("child", ["sys.exit()", "del client; gc.collect(); sys.exit()"], ids=["kept", "dropped"])
def test_a_child_that_makes_no_call(server, child):
    """A child that only inherits a client ends without touching the parent's connections, and without warnings."""
    program = f"""
    import gc, os, sys, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    import replicate_async as replicate

    client = replicate.Replicate(timeout=5, max_retries=0)
    client.account.get()
    child = os.fork()
    if child == 0:
        {child}
    print(os.waitpid(child, 0)[1], client.account.get().username)
    client.close()
    """
    assert programs.run(program, **environment(server)) == "0 local\n"


FORKED = """
import gc, os, sys, time, warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
import replicate_async as replicate

stream = replicate.stream("owner/endless")
print(next(stream), flush=True)
# The source reads ahead as far as it may.
while stream.gi_frame.f_locals["call"].has_room.is_set():
    time.sleep(0.01)
child = os.fork()
if child == 0:
    started = time.monotonic()
    {child}
    gc.collect()
    # It does not wait for the parent's loop.
    assert time.monotonic() - started < 1
    print(replicate.run("replicate/hello-world", input={{"text": "child"}}), flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
print(status, next(stream), flush=True)
stream.close()
"""


FROM_PARENT = "this iterator belongs to the process that this one was forked from"
READ_ON = """
    try:
        while True:
            next(stream)
    except RuntimeError as error:
        print(str(error).partition(":")[0], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_while_another_thread_starts_the_loop(server):
    """A child can make calls, even if it was forked while another thread was making the first call."""
    program = """
    import os, threading, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    import replicate_async as replicate
    from replicate_async import _background, _bridge

    client = replicate.Replicate()
    held, forked = threading.Event(), threading.Event()

    def start():
        with _background._start_lock:
            held.set()
            forked.wait()

    thread = threading.Thread(target=start)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        print(client.account.get().username, flush=True)
        os._exit(0)
    forked.set()
    thread.join()
    print(os.waitpid(child, 0)[1], client.account.get().username)
    client.close()
    """
    assert programs.run(program, timeout=10, **environment(server)) == "local\n0 local\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_during_a_lookup(server):
    """Lookups stay with the parent: a child may create the same prediction, and does not wait."""
    server.faults.add(kind="status", status=500, operation="models.predictions.create", times=1)
    server.faults.add(kind="stall", operation="predictions.list", times=1)
    program = """
    import os, threading, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    import replicate_async as replicate

    client = replicate.Replicate()

    def run():
        return client.run("replicate-local/gradient", {"width": 8}, wait=False)

    threading.Thread(target=run, daemon=True).start()
    input()
    child = os.fork()
    if child == 0:
        print(run().content_type, flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
    os._exit(0)
    """
    with running(program, **environment(server)) as process:
        until(lambda: any(request.operation == "predictions.list" for request in server.requests))
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert ended(process, within=20) == (0, "image/png\n0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize(
    ("child", "errors"),
    [
        ("pass", []),
        ("del stream", []),
        (READ_ON, [FROM_PARENT]),
    ],
    ids=["kept", "dropped", "read on"],
)
def test_a_fork_during_an_iteration(server, child, errors):
    """An iteration stays with the parent: it raises in the child, and the child's end does not affect the parent."""
    output = programs.run(FORKED.format(child=child), **environment(server)).splitlines()
    assert output == ["on and ", *errors, "hello child", "0 on and "]
    # The parent has canceled its own at the end.
    assert statuses(server) == ["canceled", "succeeded"]


# --- tracebacks ---


def _package_frames_between(error: BaseException) -> tuple[str, list[str], str]:
    """Return the user's line, the functions of this package that follow it, and the line that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [number for number, frame in enumerate(frames) if frame.filename == __file__]
    between = frames[max(number for number in mine if number < len(frames) - 1) + 1 : -1]
    return frames[mine[0]].line or "", [frame.name for frame in between], frames[-1].line or ""


def test_tracebacks_show_both_ends(client):
    """A blocking call's traceback has the user's line, at most two frames of this package, and the line that failed."""
    calls: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: client.run("owner/broken"), ModelError, "raise ModelError"),
        (lambda: client.predictions.get("x"), NotFoundError, "raise _response_error"),
        (lambda: list(client.stream("owner/broken")), ModelError, "raise ModelError"),
        (client.use("owner/broken"), ModelError, "raise ModelError"),
        (lambda: list(client.models.list(sort_by="x")), ValueError, "raise ValueError"),  # type: ignore[arg-type]
    ]
    for call, kind, failing in calls:
        with pytest.raises(kind) as caught:
            call()
        _, between, last = _package_frames_between(caught.value)
        assert len(between) <= 2
        assert last.startswith(failing)
        assert "drive" not in between


def test_asynchronous_tracebacks_show_both_ends(server):
    """An awaited call's traceback has the same."""

    async def every(events: Any) -> None:
        async for _ in events:
            pass

    async def visit() -> None:
        async with AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client:
            calls: list[tuple[Callable[[], Awaitable[Any]], type[Exception], str]] = [
                (lambda: client.run("owner/broken"), ModelError, "raise ModelError"),
                (lambda: client.predictions.get("x"), NotFoundError, "raise _response_error"),
                (lambda: every(client.stream("owner/broken")), ModelError, "raise ModelError"),
                (client.use("owner/broken"), ModelError, "raise ModelError"),
            ]
            for call, kind, failing in calls:
                with pytest.raises(kind) as caught:
                    await call()
                _, between, last = _package_frames_between(caught.value)
                assert len(between) <= 2, between
                assert last.startswith(failing)

    asyncio.run(visit())


def test_tracebacks_show_the_users_own_code():
    """An error in a function of the user's shows that function's lines, without this package's lines before them."""

    def before_sleep(_: tenacity.RetryCallState) -> None:
        fail()

    def fail() -> None:
        raise KeyError("mine")

    retry = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2), before_sleep=before_sleep)
    with (
        Replicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}", retry=retry) as client,
        pytest.raises(KeyError) as caught,
    ):
        client.account.get()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[:3]] == ["test_tracebacks_show_the_users_own_code", "get", "run"]
    assert [frame.name for frame in frames[-2:]] == ["before_sleep", "fail"]
    assert not [frame.name for frame in frames[3:] if "replicate_async" in frame.filename]


def test_errors_keep_causes_and_notes():
    """An error is the same object that was raised: with its cause, its notes, and its cause's own traceback."""
    raised = LookupError("outer")
    raised.__notes__ = ["while painting"]  # type: ignore[attr-defined, unused-ignore]

    async def work() -> None:
        try:
            raise OSError("inner")
        except OSError as error:
            raise raised from error

    with pytest.raises(LookupError) as caught:
        _bridge.run(work())
    assert caught.value is raised
    assert caught.value.__notes__ == ["while painting"]
    assert str(caught.value.__cause__) == "inner"
    assert traceback.extract_tb(caught.value.__cause__.__traceback__)[-1].name == "work"


def test_errors_leave_nothing_behind(client):
    """An error that was caught and dropped is freed, with everything in its traceback, before any collection."""
    gc.collect()
    # Objects of other tests.
    before = {id(thing) for thing in gc.get_objects()}
    gc.disable()
    try:
        for _ in range(3):
            with contextlib.suppress(ModelError):
                client.run("owner/broken")
            with contextlib.suppress(ModelError):
                list(client.stream("owner/broken"))
        remaining = [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, ModelError) or type(thing).__module__ == _bridge.__name__
        ]
        assert not [thing for thing in remaining if id(thing) not in before]
    finally:
        gc.enable()


# --- context variables ---

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


def test_context_variables_are_visible_to_either_client():
    """The caller's context variables are visible in its retry policy's callbacks and in what it iterates."""
    seen: list[str] = []
    retry = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(2), before_sleep=lambda _: seen.append(place.get()), wait=tenacity.wait_none()
    )
    nowhere: dict[str, Any] = {"bearer_token": "x", "base_url": f"http://127.0.0.1:{free_port()}", "retry": retry}

    async def asynchronous() -> None:
        place.set("async")
        async with AsyncReplicate(**nowhere) as client:
            with pytest.raises(APIConnectionError):
                await client.account.get()

    def blocking() -> None:
        place.set("blocking")
        with Replicate(**nowhere) as client, pytest.raises(APIConnectionError):
            client.account.get()

    async def places() -> AsyncIterator[str]:
        yield place.get()

    def iterating() -> None:
        place.set("iterating")
        seen.extend(_bridge.iterate(places()))

    asyncio.run(asynchronous())
    for what in (blocking, iterating):
        contextvars.copy_context().run(what)
    assert seen == ["async", "blocking", "iterating"]
    assert place.get() == "nowhere"


# --- leaving iterations ---


def _by_break(client: Replicate) -> None:
    for _ in client.stream("owner/endless"):
        break


def _by_return(client: Replicate) -> str:
    for event in client.stream("owner/endless"):
        return event
    return ""


def _by_exception(client: Replicate) -> None:
    with contextlib.suppress(LookupError):
        for _ in client.stream("owner/endless"):
            raise LookupError


def _by_close(client: Replicate) -> None:
    events = client.stream("owner/endless")
    next(events)
    events.close()


def _by_with(client: Replicate) -> None:
    with contextlib.closing(client.stream("owner/endless")) as events:
        next(events)


def _of_a_function(client: Replicate) -> None:
    for _ in client.use("owner/endless", streaming=True)():
        break


@pytest.mark.parametrize("leave", [_by_break, _by_return, _by_exception, _by_close, _by_with, _of_a_function])
def test_leaving_a_stream(server, client, leave):
    """However a loop is left, its stream is closed and its prediction canceled before the next line runs."""
    leave(client)
    assert statuses(server) == ["canceled"]


def test_dropping_an_iterator_on_the_loop():
    """An iterator that is dropped by code on the loop itself is closed there, without a deadlock."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10**6):
                yield number
        finally:
            log.append("closed")

    held = [_bridge.iterate(numbers())]
    next(held[0])

    async def drop() -> float:
        started = time.monotonic()
        held.clear()
        return time.monotonic() - started

    assert _bridge.run(drop()) < 1
    until(lambda: log)


def test_a_reader_that_is_faster_than_the_source_sees():
    """A source that waits for room continues, even if the reader made room before it began to wait."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(1000):
            yield number

    class Meanwhile(asyncio.Event):
        """Lets the reader take all items at the very moment before the source waits."""

        def clear(self) -> None:
            call.items.clear()
            super().clear()

    call = _bridge._IteratorCall(numbers())
    call.has_room = Meanwhile()
    _bridge.run(asyncio.wait_for(call.work(), 5))


# --- one loop for all clients ---


def test_the_thread_is_started_by_the_first_call(server):
    """Importing and creating clients starts no thread; the first call starts the named thread that all share."""
    program = """
    import threading
    import replicate_async as replicate
    clients = [replicate.Replicate() for _ in range(3)]
    print([thread.name for thread in threading.enumerate()])
    for client in clients:
        client.account.get()
        client.close()
    print([thread.name for thread in threading.enumerate()])
    """
    output = programs.run(program, **environment(server)).splitlines()
    assert output == ["['MainThread']", "['MainThread', 'replicate_async']"]


def test_slow_files_block_no_other_calls(server, client):
    """Files are read in another thread: meanwhile the calls of other clients are answered."""
    reading, read = threading.Event(), threading.Event()
    pieces = iter([b"piece"])

    class Slow:
        name = "slow.bin"

        def read(self, size: int = -1) -> bytes:
            reading.set()
            assert read.wait(10)
            return next(pieces, b"") if size else b""

    with Replicate(bearer_token=server.token, base_url=server.base_url) as other:
        upload = threading.Thread(target=lambda: client.files.create(Slow()))  # type: ignore[arg-type]
        upload.start()
        assert reading.wait(10)
        assert other.account.get().username == "local"
        assert not read.is_set()
        read.set()
        upload.join(10)
    assert not upload.is_alive()


def test_debug_mode_names_the_call_that_blocks_the_loop():
    """The debug mode of asyncio reports a callback that blocks the loop, with the name of its call."""
    program = f"""
    import logging, sys, tenacity, time
    import replicate_async as replicate

    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    retry = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2), before_sleep=lambda _: time.sleep(0.3))
    client = replicate.Replicate(bearer_token="x", base_url="http://127.0.0.1:{free_port()}", retry=retry)
    try:
        client.account.get()
    except replicate.APIConnectionError:
        print("as expected")
    """
    output = programs.run(program, "-X", "dev", "-W", "ignore::ResourceWarning", PYTHONASYNCIODEBUG="1")
    reports = [line for line in output.splitlines() if line.startswith("Executing")]
    assert [line for line in reports if "AsyncAccounts.get" in line and " took 0.3" in line], reports


def test_the_loop_survives_a_task_that_exits():
    """``sys.exit()`` in a task that a coroutine started does not end the shared loop."""

    async def leave() -> None:
        raise SystemExit(3)

    async def start() -> str:
        task = asyncio.ensure_future(leave())
        with contextlib.suppress(SystemExit):
            await task
        return "went on"

    assert _bridge.run(start()) == "went on"
    assert _bridge.run(asyncio.sleep(0, "still there")) == "still there"


# --- copies ---


def test_everything_has_a_shallow_copy(server, client):
    """Clients, pages and results work after ``copy.copy``; of a client it is ``client.copy()``."""
    other = copy.copy(client)
    assert other.run(HELLO, input={"text": "x"}) == "hello x"
    page = copy.copy(client.predictions.list())
    assert [prediction.output for prediction in page] == ["hello x"]
    assert copy.copy(page.results[0]) == page.results[0]
    other.close()
    assert client.is_closed()


def test_which_tokens_are_pickled(server, monkeypatch):
    """A token that was passed to a client is in its pickle; a token from the environment is not."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    with Replicate(bearer_token=server.token) as given, Replicate() as finding:
        for client, travels in ((given, True), (finding, False)):
            client.account.get()
            pickled = pickle.dumps(client)
            assert (server.token.encode() in pickled) is travels
            with pickle.loads(pickled) as other:
                assert other.account.get().username == "local"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_file_outputs_can_be_read_elsewhere(client, copied):
    """A file output's copy can be read without the client that it came from."""
    picture = client.run("owner/painter")
    other = copied(picture)
    client.close()
    assert isinstance(other, FileOutput)
    assert other.url == picture.url
    assert other.read() == b"\x89PNG\r\n\x1a\n"


# --- leaks ---

COUNTED = """
import asyncio, gc, json, os, resource, sys, threading
from replicate_async import Replicate, _bridge

def counted():
    async def tasks():
        return len(asyncio.all_tasks()) - 1
    gc.collect()
    return {
        "descriptors": len(os.listdir("/dev/fd")),
        "threads": threading.active_count(),
        "tasks": _bridge.run(tasks()),
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "kB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }

def work(times):
    %s

counted()
work(%d)
before = counted()
work(%d)
after = counted()
print(json.dumps({name: after[name] - before[name] for name in before}))
"""

CALLS = """
    for number in range(times):
        client.account.get()
        if number % 10 == 0:
            for _ in client.models.list():
                break
client = Replicate()
"""

CLIENTS = """
    for _ in range(times):
        with Replicate() as client:
            client.account.get()
"""


@pytest.mark.endurance
@pytest.mark.skipif(os.name != "posix", reason="it looks into /dev/fd")
@pytest.mark.parametrize(
    ("what", "warm_up", "times"), [(CALLS, 2_000, 20_000), (CLIENTS, 1_000, 1_000)], ids=["calls", "clients"]
)
def test_calls_and_clients_leave_nothing_behind(what, warm_up, times):
    """After 20,000 calls, and after 1,000 clients, nothing has grown since the first few."""
    with LocalServer.process() as server:
        counted = programs.run(
            COUNTED % (what.strip(), warm_up, times),
            timeout=110,
            REPLICATE_API_TOKEN=server.token,
            REPLICATE_BASE_URL=server.base_url,
        )
    growth = json.loads(counted)
    assert (growth["threads"], growth["tasks"]) == (0, 0)
    # Connections to the server may close in the meantime, and open again.
    assert abs(growth["descriptors"]) <= 2
    # Less than one small object for each of a thousand; cancelled timers come and go.
    assert growth["blocks"] < 800
    assert growth["objects"] < 400
    assert growth["kB"] < 4_000


# --- loops that have ended ---


def test_connections_of_loops_that_have_ended_are_released(server):
    """Each of many loops in turn leaves no connection behind, although their client stays open."""
    client = AsyncReplicate(bearer_token=server.token, base_url=server.base_url)

    async def use() -> None:
        await asyncio.gather(*[client.account.get() for _ in range(5)])

    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    asyncio.run(use())
    before = descriptors()
    for _ in range(10):
        asyncio.run(use())
    # The server, which runs in this process as well, closes its ends.
    until(lambda: descriptors() <= before)
    asyncio.run(client.close())


def test_two_threads_drop_the_same_ended_loop(server):
    """A thread that drops a loop that has ended is not disturbed by another that does the same."""
    client = AsyncReplicate(bearer_token=server.token, base_url=server.base_url)

    async def use() -> str:
        return (await client.account.get()).username

    class Ended(asyncio.SelectorEventLoop):
        others: int = 0

        def is_closed(self) -> bool:
            if self.others:
                self.others -= 1
                other = threading.Thread(target=lambda: asyncio.run(use()))
                other.start()
                other.join()
            return super().is_closed()

    loops = [Ended(), Ended()]
    for loop in loops:
        loop.run_until_complete(use())
        loop.run_until_complete(loop.shutdown_asyncgens())
    for loop in loops:
        loop.close()
        loop.others = 1
    assert asyncio.run(use()) == "local"
    asyncio.run(client.close())


def test_calls_after_close(client):
    """Closing twice is closing once; after that, each kind of call raises an error that says so."""
    events = client.stream(HELLO, input={"text": "x"})
    function = client.use(HELLO)
    client.close()
    client.close()
    for call in (client.account.get, lambda: client.run(HELLO), lambda: list(events), lambda: function(text="x")):
        with pytest.raises(ReplicateError, match="closed"):
            call()
