"""Predictions: runs of models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

from replicate_async._hints import check_version, explain_missing_version
from replicate_async._http.options import RequestOptions, check_choice, check_options, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.jobs import cancel_request, check_job
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import ModelRef, PredictionOptions, create_request, starting
from replicate_async._predictions.run import PredictionRun, RunEvents
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._typing import Unpack
from replicate_async._views import AsyncPredictionsRaw, AsyncPredictionsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Model, ModelVersion, PageData, Prediction


class AsyncPredictions(AsyncResource):
    """Create, fetch, wait for, stream and cancel predictions."""

    with_raw_response: View[AsyncPredictionsRaw] = View(AsyncPredictionsRaw)
    with_streaming_response: View[AsyncPredictionsStreaming] = View(AsyncPredictionsStreaming)

    async def create(
        self,
        version: str | ModelVersion | Model,
        input: Mapping[str, Any],
        *,
        stream: bool | None = None,
        prefer: str | None = None,
        **options: Unpack[PredictionOptions],
    ) -> Prediction:
        """Start a prediction with a model version, or with an official model.

        Args:
            version: ``owner/name`` (official models only), ``owner/name:version``, a version id, a ``ModelVersion``, or
                an official ``Model``.
            input: Inputs of the model by name. Files are accepted as in ``run``.
            stream: Whether to request a stream of the output. Models that support streaming always provide one.
            prefer: ``"wait"`` or ``"wait=n"``: the API responds when the prediction is done, or after n seconds (1 to
                60, by default 60).
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The prediction, which may still be running.

        Raises:
            TypeError: ``input`` is not a mapping, or has a value that cannot be sent; the error names its place.
            ValueError: an argument is invalid, for example a ``cancel_after`` of less than 5 seconds.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed. Only failures that can't have started a prediction are retried.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        check_version(version, options)
        request = create_request("/predictions", options, input, version=version, stream=stream, prefer=prefer)
        with starting(self._transport, request):
            request = await encode_files(self._transport, request, options.get("file_encoding_strategy"))
            return await self._transport.call(request)

    async def get(self, prediction_id: str | Prediction, **options: Unpack[RequestOptions]) -> Prediction:
        """Fetch a prediction.

        Args:
            prediction_id: Prediction, or its id.
            **options: Options of the request.

        Returns:
            The prediction in its current state. The API removes input, output and logs an hour after the end.

        Raises:
            TypeError: ``prediction_id`` is neither a str nor a ``Prediction``.
            ValueError: ``prediction_id`` is empty, or can't be part of a URL path.
            NotFoundError: the prediction does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.get
        """
        path = format_path("/predictions/{prediction_id}", prediction_id=prediction_id)
        return await self._transport.call(Request("GET", path, Prediction, options))

    def list(
        self,
        *,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        source: Literal["web"] | None = None,
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
            TypeError: a time has another type, such as ``date``.
            ValueError: ``source`` is not ``"web"``, or a datetime has no time zone.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.list
        """
        check_choice("source", source, ("web",))
        query = drop_unset(created_after=created_after, created_before=created_before, source=source)
        return paginate(self._transport, "/predictions", PageData[Prediction], options, query)

    async def cancel(self, prediction_id: str | Prediction, **options: Unpack[RequestOptions]) -> Prediction:
        """Cancel a prediction. Has no effect if the prediction has ended.

        Args:
            prediction_id: Prediction, or its id.
            **options: Options of the request.

        Returns:
            The prediction, which may not be canceled yet.

        Raises:
            TypeError: ``prediction_id`` is neither a str nor a ``Prediction``.
            ValueError: ``prediction_id`` is empty, or can't be part of a URL path.
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
            TypeError: ``prediction`` is neither a ``Prediction`` nor a str, or ``time_limit`` is not a number.
            ValueError: the id is empty or can't be part of a URL path, or ``time_limit`` is negative.
            NotFoundError: the prediction does not exist.
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
            ReplicateError: the prediction ended more than an hour ago, and the API has removed its output.
            NotFoundError: the prediction does not exist.
            APIError: a call failed.

        Source: https://replicate.com/docs/topics/predictions/streaming
        """
        check_options(options)
        check_job(prediction, Prediction)
        if isinstance(prediction, str):
            prediction = await self.get(prediction, **options)
        create_options = cast("PredictionOptions", options)
        prediction_run = PredictionRun(
            self._transport, ModelRef(), {}, create_options, cancel_on_abort=cancel_on_abort, prediction=prediction
        )
        async with RunEvents(prediction_run) as events:
            while (event := await events.next()) is not None:
                yield event


explain_missing_version(AsyncPredictions.create)
