"""The clients: ``Client`` of 1.x, and ``Replicate`` of 2.x."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, ClassVar

from replicate_async import _bridge
from replicate_async._typing import Self, Unpack
from replicate_async.compat import _arguments as arguments
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options, call_options
from replicate_async.compat.groups import Groups
from replicate_async.compat.pagination import BasePage, SyncCursorURLPage
from replicate_async.compat.run import async_run, run
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.settings import BaseClient
from replicate_async.compat.stream import ServerSentEvent, async_stream, stream


class Client(BaseClient, Groups):
    """The client of 1.x, with blocking calls and their ``async_`` twins. It also has the calls of 2.x."""

    @property
    def _owner(self) -> BaseClient:
        return self

    def run(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> Any:
        """Run a model and return its output, once the prediction has ended.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or an object that stands for one.
            input: Inputs of the model by name.
            use_file_output: Whether URLs in the output become file outputs.
            **params: See ``CreatePredictionParams``.

        Raises:
            ModelError: the prediction failed.
            ReplicateError: a call failed.
        """
        return run(self, ref, input, use_file_output=use_file_output, **params)

    async def async_run(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> Any:
        """Run a model and return its output; see ``run``. If the task is canceled, so is the prediction."""
        return await async_run(self, ref, input, use_file_output=use_file_output, **params)

    def stream(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> Generator[ServerSentEvent, None, None]:
        """Run a model and yield its output as it is made."""
        return stream(self, ref, input, use_file_output=use_file_output, **params)

    async def async_stream(
        self,
        ref: Any,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool | None = True,
        **params: Unpack[CreatePredictionParams],
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """Run a model and return its events, to be read with ``async for``."""
        return async_stream(self, ref, input, use_file_output=use_file_output, **params)

    def use(self, ref: Any, *, hint: Any = None, streaming: bool = False) -> Any:
        """Return a model as a function."""
        return self.native_view("").use(arguments.to_reference(ref), hint=hint, streaming=streaming)

    def search(self, *, query: str, limit: Maybe[int] = None, **options: Unpack[Options]) -> SearchResponse:
        """Search for models, collections and pages of the documentation."""
        return _bridge.run(self.async_search(query=query, limit=limit, **options))

    def get(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a GET request with the native client; ``body`` is sent as JSON."""
        return self.native_view("").get(path, cast_to=cast_to, **call_options(call, body, options))

    def post(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a POST request with the native client; ``body`` is sent as JSON."""
        return self.native_view("").post(path, cast_to=cast_to, **call_options(call, body, options))

    def put(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a PUT request with the native client; ``body`` is sent as JSON."""
        return self.native_view("").put(path, cast_to=cast_to, **call_options(call, body, options))

    def patch(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a PATCH request with the native client; ``body`` is sent as JSON."""
        return self.native_view("").patch(path, cast_to=cast_to, **call_options(call, body, options))

    def delete(self, path: str, *, cast_to: Any = None, body: Any = None, options: Any = None, **call: Any) -> Any:
        """Make a DELETE request with the native client; ``body`` is sent as JSON."""
        return self.native_view("").delete(path, cast_to=cast_to, **call_options(call, body, options))

    @property
    def with_raw_response(self) -> Any:
        """The calls of the native client, which return the whole response."""
        return self.native_view("").with_raw_response

    @property
    def with_streaming_response(self) -> Any:
        """The calls of the native client, which return the response before its body is read."""
        return self.native_view("").with_streaming_response

    def close(self) -> None:
        """Close the connections."""
        _bridge.close(self.native.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Replicate(Client):
    """The client of 2.x. Iterating a page of a list continues through the pages that follow."""

    page: ClassVar[type[BasePage[Any]]] = SyncCursorURLPage


__all__ = ["Client", "Replicate"]
