"""Running a model: create the prediction, wait for it, and cancel it if the caller stops waiting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.locks import KeyedLock
from replicate_async._http.problem import trim_traceback
from replicate_async._http.request import Request
from replicate_async._http.sessions import LoopSession
from replicate_async._http.transport import Transport
from replicate_async._predictions.creates import CreateLedger, CreateSlots, reconcile
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.jobs import cancel_request, fetch_job, output_of, run_shielded
from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import (
    ModelRef,
    PredictionOptions,
    check_time_limit,
    create_request,
    prefer_header,
    request_options,
)
from replicate_async._predictions.streaming import StreamEvent, follow
from replicate_async.errors import APIConnectionError, APITimeoutError, NotFoundError, ReplicateError
from replicate_async.types import Model, Prediction

_LATEST_VERSION_TTL = 60.0
_MAX_HELD = 16


class LatestVersions:
    """The latest versions of community models, which the API runs by version only."""

    def __init__(self) -> None:
        self._versions: dict[tuple[object, ...], tuple[ModelRef, float]] = {}
        self._lock = KeyedLock()

    def cached(self, key: tuple[object, ...]) -> ModelRef | None:
        """Return a version that was fetched less than a minute ago."""
        version, expires_at = self._versions.get(key, (None, 0.0))
        return version if clock.current.monotonic() < expires_at else None

    async def fetch(self, transport: Transport, model: ModelRef) -> ModelRef | None:
        """Return a model's latest version; callers that need it at the same time share one request."""
        key = transport.options_key, model
        async with self._lock.hold(*key):
            version = self.cached(key)
            if version is None:
                latest = (await transport.call(Request[Model]("GET", model.path(), Model, {}))).latest_version
                if latest is not None:
                    version = ModelRef(version=latest.id)
                    self._versions[key] = version, clock.current.monotonic() + _LATEST_VERSION_TTL
        return version


class PredictionRun(msgspec.Struct):
    """A prediction on behalf of a caller: described, then created, then waited for."""

    transport: Transport
    model: ModelRef
    input: Mapping[str, Any]
    options: PredictionOptions
    wait: bool | int = False
    stream: bool | UnsetType = UNSET
    cancel_on_abort: bool = True
    on_update: Callable[[Prediction], None] | None = None
    # The create, while it is in flight.
    call: Call[Prediction] | None = None
    prediction: Prediction | None = None
    prediction_id: str | None = None

    def describe(self, prefer: str | UnsetType = UNSET) -> Request[Prediction]:
        """Describe the create; invalid arguments raise here."""
        version = self.model.version or UNSET
        path = "/predictions" if version else self.model.path("/predictions")
        return create_request(path, self.options, self.input, version=version, stream=self.stream, prefer=prefer)

    async def create(self) -> Prediction:
        """Create the prediction, with the model's latest version if a community model is only named."""
        session = self.transport.pool.current()
        slots = session.state(CreateSlots)
        prefer = prefer_header(self.wait)
        # A held response is the fastest way to the output, but it occupies a connection. Polling many predictions
        # together is cheaper.
        if self.wait is True and (self.on_update is not None or slots.held >= _max_held(session, slots)):
            prefer = UNSET
        slots.held += prefer is not UNSET
        versions = self.transport.pool.state(LatestVersions)
        if not self.model.version:
            self.model = versions.cached((self.transport.options_key, self.model)) or self.model
        try:
            strategy = self.options.get("file_encoding_strategy", UNSET)
            request = await encode_files(self.transport, self.describe(prefer), strategy)
            self.input = request.json["input"]
            try:
                self.prediction = await self._send(request)
            except NotFoundError:
                # Only official models run by their name alone.
                latest = None if self.model.version else await versions.fetch(self.transport, self.model)
                if latest is None:
                    raise
                self.model = latest
                self.prediction = await self._send(self.describe(prefer))
        finally:
            slots.held -= prefer is not UNSET
        return self.prediction

    async def _send(self, request: Request[Prediction]) -> Prediction:
        self.call = self.transport.prepare(request)
        ledger = self.transport.account.state(CreateLedger)
        if self.wait is True and request.prefer_wait and ledger.has_identical(self.call):
            # While identical creates are held, it is unknown which prediction belongs to which caller. A caller that is
            # canceled must cancel its own.
            self.call = self.transport.prepare(self.describe())
        return await self.transport.call(self.call)

    async def wait_until_done(self) -> Prediction:
        """Wait until the prediction has ended; it is created if necessary."""
        prediction = self.prediction or await self.create()
        held = self.call is not None and self.call.prefer_wait > 0
        # Thousands may wait: they need not keep what was sent.
        self.input, self.call = {}, None
        self.prediction = await wait_until_done(
            self.transport,
            prediction,
            Prediction,
            request_options(self.options),
            # A response that was held to the end may still say "processing".
            poll_now=held,
            on_update=self.on_update,
        )
        return self.prediction

    async def reload(self) -> Prediction:
        """Fetch the prediction, which has been created."""
        assert self.prediction is not None  # noqa: S101
        options = request_options(self.options)
        self.prediction = await fetch_job(self.transport, self.prediction.id, Prediction, options)
        return self.prediction

    async def abandon(self) -> None:
        """Cancel the prediction on the server, because the caller stops waiting; further cancellation is deferred."""
        if self.cancel_on_abort and (self.prediction is not None or self.call is not None):
            self.cancel_on_abort = False
            await run_shielded(self._cancel())

    async def _cancel(self) -> None:
        job_id = None
        if self.prediction is not None:
            job_id = None if self.prediction.done else self.prediction.id
        elif self.call is not None and self.call.may_exist:
            # The interrupted create may be on the server, or about to arrive there.
            job_id = await reconcile(self.transport, self.call, APIConnectionError("interrupted"))
        if job_id is not None:
            self.prediction_id = job_id
            await self.transport.call(cancel_request(job_id, {}, skips_queue=True))


