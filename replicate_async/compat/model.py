"""Models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from replicate_async import _bridge, types
from replicate_async._typing import TypedDict, Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options, create_options, native_options
from replicate_async.compat.helpers import rewind
from replicate_async.compat.pagination import Cursor, Page, fetch_page
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.resource import Kinds, Namespace, Resource, Time, wrap
from replicate_async.compat.version import Version, Versions
from replicate_async.errors import ReplicateError


class Model(Resource):
    """A model, with its latest version."""

    _members: ClassVar[Kinds] = {
        "default_example": Prediction,
        "latest_version": Version,
        "created_at": Time,
    }

    url: str
    owner: str
    name: str
    description: str | None
    visibility: str
    github_url: str | None
    paper_url: str | None
    weights_url: str | None
    license_url: str | None
    run_count: int
    is_official: bool | None
    created_at: Time | None
    cover_image_url: str | None
    default_example: Prediction | None
    latest_version: Version | None

    @property
    def id(self) -> str:
        """The model's ``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def username(self) -> str:
        """The owner."""
        return self.owner

    def predict(self, *_args: Any, **_inputs: Any) -> NoReturn:
        """Raise an error, as in 1.x."""
        raise ReplicateError(f"models have no predict(): call replicate.run({self.id!r}, input=...)")

    @property
    def versions(self) -> Versions:
        """Operations on the versions of this model."""
        return Versions(self._api, self)

    async def async_reload(self) -> None:
        """Fetch the current state."""
        self._update(await self._api.native.models.get(self.owner, self.name))

    def reload(self) -> None:
        """Fetch the current state."""
        _bridge.run(self.async_reload())


class _OptionalModelParams(Options, total=False):
    description: Maybe[str]
    github_url: Maybe[str]
    paper_url: Maybe[str]
    license_url: Maybe[str]
    cover_image_url: Maybe[str]


class ModelCreate(_OptionalModelParams):
    """Options of ``models.create``."""

    hardware: str
    visibility: Any


class _UpdateModelParams(Options, total=False):
    description: Maybe[str]
    readme: Maybe[str]
    github_url: Maybe[str]
    paper_url: Maybe[str]
    weights_url: Maybe[str]
    license_url: Maybe[str]


class ModelName(TypedDict, total=False):
    """The names of a model in 1.x (``key``, or ``owner`` and ``name``) and in 2.x."""

    key: str
    owner: str
    name: str
    model_owner: str
    model_name: str


class ModelCall(ModelName, Options, total=False):
    pass


class ModelUpdateCall(ModelName, _UpdateModelParams, total=False):
    """Arguments of ``models.update``."""


