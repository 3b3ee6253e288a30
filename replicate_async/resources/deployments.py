"""Deployments: model versions kept running on hardware of one's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request
from replicate_async._http.views import View
from replicate_async._predictions.inputs import FileEncodingStrategy, encode_files
from replicate_async._predictions.requests import model_path, prediction_request
from replicate_async._views import (
    AsyncDeploymentPredictionsRaw,
    AsyncDeploymentPredictionsStreaming,
    AsyncDeploymentsRaw,
    AsyncDeploymentsStreaming,
)
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import Deployment, PageData, Prediction, WebhookEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncDeployments(AsyncResource):
    """Create, change and delete deployments."""

    with_raw_response: View[AsyncDeploymentsRaw] = View(AsyncDeploymentsRaw)
    with_streaming_response: View[AsyncDeploymentsStreaming] = View(AsyncDeploymentsStreaming)

    @cached_property
    def predictions(self) -> AsyncDeploymentPredictions:
        """Predictions with deployments."""
        return AsyncDeploymentPredictions(self._transport)

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[Deployment]:
        """List one's deployments, newest first.

        Args:
            **options: Options of the request.

        Returns:
            The list: iterate it for all its deployments; its first page has ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.list
        """
        return paginate(self._transport, "/deployments", PageData[Deployment], options)

    async def create(
        self,
        *,
        name: str,
        model: str,
        version: str,
        hardware: str,
        min_instances: int,
        max_instances: int,
        **options: Unpack[RequestOptions],
    ) -> Deployment:
        """Create a deployment. Its owner is the one that the token belongs to.

        Args:
            name: Its name, unique among the owner's deployments.
            model: The model it runs, as ``"owner/name"``.
            version: The id of the model's version, 64 hexadecimal digits.
            hardware: The SKU of the hardware it runs on, from ``hardware.list()``.
            min_instances: How many instances are kept running at least; 0: none while there is nothing to do.
            max_instances: How many instances run at most.
            **options: Options of the request.

        Returns:
            The deployment.

        Raises:
            TypeError: ``min_instances`` or ``max_instances`` is not an int.
            ValueError: ``min_instances`` or ``max_instances`` is negative.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.create
        """
        _check_instances(min_instances=min_instances, max_instances=max_instances)
        body = drop_unset(
            name=name,
            model=model,
            version=version,
            hardware=hardware,
            min_instances=min_instances,
            max_instances=max_instances,
        )
        return await self._transport.call(Request("POST", "/deployments", Deployment, options, json=body))

    async def get(
        self, deployment_owner: str, deployment_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> Deployment:
        """Fetch a deployment, with what it runs at the moment.

        Args:
            deployment_owner: Who owns it, or both as ``"owner/name"``.
            deployment_name: Its name.
            **options: Options of the request.

        Returns:
            The deployment.

        Raises:
            NotFoundError: there is no such deployment.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.get
        """
        at = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request("GET", at, Deployment, options))

    async def update(
        self,
        deployment_owner: str,
        deployment_name: str | UnsetType = UNSET,
        *,
        version: str | UnsetType = UNSET,
        hardware: str | UnsetType = UNSET,
        min_instances: int | UnsetType = UNSET,
        max_instances: int | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Deployment:
        """Change what a deployment runs, or how. What isn't passed stays; each change makes a new release.

        Args:
            deployment_owner: Who owns it, or both as ``"owner/name"``.
            deployment_name: Its name.
            version: The id of the model's version, 64 hexadecimal digits.
            hardware: The SKU of the hardware it runs on, from ``hardware.list()``.
            min_instances: How many instances are kept running at least; 0: none while there is nothing to do.
            max_instances: How many instances run at most.
            **options: Options of the request.

        Returns:
            The deployment as it is now.

        Raises:
            TypeError: ``min_instances`` or ``max_instances`` is not an int.
            ValueError: ``min_instances`` or ``max_instances`` is negative.
            NotFoundError: there is no such deployment.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.update
        """
        _check_instances(min_instances=min_instances, max_instances=max_instances)
        body = drop_unset(version=version, hardware=hardware, min_instances=min_instances, max_instances=max_instances)
        at = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request("PATCH", at, Deployment, options, json=body, repeatable=True))

    async def delete(
        self, deployment_owner: str, deployment_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> None:
        """Delete a deployment that has been offline and unused for at least 15 minutes.

        Args:
            deployment_owner: Who owns it, or both as ``"owner/name"``.
            deployment_name: Its name.
            **options: Options of the request.

        Raises:
            NotFoundError: there is no such deployment.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.delete
        """
        at = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request[None]("DELETE", at, None, options))


class AsyncDeploymentPredictions(AsyncResource):
    """Predictions with deployments, which run the version that the deployment has."""

    with_raw_response: View[AsyncDeploymentPredictionsRaw] = View(AsyncDeploymentPredictionsRaw)
    with_streaming_response: View[AsyncDeploymentPredictionsStreaming] = View(AsyncDeploymentPredictionsStreaming)

    async def create(
        self,
        deployment_owner: str,
        deployment_name: str | UnsetType = UNSET,
        *,
        input: Mapping[str, Any],
        stream: bool | UnsetType = UNSET,
        webhook: str | UnsetType = UNSET,
        webhook_events_filter: Sequence[WebhookEvent] | UnsetType = UNSET,
        prefer: str | UnsetType = UNSET,
        cancel_after: str | int | UnsetType = UNSET,
        file_encoding_strategy: FileEncodingStrategy | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Prediction:
        """Start a prediction with a deployment.

        Args:
            deployment_owner: Who owns the deployment, or both as ``"owner/name"``.
            deployment_name: Its name.
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

        Source: https://replicate.com/docs/reference/http#deployments.predictions.create
        """
        request = prediction_request(
            model_path(deployment_owner, deployment_name, kind="deployment", tail="/predictions"),
            options,
            input=input,
            stream=stream,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            prefer=prefer,
            cancel_after=cancel_after,
        )
        await encode_files(self._transport, request, file_encoding_strategy)
        return await self._transport.call(request)


def _check_instances(**counts: int | UnsetType) -> None:
    """Refuse numbers of instances that can't be."""
    for name, count in counts.items():
        if count is UNSET:
            continue
        if isinstance(count, bool) or not isinstance(count, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name} must be an int, not {type(count).__name__}")
        if count < 0:
            raise ValueError(f"{name}={count} must not be negative")
