"""Models, and what belongs to them: versions, examples, the README, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, UnsetType

from replicate_async._http.options import RequestOptions, check_choice, drop_unset
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._predictions.inputs import encode_files
from replicate_async._predictions.requests import PredictionOptions, create_request, model_path
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
from replicate_async.types import Model, ModelVersion, PageData, Prediction

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncModels(AsyncResource):
    """Find, create and change models."""

    @property
    def with_raw_response(self) -> AsyncModelsRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncModelsRaw(self)

    @property
    def with_streaming_response(self) -> AsyncModelsStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncModelsStreaming(self)

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
        headers, content = {"Content-Type": "text/plain"}, query.encode()
        request = Request[PageData[Model]](
            "QUERY", "/models", PageData[Model], options, headers=headers, content=content
        )
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
        path = model_path(model_owner, model_name)
        return await self._transport.call(Request("PATCH", path, Model, options, json=body, idempotent=True))

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
        path = model_path(model_owner, model_name)
        return await self._transport.call(Request[None]("DELETE", path, None, options))


class AsyncModelExamples(AsyncResource):
    """Example predictions that a model's author has chosen."""

    @property
    def with_raw_response(self) -> AsyncModelExamplesRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncModelExamplesRaw(self)

    @property
    def with_streaming_response(self) -> AsyncModelExamplesStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncModelExamplesStreaming(self)

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
        path = model_path(model_owner, model_name, tail="/examples")
        return paginate(self._transport, path, PageData[Prediction], options)


class AsyncModelPredictions(AsyncResource):
    """Predictions with official models, which need no version."""

    @property
    def with_raw_response(self) -> AsyncModelPredictionsRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncModelPredictionsRaw(self)

    @property
    def with_streaming_response(self) -> AsyncModelPredictionsStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncModelPredictionsStreaming(self)

    async def create(
        self,
        model_owner: str,
        model_name: str | UnsetType = UNSET,
        *,
        input: Mapping[str, Any],
        stream: bool | UnsetType = UNSET,
        prefer: str | UnsetType = UNSET,
        **options: Unpack[PredictionOptions],
    ) -> Prediction:
        """Start a prediction with an official model.

        Args:
            model_owner: Who owns the model, or both as ``"owner/name"``.
            model_name: Its name.
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

        Source: https://replicate.com/docs/reference/http#models.predictions.create
        """
        path = model_path(model_owner, model_name, tail="/predictions")
        request = create_request(path, options, input, stream=stream, prefer=prefer)
        request = await encode_files(self._transport, request, options.get("file_encoding_strategy", UNSET))
        return await self._transport.call(request)


class AsyncModelReadme(AsyncResource):
    """What a model's author says about it."""

    @property
    def with_raw_response(self) -> AsyncModelReadmeRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncModelReadmeRaw(self)

    @property
    def with_streaming_response(self) -> AsyncModelReadmeStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncModelReadmeStreaming(self)

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
        path = model_path(model_owner, model_name, tail="/readme")
        headers = {"Accept": "text/plain"}
        return await self._transport.call(Request("GET", path, str, options, headers=headers))


class AsyncModelVersions(AsyncResource):
    """Versions of models: what actually runs."""

    @property
    def with_raw_response(self) -> AsyncModelVersionsRaw:
        """The same calls, returning the API's answers read to their end."""
        return AsyncModelVersionsRaw(self)

    @property
    def with_streaming_response(self) -> AsyncModelVersionsStreaming:
        """The same calls, returning the API's answers still to be read."""
        return AsyncModelVersionsStreaming(self)

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
        path = model_path(model_owner, model_name, tail="/versions")
        return paginate(self._transport, path, PageData[ModelVersion], options)

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
        path = model_path(model_owner, model_name, tail=format_path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request("GET", path, ModelVersion, options))

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
        path = model_path(model_owner, model_name, tail=format_path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request[None]("DELETE", path, None, options))