def _split(model: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Return owner and name of a model, and the other options."""
    names = ModelName.__optional_keys__
    named = {name: value for name, value in options.items() if name in names}
    rest = native_options({name: value for name, value in options.items() if name not in names})
    if model and named:
        raise ValueError("pass the model by position or by keyword, not both")
    if len(model) > 2:
        raise ValueError("pass 'owner/name', or owner and name")
    if not model:
        owner = named.get("key") or named.get("owner") or named.get("model_owner")
        model = (owner, named.get("name") or named.get("model_name"))
    return arguments.owner_and_name(*model), rest


class ModelsPredictions(Namespace):
    """Operations on the predictions of models."""

    _path = "models.predictions"

    async def async_create(
        self,
        model: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        model_owner: str = "",
        model_name: str = "",
        **params: Unpack[CreatePredictionParams],
    ) -> Prediction:
        """Start a prediction with an official model."""
        owner, name = arguments.owner_and_name(model_owner if model is None else model, model_name)
        options = create_options(params)
        prediction = await self._client.native.models.predictions.create(
            owner, name, input=rewind(input or {}), **options
        )
        return wrap(Prediction, prediction, self._client)

    def create(
        self,
        model: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        model_owner: str = "",
        model_name: str = "",
        **params: Unpack[CreatePredictionParams],
    ) -> Prediction:
        """Start a prediction with an official model."""
        return _bridge.run(self.async_create(model, input, model_owner=model_owner, model_name=model_name, **params))


class ModelExamples(Namespace):
    """Operations on the examples of models."""

    _path = "models.examples"

    async def async_list(self, *model: Any, **options: Unpack[ModelCall]) -> Page[Prediction]:
        """List the examples of a model."""
        names, rest = _split(model, options)

        def convert(prediction: types.Prediction) -> Prediction:
            return wrap(Prediction, prediction, self._client)

        return await fetch_page(
            self._client.native.models.examples.list(*names, **rest), convert, ..., self._client.page
        )

    def list(self, *model: Any, **options: Unpack[ModelCall]) -> Page[Prediction]:
        """List the examples of a model."""
        return _bridge.run(self.async_list(*model, **options))


class ModelReadme(Namespace):
    """Operations on the READMEs of models."""

    _path = "models.readme"

    async def async_get(self, *model: Any, **options: Unpack[ModelCall]) -> str:
        """Fetch the README of a model, in Markdown."""
        names, rest = _split(model, options)
        return await self._client.native.models.readme.get(*names, **rest)

    def get(self, *model: Any, **options: Unpack[ModelCall]) -> str:
        """Fetch the README of a model, in Markdown."""
        return _bridge.run(self.async_get(*model, **options))


class Models(Namespace):
    """Operations on models."""

    _path = "models"

    model = Model
    CreateModelParams = ModelCreate

    @cached_property
    def predictions(self) -> ModelsPredictions:
        """Operations on the predictions of models."""
        return ModelsPredictions(self._client)

    @cached_property
    def versions(self) -> Versions:
        """Operations on the versions of models."""
        return Versions(self._client)

    @cached_property
    def examples(self) -> ModelExamples:
        """Operations on the examples of models."""
        return ModelExamples(self._client)

    @cached_property
    def readme(self) -> ModelReadme:
        """Operations on the READMEs of models."""
        return ModelReadme(self._client)

    def _wrap(self, model: types.Model) -> Model:
        return wrap(Model, model, self._client)

    async def async_get(self, *model: Any, **options: Unpack[ModelCall]) -> Model:
        """Fetch a model by ``owner/name``, or by owner and name."""
        names, rest = _split(model, options)
        return self._wrap(await self._client.native.models.get(*names, **rest))

    def get(self, *model: Any, **options: Unpack[ModelCall]) -> Model:
        """Fetch a model by ``owner/name``, or by owner and name."""
        return _bridge.run(self.async_get(*model, **options))

    async def async_list(
        self,
        cursor: Cursor = ...,
        *,
        sort_by: Maybe[Any] = None,
        sort_direction: Maybe[Any] = None,
        **options: Unpack[Options],
    ) -> Page[Model]:
        """List public models; ``cursor`` is the ``next`` of a page."""
        query = native_options({"sort_by": sort_by, "sort_direction": sort_direction, **options})
        return await fetch_page(self._client.native.models.list(**query), self._wrap, cursor, self._client.page)

    def list(
        self,
        cursor: Cursor = ...,
        *,
        sort_by: Maybe[Any] = None,
        sort_direction: Maybe[Any] = None,
        **options: Unpack[Options],
    ) -> Page[Model]:
        """List public models; ``cursor`` is the ``next`` of a page."""
        return _bridge.run(self.async_list(cursor, sort_by=sort_by, sort_direction=sort_direction, **options))

    async def async_search(self, query: str = "", *, body: str = "", **options: Unpack[Options]) -> Page[Model]:
        """Search for public models."""
        models = self._client.native.models.search(query or body, **native_options(options))
        return await fetch_page(models, self._wrap, ..., self._client.page)

    def search(self, query: str = "", *, body: str = "", **options: Unpack[Options]) -> Page[Model]:
        """Search for public models."""
        return _bridge.run(self.async_search(query, body=body, **options))

    async def async_create(self, owner: str, name: str, **params: Unpack[ModelCreate]) -> Model:
        """Create a model."""
        options: Any = native_options(params)
        return self._wrap(await self._client.native.models.create(owner=owner, name=name, **options))

    def create(self, owner: str, name: str, **params: Unpack[ModelCreate]) -> Model:
        """Create a model."""
        return _bridge.run(self.async_create(owner, name, **params))

    async def async_update(self, *model: Any, **params: Unpack[ModelUpdateCall]) -> Model:
        """Change the description, README or links of a model."""
        names, rest = _split(model, params)
        return self._wrap(await self._client.native.models.update(*names, **rest))

    def update(self, *model: Any, **params: Unpack[ModelUpdateCall]) -> Model:
        """Change the description, README or links of a model."""
        return _bridge.run(self.async_update(*model, **params))

    async def async_delete(self, *model: Any, **options: Unpack[ModelCall]) -> bool:
        """Delete a model; returns True."""
        names, rest = _split(model, options)
        await self._client.native.models.delete(*names, **rest)
        return True

    def delete(self, *model: Any, **options: Unpack[ModelCall]) -> bool:
        """Delete a model; returns True."""
        return _bridge.run(self.async_delete(*model, **options))


__all__ = ["Model", "Models", "ModelsPredictions"]
