"""Models, with their versions, examples, READMEs and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from replicate_async._http.options import RequestOptions, check_choice, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.requests import PredictionOptions, create_request, model_path, starting
from replicate_async._typing import Unpack
from replicate_async._views import (
    AsyncModelExamplesRaw,
    AsyncModelExamplesStreaming,
    AsyncModelPredictionsRaw,
    AsyncModelPredictionsStreaming,
    AsyncModelReadmeRaw,
    AsyncModelReadmeStreaming,
    AsyncModelsRaw,
    AsyncModelsStreaming,
)
from replicate_async.resources._resource import AsyncResource, View, resource
from replicate_async.resources.model_versions import AsyncModelVersions
from replicate_async.types import Account, Hardware, Model, PageData, Prediction


class AsyncModels(AsyncResource):
    """Find, create, update and delete models."""

    with_raw_response: View[AsyncModelsRaw] = View(AsyncModelsRaw)
    with_streaming_response: View[AsyncModelsStreaming] = View(AsyncModelsStreaming)

    @resource
    def examples(self) -> AsyncModelExamples:
        """Example predictions of models."""
        return AsyncModelExamples(self._transport)

    @resource
    def predictions(self) -> AsyncModelPredictions:
        """Predictions with official models."""
        return AsyncModelPredictions(self._transport)

    @resource
    def readme(self) -> AsyncModelReadme:
        """READMEs of models."""
        return AsyncModelReadme(self._transport)

    @resource
    def versions(self) -> AsyncModelVersions:
        """Versions of models."""
        return AsyncModelVersions(self._transport)

    def list(
        self,
        *,
        sort_by: Literal["model_created_at", "latest_version_created_at"] | None = None,
        sort_direction: Literal["asc", "desc"] | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncPaginator[Model]:
        """List public models.

        Args:
            sort_by: Time to sort by. If omitted, the API uses ``"latest_version_created_at"``.
            sort_direction: Sort order. If omitted, the API uses ``"desc"``.
            **options: Options of the request.

        Returns:
            The models: iterate over all of them, or read the first page's ``results``.

        Raises:
            ValueError: ``sort_by`` or ``sort_direction`` is not one of the documented values.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.list
        """
        check_choice("sort_by", sort_by, ("model_created_at", "latest_version_created_at"))
        check_choice("sort_direction", sort_direction, ("asc", "desc"))
        query = drop_unset(sort_by=sort_by, sort_direction=sort_direction)
        return paginate(self._transport, "/models", PageData[Model], options, query)

    async def create(
        self,
        *,
        owner: str | Account,
        name: str,
        visibility: Literal["public", "private"],
        hardware: str | Hardware,
        description: str | None = None,
        github_url: str | None = None,
        paper_url: str | None = None,
        license_url: str | None = None,
        cover_image_url: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Model:
        """Create a model. It has no versions yet.

        Args:
            owner: User or organization that owns the model. It must be the token's account.
            name: Name of the model, unique among the owner's models.
            visibility: Who can see the model: ``"public"`` or ``"private"``.
            hardware: Hardware to run on, from ``hardware.list()``, or its SKU.
            description: Description of the model.
            github_url: URL of the model's code on GitHub.
            paper_url: URL of the model's paper.
            license_url: URL of the model's license.
            cover_image_url: URL of the model's cover image.
            **options: Options of the request.

        Returns:
            The model.

        Raises:
            ValueError: ``visibility`` is neither ``"public"`` nor ``"private"``.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.create
        """
        check_choice("visibility", visibility, ("public", "private"))
        body = drop_unset(
            owner=owner,
            name=name,
            visibility=visibility,
            hardware=hardware,
            description=description,
            github_url=github_url,
            paper_url=paper_url,
            license_url=license_url,
            cover_image_url=cover_image_url,
        )
        return await self._transport.call(Request("POST", "/models", Model, options, json=body))

    def search(
        self, query: str | None = None, *, body: str | None = None, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[Model]:
        """Search public models. ``client.search`` also searches collections and documentation pages.

        Args:
            query: Text to search for.
            body: Same as ``query``; the official SDK's name for it.
            **options: Options of the request.

        Returns:
            The models: iterate over all of them, or read the first page's ``results``.

        Raises:
            TypeError: neither or both of ``query`` and ``body`` are passed, or the text is not a str.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.search
        """
        if (query is None) is (body is None):
            raise TypeError("pass either query or body, which mean the same")
        query = body if query is None else query
        if not isinstance(query, str):
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        headers, content = {"Content-Type": "text/plain"}, query.encode()
        request = Request[PageData[Model]](
            "QUERY", "/models", PageData[Model], options, headers=headers, content=content
        )
        return AsyncPaginator(self._transport, request)

    async def get(
        self, model_owner: str | Model, model_name: str | Model | None = None, **options: Unpack[RequestOptions]
    ) -> Model:
        """Fetch a model with its latest version.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            **options: Options of the request.

        Returns:
            The model.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.get
        """
        return await self._transport.call(Request("GET", model_path(model_owner, model_name), Model, options))

    async def update(
        self,
        model_owner: str | Model,
        model_name: str | Model | None = None,
        *,
        description: str | None = None,
        readme: str | None = None,
        github_url: str | None = None,
        paper_url: str | None = None,
        weights_url: str | None = None,
        license_url: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Model:
        """Update a model's metadata. Omitted arguments keep their current values.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            description: Description of the model.
            readme: README of the model, in Markdown.
            github_url: URL of the model's code on GitHub.
            paper_url: URL of the model's paper.
            weights_url: URL of the model's weights.
            license_url: URL of the model's license.
            **options: Options of the request.

        Returns:
            The updated model.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.update
        """
        body = drop_unset(
            description=description,
            readme=readme,
            github_url=github_url,
            paper_url=paper_url,
            weights_url=weights_url,
            license_url=license_url,
        )
        path = model_path(model_owner, model_name)
        return await self._transport.call(Request("PATCH", path, Model, options, json=body, idempotent=True))

    async def delete(
        self, model_owner: str | Model, model_name: str | Model | None = None, **options: Unpack[RequestOptions]
    ) -> None:
        """Delete a private model of the token's account. It must not have versions.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            **options: Options of the request.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.delete
        """
        path = model_path(model_owner, model_name)
        return await self._transport.call(Request[None]("DELETE", path, None, options))


class AsyncModelExamples(AsyncResource):
    """Example predictions, chosen by the author of a model."""

    with_raw_response: View[AsyncModelExamplesRaw] = View(AsyncModelExamplesRaw)
    with_streaming_response: View[AsyncModelExamplesStreaming] = View(AsyncModelExamplesStreaming)

    def list(
        self, model_owner: str | Model, model_name: str | Model | None = None, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[Prediction]:
        """List a model's examples.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            **options: Options of the request.

        Returns:
            The predictions: iterate over all of them, or read the first page's ``results``.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.examples.list
        """
        path = model_path(model_owner, model_name, tail="/examples")
        return paginate(self._transport, path, PageData[Prediction], options)


class AsyncModelPredictions(AsyncResource):
    """Predictions with official models, which don't require a version."""

    with_raw_response: View[AsyncModelPredictionsRaw] = View(AsyncModelPredictionsRaw)
    with_streaming_response: View[AsyncModelPredictionsStreaming] = View(AsyncModelPredictionsStreaming)

    async def create(
        self,
        model_owner: str | Model,
        model_name: str | Model | None = None,
        *,
        input: Mapping[str, Any],
        stream: bool | None = None,
        prefer: str | None = None,
        **options: Unpack[PredictionOptions],
    ) -> Prediction:
        """Start a prediction with an official model.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
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
            TypeError: ``model_name`` is missing, ``input`` is not a mapping, or has a value that cannot be sent.
            ValueError: an argument is invalid, for example a ``cancel_after`` of less than 5 seconds.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed. Only failures that can't have started a prediction are retried.

        Source: https://replicate.com/docs/reference/http#models.predictions.create
        """
        path = model_path(model_owner, model_name, tail="/predictions")
        request = create_request(path, options, input, stream=stream, prefer=prefer)
        with starting(self._transport, request):
            request = await encode_files(self._transport, request, options.get("file_encoding_strategy"))
            return await self._transport.call(request)


class AsyncModelReadme(AsyncResource):
    """READMEs of models."""

    with_raw_response: View[AsyncModelReadmeRaw] = View(AsyncModelReadmeRaw)
    with_streaming_response: View[AsyncModelReadmeStreaming] = View(AsyncModelReadmeStreaming)

    async def get(
        self, model_owner: str | Model, model_name: str | Model | None = None, **options: Unpack[RequestOptions]
    ) -> str:
        """Fetch a model's README.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            **options: Options of the request.

        Returns:
            The README, in Markdown.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist, or has no README.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.readme.get
        """
        path = model_path(model_owner, model_name, tail="/readme")
        headers = {"Accept": "text/plain"}
        return await self._transport.call(Request("GET", path, str, options, headers=headers))
