"""Versions of models."""

from __future__ import annotations

from replicate_async._http.options import RequestOptions
from replicate_async._http.pages import AsyncPaginator, paginate
from replicate_async._http.request import Request, format_path
from replicate_async._predictions.requests import model_path
from replicate_async._typing import Unpack
from replicate_async._views import AsyncModelVersionsRaw, AsyncModelVersionsStreaming
from replicate_async.resources._resource import AsyncResource, View
from replicate_async.types import Model, ModelVersion, PageData


class AsyncModelVersions(AsyncResource):
    """Versions of models."""

    with_raw_response: View[AsyncModelVersionsRaw] = View(AsyncModelVersionsRaw)
    with_streaming_response: View[AsyncModelVersionsStreaming] = View(AsyncModelVersionsStreaming)

    def list(
        self, model_owner: str | Model, model_name: str | Model | None = None, **options: Unpack[RequestOptions]
    ) -> AsyncPaginator[ModelVersion]:
        """List a model's versions, newest first.

        Args:
            model_owner: Owner of the model, ``"owner/name"``, or the ``Model``.
            model_name: Name of the model. Omit it if ``model_owner`` is more than the owner.
            **options: Options of the request.

        Returns:
            The versions: iterate over all of them, or read the first page's ``results``.

        Raises:
            TypeError: ``model_name`` is missing, or an argument is neither a str nor a ``Model``.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the model does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.list
        """
        path = model_path(model_owner, model_name, tail="/versions")
        return paginate(self._transport, path, PageData[ModelVersion], options)

    async def get(
        self,
        model_owner: str | Model,
        model_name: str | Model,
        version_id: str | ModelVersion,
        **options: Unpack[RequestOptions],
    ) -> ModelVersion:
        """Fetch a version of a model with the OpenAPI document of its inputs and outputs.

        Args:
            model_owner: Owner of the model, or the ``Model``.
            model_name: Name of the model, or the ``Model``.
            version_id: Version, or its id, 64 hexadecimal digits.
            **options: Options of the request.

        Returns:
            The version.

        Raises:
            TypeError: an argument is neither a str nor the object that it names.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the version does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.get
        """
        path = model_path(model_owner, model_name, tail=format_path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request("GET", path, ModelVersion, options))

    async def delete(
        self,
        model_owner: str | Model,
        model_name: str | Model,
        version_id: str | ModelVersion,
        **options: Unpack[RequestOptions],
    ) -> None:
        """Delete a version of a private model with all its predictions. The API deletes them in the background.

        Args:
            model_owner: Owner of the model, or the ``Model``.
            model_name: Name of the model, or the ``Model``.
            version_id: Version, or its id, 64 hexadecimal digits.
            **options: Options of the request.

        Raises:
            TypeError: an argument is neither a str nor the object that it names.
            ValueError: an argument is empty, or can't be part of a URL path.
            NotFoundError: the version does not exist.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.delete
        """
        path = model_path(model_owner, model_name, tail=format_path("/versions/{version_id}", version_id=version_id))
        return await self._transport.call(Request[None]("DELETE", path, None, options))
