"""Running a model: create the prediction, wait for it, and cancel it if the caller stops waiting."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.concurrency import Slot
from replicate_async._http.locks import KeyedLock
from replicate_async._http.options import RequestOptions, follow_up_headers
from replicate_async._http.problem import trim_traceback
from replicate_async._http.request import Request
from replicate_async._http.sessions import LoopSession
from replicate_async._http.transport import Transport
from replicate_async._json import is_dict, is_list, is_nested_deeper
from replicate_async._predictions.cancels import AbandonedRun
from replicate_async._predictions.creates import CreateLedger, CreateSlots
from replicate_async._predictions.deliveries import deliveries_for
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.jobs import MAX_OUTPUT_LEVELS, fetch_job, output_of
from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import (
    ModelRef,
    PredictionOptions,
    check_callback,
    check_time_limit,
    create_request,
    prefer_header,
    request_options,
    starting,
)
from replicate_async._predictions.streaming import EventReader, StreamEvent
from replicate_async._tasks import consume_exception, wait_shielded
from replicate_async._typing import Self
from replicate_async.errors import (
    APIResponseValidationError,
    APITimeoutError,
    ModelError,
    NotFoundError,
    ReplicateError,
)
from replicate_async.types import Model, ModelVersion, Prediction

_LATEST_VERSION_TTL = 60.0
_MAX_HELD = 16
_NO_INPUT: Mapping[str, Any] = {}


class LatestVersions:
    """The latest versions of community models, which the API runs by version only."""

    def __init__(self) -> None:
        self._versions: dict[tuple[object, ...], tuple[ModelRef, float]] = {}
        self._lock = KeyedLock()

    def cached(self, key: tuple[object, ...]) -> ModelRef | None:
        """Return a version that was fetched less than a minute ago."""
        version, expires_at = self._versions.get(key, (None, 0.0))
        return version if clock.current.monotonic() < expires_at else None

    async def fetch(self, transport: Transport, model: ModelRef, options: RequestOptions) -> ModelRef | None:
        """Return a model's latest version; callers that need it at the same time share one request."""
        key = transport.options_key, model
        async with self._lock.hold(*key):
            version = self.cached(key)
            if version is None:
                try:
                    request = Request[Model]("GET", model.path(), Model, options)
                    latest = (await transport.call(request)).latest_version
                except NotFoundError as error:
                    error.args = (f"there is no model {model}, or the token may not see it ({error.args[0]})",)
                    raise
                if isinstance(latest, ModelVersion):
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
    stream: bool | None = None
    cancel_on_abort: bool = True
    on_update: Callable[[Prediction], None] | None = None
    # The create, and the task that makes it, until its result is waited for.
    call: Call[Prediction] | None = None
    creating: asyncio.Task[Prediction] | None = None
    # The room that files take inside of the request, until the prediction has ended.
    inlined: object = None
    prediction: Prediction | None = None
    # What is canceled when the caller has given up, and the task that does it.
    abandoned: AbandonedRun | None = None
    canceling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        check_callback(self.on_update)

    def describe(self, prefer: str | None = None) -> Request[Prediction]:
        """Describe the create; invalid arguments raise here."""
        version = self.model.version
        path = "/predictions" if version else self.model.path("/predictions")
        return create_request(path, self.options, self.input, version=version, stream=self.stream, prefer=prefer)

    async def create(self) -> Prediction:
        """Create the prediction, with the model's latest version if a community model is only named."""
        session = self.transport.pool.current()
        slots = session.state(CreateSlots)
        prefer = prefer_header(self.wait)
        deliveries = None if self.stream else deliveries_for(self.transport)
        if deliveries is not None:
            self.options = deliveries.register(self.options, all_events=self.on_update is not None)
        by_webhook = deliveries is not None and self.options.get("webhook") == deliveries.url
        # A held response is the fastest way to the output, but it occupies a connection. Polling many predictions
        # together is cheaper, and a webhook costs nothing.
        if self.wait is True and (by_webhook or self.on_update is not None or slots.held >= _max_held(session, slots)):
            prefer = None
        slots.held += prefer is not None
        versions, model = self.transport.pool.state(LatestVersions), self.model
        if not model.version:
            self.model = versions.cached((self.transport.options_key, model)) or model
        try:
            request = self.describe(prefer)
            with starting(self.transport, request, model):
                self.prediction = await self._create(request, prefer, versions)
        finally:
            slots.held -= prefer is not None
        if by_webhook:
            self.prediction.webhook = self.options.get("webhook")
        return self.prediction

    async def _create(self, request: Request[Prediction], prefer: str | None, versions: LatestVersions) -> Prediction:
        request = await encode_files(self.transport, request, self.options.get("file_encoding_strategy"))
        self.input, self.inlined = request.json["input"], request.holds
        try:
            return await self._send(request)
        except NotFoundError:
            # Only official models run by their name alone.
            if self.model.version:
                raise
            latest = await versions.fetch(self.transport, self.model, follow_up_headers(request.options))
            if latest is None:
                raise
            self.model = latest
            return await self._send(self.describe(prefer))

    async def _send(self, request: Request[Prediction]) -> Prediction:
        ready = Slot(self.transport.pool.current().state(CreateSlots).ready)
        if not request.is_held:
            await ready.acquire()
        try:
            # A client that was closed while this waited would let it wait for its rate limit, too.
            self.transport.pool.check_open()
            # A task of its own: if the caller is canceled, the response still shows what has to be canceled.
            self.creating = asyncio.ensure_future(self._call(request, ready))
            self.creating.add_done_callback(consume_exception)
            return await asyncio.shield(self.creating)
        except asyncio.CancelledError:
            if self.creating and self.creating.cancelled():
                # Not the caller was canceled, but the create, which the closing client has not sent.
                self.transport.pool.check_open()
            raise
        except APIResponseValidationError:
            # The prediction exists, but its response can't be decoded, so the caller gets only the error.
            await self.abandon()
            raise
        except ReplicateError:
            # The task keeps the error, whose traceback refers to this run: a cycle would keep its files.
            self.call = self.creating = None
            raise
        finally:
            ready.release()

    async def _call(self, request: Request[Prediction], ready: Slot) -> Prediction:
        self.call = self.transport.prepare(request)
        self.call.on_turn = ready.release
        ledger = self.transport.account.state(CreateLedger)
        if self.wait is True and request.is_held and ledger.has_identical(self.call):
            # While identical creates are held, it is unknown which prediction belongs to which caller. A caller that is
            # canceled must cancel its own.
            self.call = self.transport.prepare(self.describe())
        return await self.transport.call(self.call)

    async def wait_until_done(self) -> Prediction:
        """Wait until the prediction has ended; it is created if necessary."""
        shown = self.prediction is not None
        prediction = self.prediction or await self.create()
        held = self.call is not None and self.call.prefer_wait > 0
        # Thousands may wait: they need not keep what was sent, nor a response that no caller has seen.
        self.input, self.call, self.creating = _NO_INPUT, None, None
        # A held response often says "processing" and has the whole output, with the files in it. Only lists may grow.
        output = prediction.output if held and prediction.error is None else None
        needs_end = self.on_update is not None or bool(self.transport.hooks.functions)
        if output is None or is_list(output) or prediction.status != "processing" or needs_end:
            options = request_options(self.options)
            if not (shown or prediction.done or needs_end):
                self.prediction = prediction = _outline(prediction)
            self.prediction = await wait_until_done(
                self.transport, prediction, Prediction, options, poll_now=held, on_update=self.on_update
            )
            if output is not None and not is_nested_deeper(output, MAX_OUTPUT_LEVELS):
                # Other callers may wait for the same prediction.
                self.prediction = copy.copy(self.prediction)
                self.prediction.output = _keep_files(output, self.prediction.output)
        else:
            self.transport.hooks.observe(prediction, clock.current.monotonic(), final_status="succeeded")
        self.inlined = None
        return self.prediction or prediction

    async def record_end(self, prediction: Prediction) -> None:
        """Note the final state of the prediction."""
        self.prediction = prediction

    async def reload(self) -> Prediction:
        """Fetch the prediction, which has been created."""
        assert self.prediction is not None  # noqa: S101
        options = request_options(self.options)
        self.prediction = await fetch_job(self.transport, self.prediction.id, Prediction, options)
        return self.prediction

    async def abandon(self) -> None:
        """Cancel the prediction on the server, because the caller stops waiting; further cancellation is deferred."""
        if self.canceling is None and self.cancel_on_abort and not (self.prediction and self.prediction.done):
            prediction_id = self.prediction.id if self.prediction else None
            options = request_options(self.options)
            self.abandoned = AbandonedRun(self.transport, self.creating, self.call, prediction_id, options)
            self.canceling = self.abandoned.cancel()
        if self.canceling is not None:
            await wait_shielded(self.canceling)


