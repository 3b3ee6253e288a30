"""The asynchronous client of 2.x, whose calls are the ``async_`` calls of the blocking one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

from replicate_async._typing import Self, Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options, call_options
from replicate_async.compat.groups import Groups
from replicate_async.compat.pagination import AsyncCursorURLPage, BasePage
from replicate_async.compat.resource import Namespace
from replicate_async.compat.run import native_run
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.settings import BaseClient
from replicate_async.compat.stream import ServerSentEvent, async_stream


class AsyncPaginator:
    """A list that has not been fetched yet: await it for its first page, or iterate it for the items of all pages."""

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, AsyncCursorURLPage[Any]]]) -> None:
        self._fetch = fetch

    def __await__(self) -> Generator[Any, None, AsyncCursorURLPage[Any]]:
        """Fetch the first page."""
        return self._fetch().__await__()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Yield the items of all pages; each page is fetched on demand."""
        page = await self
        while True:
            for item in page.results:
                yield item
            if not page.has_next_page():
                return
            page = await page.get_next_page()


def _paginator(call: Callable[..., Any], *args: Any, **options: Any) -> AsyncPaginator:
    return AsyncPaginator(partial(call, *args, **options))


class AsyncNamespace:
    """A group of operations of ``AsyncReplicate``, such as ``client.predictions``."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        """Return the asynchronous call of a name, or the group below this one."""
        if name.startswith("_"):
            raise AttributeError(name)
        call = getattr(self._namespace, f"async_{name}", None)
        group = getattr(self._namespace, name, None) if call is None or name == "secret" else None
        if isinstance(group, Namespace):
            # Kept, so that tests can replace its calls.
            self.__dict__[name] = AsyncNamespace(group)
            return self.__dict__[name]
        if call is None:
            return getattr(self._namespace, name)
        if name == "list" and self._namespace.pages:
            return partial(_paginator, call)
        return call

    @property
    def _native(self) -> Any:
        return self._namespace.native_group

    @property
    def with_raw_response(self) -> Any:
        """The same operations of the native client, which return the whole response."""
        return self._native.with_raw_response

    @property
    def with_streaming_response(self) -> Any:
        """The same operations of the native client, which return the response before its body is read."""
        return self._native.with_streaming_response


class AsyncReplicate(BaseClient):
    """The asynchronous client of 2.x."""

    page: ClassVar[type[BasePage[Any]]] = AsyncCursorURLPage

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self)

    @cached_property
    def account(self) -> AsyncNamespace:
        """The account that the token belongs to."""
        return AsyncNamespace(self._groups.account)

    @cached_property
    def collections(self) -> AsyncNamespace:
        """Collections of models."""
        return AsyncNamespace(self._groups.collections)

    @cached_property
    def deployments(self) -> AsyncNamespace:
        """Deployments, and predictions with them."""
        return AsyncNamespace(self._groups.deployments)

    @cached_property
    def files(self) -> AsyncNamespace:
        """Files."""
        return AsyncNamespace(self._groups.files)

    @cached_property
    def hardware(self) -> AsyncNamespace:
        """The hardware that models run on."""
        return AsyncNamespace(self._groups.hardware)

    @cached_property
    def models(self) -> AsyncNamespace:
        """Models, and what belongs to them."""
        return AsyncNamespace(self._groups.models)

    @cached_property
    def predictions(self) -> AsyncNamespace:
        """Predictions."""
        return AsyncNamespace(self._groups.predictions)

    @cached_property
    def trainings(self) -> AsyncNamespace:
        """Trainings."""
        return AsyncNamespace(self._groups.trainings)

    @cached_property
    def webhooks(self) -> AsyncNamespace:
        """Webhooks."""
        return AsyncNamespace(self._groups.webhooks)

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
        return await self._groups.async_search(query=query, limit=limit, **options)

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


__all__ = ["AsyncNamespace", "AsyncPaginator", "AsyncReplicate"]
