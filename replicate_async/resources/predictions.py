"""Predictions: runs of models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio
from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, check_choice, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, path
from replicate_async._predictions.inputs import FileEncodingStrategy, encode_files
from replicate_async._predictions.jobs import cancel, cancel_request, run_shielded
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import prediction_request
from replicate_async._predictions.streaming import StreamEvent, follow
from replicate_async._views import AsyncPredictionsRaw, AsyncPredictionsStreaming
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import PageData, Prediction, WebhookEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncPredictions(AsyncResource):
    """Create, fetch, wait for, stream and cancel predictions."""

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
        webhook: str | UnsetType = UNSET,
        webhook_events_filter: Sequence[WebhookEvent] | UnsetType = UNSET,
        prefer: str | UnsetType = UNSET,
        cancel_after: str | int | UnsetType = UNSET,
        file_encoding_strategy: FileEncodingStrategy | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Prediction:
        """Start a prediction with a model version, or with an official model.

        Args:
            version: ``owner/name`` (official models only), ``owner/name:version`` or a version id.
            input: Inputs of the model by name. Files are accepted as in ``run``.
            stream: Whether to request a stream of the output. Models that support streaming always provide one.
            webhook: URL that receives webhook events.
            webhook_events_filter: Events to send to the webhook. If omitted, all events are sent.
            prefer: ``"wait"`` or ``"wait=n"``: the API responds when the prediction is done, or after n seconds (1 to
                60, by default 60).
            cancel_after: Maximum lifetime, after which the API cancels the prediction: seconds, or a string such as
                ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
            file_encoding_strategy: How to send files in the input: ``"base64"`` embeds them in the request, ``"url"``
                uploads them first. If omitted, only files larger than 256 kB are uploaded.
            **options: Options of the request.

        Returns:
            The prediction, which may still be running.

        Raises:
            TypeError: ``input`` is not a mapping, or has a value that JSON does not support.
            ValueError: an argument is invalid, for example a ``cancel_after`` of less than 5 seconds.
            APIError: the call failed. Only failures that can't have started a prediction are retried.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        request = prediction_request(
            "/predictions",
            options,
            version=version,
            input=input,
            stream=stream,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            prefer=prefer,
            cancel_after=cancel_after,
        )
        await encode_files(self._transport, request, file_encoding_strategy)
        return await self._transport.call(request)

    async def get(self, prediction_id: str, **options: Unpack[RequestOptions]) -> Prediction:
        """Fetch a prediction.

        Args:
            prediction_id: Id of the prediction.
            **options: Options of the request.

        Returns:
            The prediction in its current state. The API removes input, output and logs an hour after the end.

        Raises:
            NotFoundError: the prediction does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.get
        """
        at = path("/predictions/{prediction_id}", prediction_id=prediction_id)
        return await self._transport.call(Request("GET", at, Prediction, options))

    def list(
        self,
        *,
        created_after: datetime | str | UnsetType = UNSET,
        created_before: datetime | str | UnsetType = UNSET,
        source: Literal["web"] | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> AsyncPaginator[Prediction]:
        """List the account's predictions, newest first, 100 per page.

        Args:
            created_after: Include only predictions created at or after this time: an aware datetime or ISO 8601.
            created_before: Include only predictions created before this time.
            source: If ``"web"``, include only predictions created on the website.
            **options: Options of the request.

        Returns:
            The predictions: iterate over all of them, or read the first page's ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.list
        """
        check_choice("source", source, ("web",))
        query = drop_unset(created_after=created_after, created_before=created_before, source=source)
        return paginate(self._transport, "/predictions", PageData[Prediction], options, query)

    async def cancel(self, prediction_id: str, **options: Unpack[RequestOptions]) -> Prediction:
        """Cancel a prediction. Has no effect if the prediction has ended.

        Args:
            prediction_id: Id of the prediction.
            **options: Options of the request.

        Returns:
            The prediction, which may not be canceled yet.

        Raises:
            NotFoundError: the prediction does not exist.
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
        """Wait until a prediction has ended, with any final status.

        Args:
            prediction: Prediction, or its id.
            time_limit: Maximum time to wait, in seconds; the prediction itself continues. If None, there is no limit.
            on_update: Called with the prediction at first, and after each change of its status or logs.
            **options: Options of each request.

        Returns:
            The prediction with its final status.

        Raises:
            APITimeoutError: the time limit is reached. The error has the ``prediction_id``.
            APIError: a call failed. The error has the ``prediction_id``.

        Source: https://replicate.com/docs/reference/http#predictions.get
        """
        return await wait_until_done(
            self._transport, prediction, Prediction, options, time_limit=time_limit, on_update=on_update
        )

    async def stream(
        self, prediction: Prediction | str, *, cancel_on_abort: bool = True, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Stream a prediction's output from its beginning.

        A broken connection is resumed without lost or repeated events. Predictions of models that don't support
        streaming are polled.

        Args:
            prediction: Prediction, or its id.
            cancel_on_abort: Whether to cancel the prediction if the iteration ends early.
            **options: Options of each request.

        Returns:
            The events. Each is a str: a piece of the output, or empty for logs and the end.

        Raises:
            ModelError: the prediction failed. The error's ``prediction`` has the output so far.
            PredictionCanceledError: the prediction was canceled, or was aborted before it ran.
            APIError: a call failed.

        Source: https://replicate.com/docs/topics/predictions/streaming
        """
        if isinstance(prediction, str):
            prediction = await self.get(prediction, **options)
        ended = prediction.done
        try:
            async with aclosing(follow(self._transport, prediction, options)) as events:
                async for event in events:
                    ended = ended or event.event == "done"
                    yield event
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            if cancel_on_abort and not ended:
                await run_shielded(cancel(self._transport, prediction.id))
            raise
