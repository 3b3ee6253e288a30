"""Predictions: models at work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, check_choice, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.jobs import cancel_request
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import ModelRef, PredictionOptions, create_request
from replicate_async._predictions.run import PredictionRun, stream
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._views import AsyncPredictionsRaw, AsyncPredictionsStreaming
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import PageData, Prediction

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncPredictions(AsyncResource):
    """Create, follow and cancel predictions."""

    @property
    def with_raw_response(self) -> AsyncPredictionsRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncPredictionsRaw(self)

    @property
    def with_streaming_response(self) -> AsyncPredictionsStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncPredictionsStreaming(self)

    async def create(
        self,
        *,
        version: str,
        input: Mapping[str, Any],
        stream: bool | UnsetType = UNSET,
        prefer: str | UnsetType = UNSET,
        **options: Unpack[PredictionOptions],
    ) -> Prediction:
        """Start a prediction with a model version, or with an official model.

        Args:
            version: ``owner/name`` (official models), ``owner/name:version`` or a version id.
            input: The model's inputs by name, with files as for ``run``.
            stream: Ask for a stream of the output; models that can stream do so without being asked.
            prefer: ``"wait"`` or ``"wait=n"``: let the API answer when the prediction is done, or after n (1..60,
                otherwise 60) seconds.
            **options: Options of the create, and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: The events to send; all if omitted.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a duration
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``; at least 5 seconds.
                - ``file_encoding_strategy``: How files in the input are sent: ``"base64"`` inside the request,
                  ``"url"`` uploaded before. If omitted, files over 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The prediction, done or not.

        Raises:
            TypeError: ``input`` is not a mapping, or holds what JSON can't express.
            ValueError: an argument is outside of what the API documents.
            APIError: the call failed. It is repeated only where it can't have started a prediction.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        request = create_request("/predictions", options, input, version=version, stream=stream, prefer=prefer)
        request = await encode_files(self._transport, request, options.get("file_encoding_strategy", UNSET))
        return await self._transport.call(request)

    async def get(self, prediction_id: str, **options: Unpack[RequestOptions]) -> Prediction:
        """Fetch a prediction.

        Args:
            prediction_id: The prediction's id.
            **options: Options of the request.

        Returns:
            The prediction as it is now. An hour after its end its input, output and logs are gone.

        Raises:
            NotFoundError: there is no such prediction.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.get
        """
        path = format_path("/predictions/{prediction_id}", prediction_id=prediction_id)
        return await self._transport.call(Request("GET", path, Prediction, options))

    def list(
        self,
        *,
        created_after: datetime | str | UnsetType = UNSET,
        created_before: datetime | str | UnsetType = UNSET,
        source: Literal["web"] | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> AsyncPaginator[Prediction]:
        """List one's predictions, newest first, 100 a page.

        Args:
            created_after: Only those created at that time or later: an aware datetime or ISO 8601.
            created_before: Only those created before that time.
            source: ``"web"``: only those made on the website.
            **options: Options of the request.

        Returns:
            The list: iterate it for all its predictions; its first page has ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.list
        """
        check_choice("source", source, ("web",))
        query = drop_unset(created_after=created_after, created_before=created_before, source=source)
        return paginate(self._transport, "/predictions", PageData[Prediction], options, query)

    async def cancel(self, prediction_id: str, **options: Unpack[RequestOptions]) -> Prediction:
        """Cancel a prediction. One that has ended stays as it is.

        Args:
            prediction_id: The prediction's id.
            **options: Options of the request.

        Returns:
            The prediction, canceled or about to be.

        Raises:
            NotFoundError: there is no such prediction.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.cancel
        """
        return await self._transport.call(cancel_request(prediction_id, options))

    async def wait(
        self,
        prediction: Prediction | str,
        *,
        time_limit: float | None = None,
        on_update: Callable[[Prediction], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Prediction:
        """Wait until a prediction has ended, however it ends.

        Args:
            prediction: The prediction, or its id.
            time_limit: After how many seconds to stop waiting; the prediction goes on. None: never.
            on_update: Called with the prediction as it is at first, and whenever its status or logs have changed.
            **options: Options of each request.

        Returns:
            The prediction in its final status.

        Raises:
            APITimeoutError: the time limit has passed; the error has the ``prediction_id``.
            APIError: a call failed; the error has the ``prediction_id``.

        Source: https://replicate.com/docs/reference/http#predictions.get
        """
        return await wait_until_done(
            self._transport, prediction, Prediction, options, time_limit=time_limit, on_update=on_update
        )

    async def stream(
        self, prediction: Prediction | str, *, cancel_on_abort: bool = True, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield a prediction's output as it is made, from its beginning.

        A connection that breaks is taken up again, with nothing lost and nothing twice. Models that don't stream are
        looked at again and again instead.

        Args:
            prediction: The prediction, or its id.
            cancel_on_abort: Whether to cancel the prediction when the iteration is left early.
            **options: Options of each request.

        Returns:
            The events. Each is a text: the piece of the output, or empty for logs and the end.

        Raises:
            ModelError: the prediction failed; its ``prediction`` has the output so far.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APIError: a call failed.

        Source: https://replicate.com/docs/topics/predictions/streaming
        """
        if isinstance(prediction, str):
            prediction = await self.get(prediction, **options)
        create_options = cast("PredictionOptions", options)
        prediction_run = PredictionRun(
            self._transport, ModelRef(), {}, create_options, cancel_on_abort=cancel_on_abort, prediction=prediction
        )
        async with aclosing(stream(prediction_run)) as events:
            async for event in events:
                yield event
