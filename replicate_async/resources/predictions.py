"""Predictions: models at work."""

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
from replicate_async._http.views import View
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
    """Create, follow and cancel predictions."""

    with_raw_response: View[AsyncPredictionsRaw] = View(AsyncPredictionsRaw)
    with_streaming_response: View[AsyncPredictionsStreaming] = View(AsyncPredictionsStreaming)

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
            version: ``owner/name`` (official models), ``owner/name:version`` or a version id.
            input: The model's inputs by name, with files as for ``run``.
            stream: Ask for a stream of the output; models that can stream do so without being asked.
            webhook: The URL that is told of the prediction's progress.
            webhook_events_filter: Which events the webhook gets; all, unless given.
            prefer: ``"wait"`` or ``"wait=n"``: let the API answer when the prediction is done, or after n (1..60,
                otherwise 60) seconds.
            cancel_after: When the API shall cancel it, counted from its creation: seconds, or a text such as
                ``"90s"``, ``"5m"``, ``"1h30m"``; at least 5 seconds.
            file_encoding_strategy: How files in the input are sent: ``"base64"`` in the request itself, ``"url"``
                uploaded before. Otherwise those above 256 kB are uploaded.
            **options: Options of the request.

        Returns:
            The prediction, done or not.

        Raises:
            TypeError: ``input`` is not a mapping, or holds what JSON can't express.
            ValueError: an argument is outside of what the API documents.
            APIError: the call failed. It is repeated only where it can't have started a prediction.

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
            prediction_id: The prediction's id.
            **options: Options of the request.

        Returns:
            The prediction as it is now. An hour after its end its input, output and logs are gone.

        Raises:
            NotFoundError: there is no such prediction.
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
        known = await self.get(prediction, **options) if isinstance(prediction, str) else prediction

        ended = known.done
        try:
            async with aclosing(follow(self._transport, known, options)) as events:
                async for event in events:
                    ended = ended or event.event == "done"
                    yield event
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            if cancel_on_abort and not ended:
                await run_shielded(cancel(self._transport, known.id))
            raise