def _max_held(session: LoopSession, slots: CreateSlots) -> int:
    """Return how many creates the API may hold at once: at most a quarter of the connections."""
    return max(1, min(_MAX_HELD if slots.limiter.has_response else _MAX_HELD // 2, session.max_connections // 4))


async def create_or_cancel(prediction_run: PredictionRun) -> PredictionRun:
    """Create the prediction, and cancel it if the caller is canceled in the meantime."""
    try:
        await prediction_run.create()
    except anyio.get_cancelled_exc_class():
        await prediction_run.abandon()
        raise
    return prediction_run


async def run(prediction_run: PredictionRun, *, time_limit: float | None, use_file_output: bool) -> Any:
    """Create the prediction, wait for it, and return its output; see ``AsyncReplicate.run``."""
    check_time_limit(time_limit)
    on_close = prediction_run.transport.pool.current().on_close
    on_close.add(prediction_run.abandon)
    with clock.time_limit(time_limit):
        try:
            output = output_of(await prediction_run.wait_until_done())
            return with_files(prediction_run.transport, output) if use_file_output else output
        except ReplicateError:
            # The error names the prediction, which the caller can wait for again.
            raise
        except BaseException:
            # The task was canceled, or the caller's on_update raised.
            await prediction_run.abandon()
            raise
        finally:
            on_close.discard(prediction_run.abandon)
    prediction = prediction_run.prediction
    raise APITimeoutError(
        f"not done after {time_limit} s, the time limit",
        prediction_id=prediction.id if prediction else prediction_run.prediction_id,
    )


async def stream(prediction_run: PredictionRun) -> AsyncGenerator[StreamEvent, None]:
    """Yield a prediction's events; leaving the iteration early cancels the prediction."""
    done = False
    # An exception in the reader's loop may close the client before it closes this generator.
    on_close = prediction_run.transport.pool.current().on_close
    on_close.add(prediction_run.abandon)
    try:
        prediction = prediction_run.prediction or await prediction_run.create()
        options = request_options(prediction_run.options)
        async with aclosing(follow(prediction_run.transport, prediction, options)) as events:
            async for event in events:
                done = event.event == "done"
                yield event
    except ReplicateError as error:
        raise trim_traceback(error) from error.__cause__
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        if not done:
            await prediction_run.abandon()
        raise
    finally:
        on_close.discard(prediction_run.abandon)
