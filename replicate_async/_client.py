"""The asynchronous client: its options and its resources."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._http.options import (
    DEFAULT_TIMEOUT,
    CallOptions,
    QueryValue,
    RequestOptions,
    Settings,
    drop_unset,
)
from replicate_async._http.ratelimit import RateLimit
from replicate_async._http.request import Request, low_level_request
from replicate_async._http.response import APIResponse
from replicate_async._http.sessions import DEFAULT_MAX_CONNECTIONS, SessionPool
from replicate_async._http.transport import Transport
from replicate_async._http.views import View
from replicate_async._predictions.creates import send_create
from replicate_async._predictions.functions import AsyncModelFunction, AsyncRun, AsyncStreamingFunction, FunctionOptions
from replicate_async._predictions.map import MapProgress, MapRunner
from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.requests import ModelLike, ModelRef, PredictionOptions
from replicate_async._predictions.run import PredictionRun, create_or_cancel, run, stream
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._views import AsyncReplicateRaw, AsyncReplicateStreaming
from replicate_async.resources.account import AsyncAccounts
from replicate_async.resources.collections import AsyncCollections
from replicate_async.resources.deployments import AsyncDeployments
from replicate_async.resources.files import AsyncFiles
from replicate_async.resources.hardware import AsyncHardwareKinds
from replicate_async.resources.models import AsyncModels
from replicate_async.resources.predictions import AsyncPredictions
from replicate_async.resources.trainings import AsyncTrainings
from replicate_async.resources.webhooks import AsyncWebhooks
from replicate_async.types import Prediction, SearchResults

if TYPE_CHECKING:
    import aiohttp
    import tenacity
    from typing_extensions import Self, Unpack

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_BASE_URL = "https://api.replicate.com/v1"
BASE_URL_VARIABLE = "REPLICATE_BASE_URL"
_MAX_SEARCH_LIMIT = 50


class AsyncReplicate:
    """A client of Replicate's API.

    It opens no connection before its first call, may be used from any number of threads and event loops, and is
    closed by ``close()`` or as a context manager.
    """

    def __init__(
        self,
        *,
        bearer_token: str | None = None,
        api_token: str | None = None,
        base_url: str | None = None,
        timeout: float | aiohttp.ClientTimeout | None = DEFAULT_TIMEOUT,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, QueryValue] | None = None,
        session: aiohttp.ClientSession | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        retry: tenacity.AsyncRetrying | None = None,
        rate_limit: RateLimit | None = None,
    ) -> None:
        """Make a client.

        Args:
            bearer_token: The API token; otherwise the environment's ``REPLICATE_API_TOKEN`` when it is first needed.
            api_token: The same, under its older name.
            base_url: Where the API is; otherwise the environment's ``REPLICATE_BASE_URL``, or Replicate's own.
            timeout: Seconds for each attempt of a request, or an ``aiohttp.ClientTimeout``; None: no limit.
            max_retries: How often a failed request is repeated where that is safe; 2, unless given.
            default_headers: Headers for every request to the API.
            default_query: Query parameters for every request to the API.
            session: An ``aiohttp.ClientSession`` to use instead of own ones; it is never closed here.
            max_connections: How many requests may be under way at once; others wait in a queue.
            retry: A tenacity policy to use instead of the built-in one. Whatever it says, what may have been billed
                is not repeated.
            rate_limit: How many calls a minute to make at most, in all clients of this process with the same token
                and base URL. Unless given, what the API refuses tells.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument can't be, such as an empty token.
        """
        if bearer_token is not None and api_token is not None:
            raise TypeError("pass bearer_token or api_token, not both: they mean the same")
        token = api_token if bearer_token is None else bearer_token
        if isinstance(max_connections, bool) or max_connections < 1:
            raise ValueError(f"max_connections={max_connections} must be at least 1")
        settings = Settings(
            base_url=base_url if base_url is not None else os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL,
            token=token,
            timeout=timeout,
            max_retries=max_retries,
            default_headers=default_headers,
            default_query=default_query,
            retry=retry,
            rate_limit=rate_limit,
        )
        pool = SessionPool(session, max_connections, warn_unclosed=True)
        self._transport = Transport(settings.checked(), pool, send_create)

    def with_options(
        self,
        *,
        bearer_token: str | UnsetType = UNSET,
        base_url: str | UnsetType = UNSET,
        timeout: float | aiohttp.ClientTimeout | UnsetType | None = UNSET,
        max_retries: int | UnsetType | None = UNSET,
        default_headers: Mapping[str, str] | UnsetType | None = UNSET,
        default_query: Mapping[str, QueryValue] | UnsetType | None = UNSET,
        retry: tenacity.AsyncRetrying | UnsetType | None = UNSET,
    ) -> Self:
        """Return a client with other options that shares this one's connections, and is closed with it.

        Args:
            bearer_token: The API token.
            base_url: Where the API is.
            timeout: Seconds for each attempt of a request, or an ``aiohttp.ClientTimeout``; None: no limit.
            max_retries: How often a failed request is repeated where that is safe.
            default_headers: Headers for every request to the API, instead of this client's.
            default_query: Query parameters for every request to the API, instead of this client's.
            retry: A tenacity policy.

        Returns:
            The client. What isn't passed is as in this one.
        """
        changes = drop_unset(
            token=bearer_token,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            default_headers=default_headers,
            default_query=default_query,
            retry=retry,
        )
        transport = self._transport
        client = object.__new__(type(self))
        client._transport = Transport(
            msgspec.structs.replace(transport.settings, **changes).checked(), transport.pool, transport.guard
        )
        return client

    copy = with_options

    # --- resources ---

    @cached_property
    def account(self) -> AsyncAccounts:
        """The account that the token belongs to."""
        return AsyncAccounts(self._transport)

    @cached_property
    def collections(self) -> AsyncCollections:
        """Collections of models."""
        return AsyncCollections(self._transport)

    @cached_property
    def deployments(self) -> AsyncDeployments:
        """Deployments, and predictions with them."""
        return AsyncDeployments(self._transport)

    @cached_property
    def files(self) -> AsyncFiles:
        """Files."""
        return AsyncFiles(self._transport)

    @cached_property
    def hardware(self) -> AsyncHardwareKinds:
        """The kinds of hardware that models run on."""
        return AsyncHardwareKinds(self._transport)

    @cached_property
    def models(self) -> AsyncModels:
        """Models, their versions, examples and READMEs."""
        return AsyncModels(self._transport)

    @cached_property
    def predictions(self) -> AsyncPredictions:
        """Predictions."""
        return AsyncPredictions(self._transport)

    @cached_property
    def trainings(self) -> AsyncTrainings:
        """Trainings."""
        return AsyncTrainings(self._transport)

    @cached_property
    def webhooks(self) -> AsyncWebhooks:
        """Webhooks, and the secret that signs them."""
        return AsyncWebhooks(self._transport)

    # --- the API's answers ---

    with_raw_response: View[AsyncReplicateRaw] = View(AsyncReplicateRaw)
    """The same calls, returning the response with its whole body."""

    with_streaming_response: View[AsyncReplicateStreaming] = View(AsyncReplicateStreaming)
    """The same calls, returning the response before its body is read."""

    # --- high-level calls ---

    async def run(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | UnsetType = UNSET,
        *,
        wait: bool | int = True,
        time_limit: float | None = None,
        cancel_on_abort: bool = True,
        use_file_output: bool = True,
        on_update: Callable[[Prediction], None] | None = None,
        stream: bool | UnsetType = UNSET,
        **options: Unpack[PredictionOptions],
    ) -> Any:
        """Run a model and return its output.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
                ``models.versions.get`` returned.
            input: The model's inputs by name. Files may be anywhere in it: paths (``pathlib.Path``), open binary
                files, bytes, and the file outputs of other runs.
            wait: For how long the API is asked to hold its answer until the output is there: 1 to 60 seconds, False,
                or True: 60 seconds while few predictions are under way, none of them like it. The output
                is waited for in any case.
            time_limit: After how many seconds to give the prediction up. None: never.
            cancel_on_abort: Whether to cancel the prediction when the waiting ends before it does: by the time
                limit, a cancelled task, or Ctrl-C.
            use_file_output: Whether URLs in the output become file outputs.
            on_update: Called with the prediction when it has been created, and whenever its status or logs have
                changed; in the blocking client on the background loop's thread.
            stream: Ask for a stream of the output; models that can stream do so without being asked.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, only files larger than 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The model's output: whatever JSON it is, with file outputs in the place of URLs.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APITimeoutError: the time limit has passed, or a request took too long.
            APIError: a call failed. The error has the ``prediction_id`` where there is one.
            TypeError: ``input`` is not a mapping, or holds what can't be sent; the error names its place.
            ValueError: ``ref`` is not a model, or another argument is outside of what the API documents.
            OSError: a file in the input can't be read.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        prediction_run = PredictionRun(
            self._transport,
            ModelRef.parse(ref),
            {} if input is UNSET else input,
            options,
            wait=wait,
            stream=stream,
            cancel_on_abort=cancel_on_abort,
            on_update=on_update,
        )
        return await run(prediction_run, time_limit=time_limit, use_file_output=use_file_output)

    async def stream(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | UnsetType = UNSET,
        *,
        cancel_on_abort: bool = True,
        **options: Unpack[PredictionOptions],
    ) -> AsyncGenerator[StreamEvent, None]:
        """Run a model and yield its output as it is made.

        A connection that breaks is taken up again, with nothing lost and nothing twice. Models that don't stream are
        looked at again and again instead.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
                ``models.versions.get`` returned.
            input: The model's inputs by name, with files as for ``run``.
            cancel_on_abort: Whether to cancel the prediction when the iteration is left early.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, only files larger than 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The events. Each is a text: the piece of the output, or empty for logs and the end.

        Raises:
            ModelError: the prediction failed; its ``prediction`` has the output so far.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APIError: a call failed.
            TypeError: ``input`` is not a mapping, or holds what can't be sent; the error names its place.
            ValueError: ``ref`` is not a model, or another argument is outside of what the API documents.

        Source: https://replicate.com/docs/topics/predictions/streaming
        """
        inputs: Mapping[str, Any] = {} if input is UNSET else input
        prediction_run = PredictionRun(
            self._transport, ModelRef.parse(ref), inputs, options, stream=True, cancel_on_abort=cancel_on_abort
        )
        async with aclosing(stream(prediction_run)) as events:
            async for event in events:
                yield event

    async def submit(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | UnsetType = UNSET,
        *,
        use_file_output: bool = True,
        on_update: Callable[[Prediction], None] | None = None,
        **options: Unpack[PredictionOptions],
    ) -> AsyncRun:
        """Start a model and return a handle to its prediction, for those who want its id, logs or metrics as well.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
                ``models.versions.get`` returned.
            input: The model's inputs by name, with files as for ``run``.
            use_file_output: Whether URLs in the output become file outputs.
            on_update: Called, while somebody waits, with the prediction whenever its status or logs have changed.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, only files larger than 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The handle, with the ``prediction``, ``output()``, ``wait()``, ``logs()`` and ``cancel()``. The prediction
            goes on whether or not anybody waits for it.

        Raises:
            CreateOutcomeUnknown: the create's answer was lost, and whether there is a prediction can't be told.
            APIError: the call failed.
            TypeError: ``input`` is not a mapping, or holds what can't be sent; the error names its place.
            ValueError: ``ref`` is not a model, or another argument is outside of what the API documents.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        inputs: Mapping[str, Any] = {} if input is UNSET else input
        prediction_run = PredictionRun(self._transport, ModelRef.parse(ref), inputs, options, on_update=on_update)
        convert_output = partial(with_files, self._transport) if use_file_output else None
        return AsyncRun(await create_or_cancel(prediction_run), convert_output)

    async def map(
        self,
        ref: ModelLike,
        inputs: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        concurrency: int = 100,
        ordered: bool = True,
        return_exceptions: bool = False,
        on_update: Callable[[MapProgress], None] | None = None,
        cancel_on_abort: bool = True,
        use_file_output: bool = True,
        **options: Unpack[PredictionOptions],
    ) -> AsyncGenerator[Any, None]:
        """Run a model on many inputs and yield the outputs.

        Inputs are taken as there is room for them, so there may be any number. When one fails, no further ones are
        started, but those under way are carried through and their outputs yielded, for they are paid for; then the
        error is raised, with notes of what else failed.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
                ``models.versions.get`` returned.
            inputs: The model's inputs by name, for each run: anything that can be iterated, also asynchronously. What
                is neither a sequence nor asynchronous is read in a thread, as it may block.
            concurrency: How many predictions are under way at once.
            ordered: Whether outputs come in the order of their inputs, or as they are ready. Of a slow one, at most
                four times the concurrency of later ones are kept.
            return_exceptions: Whether to yield an error in the place of its output and go on.
            on_update: Called with a ``MapProgress`` whenever a prediction has been created, changed or ended; in the
                blocking client on the background loop's thread. What it raises ends the map as a failure does.
            cancel_on_abort: Whether to cancel what is running when the iteration is left early.
            use_file_output: Whether URLs in the outputs become file outputs.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, only files larger than 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The outputs, and with ``return_exceptions`` the errors.

        Raises:
            ModelError: a prediction failed.
            PredictionCanceledError: a prediction was canceled, or aborted before it ran.
            APIError: a call failed.
            TypeError: an input is not a mapping, or holds what can't be sent.
            ValueError: ``ref`` is not a model, or another argument can't be.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        model = ModelRef.parse(ref)

        def make_run(_index: int, input: Mapping[str, Any]) -> PredictionRun:
            return PredictionRun(self._transport, model, input, options, wait=True, cancel_on_abort=cancel_on_abort)

        runner = MapRunner(
            self._transport.pool,
            inputs,
            make_run,
            concurrency=concurrency,
            use_file_output=use_file_output,
            stop_on_failure=not return_exceptions,
            on_update=on_update,
        )
        async with aclosing(runner.outputs(ordered=ordered)) as outputs:
            async for output in outputs:
                yield output

    @overload
    def use(
        self,
        ref: ModelLike,
        *,
        hint: Callable[P, T],
        streaming: Literal[False] = False,
        **options: Unpack[FunctionOptions],
    ) -> AsyncModelFunction[P, T]: ...

    @overload
    def use(
        self,
        ref: ModelLike,
        *,
        hint: None = None,
        streaming: Literal[False] = False,
        **options: Unpack[FunctionOptions],
    ) -> AsyncModelFunction[..., Any]: ...

    @overload
    def use(
        self, ref: ModelLike, *, hint: Callable[P, Any], streaming: Literal[True], **options: Unpack[FunctionOptions]
    ) -> AsyncStreamingFunction[P]: ...

    @overload
    def use(
        self, ref: ModelLike, *, hint: None = None, streaming: Literal[True], **options: Unpack[FunctionOptions]
    ) -> AsyncStreamingFunction[...]: ...

    @overload
    def use(
        self, ref: ModelLike, *, hint: Callable[P, T], streaming: bool, **options: Unpack[FunctionOptions]
    ) -> AsyncModelFunction[P, T] | AsyncStreamingFunction[P]: ...

    @overload
    def use(
        self, ref: ModelLike, *, hint: None = None, streaming: bool, **options: Unpack[FunctionOptions]
    ) -> AsyncModelFunction[..., Any] | AsyncStreamingFunction[...]: ...

    def use(
        self,
        ref: ModelLike,
        *,
        hint: Any = None,  # noqa: ARG002 - for type checkers
        streaming: bool = False,
        **options: Unpack[FunctionOptions],
    ) -> Any:
        """Return a model as a function. Nothing is fetched before it is used.

        Args:
            ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
                ``models.versions.get`` returned.
            hint: A function with the model's inputs and output, for editors and type checkers; it is never called.
            streaming: Whether calls return the output while it is made.
            **options: Options of the function, of its creates and of their requests:

                - ``validate``: Whether to check inputs against the model's schema before anything is billed.
                - ``cancel_on_abort``: Whether to cancel the prediction if the waiting ends before it does; True if
                  omitted.
                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, only files larger than 256 kB are uploaded.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The function.

        Raises:
            ValueError: ``ref`` is not a model.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        kind = AsyncStreamingFunction[...] if streaming else AsyncModelFunction[..., Any]
        return kind(self._transport, ref, options)

    async def search(
        self, query: str, *, limit: int | UnsetType = UNSET, **options: Unpack[RequestOptions]
    ) -> SearchResults:
        """Search public models, collections and pages of the documentation. The API calls this a beta.

        Args:
            query: What to search for.
            limit: How many models to return at most, from 1 to 50; 20, unless given.
            **options: Options of the request.

        Returns:
            What was found.

        Raises:
            TypeError: ``query`` is not a str, or ``limit`` not an int.
            ValueError: ``query`` is empty, or ``limit`` is not from 1 to 50.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#search
        """
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        if not query:
            raise ValueError("query must not be empty")
        if limit is not UNSET:
            if isinstance(limit, bool) or not isinstance(limit, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"limit must be an int, not {type(limit).__name__}")
            if not 1 <= limit <= _MAX_SEARCH_LIMIT:
                raise ValueError(f"limit={limit} must be from 1 to {_MAX_SEARCH_LIMIT}")
        params = drop_unset(query=query, limit=limit)
        return await self._transport.call(Request("GET", "/search", SearchResults, options, query=params))

    # --- low-level calls ---

    @overload
    async def request(self, method: str, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def request(
        self, method: str, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]
    ) -> APIResponse[Any]: ...

    async def request(self, method: str, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a request that no method of the resources makes.

        Args:
            method: The HTTP method.
            url: The path below the base URL, or a whole URL. The token goes only to the base URL's origin.
            cast_to: What to decode the answer to: any type that msgspec knows, ``str`` or ``bytes`` for the body.
            **call: ``json`` or ``content`` for the body, ``params`` for the query, ``headers``, and the options of
                every request.

        Returns:
            The decoded answer; without ``cast_to`` the answer itself.

        Raises:
            APIError: the call failed. Methods that may change something are repeated only where they can't have.
            TypeError: the body can't be expressed as JSON, or both ``json`` and ``content`` were passed.

        Source: https://replicate.com/docs/reference/http
        """
        request = low_level_request(method, url, Any if cast_to is None else cast_to, call)
        if cast_to is None:
            return await self._transport.send(request)
        return await self._transport.call(request)

    @overload
    async def get(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def get(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def get(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a GET request; see ``request``."""
        return await self.request("GET", url, cast_to=cast_to, **call)

    @overload
    async def post(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def post(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def post(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a POST request; it is repeated only where it can't have been carried out; see ``request``."""
        return await self.request("POST", url, cast_to=cast_to, **call)

    @overload
    async def put(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def put(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def put(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a PUT request; see ``request``."""
        return await self.request("PUT", url, cast_to=cast_to, **call)

    @overload
    async def patch(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def patch(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def patch(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a PATCH request; it is repeated only where it can't have been carried out; see ``request``."""
        return await self.request("PATCH", url, cast_to=cast_to, **call)

    @overload
    async def delete(self, url: str, *, cast_to: type[T], **call: Unpack[CallOptions]) -> T: ...

    @overload
    async def delete(self, url: str, *, cast_to: None = None, **call: Unpack[CallOptions]) -> APIResponse[Any]: ...

    async def delete(self, url: str, *, cast_to: Any = None, **call: Unpack[CallOptions]) -> Any:
        """Make a DELETE request; see ``request``."""
        return await self.request("DELETE", url, cast_to=cast_to, **call)

    # --- the life of a client ---

    async def close(self) -> None:
        """Close the connections of this client and its copies; a session that it was given stays open."""
        await self._transport.pool.close()

    def is_closed(self) -> bool:
        """Return whether ``close`` was called."""
        return self._transport.pool.closed

    async def __aenter__(self) -> Self:
        """Make ready for calls, and return the client."""
        # Importing aiohttp blocks the event loop: better when an application starts than while it serves.
        self._transport.pool.current()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client."""
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transport.settings.base_url}>"
