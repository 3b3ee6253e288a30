"""Collections of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from replicate_async import _bridge, types
from replicate_async._typing import Unpack
from replicate_async.compat._arguments import Options, native_options
from replicate_async.compat.model import Model
from replicate_async.compat.pagination import Cursor, Page, fetch_page
from replicate_async.compat.resource import Kinds, Namespace, Resource, wrap


class Collection(Resource):
    """A collection of models, which can be iterated."""

    _members: ClassVar[Kinds] = {"models": [Model]}

    slug: str
    name: str
    description: str
    full_description: str | None
    models: list[Model] | None

    @property
    def id(self) -> str:
        """The slug."""
        return self.slug

    def __iter__(self) -> Iterator[Model]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield the models."""
        return iter(self.models or [])

    def __getitem__(self, index: Any) -> Any:
        models: Any = self.models
        return None if models is None else models[index]

    def __len__(self) -> int:
        return len(self.models or [])


class Collections(Namespace):
    """Operations on collections."""

    _path = "collections"

    def _wrap(self, collection: types.Collection) -> Collection:
        return wrap(Collection, collection, self._client)

    async def async_list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Collection]:
        """List collections, without their models; ``cursor`` is the ``next`` of a page."""
        collections = self._client.native.collections.list(**native_options(options))
        return await fetch_page(collections, self._wrap, cursor, self._client.page)

    def list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Collection]:
        """List collections, without their models; ``cursor`` is the ``next`` of a page."""
        return _bridge.run(self.async_list(cursor, **options))

    async def async_get(self, slug: str = "", *, collection_slug: str = "", **options: Unpack[Options]) -> Collection:
        """Fetch a collection with its models."""
        native = self._client.native.collections
        return self._wrap(await native.get(slug or collection_slug, **native_options(options)))

    def get(self, slug: str = "", *, collection_slug: str = "", **options: Unpack[Options]) -> Collection:
        """Fetch a collection with its models."""
        return _bridge.run(self.async_get(slug, collection_slug=collection_slug, **options))


__all__ = ["Collection", "Collections"]
