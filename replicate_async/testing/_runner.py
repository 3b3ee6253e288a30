"""Runs predictions and trainings: calls the functions of models in tasks and threads."""

from __future__ import annotations

import asyncio
import threading
import traceback
import types
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from replicate_async.types import Prediction

from ._functions import ModelFunction, Publish, to_output
from ._jobs import Job, Listener, R
from ._real_clock import Clock
from ._threads import WorkerThreads

Work = Callable[[Job[R]], Any]

# Tracebacks in logs omit frames of this package and of asyncio.
_INTERNAL_FOLDERS = (Path(__file__).parent, Path(asyncio.__file__).parent)


class NotStartedError(Exception):
    """A prediction fails before its start. The logs stay empty."""


class Runner:
    """Runs jobs as tasks, and ends them all when the server stops."""

    def __init__(self, clock: Clock, publish: Publish) -> None:
        self.clock = clock
        self.listeners: list[Listener] = []
        self._publish = publish
        self._threads = WorkerThreads()
        self._running: dict[asyncio.Task[None], Job[Any]] = {}

    def begin(self, job: Job[R], work: Work[R]) -> None:
        """Start a job: a new task awaits ``work(job)``."""
        job.listeners.extend(self.listeners)
        job.task = task = asyncio.get_running_loop().create_task(self._run(job, work))
        self._running[task] = job
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled():
            # After Ctrl-C the loop has raised the error; retrieving it keeps asyncio from logging it as well.
            task.exception()

    async def _run(self, job: Job[R], work: Work[R]) -> None:
        with self.clock.working():
            try:
                await work(job)
            except NotStartedError as error:
                job.end("failed", _message(error))
            except BaseException as error:
                # Every error of a model fails its job. pytest.fail() doesn't raise an Exception. A CancelledError is
                # the model's own, unless the job was canceled; then the job has ended, and ignores this.
                job.log("".join(traceback.format_exception(type(error), error, _skip_internal(error.__traceback__))))
                job.end("failed", _message(error))
                # Ctrl-C may interrupt anything in the main thread, and nothing else.
                if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise
            else:
                job.end("succeeded")

    async def call(self, job: Job[Any], function: ModelFunction, arguments: dict[str, Any]) -> Any:
        """Call a function that returns once; what it prints becomes the job's logs."""
        result = await function.call(arguments, self._threads, job.log, job.metrics)
        if job.done:
            # The function has ignored its cancellation.
            raise asyncio.CancelledError
        return result

    async def predict(
        self,
        job: Job[Prediction],
        function: ModelFunction,
        arguments: dict[str, Any],
        *,
        setup: ModelFunction | None = None,
        output_delay: float = 0,
    ) -> None:
        """Run a prediction: call the function, and add its output as it comes."""
        if setup is not None:
            try:
                await setup.call({}, self._threads, _discard, {})
            except Exception as error:
                raise NotStartedError(_message(error)) from error
        job.start()
        if not function.streams:
            result = await self.call(job, function, arguments)
            if output_delay:
                await self.clock.sleep(output_delay)
            job.output(to_output(result, self._publish))
            return
        async with aclosing(function.iterate(arguments, self._threads, job.log, job.metrics)) as iterator:
            async for item in iterator:
                if output_delay:
                    await self.clock.sleep(output_delay)
                # The function has ignored its cancellation; returning closes it.
                if job.done:
                    return
                function.signature.learn_from(item)
                job.add_output(to_output(item, self._publish))
        if job.record.output is None and not job.done:
            job.record.output = []

    async def stop(self) -> None:
        """Cancel all jobs. A function that ignores its cancellation is abandoned after a second."""
        for job in list(self._running.values()):
            job.abandon()
        if self._running:
            await asyncio.wait(self._running, timeout=1)
        self._threads.stop()
        # For the next start of the server, because a thread of the old pool may still be busy.
        self._threads = WorkerThreads()


def _discard(_text: str) -> None:
    """What a setup prints isn't in the logs of predictions."""


def _skip_internal(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the traceback from the model's function on, or the whole traceback if the function isn't in it."""
    step = trace
    while step is not None and Path(step.tb_frame.f_code.co_filename).parent in _INTERNAL_FOLDERS:
        step = step.tb_next
    return step or trace


def _message(error: BaseException) -> str:
    """Return the message of an error, or the name of its class if the message is empty."""
    try:
        return str(error) or type(error).__name__
    except BaseException:  # noqa: BLE001  (the model may define the error's class)
        return type(error).__name__
