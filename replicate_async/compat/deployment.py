"""Deployments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from replicate_async import _bridge, types
from replicate_async._typing import Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options, create_options, native_options
from replicate_async.compat.account import Account
from replicate_async.compat.helpers import rewind
from replicate_async.compat.pagination import Cursor, Page, fetch_page
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.resource import Kinds, Namespace, Resource, Time, wrap
from replicate_async.compat.settings import BaseClient


class _Configuration(Resource):
    """The hardware and the scaling bounds of a release."""

    hardware: str
    min_instances: int
    max_instances: int


class _Release(Resource):
    """A release of a deployment."""

    _members: ClassVar[Kinds] = {
        "created_at": Time,
        "created_by": Account,
        "configuration": _Configuration,
    }

    Configuration: ClassVar[type[_Configuration]] = _Configuration

    number: int
    model: str
    version: str
    created_at: Time
    created_by: Account | None
    configuration: _Configuration


class Deployment(Resource):
    """A model version that runs on hardware of your choice."""

    _members: ClassVar[Kinds] = {"current_release": _Release}

    Release: ClassVar[type[_Release]] = _Release

    owner: str
    name: str
    current_release: _Release | None

    @property
    def id(self) -> str:
        """The deployment's ``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def username(self) -> str:
        """The owner."""
        return self.owner

    @property
    def predictions(self) -> DeploymentPredictions:
        """Operations on the predictions of this deployment."""
        return DeploymentPredictions(self._api, self)


class DeploymentUpdate(Options, total=False):
    """Options of ``deployments.update``."""

    version: Maybe[str]
    hardware: Maybe[str]
    min_instances: Maybe[int]
    max_instances: Maybe[int]


class DeploymentCreate(Options):
    """Options of ``deployments.create``."""

    name: str
    model: str
    version: str
    hardware: str
    min_instances: int
    max_instances: int


class DeploymentsPredictions(Namespace):
    """Operations on the predictions of deployments."""

    _path = "deployments.predictions"

    async def async_create(
        self,
        deployment: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        deployment_owner: str = "",
        deployment_name: str = "",
        **params: Unpack[CreatePredictionParams],
    ) -> Prediction:
        """Start a prediction with a deployment: an object, ``owner/name``, or a tuple of owner and name."""
        names = arguments.owner_and_name(deployment_owner if deployment is None else deployment, deployment_name)
        native = self._client.native.deployments.predictions
        prediction = await native.create(*names, input=rewind(input or {}), **create_options(params))
        return wrap(Prediction, prediction, self._client)

    def create(
        self,
        deployment: Any = None,
        input: Mapping[str, Any] | None = None,
        *,
        deployment_owner: str = "",
        deployment_name: str = "",
        **params: Unpack[CreatePredictionParams],
    ) -> Prediction:
        """Start a prediction with a deployment: an object, ``owner/name``, or a tuple of owner and name."""
        return _bridge.run(
            self.async_create(
                deployment, input, deployment_owner=deployment_owner, deployment_name=deployment_name, **params
            )
        )


class DeploymentPredictions(Namespace):
    """Operations on the predictions of one deployment."""

    _path = "deployments.predictions"

    def __init__(self, client: BaseClient, deployment: Deployment) -> None:
        super().__init__(client)
        self._deployment = deployment

    async def async_create(self, input: Mapping[str, Any], **params: Unpack[CreatePredictionParams]) -> Prediction:
        """Start a prediction."""
        return await DeploymentsPredictions(self._client).async_create(self._deployment, input, **params)

    def create(self, input: Mapping[str, Any], **params: Unpack[CreatePredictionParams]) -> Prediction:
        """Start a prediction."""
        return _bridge.run(self.async_create(input, **params))


class Deployments(Namespace):
    """Operations on deployments."""

    _path = "deployments"

    CreateDeploymentParams = DeploymentCreate
    UpdateDeploymentParams = DeploymentUpdate

    @cached_property
    def predictions(self) -> DeploymentsPredictions:
        """Operations on the predictions of deployments."""
        return DeploymentsPredictions(self._client)

    def _wrap(self, deployment: types.Deployment) -> Deployment:
        return wrap(Deployment, deployment, self._client)

    async def async_list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Deployment]:
        """List the account's deployments; ``cursor`` is the ``next`` of a page."""
        deployments = self._client.native.deployments.list(**native_options(options))
        return await fetch_page(deployments, self._wrap, cursor, self._client.page)

    def list(self, cursor: Cursor = ..., **options: Unpack[Options]) -> Page[Deployment]:
        """List the account's deployments; ``cursor`` is the ``next`` of a page."""
        return _bridge.run(self.async_list(cursor, **options))

    async def async_get(
        self, name: str = "", *, deployment_owner: str = "", deployment_name: str = "", **options: Unpack[Options]
    ) -> Deployment:
        """Fetch a deployment by ``owner/name``, or by owner and name."""
        names = arguments.owner_and_name(name or deployment_owner, deployment_name)
        return self._wrap(await self._client.native.deployments.get(*names, **native_options(options)))

    def get(
        self, name: str = "", *, deployment_owner: str = "", deployment_name: str = "", **options: Unpack[Options]
    ) -> Deployment:
        """Fetch a deployment by ``owner/name``, or by owner and name."""
        return _bridge.run(
            self.async_get(name, deployment_owner=deployment_owner, deployment_name=deployment_name, **options)
        )

    async def async_create(self, **params: Unpack[DeploymentCreate]) -> Deployment:
        """Create a deployment."""
        options: Any = native_options(params)
        # In 1.x, the name may have an owner.
        options["name"] = str(options.get("name", "")).rpartition("/")[2]
        return self._wrap(await self._client.native.deployments.create(**options))

    def create(self, **params: Unpack[DeploymentCreate]) -> Deployment:
        """Create a deployment."""
        return _bridge.run(self.async_create(**params))

    async def async_update(
        self, deployment_owner: str, deployment_name: str, **params: Unpack[DeploymentUpdate]
    ) -> Deployment:
        """Change the version, hardware or scaling bounds of a deployment."""
        native = self._client.native.deployments
        return self._wrap(await native.update(deployment_owner, deployment_name, **native_options(params)))

    def update(self, deployment_owner: str, deployment_name: str, **params: Unpack[DeploymentUpdate]) -> Deployment:
        """Change the version, hardware or scaling bounds of a deployment."""
        return _bridge.run(self.async_update(deployment_owner, deployment_name, **params))

    async def async_delete(self, deployment_owner: str, deployment_name: str, **options: Unpack[Options]) -> bool:
        """Delete a deployment; returns True."""
        await self._client.native.deployments.delete(deployment_owner, deployment_name, **native_options(options))
        return True

    def delete(self, deployment_owner: str, deployment_name: str, **options: Unpack[Options]) -> bool:
        """Delete a deployment; returns True."""
        return _bridge.run(self.async_delete(deployment_owner, deployment_name, **options))


__all__ = ["Deployment", "DeploymentPredictions", "Deployments", "DeploymentsPredictions"]
