"""Deployments: model versions that run on hardware of your choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicate_async._http.options import RequestOptions, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.requests import PredictionOptions, create_request, model_path, starting
from replicate_async._typing import Unpack
from replicate_async._views import (
    AsyncDeploymentPredictionsRaw,
    AsyncDeploymentPredictionsStreaming,
    AsyncDeploymentsRaw,
    AsyncDeploymentsStreaming,
)
from replicate_async.resources._resource import AsyncResource, View, resource
from replicate_async.types import Deployment, Hardware, Model, ModelVersion, PageData, Prediction


class AsyncDeployments(AsyncResource):
    """Create, update and delete deployments."""

    with_raw_response: View[AsyncDeploymentsRaw] = View(AsyncDeploymentsRaw)
    with_streaming_response: View[AsyncDeploymentsStreaming] = View(AsyncDeploymentsStreaming)

    @resource
    def predictions(self) -> AsyncDeploymentPredictions:
        """Predictions with deployments."""
        return AsyncDeploymentPredictions(self._transport)

    def list(self, **options: Unpack[RequestOptions]) -> AsyncPaginator[Deployment]:
        """List the account's deployments, newest first.

        Args:
            **options: Options of the request.

        Returns:
            The deployments: iterate over all of them, or read the first page's ``results``.

        Raises:
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.list
        """
        return paginate(self._transport, "/deployments", PageData[Deployment], options)

    async def create(
        self,
        *,
        name: str,
        model: str | Model,
        version: str | ModelVersion,
        hardware: str | Hardware,
        min_instances: int,
        max_instances: int,
        **options: Unpack[RequestOptions],
    ) -> Deployment:
        """Create a deployment that belongs to the token's account.

        Args:
            name: Name of the deployment, unique among the account's deployments.
            model: Model to run, or its ``"owner/name"``.
            version: Model version, or its id, 64 hexadecimal digits.
            hardware: Hardware to run on, from ``hardware.list()``, or its SKU.
            min_instances: Minimum number of running instances, at most 5. With 0, an idle deployment has none.
            max_instances: Maximum number of running instances, at most 20.
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
        self,
        deployment_owner: str | Deployment,
        deployment_name: str | Deployment | None = None,
        **options: Unpack[RequestOptions],
    ) -> Deployment:
        """Fetch a deployment with its current release.

        Args:
            deployment_owner: Owner of the deployment, ``"owner/name"``, or the ``Deployment``.
            deployment_name: Name of the deployment. Omit it if ``deployment_owner`` is more than the owner.
            **options: Options of the request.

        Returns:
            The deployment.

        Raises:
            TypeError: ``deployment_name`` is missing, or an argument is neither a str nor a ``Deployment``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the deployment does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.get
        """
        path = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request("GET", path, Deployment, options))

    async def update(
        self,
        deployment_owner: str | Deployment,
        deployment_name: str | Deployment | None = None,
        *,
        version: str | ModelVersion | None = None,
        hardware: str | Hardware | None = None,
        min_instances: int | None = None,
        max_instances: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> Deployment:
        """Update a deployment, which creates a release. Omitted arguments keep their current values.

        Args:
            deployment_owner: Owner of the deployment, ``"owner/name"``, or the ``Deployment``.
            deployment_name: Name of the deployment. Omit it if ``deployment_owner`` is more than the owner.
            version: Model version, or its id, 64 hexadecimal digits.
            hardware: Hardware to run on, from ``hardware.list()``, or its SKU.
            min_instances: Minimum number of running instances, at most 5. With 0, an idle deployment has none.
            max_instances: Maximum number of running instances, at most 20.
            **options: Options of the request.

        Returns:
            The updated deployment.

        Raises:
            TypeError: the name is missing, or an argument has the wrong type, such as a float for ``min_instances``.
            ValueError: an argument is empty or can't be part of a URL path, or a number of instances is negative.
            NotFoundError: the deployment does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.update
        """
        _check_instances(**drop_unset(min_instances=min_instances, max_instances=max_instances))
        body = drop_unset(version=version, hardware=hardware, min_instances=min_instances, max_instances=max_instances)
        path = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request("PATCH", path, Deployment, options, json=body, idempotent=True))

    async def delete(
        self,
        deployment_owner: str | Deployment,
        deployment_name: str | Deployment | None = None,
        **options: Unpack[RequestOptions],
    ) -> None:
        """Delete a deployment that has been offline and unused for at least 15 minutes.

        Args:
            deployment_owner: Owner of the deployment, ``"owner/name"``, or the ``Deployment``.
            deployment_name: Name of the deployment. Omit it if ``deployment_owner`` is more than the owner.
            **options: Options of the request.

        Raises:
            TypeError: ``deployment_name`` is missing, or an argument is neither a str nor a ``Deployment``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the deployment does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#deployments.delete
        """
        path = model_path(deployment_owner, deployment_name, kind="deployment")
        return await self._transport.call(Request[None]("DELETE", path, None, options))


class AsyncDeploymentPredictions(AsyncResource):
    """Predictions with deployments."""

    with_raw_response: View[AsyncDeploymentPredictionsRaw] = View(AsyncDeploymentPredictionsRaw)
    with_streaming_response: View[AsyncDeploymentPredictionsStreaming] = View(AsyncDeploymentPredictionsStreaming)

    async def create(
        self,
        deployment_owner: str | Deployment,
        deployment_name: str | Deployment | None = None,
        *,
        input: Mapping[str, Any],
        stream: bool | None = None,
        prefer: str | None = None,
        **options: Unpack[PredictionOptions],
    ) -> Prediction:
        """Start a prediction with a deployment.

        Args:
            deployment_owner: Owner of the deployment, ``"owner/name"``, or the ``Deployment``.
            deployment_name: Name of the deployment. Omit it if ``deployment_owner`` is more than the owner.
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
            TypeError: ``deployment_name`` is missing, ``input`` is not a mapping, or has a value that cannot be sent.
            ValueError: an argument is invalid, for example a ``cancel_after`` of less than 5 seconds.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed. Only failures that can't have started a prediction are retried.

        Source: https://replicate.com/docs/reference/http#deployments.predictions.create
        """
        path = model_path(deployment_owner, deployment_name, kind="deployment", tail="/predictions")
        request = create_request(path, options, input, stream=stream, prefer=prefer)
        with starting(self._transport, request):
            request = await encode_files(self._transport, request, options.get("file_encoding_strategy"))
            return await self._transport.call(request)


def _check_instances(**counts: int) -> None:
    """Check that numbers of instances are ints and not negative."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name} must be an int, not {type(count).__name__}")
        if count < 0:
            raise ValueError(f"{name}={count} must not be negative")
