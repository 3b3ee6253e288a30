"""Trainings: models that are made from other models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, path
from replicate_async._http.views import View
from replicate_async._predictions.polling import wait_until_done
from replicate_async._predictions.requests import check_events, check_input, model_path
from replicate_async._views import AsyncTrainingsRaw, AsyncTrainingsStreaming
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import PageData, Training, WebhookEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncTrainings(AsyncResource):
    """Create, follow and cancel trainings."""

    with_raw_response: View[AsyncTrainingsRaw] = View(AsyncTrainingsRaw)
    with_streaming_response: View[AsyncTrainingsStreaming] = View(AsyncTrainingsStreaming)

    async def create(
        self,
        model_owner: str,
        model_name: str,
        version_id: str,
        *,
        destination: str,
        input: Mapping[str, Any],
        webhook: str | UnsetType = UNSET,
        webhook_events_filter: Sequence[WebhookEvent] | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Training:
        """Start a training of a model version; when it ends, the destination has a new version.

        Args:
            model_owner: Who owns the model.
            model_name: Its name.
            version_id: The version's id, 64 hexadecimal digits.
            destination: The model that gets the new version, as ``"owner/name"``: an existing one of one's own.
            input: The inputs of the model's training by name.
            webhook: The URL that is told of the training's progress.
            webhook_events_filter: Which events the webhook gets; all, unless given.
            **options: Options of the request.

        Returns:
            The training, hardly begun.

        Raises:
            TypeError: ``input`` is not a mapping, or holds what JSON can't express.
            ValueError: ``destination`` is empty, or an event is not one that the API documents.
            NotFoundError: there is no such version.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.create
        """
        tail = path("/versions/{version_id}/trainings", version_id=version_id)
        at = model_path(model_owner, model_name, tail=tail)
        if not destination:
            raise ValueError("destination must not be empty: pass the model that gets the new version, 'owner/name'")
        check_events(webhook_events_filter)
        body = drop_unset(
            destination=destination,
            input=check_input(input),
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
        )
        return await self._transport.call(Request("POST", at, Training, options, json=body, creates=True))

    async def get(self, training_id: str, **options: Unpack[RequestOptions]) -> Training:
        """Fetch a training.

        Args:
            training_id: The training's id.
            **options: Options of the request.

        Returns:
            The training as it is now.

        Raises:
            NotFoundError: there is no such training.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.get
        """
        at = path("/trainings/{training_id}", training_id=training_id)
        return await self._transport.call(Request("GET", at, Training, options))

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[Training]:
        """List one's trainings, newest first, 100 a page.

        Args:
            **options: Options of the request.

        Returns:
            The list: iterate it for all its trainings; its first page has ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.list
        """
        return paginate(self._transport, "/trainings", PageData[Training], options)

    async def cancel(self, training_id: str, **options: Unpack[RequestOptions]) -> Training:
        """Cancel a training. One that has ended stays as it is.

        Args:
            training_id: The training's id.
            **options: Options of the request.

        Returns:
            The training, canceled or about to be.

        Raises:
            NotFoundError: there is no such training.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#trainings.cancel
        """
        at = path("/trainings/{training_id}/cancel", training_id=training_id)
        # Cancelling twice is cancelling once.
        return await self._transport.call(Request("POST", at, Training, options, repeatable=True))

    async def wait(
        self,
        training: Training | str,
        *,
        time_limit: float | None = None,
        on_update: Callable[[Training], None] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Training:
        """Wait until a training has ended, however it ends.

        Args:
            training: The training, or its id.
            time_limit: After how many seconds to stop waiting; the training goes on. None: never.
            on_update: Called with the training as it is at first, and whenever its status or logs have changed.
            **options: Options of each request.

        Returns:
            The training in its final status.

        Raises:
            APITimeoutError: the time limit has passed; the error's ``prediction_id`` is the training's id.
            APIError: a call failed; the error's ``prediction_id`` is the training's id.

        Source: https://replicate.com/docs/reference/http#trainings.get
        """
        return await wait_until_done(
            self._transport, training, Training, options, time_limit=time_limit, on_update=on_update
        )
