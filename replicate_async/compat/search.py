"""Results of a search."""

from __future__ import annotations

from typing import ClassVar

from replicate_async.compat.model import Model
from replicate_async.compat.resource import Kinds, Members, Resource


class ModelMetadata(Members):
    """Details of a model that matches a search."""

    generated_description: str | None
    score: float | None
    tags: list[str] | None


class SearchModel(Resource):
    """A model that matches a search."""

    _members: ClassVar[Kinds] = {"model": Model, "metadata": ModelMetadata}

    model: Model
    metadata: ModelMetadata | None


class SearchResponse(Resource):
    """The results of a search; collections and pages have their members as keys and as attributes."""

    _members: ClassVar[Kinds] = {"models": [SearchModel], "collections": [Members], "pages": [Members]}

    query: str
    models: list[SearchModel]
    collections: list[Members]
    pages: list[Members]


__all__ = ["SearchModel", "SearchResponse"]
