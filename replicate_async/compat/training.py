"""Trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from replicate_async import _bridge, types
from replicate_async._json import is_dict
from replicate_async._typing import Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import FileEncodingStrategy, Maybe, Options, native_options
from replicate_async.compat.helpers import async_encode_json, rewind
from replicate_async.compat.identifier import ModelVersionIdentifier
from replicate_async.compat.pagination import Cursor, Page, fetch_page
from replicate_async.compat.resource import JSONObject, Kinds, Members, Namespace, Resource, Time, Urls, wrap


class Training(Resource):
    """One fine-tuning of a model."""

    _members: ClassVar[Kinds] = {
        **dict.fromkeys(("created_at", "started_at", "completed_at"), Time),
        "output": types.TrainingOutput,
        "metrics": Members,
        "urls": Urls,
    }

    id: str
    model: str
    version: str
    destination: str | None
    status: str
    input: JSONObject | None
    output: Any
    logs: str | None
    error: str | None
    metrics: Members | None
    source: str | None
    created_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    urls: Urls

    def _set(self, members: Mapping[str, Any]) -> None:
        super()._set(members)
        if self.status == "aborted":
            self.status = "canceled"
        version = self.output.get("version") if is_dict(self.output) else None
        if isinstance(version, str) and "/" in version:
            self.destination = version.partition(":")[0]

    async def async_reload(self) -> None:
        """Fetch the current state."""
        self._update(await self._api.native.trainings.get(self.id))

    def reload(self) -> None:
        """Fetch the current state."""
        _bridge.run(self.async_reload())

    async def async_cancel(self) -> None:
        """Cancel the training."""
        self._update(await self._api.native.trainings.cancel(self.id))

    def cancel(self) -> None:
        """Cancel the training."""
        _bridge.run(self.async_cancel())


class TrainingCreate(Options, total=False):
    """Options of ``trainings.create``, in 1.x."""

    destination: Any
    webhook: Maybe[str]
    webhook_completed: Maybe[str]
    webhook_events_filter: Maybe[list[Any]]
    file_encoding_strategy: Maybe[FileEncodingStrategy]


class TrainingCreateCall(TrainingCreate, total=False):
    """Arguments of ``trainings.create``, besides those by position."""

    model_owner: str
    model_name: str
    version_id: str


# The order of the arguments by position, from the second one on.
_BY_POSITION = ("input", "destination", "webhook", "webhook_completed", "webhook_events_filter")


class Trainings(Namespace):
    """Operations on trainings."""

    _path = "trainings"

    CreateTrainingParams = TrainingCreate

    def _wrap(self, training: types.Training) -> Training:
        return wrap(Training, training, self._client)

    async def async_create(
        self,
        *args: Any,
        model: Any = None,
        version: Any = None,
        input: Mapping[str, Any] | None = None,
        **params: Unpack[TrainingCreateCall],
    ) -> Training:
        """Start a training.

        Args:
            *args: ``owner/name:version``, or model and version; then ``input``, ``destination``, ``webhook``, ...
            model: Model: an object, ``owner/name``, or a tuple of owner and name.
            version: Version or its id; without a model, ``owner/name:version``.
            input: Inputs of the training by name.
            **params: ``destination``, the model that gets the new version; ``webhook``, ``webhook_events_filter``; in
                2.x, ``model_owner``, ``model_name`` and ``version_id`` instead of model and version.
        """
        options = native_options({"input": input, **params})
        values = list(args)
        if (values and not isinstance(values[0], str)) or (len(values) > 1 and not isinstance(values[1], dict)):
            model = values.pop(0)
        if values:
            version = values.pop(0)
        for name, value in zip(_BY_POSITION, values, strict=False):
            options.update(native_options({name: value}))
        owner, name = options.pop("model_owner", None), options.pop("model_name", None)
        version_id = arguments.to_id(options.pop("version_id", None) or version)
        if model is not None:
            owner, name = arguments.owner_and_name(model)
        elif not (owner and name):
            owner, name, version_id = cast("tuple[Any, ...]", ModelVersionIdentifier.parse(str(version_id)))
        if not options.get("destination"):
            raise ValueError("pass destination, the model that gets the new version")
        options["destination"] = arguments.to_reference(options["destination"])
        options["input"] = rewind(options.get("input")) or {}
        if strategy := options.pop("file_encoding_strategy", None):
            options["input"] = await async_encode_json(options["input"], self._client, strategy)
        return self._wrap(await self._client.native.trainings.create(owner, name, version_id, **options))

    def create(
        self,
        *args: Any,
        model: Any = None,
        version: Any = None,
        input: Mapping[str, Any] | None = None,
        **params: Unpack[TrainingCreateCall],
    ) -> Training:
        """Start a training; see ``async_create``."""
        return _bridge.run(self.async_create(*args, model=model, version=version, input=input, **params))

    async def async_get(self, id: str = "", *, training_id: str = "", **options: Unpack[Options]) -> Training:
        """Fetch a training by its id."""
        native = self._client.native.trainings
        return self._wrap(await native.get(arguments.to_id(id or training_id), **native_options(options)))

    def get(self, id: str = "", *, training_id: str = "", **options: Unpack[Options]) -> Training:
        """Fetch a training by its id."""
        return _bridge.run(self.async_get(id, training_id=training_id, **options))

    async def async_list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Training]:
        """List the account's trainings, newest first; ``cursor`` is the ``next`` of a page."""
        trainings = self._client.native.trainings.list(**native_options(options))
        return await fetch_page(trainings, self._wrap, cursor, self._client.page)

    def list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Training]:
        """List the account's trainings, newest first; ``cursor`` is the ``next`` of a page."""
        return _bridge.run(self.async_list(cursor, **options))

    async def async_cancel(self, id: str = "", *, training_id: str = "", **options: Unpack[Options]) -> Training:
        """Cancel a training."""
        native = self._client.native.trainings
        return self._wrap(await native.cancel(arguments.to_id(id or training_id), **native_options(options)))

    def cancel(self, id: str = "", *, training_id: str = "", **options: Unpack[Options]) -> Training:
        """Cancel a training."""
        return _bridge.run(self.async_cancel(id, training_id=training_id, **options))


__all__ = ["Training", "Trainings"]
