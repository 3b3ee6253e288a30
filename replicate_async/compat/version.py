"""Versions of models."""

from __future__ import annotations

from typing import Any, ClassVar

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import Options, native_options
from replicate_async.compat.pagination import Page, fetch_page
from replicate_async.compat.resource import JSONObject, Kinds, Namespace, Resource, Time, wrap
from replicate_async.compat.settings import BaseClient
from replicate_async.types import ModelVersion


class Version(Resource):
    """A version of a model."""

    _members: ClassVar[Kinds] = {"created_at": Time}

    id: str
    created_at: Time
    cog_version: str
    openapi_schema: JSONObject


class Versions(Namespace):
    """Operations on the versions of a model: of the one that it was made for, or of the one that is named."""

    _path = "models.versions"

    def __init__(self, client: BaseClient, model: Any = None) -> None:
        super().__init__(client)
        self.model: tuple[str, str] | None = None if model is None else arguments.owner_and_name(model)

    def _model(self, owner: str, name: str) -> tuple[Any, Any]:
        return self.model if self.model is not None else arguments.owner_and_name(owner, name)

    def _wrap(self, version: ModelVersion) -> Version:
        return wrap(Version, version, self._client)

    async def async_get(
        self,
        id: str = "",
        *,
        version_id: str = "",
        model_owner: str = "",
        model_name: str = "",
        **options: Unpack[Options],
    ) -> Version:
        """Fetch a version by its id."""
        model = self._model(model_owner, model_name)
        native = self._client.native.models.versions
        return self._wrap(await native.get(*model, arguments.to_id(id or version_id), **native_options(options)))

    def get(
        self,
        id: str = "",
        *,
        version_id: str = "",
        model_owner: str = "",
        model_name: str = "",
        **options: Unpack[Options],
    ) -> Version:
        """Fetch a version by its id."""
        return _bridge.run(
            self.async_get(id, version_id=version_id, model_owner=model_owner, model_name=model_name, **options)
        )

    async def async_list(
        self, *, model_owner: str = "", model_name: str = "", **options: Unpack[Options]
    ) -> Page[Version]:
        """List the versions, newest first."""
        native = self._client.native.models.versions
        versions = native.list(*self._model(model_owner, model_name), **native_options(options))
        return await fetch_page(versions, self._wrap, ..., self._client.page)

    def list(self, *, model_owner: str = "", model_name: str = "", **options: Unpack[Options]) -> Page[Version]:
        """List the versions, newest first."""
        return _bridge.run(self.async_list(model_owner=model_owner, model_name=model_name, **options))

    async def async_delete(
        self,
        id: str = "",
        *,
        version_id: str = "",
        model_owner: str = "",
        model_name: str = "",
        **options: Unpack[Options],
    ) -> bool:
        """Delete a version; returns True."""
        model = self._model(model_owner, model_name)
        native = self._client.native.models.versions
        await native.delete(*model, arguments.to_id(id or version_id), **native_options(options))
        return True

    def delete(
        self,
        id: str = "",
        *,
        version_id: str = "",
        model_owner: str = "",
        model_name: str = "",
        **options: Unpack[Options],
    ) -> bool:
        """Delete a version; returns True."""
        return _bridge.run(
            self.async_delete(id, version_id=version_id, model_owner=model_owner, model_name=model_name, **options)
        )


__all__ = ["Version", "Versions"]
