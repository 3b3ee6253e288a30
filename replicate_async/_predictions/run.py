"""Running a model from its inputs to its output."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http import clock
from replicate_async._http.problem import trim_traceback
from replicate_async._predictions.creates import find
from replicate_async._predictions.inputs import FileEncodingStrategy, encode_files
from replicate_async._predictions.jobs import cancel, look, output_of, run_shielded
from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import (
    ModelRef,
    check_time_limit,
    model_path,
    prediction_request,
    prefer_header,
)
from replicate_async._predictions.streaming import follow
from replicate_async.errors import APIConnectionError, APITimeoutError, NotFoundError, ReplicateError
from replicate_async.resources.models import AsyncModels
from replicate_async.types import Prediction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from replicate_async._http.options import RequestOptions
    from replicate_async._http.request import Request
    from replicate_async._http.transport import Transport
    from replicate_async._predictions.streaming import StreamEvent
    from replicate_async.types import WebhookEvent


_LATEST_VERSION_TTL = 60.0  # seconds for which a model's latest version is taken to be that


class PredictionRun(msgspec.Struct):
    """A prediction that is to be created for somebody who waits for it."""

    transport: Transport
    model: ModelRef
    input: Mapping[str, Any]
    options: RequestOptions
    wait: bool | int = False
    stream: bool | UnsetType = UNSET
    webhook: str | UnsetType = UNSET
    webhook_events_filter: Sequence[WebhookEvent] | UnsetType = UNSET
    cancel_after: str | int | UnsetType = UNSET
    file_encoding_strategy: FileEncodingStrategy | UnsetType = UNSET
    cancel_on_abort: bool = True
    on_update: Callable[[Prediction], None] | None = None
    request: Request[Prediction] | None = None
    prediction: Prediction | None = None
    prediction_id: str | None = None

    def describe(self, prefer: str | UnsetType) -> Request[Prediction]:
        """Describe the create; every bad argument shows here."""
        model = self.model
        return prediction_request(
            "/predictions" if model.version else model_path(model.owner or "", model.name or "", tail="/predictions"),
            self.options,
            version=model.version or UNSET,
            input=self.input,
            stream=self.stream,
            webhook=self.webhook,
            webhook_events_filter=self.webhook_events_filter,
            prefer=prefer,
            cancel_after=self.cancel_after,
        )

    async def create(self) -> Prediction:
        """Create the prediction, with the model's latest version where a community model is only named."""
        connections = self.transport.pool.here() or await self.transport.pool.open()
        prefer = prefer_header(self.wait)
        # As long as there are few, the API holds its answers until they are done: nothing is faster. Of many, each
        # would keep a connection from others, and they are cheaper to watch together.
        if self.wait is True and (self.on_update is not None or connections.held >= connections.max_held):
            prefer = UNSET
        connections.held += prefer is not UNSET
        if not self.model.version:
            self.model = self._known_latest() or self.model
        try:
            self.request = self.describe(prefer)
            await encode_files(self.transport, self.request, self.file_encoding_strategy)
            self.input = self.request.json["input"]
            try:
                self.prediction = await self._call()
            except NotFoundError:
                if self.model.version:
                    raise
                # Only official models run by their name alone; of others, the latest version is meant.
                latest = await self._latest()
                if latest is None:
                    raise
                self.model = latest
                self.request = self.describe(prefer)
                self.prediction = await self._call()
        finally:
            connections.held -= prefer is not UNSET
        return self.prediction

    async def _call(self) -> Prediction:
        assert self.request is not None  # noqa: S101
        if self.wait is True and self.request.hold and self.transport.shared.ledger.has_identical(self.request):
            # As long as the answers are held, nobody knows which prediction is whose; the one that is given up has to
            # be told from the one that isn't.
            self.request = self.describe(UNSET)
        return await self.transport.call(self.request)

    def _known_latest(self) -> ModelRef | None:
        known, until = self.transport.pool.latest.get((self.transport.options_key, self.model), (None, 0.0))
        return known if clock.current.monotonic() < until else None

    async def _latest(self) -> ModelRef | None:
        """Ask for a model's latest version: once for all that need it at the same time, and for a minute after."""
        pool = self.transport.pool
        key = self.transport.options_key, self.model
        async with pool.locks.of("latest", *key):
            latest = self._known_latest()
            if latest is None:
                model = await AsyncModels(self.transport).get(self.model.owner or "", self.model.name or "")
                if model.latest_version is not None:
                    latest = ModelRef(version=model.latest_version.id)
                    pool.latest[key] = latest, clock.current.monotonic() + _LATEST_VERSION_TTL
        return latest

    async def finish(self) -> Prediction:
        """Wait until the prediction has ended."""
        prediction = self.prediction or await self.create()
        held = self.request is not None and self.request.hold > 0
        self.input, self.request = {}, None  # thousands may wait: they needn't keep what has been sent
        self.prediction = await wait_until_done(
            self.transport,
            prediction,
            Prediction,
            self.options,
            # What was held until its end may still say "processing": that is looked at again without a pause.
            look_now=held,
            on_update=self.on_update,
        )
        return self.prediction

    async def look(self) -> Prediction:
        """Look at the prediction, which has been created."""
        assert self.prediction is not None  # noqa: S101
        self.prediction = await look(self.transport, self.prediction.id, Prediction, self.options)
        return self.prediction

    async def abandon(self) -> None:
        """Cancel the prediction, for nobody waits for it any more: carried through whatever happens meanwhile."""
        if self.cancel_on_abort and (self.prediction is not None or self.request is not None):
            self.cancel_on_abort = False  # once is enough
            await run_shielded(self._give_up())

    async def _give_up(self) -> None:
        # A create that was interrupted may be on the server all the same, or be about to arrive there.
        if self.prediction is None and self.request is not None and self.request.sent:
            found = await find(self.transport, self.request, APIConnectionError("interrupted"))
        else:
            found = self.prediction.id if self.prediction is not None and not self.prediction.done else None
        if found is not None:
            self.prediction_id = found
            await cancel(self.transport, found)


