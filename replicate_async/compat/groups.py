"""The groups of operations of a client."""

from __future__ import annotations

from functools import cached_property

from replicate_async._typing import Unpack
from replicate_async.compat._arguments import Maybe, Options, native_options
from replicate_async.compat.account import Accounts
from replicate_async.compat.collection import Collections
from replicate_async.compat.deployment import Deployments
from replicate_async.compat.file import Files
from replicate_async.compat.hardware import HardwareNamespace
from replicate_async.compat.model import Models
from replicate_async.compat.prediction import Predictions
from replicate_async.compat.resource import wrap
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.settings import BaseClient
from replicate_async.compat.training import Trainings
from replicate_async.compat.webhook import Webhooks


class Groups:
    """The groups of operations of a client, and its search."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    @property
    def _owner(self) -> BaseClient:
        return self._client

    @cached_property
    def accounts(self) -> Accounts:
        """The account that the token belongs to."""
        return Accounts(self._owner)

    @cached_property
    def account(self) -> Accounts:
        """The account that the token belongs to, by its name in 2.x."""
        return self.accounts

    @cached_property
    def collections(self) -> Collections:
        """Collections of models."""
        return Collections(self._owner)

    @cached_property
    def deployments(self) -> Deployments:
        """Deployments, and predictions with them."""
        return Deployments(self._owner)

    @cached_property
    def files(self) -> Files:
        """Files."""
        return Files(self._owner)

    @cached_property
    def hardware(self) -> HardwareNamespace:
        """The hardware that models run on."""
        return HardwareNamespace(self._owner)

    @cached_property
    def models(self) -> Models:
        """Models, and what belongs to them."""
        return Models(self._owner)

    @cached_property
    def predictions(self) -> Predictions:
        """Predictions."""
        return Predictions(self._owner)

    @cached_property
    def trainings(self) -> Trainings:
        """Trainings."""
        return Trainings(self._owner)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks."""
        return Webhooks(self._owner)

    async def async_search(self, *, query: str, limit: Maybe[int] = None, **options: Unpack[Options]) -> SearchResponse:
        """Search for models, collections and pages of the documentation."""
        results = await self._owner.native.search(query, **native_options({"limit": limit, **options}))
        return wrap(SearchResponse, results, self._owner)
