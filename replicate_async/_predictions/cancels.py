"""Cancels predictions that were given up. This goes on when the client, or the loop, that began it has ended."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import cast

import anyio
import msgspec

from replicate_async import _background as background
from replicate_async._http import clock
from replicate_async._http.call import Call, Outcome
from replicate_async._http.options import RequestOptions, follow_up_headers
from replicate_async._http.sessions import SessionPool
from replicate_async._http.transport import Transport
from replicate_async._logging import logger
from replicate_async._predictions.creates import CreateLedger, reconcile
from replicate_async._predictions.jobs import cancel_request
from replicate_async.errors import APIConnectionError, APIError, APIStatusError, CreateOutcomeUnknown, ReplicateError
from replicate_async.types import Prediction

# In seconds: how long a caller that has given up waits, and a client or a loop that ends.
_MAX_WAIT = 5.0
# In seconds: how long the background keeps trying; and for how long if the API responds that it can't be done.
_MAX_SECONDS, _MAX_REJECTED_SECONDS = 600.0, 30.0
_REJECTIONS = frozenset({400, 401, 403, 404, 405, 410, 422})
# The API responds at once. A call that stalls is repeated soon.
_ATTEMPT = RequestOptions(timeout=3.0, max_retries=0)
# In seconds: how long the response of a create may take before its prediction is looked for, and how long the create.
_RESPONSE_SECONDS, _MAX_INTERRUPTED_CREATE_SECONDS = 1.0, 5.5
_FIRST_DELAY, _MAX_DELAY = 0.5, 30.0
_MAX_CONNECTIONS = 32


class AbandonedRun(msgspec.Struct, eq=False):
    """A prediction that its caller has given up, or the create that may have made it.

    Attributes:
        transport: The client's transport.
        creating: The task that makes the create.
        call: The create.
        prediction_id: The prediction's id, when it is known.
        options: The caller's options.
    """

    transport: Transport
    creating: asyncio.Task[Prediction] | None
    call: Call[Prediction] | None
    prediction_id: str | None = None
    options: RequestOptions = {}

    def cancel(self) -> asyncio.Task[None]:
        """Begin to cancel the prediction. The task ends soon: the background takes over what takes longer."""
        task = asyncio.ensure_future(self._cancel())
        background.keep(task)
        if self.creating is not None:
            background.keep(self.creating)
        return task

    async def _cancel(self) -> None:
        reason: object = "no response in time"
        try:
            with anyio.move_on_after(_MAX_WAIT):
                await self.try_on(self.transport, _MAX_WAIT)
                reason = None
        except ReplicateError as error:
            reason = error
        finally:
            # Also when the loop ends, which cancels this task. The background must not touch a task of this loop.
            if self.creating is not None and not self.creating.done():
                self.creating.cancel()
                if reason is not None:
                    self.creating.add_done_callback(lambda _: self._hand_over(reason))
            elif reason is not None:
                self._hand_over(reason)

    async def try_on(self, transport: Transport, seconds: float) -> None:
        """Cancel the prediction, with as many attempts as fit into a number of seconds.

        Raises:
            ReplicateError: the last attempt failed.
        """
        started, delay = clock.current.monotonic(), _FIRST_DELAY
        while True:
            try:
                return await self._try(transport)
            except ReplicateError as error:
                limit, pause = seconds, delay * random.uniform(0.5, 1.0)
                if isinstance(error, APIStatusError):
                    pause = max(pause, error.retry_after or 0.0)
                    if error.status_code in _REJECTIONS:
                        limit = min(limit, _MAX_REJECTED_SECONDS)
                is_gone = isinstance(error, APIConnectionError) and not error.sent and background.is_exiting()
                if is_gone or clock.current.monotonic() + pause > started + limit:
                    raise
            delay = min(2 * delay, _MAX_DELAY)
            await _pause(pause)

    async def _try(self, transport: Transport) -> None:
        if self.prediction_id is None:
            try:
                self.prediction_id = await self._find(transport)
            except CreateOutcomeUnknown as error:
                if not error.candidates:
                    raise
                # They may be someone else's.
                logger.warning("a create was interrupted, and its prediction may run on: %s", error)
        if self.prediction_id is not None:
            options = cast("RequestOptions", {**follow_up_headers(self.options), **_ATTEMPT})
            canceled = await transport.decoding.call(cancel_request(self.prediction_id, options))
            transport.hooks.observe(canceled, clock.current.monotonic(), final_status="canceled")

    async def _find(self, transport: Transport) -> str | None:
        """Return the prediction's id; None if there is no prediction, or it has ended.

        Raises:
            CreateOutcomeUnknown: that is unknown.
        """
        call, creating = self.call, self.creating
        if call is None or creating is None:
            return None
        ledger = transport.account.state(CreateLedger)
        # The API carries it out although its connection is closed, and perhaps only then.
        end = max(call.sent_at + _MAX_INTERRUPTED_CREATE_SECONDS, clock.current.monotonic() + _RESPONSE_SECONDS)
        lookup = partial(reconcile, transport, call, APIConnectionError("interrupted"), end=end)
        call.abandoned = True
        if not creating.done() and not (ledger.is_in_flight(call) and call.may_exist):
            # It waits for its turn, for a connection or for a retry; or it is looked for, for the caller.
            creating.cancel()
        await _wait_for(creating, 0 if call.prefer_wait else _RESPONSE_SECONDS)
        if not creating.done():
            # The response may take long, above all if the API holds it back until the prediction has ended.
            with suppress(CreateOutcomeUnknown):
                if (job_id := await lookup()) is not None:
                    return job_id
            if not creating.done():
                # It may still be carried out.
                call.outcome = Outcome.UNKNOWN
            await _wait_for(creating, None)
        error = asyncio.CancelledError() if creating.cancelled() else creating.exception()
        # A hook may have raised.
        if call.outcome is Outcome.TAKEN or not isinstance(error, (ReplicateError, type(None))):
            return await lookup() if call.may_exist else None
        if error is None:
            return None if creating.result().done else creating.result().id
        if isinstance(error, CreateOutcomeUnknown) and error.prediction_id is None:
            raise error
        return error.prediction_id if isinstance(error, APIError) else None

    def _hand_over(self, reason: object) -> None:
        supervisor = self.transport.account.state(CancelSupervisor)
        try:
            background.submit(lambda: supervisor.cancel(self))
        except RuntimeError:
            self.warn(reason)
        else:
            logger.info("%s is not canceled yet, retrying in the background: %s", self, reason)

    def warn(self, reason: object) -> None:
        """Log that the prediction may run on, and how to cancel it."""
        how = f"predictions.cancel({self.prediction_id!r})" if self.prediction_id else "predictions.list()"
        logger.warning("%s could not be canceled, and may run on: %s; see %s", self, reason, how)

    def __str__(self) -> str:
        return f"prediction {self.prediction_id}" if self.prediction_id else "a prediction whose create was interrupted"


async def _wait_for(task: asyncio.Task[Prediction], seconds: float | None) -> None:
    # asyncio.wait() would have the loop of a task that is done call back, which may be a loop of another thread.
    if not task.done():
        await asyncio.wait([task], timeout=seconds)


async def _pause(seconds: float) -> None:
    """Wait, in steps, because there is not so much time when the program ends."""
    end = clock.current.monotonic() + seconds
    while (rest := end - clock.current.monotonic()) > 0:
        await clock.current.sleep(min(rest, _FIRST_DELAY))
        if background.is_exiting():
            return


class CancelSupervisor:
    """Cancels the predictions of an account that could not be canceled at once, on connections of its own."""

    def __init__(self) -> None:
        self._pool = SessionPool(None, _MAX_CONNECTIONS)
        self._pending = 0

    async def cancel(self, abandoned: AbandonedRun) -> None:
        """Cancel a prediction, for minutes if necessary. What fails is logged."""
        self._pending += 1
        try:
            await abandoned.try_on(Transport(abandoned.transport.settings, self._pool), _MAX_SECONDS)
        except Exception as error:  # noqa: BLE001 - only the log says that the prediction may run on
            abandoned.warn(error)
        except asyncio.CancelledError:
            abandoned.warn("the program ended")
            raise
        else:
            logger.info("%s has been canceled, or has ended", abandoned)
        finally:
            self._pending -= 1
            if not self._pending:
                pool, self._pool = self._pool, SessionPool(None, _MAX_CONNECTIONS)
                await pool.close()