async def created(job: PredictionRun) -> PredictionRun:
    """Create a job's prediction; whoever stops waiting meanwhile gives it up."""
    try:
        await job.create()
    except anyio.get_cancelled_exc_class():
        await job.abandon()
        raise
    return job


async def run(job: PredictionRun, *, time_limit: float | None, use_file_output: bool) -> Any:
    """Carry a job through and return its output; see ``AsyncReplicate.run``."""
    check_time_limit(time_limit)
    connections = job.transport.pool.here() or await job.transport.pool.open()
    connections.left.add(job.abandon)  # the client may be closed meanwhile
    with clock.time_limit(time_limit):
        try:
            output = output_of(await job.finish())
            return with_files(job.transport, output) if use_file_output else output
        except ReplicateError:
            raise  # tells which prediction it is about, which may be waited for again
        except BaseException:  # a cancelled task, or the caller's own on_update
            await job.abandon()
            raise
        finally:
            connections.left.discard(job.abandon)
    raise APITimeoutError(
        f"not done after {time_limit} s, the time limit",
        prediction_id=job.prediction.id if job.prediction else job.prediction_id,
    )


async def stream(job: PredictionRun) -> AsyncGenerator[StreamEvent, None]:
    """Yield a job's output as it is made; leaving early gives the prediction up."""
    ended = False
    connections = job.transport.pool.here() or await job.transport.pool.open()
    connections.left.add(job.abandon)  # an exception in the reader's loop may close the client before this generator
    try:
        prediction = job.prediction or await job.create()
        async with aclosing(follow(job.transport, prediction, job.options)) as events:
            async for event in events:
                ended = event.event == "done"
                yield event
    except ReplicateError as error:
        raise trim_traceback(error) from error.__cause__
    except (GeneratorExit, anyio.get_cancelled_exc_class()):
        if not ended:
            await job.abandon()
        raise
    finally:
        connections.left.discard(job.abandon)
