"""Trainings: fine-tuning of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from replicate_async._http.options import RequestOptions, check_options, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import check_events, check_input, model_path, starting
from replicate_async._typing import Unpack
from replicate_async._views import AsyncTrainingsRaw, AsyncTrainingsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Model, ModelVersion, PageData, Training, WebhookEvent


class AsyncTrainings(AsyncResource):
    """Create, fetch, wait for and cancel trainings."""

    with_raw_response: View[AsyncTrainingsRaw] = View(AsyncTrainingsRaw)
    with_streaming_response: View[AsyncTrainingsStreaming] = View(AsyncTrainingsStreaming)

    async def create(
        self,
        model_owner: str | Model,
        model_name: str | Model,
        version_id: str | ModelVersion,
        *,
        destination: str | Model,
        input: Mapping[str, Any],
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Training:
        """Start a training of a model version. When it succeeds, the destination gets a new version.

        Args:
            model_owner: Owner of the model, or the ``Model``.
            model_name: Name of the model, or the ``Model``.
            version_id: Version, or its id, 64 hexadecimal digits.
            destination: Existing model of the account that gets the new version, or its ``"owner/name"``.
            input: Inputs of the training by name. Files are accepted as in ``run``.
            webhook: URL that receives webhook events.
            webhook_events_filter: Events to send to the webhook. If omitted, all events are sent.
            **options: Options of the request.

        Returns:
            The training, which has just started.

        Raises:
            TypeError: ``input`` is not a mapping, or has a value that cannot be sent; the error names its place.
            ValueError: ``destination`` is empty, ``webhook_events_filter`` has an unknown event, or a file is invalid.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the training is unknown.
            NotFoundError: the version does not exist.
            APIError: a call failed. Only failures that can't have started a training are retried.

        Source: https://replicate.com/docs/reference/http#trainings.create
        """
        tail = format_path("/versions/{version_id}/trainings", version_id=version_id)
        path = model_path(model_owner, model_name, tail=tail)
        if not destination:
            raise ValueError("destination must not be empty: pass the model that gets the new version, 'owner/name'")
        check_options(options)
        check_events(webhook_events_filter)
        body = drop_unset(
            destination=destination,
            input=check_input(input),
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
        )
        request = Request[Training]("POST", path, Training, options, json=body, billable=True)
        with starting(self._transport, request):
            return await self._transport.call(await encode_files(self._transport, request))

    async def get(self, training_id: str | Training, **options: Unpack[RequestOptions]) -> Training:
        """Fetch a training.

        Args:
            training_id: Training, or its id.
            **options: Options of the request.

        Returns:
            The training in its current state.

        Raises:
            TypeError: ``training_id`` is neither a str nor a ``Training``.
            ValueError: ``training_id`` is empty, or can't be part of a URL path.
            NotFoundError: the training does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.get
        """
        path = format_path("/trainings/{training_id}", training_id=training_id)
        return await self._transport.call(Request("GET", path, Training, options))

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[Training]:
        """List the account's trainings, newest first, 100 per page.

        Args:
            **options: Options of the request.

        Returns:
            The trainings: iterate over all of them, or read the first page's ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.list
        """
        return paginate(self._transport, "/trainings", PageData[Training], options)

    async def cancel(self, training_id: str | Training, **options: Unpack[RequestOptions]) -> Training:
        """Cancel a training. Has no effect if the training has ended.

        Args:
            training_id: Training, or its id.
            **options: Options of the request.

        Returns:
            The training, which may not be canceled yet.

        Raises:
            TypeError: ``training_id`` is neither a str nor a ``Training``.
            ValueError: ``training_id`` is empty, or can't be part of a URL path.
            NotFoundError: the training does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.cancel
        """
        path = format_path("/trainings/{training_id}/cancel", training_id=training_id)
        # A second cancel has no further effect.
        return await self._transport.call(Request("POST", path, Training, options, idempotent=True, skips_queue=True))

    async def wait(
        self,
        training: Training | str,
        *,
        time_limit: float | None = None,
        on_update: Callable[[Training], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Training:
        """Wait until a training has ended, with any final status.

        Args:
            training: Training, or its id.
            time_limit: Maximum time to wait, in seconds; the training itself continues. If None, there is no limit.
            on_update: Called with the training at first, and after each change of its status or logs.
            **options: Options of each request.

        Returns:
            The training with its final status.

        Raises:
            TypeError: ``training`` is neither a ``Training`` nor a str, or ``time_limit`` is not a number.
            ValueError: the id is empty or can't be part of a URL path, or ``time_limit`` is negative.
            NotFoundError: the training does not exist.
            APITimeoutError: the time limit is reached. The error's ``prediction_id`` is the training's id.
            APIError: a call failed. The error's ``prediction_id`` is the training's id.

        Source: https://replicate.com/docs/reference/http#trainings.get
        """
        return await wait_until_done(
            self._transport, training, Training, options, time_limit=time_limit, on_update=on_update
        )
