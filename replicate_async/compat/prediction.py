"""Predictions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from replicate_async import _bridge, types
from replicate_async._http import clock
from replicate_async._json import is_list
from replicate_async._typing import Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams as CreateParams
from replicate_async.compat._arguments import Maybe, Options, create_options, native_options
from replicate_async.compat._events import ServerSentEvent, to_event
from replicate_async.compat.helpers import rewind
from replicate_async.compat.pagination import Cursor, Page, fetch_page
from replicate_async.compat.resource import JSONObject, Kinds, Namespace, Resource, Time, Urls, wrap
from replicate_async.compat.settings import BaseClient
from replicate_async.errors import ModelError

_TERMINAL = ("succeeded", "failed", "canceled")


class Prediction(Resource):
    """One run of a model."""

    _members: ClassVar[Kinds] = {
        **dict.fromkeys(("created_at", "started_at", "completed_at", "deadline"), Time),
        "urls": Urls,
        "metrics": types.PredictionMetrics,
    }

    id: str
    model: str
    version: str
    status: str
    input: JSONObject | None
    output: Any
    logs: str | None
    error: str | None
    metrics: types.PredictionMetrics | None
    created_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    deadline: Time | None
    data_removed: bool
    deployment: str | None
    source: str | None
    urls: Urls

    def _set(self, members: Mapping[str, Any]) -> None:
        super()._set(members)
        # 1.x does not know this status, and its loops would never end.
        if self.status == "aborted":
            self.status = "canceled"

    @dataclass
    class Progress:
        """The progress of a prediction: ``percentage`` from 0 to 1, and ``current`` of ``total`` steps."""

        percentage: float
        current: int
        total: int

        @classmethod
        def parse(cls, logs: str) -> Prediction.Progress | None:
            """Return the progress according to the last progress bar in the logs; None if there is none."""
            job = types.Prediction(id="", status="", created_at=cast("Any", None), logs=logs)
            progress = job.progress
            return None if progress is None else cls(progress.percentage, progress.current, progress.total)

    @property
    def progress(self) -> Prediction.Progress | None:
        """The progress according to the logs; None if they have no progress bar."""
        return self.Progress.parse(self.logs) if self.logs else None

    async def async_reload(self) -> None:
        """Fetch the current state."""
        self._update(await self._api.native.predictions.get(self.id))

    def reload(self) -> None:
        """Fetch the current state."""
        _bridge.run(self.async_reload())

    async def async_wait(self) -> None:
        """Wait until the prediction has ended, with any final status."""
        if self.status not in _TERMINAL:
            self._update(await self._api.native.predictions.wait(self.id))

    def wait(self) -> None:
        """Wait until the prediction has ended, with any final status."""
        _bridge.run(self.async_wait())

    async def async_cancel(self) -> None:
        """Cancel the prediction."""
        self._update(await self._api.native.predictions.cancel(self.id))

    def cancel(self) -> None:
        """Cancel the prediction."""
        _bridge.run(self.async_cancel())

    async def async_stream(self, use_file_output: bool | None = None) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield the events of the output. The prediction continues if the iteration is left early."""
        with model_errors(self._api):
            events = self._api.native.predictions.stream(self.id, cancel_on_abort=False)
            try:
                async for event in events:
                    yield to_event(self._api, event, use_file_output=use_file_output is not False)
            finally:
                await events.aclose()

    def stream(self, use_file_output: bool | None = None) -> Generator[ServerSentEvent, None, None]:
        """Yield the events of the output. The prediction continues if the iteration is left early."""
        yield from _bridge.iterate(self.async_stream(use_file_output))

    async def async_output_iterator(self) -> AsyncGenerator[Any, None]:
        """Yield the items of an output that is a list, as they are made.

        Raises:
            ModelError: the prediction failed.
        """
        count = 0
        while True:
            output = self.output if is_list(self.output) else []
            for item in output[count:]:
                yield item
            count = len(output)
            if self.status in _TERMINAL:
                break
            await clock.current.sleep(self._api.poll_interval)
            await self.async_reload()
        if self.status == "failed":
            raise ModelError(cast("Any", self))

    def output_iterator(self) -> Generator[Any, None, None]:
        """Yield the items of an output that is a list, as they are made; see ``async_output_iterator``."""
        yield from _bridge.iterate(self.async_output_iterator())


