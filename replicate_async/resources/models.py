"""Models, and what belongs to them: versions, examples, the README, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, check_choice, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, path
from replicate_async._http.views import View
from replicate_async._predictions.inputs import FileEncodingStrategy, encode_files
from replicate_async._predictions.requests import model_path, prediction_request
from replicate_async._views import (
    AsyncModelExamplesRaw,
    AsyncModelExamplesStreaming,
    AsyncModelPredictionsRaw,
    AsyncModelPredictionsStreaming,
    AsyncModelReadmeRaw,
    AsyncModelReadmeStreaming,
    AsyncModelsRaw,
    AsyncModelsStreaming,
    AsyncModelVersionsRaw,
    AsyncModelVersionsStreaming,
)
from replicate_async.resources._resource import AsyncResource
from replicate_async.types import Model, ModelVersion, PageData, Prediction, WebhookEvent

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncModels(AsyncResource):
    """Find, create and change models."""

    with_raw_response: View[AsyncModelsRaw] = View(AsyncModelsRaw)
    with_streaming_response: View[AsyncModelsStreaming] = View(AsyncModelsStreaming)

    @cached_property
    def examples(self) -> AsyncModelExamples:
        """Example predictions of models."""
        return AsyncModelExamples(self._transport)

    @cached_property
    def predictions(self) -> AsyncModelPredictions:
        """Predictions with official models."""
        return AsyncModelPredictions(self._transport)

    @cached_property
    def readme(self) -> AsyncModelReadme:
        """READMEs of models."""
        return AsyncModelReadme(self._transport)

    @cached_property
    def versions(self) -> AsyncModelVersions:
        """Versions of models."""
        return AsyncModelVersions(self._transport)

    def list(
        self,
        *,
        sort_by: Literal["model_created_at", "latest_version_created_at"] | UnsetType = UNSET,
        sort_direction: Literal["asc", "desc"] | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> AsyncPaginator[Model]:
        """List public models.

        Args:
            sort_by: What to sort by; the API's default is ``"latest_version_created_at"``.
            sort_direction: ``"asc"`` or ``"desc"`` (the API's default).
            **options: Options of the request.

        Returns:
            The list: iterate it for all its models; its first page has ``results``.

        Raises:
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
        owner: str,
        name: str,
        visibility: Literal["public", "private"],
        hardware: str,
        description: str | UnsetType = UNSET,
        github_url: str | UnsetType = UNSET,
        paper_url: str | UnsetType = UNSET,
        license_url: str | UnsetType = UNSET,
        cover_image_url: str | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Model:
        """Create a model, still without versions.

        Args:
            owner: The user or organization that shall own it: the one that the token belongs to.
            name: Its name, unique among the owner's models.
            visibility: ``"public"`` or ``"private"``.
            hardware: The SKU of the hardware it runs on, from ``hardware.list()``.
            description: What it does.
            github_url: Where its code is.
            paper_url: Where its paper is.
            license_url: Where its license is.
            cover_image_url: The image that stands for it.
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
        self, query: str | UnsetType = UNSET, *, body: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[Model]:
        """Search public models. ``client.search`` searches collections and pages of the documentation too.

        Args:
            query: What to search for.
            body: The same, under the name that it has in the official SDK.
            **options: Options of the request.

        Returns:
            The list: iterate it for all its models; its first page has ``results``.

        Raises:
            TypeError: there is no query, or it is given twice, or is no str.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.search
        """
        if (query is UNSET) is (body is UNSET):
            raise TypeError("pass query, or body, which means the same")
        query = body if query is UNSET else query
        if not isinstance(query, str):
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        request = Request[Any]("QUERY", "/models", PageData[Model], options, headers={"Content-Type": "text/plain"})
        request.content = query.encode()
        return AsyncPaginator(self._transport, request)

    async def get(
        self, model_owner: str, model_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> Model:
        """Fetch a model, with its latest version.

        Args:
            model_owner: Who owns it, or both as ``"owner/name"``.
            model_name: Its name.
            **options: Options of the request.

        Returns:
            The model.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.get
        """
        return await self._transport.call(Request("GET", model_path(model_owner, model_name), Model, options))

    async def update(
        self,
        model_owner: str,
        model_name: str | UnsetType = UNSET,
        *,
        description: str | UnsetType = UNSET,
        readme: str | UnsetType = UNSET,
        github_url: str | UnsetType = UNSET,
        paper_url: str | UnsetType = UNSET,
        weights_url: str | UnsetType = UNSET,
        license_url: str | UnsetType = UNSET,
        **options: Unpack[RequestOptions],
    ) -> Model:
        """Change what is told about a model. What isn't passed stays.

        Args:
            model_owner: Who owns it, or both as ``"owner/name"``.
            model_name: Its name.
            description: What it does.
            readme: Its README, in Markdown.
            github_url: Where its code is.
            paper_url: Where its paper is.
            weights_url: Where its weights are.
            license_url: Where its license is.
            **options: Options of the request.

        Returns:
            The model as it is now.

        Raises:
            NotFoundError: there is no such model.
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
        at = model_path(model_owner, model_name)
        return await self._transport.call(Request("PATCH", at, Model, options, json=body, repeatable=True))

    async def delete(
        self, model_owner: str, model_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> None:
        """Delete a private model of one's own that has no versions.

        Args:
            model_owner: Who owns it, or both as ``"owner/name"``.
            model_name: Its name.
            **options: Options of the request.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.delete
        """
        at = model_path(model_owner, model_name)
        return await self._transport.call(Request[None]("DELETE", at, None, options))


class AsyncModelExamples(AsyncResource):
    """Example predictions that a model's author has chosen."""

    with_raw_response: View[AsyncModelExamplesRaw] = View(AsyncModelExamplesRaw)
    with_streaming_response: View[AsyncModelExamplesStreaming] = View(AsyncModelExamplesStreaming)

    def list(
        self, model_owner: str, model_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[Prediction]:
        """List a model's examples.

        Args:
            model_owner: Who owns the model, or both as ``"owner/name"``.
            model_name: Its name.
            **options: Options of the request.

        Returns:
            The list: iterate it for all its predictions; its first page has ``results``.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.examples.list
        """
        at = model_path(model_owner, model_name, tail="/examples")
        return paginate(self._transport, at, PageData[Prediction], options)


class AsyncModelPredictions(AsyncResource):
    """Predictions with official models, which need no version."""

    with_raw_response: View[AsyncModelPredictionsRaw] = View(AsyncModelPredictionsRaw)
    with_streaming_response: View[AsyncModelPredictionsStreaming] = View(AsyncModelPredictionsStreaming)

    async def create(
        self,
        model_owner: str,
        model_name: str | UnsetType = UNSET,
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
        """Start a prediction with an official model.

        Args:
            model_owner: Who owns the model, or both as ``"owner/name"``.
            model_name: Its name.
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

        Source: https://replicate.com/docs/reference/http#models.predictions.create
        """
        request = prediction_request(
            model_path(model_owner, model_name, tail="/predictions"),
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


class AsyncModelReadme(AsyncResource):
    """What a model's author says about it."""

    with_raw_response: View[AsyncModelReadmeRaw] = View(AsyncModelReadmeRaw)
    with_streaming_response: View[AsyncModelReadmeStreaming] = View(AsyncModelReadmeStreaming)

    async def get(
        self, model_owner: str, model_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> str:
        """Fetch a model's README.

        Args:
            model_owner: Who owns the model, or both as ``"owner/name"``.
            model_name: Its name.
            **options: Options of the request.

        Returns:
            The README, in Markdown.

        Raises:
            NotFoundError: there is no such model, or it has no README.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.readme.get
        """
        at = model_path(model_owner, model_name, tail="/readme")
        headers = {"Accept": "text/plain"}
        return await self._transport.call(Request("GET", at, str, options, headers=headers))


class AsyncModelVersions(AsyncResource):
    """Versions of models: what actually runs."""

    with_raw_response: View[AsyncModelVersionsRaw] = View(AsyncModelVersionsRaw)
    with_streaming_response: View[AsyncModelVersionsStreaming] = View(AsyncModelVersionsStreaming)

    def list(
        self, model_owner: str, model_name: str | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[ModelVersion]:
        """List a model's versions, newest first.

        Args:
            model_owner: Who owns the model, or both as ``"owner/name"``.
            model_name: Its name.
            **options: Options of the request.

        Returns:
            The list: iterate it for all its versions; its first page has ``results``.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.list
        """
        at = model_path(model_owner, model_name, tail="/versions")
        return paginate(self._transport, at, PageData[ModelVersion], options)

    async def get(
        self, model_owner: str, model_name: str, version_id: str, **options: Unpack[RequestOptions]
    ) -> ModelVersion:
        """Fetch a version of a model, with the OpenAPI document of its inputs and outputs.

        Args:
            model_owner: Who owns the model.
            model_name: Its name.
            version_id: The version's id, 64 hexadecimal digits.
            **options: Options of the request.

        Returns:
            The version.

        Raises:
            NotFoundError: there is no such version.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.get
        """
        at = model_path(model_owner, model_name, tail=path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request("GET", at, ModelVersion, options))

    async def delete(
        self, model_owner: str, model_name: str, version_id: str, **options: Unpack[RequestOptions]
    ) -> None:
        """Delete a version of a private model, with all its predictions. The API does it in its own time.

        Args:
            model_owner: Who owns the model.
            model_name: Its name.
            version_id: The version's id, 64 hexadecimal digits.
            **options: Options of the request.

        Raises:
            NotFoundError: there is no such version.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.delete
        """
        at = model_path(model_owner, model_name, tail=path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request[None]("DELETE", at, None, options))
