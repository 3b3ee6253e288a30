"""The background event loop: one for each process, in a daemon thread that never keeps a program running.

It runs the calls of all blocking clients, and what goes on when the loop or the client that began it has ended. The
first use starts it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from replicate_async._fork import after_fork_in_child, make_immortal
from replicate_async._monotonic import monotonic

# In seconds: how long tasks may clean up at the end of the program.
CLEANUP_SECONDS = 1.2
# In seconds: how long the end of the program waits for the tasks that must be completed.
EXIT_SECONDS = 10.0


_start_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_exiting = False
# The tasks that must be completed, if that is possible in time.
_kept: set[asyncio.Task[Any]] = set()


def is_exiting() -> bool:
    """Return whether the program is ending, so that nothing new can be started."""
    return _exiting


def is_current_thread() -> bool:
    """Return whether the caller runs in the thread of the loop."""
    return threading.current_thread() is _thread


def get_loop() -> asyncio.AbstractEventLoop:
    """Return the loop, started if necessary.

    Raises:
        RuntimeError: the program is ending.
    """
    return _loop or _start()


def keep(task: asyncio.Task[Any]) -> None:
    """Let the end of the program wait for a task, for a limited time, if it runs on this loop."""
    if is_current_thread():
        _kept.add(task)
        task.add_done_callback(_kept.discard)


def submit(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call a function on the loop, and run its coroutine; the end of the program waits for it.

    Raises:
        RuntimeError: the program is ending.
    """
    if is_current_thread():
        # Also while the program ends.
        keep(asyncio.get_running_loop().create_task(function()))
    else:
        loop = get_loop()
        loop.call_soon_threadsafe(lambda: keep(loop.create_task(function())))


def _start() -> asyncio.AbstractEventLoop:
    if _exiting:
        raise RuntimeError("the program is ending: no more calls can be made")
    # Not a Future: a signal handler that interrupts this and makes a call itself would hold the Future's lock, and
    # the thread would wait for it.
    started: SimpleQueue[asyncio.AbstractEventLoop | BaseException] = SimpleQueue()
    # Threads inherit the daemon flag, so threads that coroutines start to read files keep no program running either.
    threading.Thread(target=_run, args=(started,), name="replicate_async", daemon=True).start()
    loop = started.get()
    if isinstance(loop, BaseException):
        raise loop
    return loop


def _run(started: SimpleQueue[asyncio.AbstractEventLoop | BaseException]) -> None:
    """Create the loop and run it, unless another thread already does."""
    global _loop, _thread
    # Several threads may start at the same time. The main thread never takes the lock, because a signal handler there
    # would wait for the code that it interrupted.
    try:
        with _start_lock:
            if _loop is None:
                _loop, _thread = asyncio.new_event_loop(), threading.current_thread()
                # The loop continues where a test has frozen the time.
                setattr(_loop, "time", monotonic)  # noqa: B010 - type checkers
            loop = _loop
    except BaseException as error:  # noqa: BLE001 - the caller's, for example too many open files
        started.put(error)
        return
    started.put(loop)
    if _thread is not threading.current_thread():
        return
    asyncio.set_event_loop(loop)
    while not _exiting:
        # SystemExit in a task that a coroutine started must not end the loop that all others use.
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
    # As at the end of asyncio.run(): cancel all tasks, then let the clients' connections close.
    _cancel(loop, asyncio.all_tasks(loop) - _kept, CLEANUP_SECONDS / 2)
    if _kept:
        end = loop.time() + EXIT_SECONDS
        while _kept and (seconds := end - loop.time()) > 0:
            # Tasks that end may hand over what is left to others.
            loop.run_until_complete(asyncio.wait({*_kept}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))
        _cancel(loop, asyncio.all_tasks(loop), CLEANUP_SECONDS / 2)
    # Errors of tasks that still run can't be handled any more.
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _cancel(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))


def stop() -> None:
    """Stop the loop at the end of the program, and give it a limited time to complete what must be completed."""
    global _exiting, _loop
    _exiting = True
    loop, _loop = _loop, None
    if loop is not None and _thread is not None:
        loop.call_soon_threadsafe(loop.stop)
        # A second Ctrl-C ends the waiting.
        with suppress(KeyboardInterrupt):
            _thread.join(CLEANUP_SECONDS)
            if _kept:
                _thread.join(EXIT_SECONDS)


@after_fork_in_child
def _after_fork() -> None:
    """Start over in a forked child, where the parent's thread doesn't run and the loop's descriptors are shared."""
    global _start_lock, _loop, _thread, _kept
    # Finalizing the loop would close descriptors that the parent uses, and pending tasks would print warnings.
    make_immortal((_loop, _kept))
    # A thread of the parent may hold the old lock.
    _start_lock = threading.Lock()
    _loop = _thread = None
    _kept = set()