@contextmanager
def model_errors(client: BaseClient) -> Generator[None, None, None]:
    """Give the prediction of a ``ModelError`` its client."""
    try:
        yield
    except ModelError as error:
        if isinstance(error.prediction, types.Prediction):  # pyright: ignore[reportUnnecessaryIsInstance]
            error.prediction = cast("Any", wrap(Prediction, error.prediction, client))
            error.args = (error.prediction,)
        raise


class Predictions(Namespace):
    """Operations on predictions."""

    _path = "predictions"

    CreatePredictionParams = arguments.CreatePredictionParams

    def _wrap(self, prediction: types.Prediction) -> Prediction:
        return wrap(Prediction, prediction, self._client)

    async def async_create(
        self,
        version: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        model: Any = None,
        deployment: Any = None,
        **params: Unpack[CreateParams],
    ) -> Prediction:
        """Start a prediction with a version, a model or a deployment.

        Args:
            version: Version, or its id.
            input: Inputs of the model by name.
            model: Model: an object, ``owner/name``, or a tuple of owner and name.
            deployment: Deployment, in the same forms.
            **params: See ``CreatePredictionParams``.
        """
        if [version is None, model is None, deployment is None].count(False) != 1:
            raise ValueError("pass exactly one of version, model and deployment")
        client, options = self._client.native, create_options(params)
        options["input"] = rewind(input or {})
        if version is not None:
            return self._wrap(await client.predictions.create(version=arguments.to_reference(version), **options))
        names = arguments.owner_and_name(deployment if model is None else model)
        if model is not None:
            return self._wrap(await client.models.predictions.create(*names, **options))
        return self._wrap(await client.deployments.predictions.create(*names, **options))

    def create(
        self,
        version: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        model: Any = None,
        deployment: Any = None,
        **params: Unpack[CreateParams],
    ) -> Prediction:
        """Start a prediction; see ``async_create``."""
        return _bridge.run(self.async_create(version, input, model=model, deployment=deployment, **params))

    async def async_get(self, id: str = "", *, prediction_id: str = "", **options: Unpack[Options]) -> Prediction:
        """Fetch a prediction by its id."""
        native = self._client.native.predictions
        return self._wrap(await native.get(arguments.to_id(id or prediction_id), **native_options(options)))

    def get(self, id: str = "", *, prediction_id: str = "", **options: Unpack[Options]) -> Prediction:
        """Fetch a prediction by its id."""
        return _bridge.run(self.async_get(id, prediction_id=prediction_id, **options))

    async def async_list(
        self,
        cursor: Cursor = ...,
        *,
        created_after: Maybe[Any] = None,
        created_before: Maybe[Any] = None,
        source: Maybe[Any] = None,
        **options: Unpack[Options],
    ) -> Page[Prediction]:
        """List the account's predictions, newest first; ``cursor`` is the ``next`` of a page."""
        query = native_options(
            {"created_after": created_after, "created_before": created_before, "source": source, **options}
        )
        return await fetch_page(self._client.native.predictions.list(**query), self._wrap, cursor, self._client.page)

    def list(
        self,
        cursor: Cursor = ...,
        *,
        created_after: Maybe[Any] = None,
        created_before: Maybe[Any] = None,
        source: Maybe[Any] = None,
        **options: Unpack[Options],
    ) -> Page[Prediction]:
        """List the account's predictions; see ``async_list``."""
        return _bridge.run(
            self.async_list(
                cursor, created_after=created_after, created_before=created_before, source=source, **options
            )
        )

    async def async_cancel(self, id: str = "", *, prediction_id: str = "", **options: Unpack[Options]) -> Prediction:
        """Cancel a prediction."""
        native = self._client.native.predictions
        return self._wrap(await native.cancel(arguments.to_id(id or prediction_id), **native_options(options)))

    def cancel(self, id: str = "", *, prediction_id: str = "", **options: Unpack[Options]) -> Prediction:
        """Cancel a prediction."""
        return _bridge.run(self.async_cancel(id, prediction_id=prediction_id, **options))

    async def async_wait(self, prediction_id: str) -> Prediction:
        """Wait until a prediction has ended, with any final status."""
        return self._wrap(await self._client.native.predictions.wait(arguments.to_id(prediction_id)))

    def wait(self, prediction_id: str) -> Prediction:
        """Wait until a prediction has ended, with any final status."""
        return _bridge.run(self.async_wait(prediction_id))


__all__ = ["Prediction", "Predictions"]
