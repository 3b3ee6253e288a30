"""The asynchronous client of 2.x, whose calls are the ``async_`` calls of the blocking one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import cached_property
from typing import Any, ClassVar

from replicate_async._typing import Self, Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options, call_options
from replicate_async.compat._async_groups import (
    AsyncAccounts,
    AsyncCollections,
    AsyncDeployments,
    AsyncFiles,
    AsyncHardwareNamespace,
    AsyncModels,
    AsyncPredictions,
    AsyncTrainings,
    AsyncWebhooks,
)
from replicate_async.compat.groups import Groups
from replicate_async.compat.pagination import AsyncCursorURLPage, BasePage
from replicate_async.compat.run import native_run
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.settings import BaseClient
from replicate_async.compat.stream import ServerSentEvent, async_stream


class AsyncReplicate(BaseClient):
    """The asynchronous client of 2.x."""

    page: ClassVar[type[BasePage[Any]]] = AsyncCursorURLPage

    @cached_property
    def account(self) -> AsyncAccounts:
        """The account that the token belongs to."""
        return AsyncAccounts(self)

    @cached_property
    def collections(self) -> AsyncCollections:
        """Collections of models."""
        return AsyncCollections(self)

    @cached_property
    def deployments(self) -> AsyncDeployments:
        """Deployments, and predictions with them."""
        return AsyncDeployments(self)

    @cached_property
    def files(self) -> AsyncFiles:
        """Files."""
        return AsyncFiles(self)

    @cached_property
    def hardware(self) -> AsyncHardwareNamespace:
        """The hardware that models run on."""
        return AsyncHardwareNamespace(self)

    @cached_property
    def models(self) -> AsyncModels:
        """Models, and what belongs to them."""
        return AsyncModels(self)

    @cached_property
    def predictions(self) -> AsyncPredictions:
        """Predictions."""
        return AsyncPredictions(self)

    @cached_property
    def trainings(self) -> AsyncTrainings:
        """Trainings."""
        return AsyncTrainings(self)

    @cached_property
    def webhooks(self) -> AsyncWebhooks:
        """Webhooks."""
        return AsyncWebhooks(self)

    async def run(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> Any:
        """Run a model and return its output. If the task is canceled, so is the prediction."""
        return await native_run(self, ref, input, use_file_output=use_file_output, **params)

    def stream(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """Run a model and yield its output as it is made."""
        return async_stream(self, ref, input, use_file_output=use_file_output, **params)

    def use(self, ref: Any, *, hint: Any = None, streaming: bool = False) -> Any:
        """Return a model as a function."""
        return self.native.use(arguments.to_reference(ref), hint=hint, streaming=streaming)

    async def search(self, *, query: str, limit: Maybe[int] = None, **options: Unpack[Options]) -> SearchResponse:
        """Search for models, collections and pages of the documentation."""
        return await Groups(self).async_search(query=query, limit=limit, **options)

    async def get(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a GET request with the native client; ``body`` is sent as JSON."""
        return await self.native.get(path, cast_to=cast_to, **call_options(call, body, options))

    async def post(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a POST request with the native client; ``body`` is sent as JSON."""
        return await self.native.post(path, cast_to=cast_to, **call_options(call, body, options))

    async def put(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a PUT request with the native client; ``body`` is sent as JSON."""
        return await self.native.put(path, cast_to=cast_to, **call_options(call, body, options))

    async def patch(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a PATCH request with the native client; ``body`` is sent as JSON."""
        return await self.native.patch(path, cast_to=cast_to, **call_options(call, body, options))

    async def delete(
        self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any
    ) -> Any:
        """Make a DELETE request with the native client; ``body`` is sent as JSON."""
        return await self.native.delete(path, cast_to=cast_to, **call_options(call, body, options))

    @property
    def with_raw_response(self) -> Any:
        """The calls of the native client, which return the whole response."""
        return self.native.with_raw_response

    @property
    def with_streaming_response(self) -> Any:
        """The calls of the native client, which return the response before its body is read."""
        return self.native.with_streaming_response

    async def close(self) -> None:
        """Close the connections."""
        await self.native.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


__all__ = ["AsyncReplicate"]