def _outline(prediction: Prediction) -> Prediction:
    """Return a prediction that has not ended with no more than is needed to wait for it."""
    members = ("id", "status", "created_at", "logs", "webhook")
    return Prediction(**{name: getattr(prediction, name) for name in members})


def _keep_files(held: Any, final: Any) -> Any:
    """Return a final output with the files that a held response has brought in the place of their URLs."""
    if is_list(held) and is_list(final):
        return [*map(_keep_files, held, final), *final[len(held) :]]
    if is_dict(held) and is_dict(final):
        return {name: _keep_files(held.get(name), value) for name, value in final.items()}
    if isinstance(held, str) and isinstance(final, str) and held.startswith("data:"):
        return held if final.startswith(("https://", "http://")) else final
    return final


def _max_held(session: LoopSession, slots: CreateSlots) -> int:
    """Return how many creates the API may hold at once: at most a quarter of the connections."""
    return max(1, min(_MAX_HELD if slots.limiter.has_response else _MAX_HELD // 2, session.max_connections // 4))


@contextmanager
def _canceled_on_close(prediction_run: PredictionRun) -> Generator[None, None, None]:
    """Let a client that is closed meanwhile cancel the prediction."""
    on_close = prediction_run.transport.pool.current().on_close
    on_close.add(prediction_run.abandon)
    try:
        yield
    finally:
        on_close.discard(prediction_run.abandon)


async def create_or_cancel(prediction_run: PredictionRun) -> PredictionRun:
    """Create the prediction, and cancel it if the caller is canceled, or the client closed, in the meantime."""
    with _canceled_on_close(prediction_run):
        try:
            await prediction_run.create()
        except ReplicateError:
            raise
        except BaseException:
            # The caller was canceled, or a hook raised.
            await prediction_run.abandon()
            raise
        if prediction_run.canceling is not None:
            prediction_run.transport.pool.check_open()
    return prediction_run


async def run(prediction_run: PredictionRun, *, time_limit: float | None, use_file_output: bool) -> Any:
    """Create the prediction, wait for it, and return its output; see ``AsyncReplicate.run``."""
    check_time_limit(time_limit)
    with _canceled_on_close(prediction_run), clock.time_limit(time_limit):
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
    prediction, abandoned = prediction_run.prediction, prediction_run.abandoned
    prediction_id = prediction.id if prediction else abandoned.prediction_id if abandoned else None
    raise APITimeoutError(f"not done after {time_limit} s, the time limit", prediction_id=prediction_id)


class RunEvents:
    """The events of a prediction for one reader; leaving them early cancels the prediction.

    Not a generator, because public generators iterate it: a loop that shuts down closes all its generators at once,
    which fails for one that another one drives.
    """

    def __init__(self, prediction_run: PredictionRun) -> None:
        self._run = prediction_run
        self._reader: EventReader | None = None
        self._done = False

    async def __aenter__(self) -> Self:
        # An exception in the reader's loop may close the client before it closes the generator.
        self._on_close = self._run.transport.pool.current().on_close
        self._on_close.add(self._run.abandon)
        return self

    async def next(self) -> StreamEvent | None:
        """Return the next event; None after the last one. The prediction is created if necessary."""
        try:
            if self._reader is None:
                prediction = self._run.prediction or await self._run.create()
                self._reader = EventReader(self._run.transport, prediction, request_options(self._run.options))
            event = await self._reader.next()
        except ReplicateError as error:
            if isinstance(error, ModelError):
                await self._run.record_end(error.prediction)
            raise trim_traceback(error) from error.__cause__
        if event is None or event.event == "done":
            self._done = True
            await self._run.record_end(self._reader.prediction)
        return event

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._reader is not None:
                await self._reader.close()
        finally:
            if not self._done and not isinstance(error, ReplicateError):
                await self._run.abandon()
            self._on_close.discard(self._run.abandon)
