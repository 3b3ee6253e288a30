"""The asynchronous client: its options and its resources."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from operator import length_hint
from typing import Any, Literal, ParamSpec, TypeVar, overload

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._advice import explain_arguments
from replicate_async._hints import HintedClient
from replicate_async._http.options import DEFAULT_TIMEOUT, QueryValue, Settings
from replicate_async._http.ratelimit import RateLimit
from replicate_async._http.sessions import DEFAULT_MAX_CONNECTIONS, SessionPool
from replicate_async._http.transport import Transport
from replicate_async._predictions.creates import send_create
from replicate_async._predictions.functions import AsyncModelFunction, AsyncRun, AsyncStreamingFunction, FunctionOptions
from replicate_async._predictions.journal import JournalLike, index_key, make_run
from replicate_async._predictions.map import MapProgress, MapResult, MapRunner
from replicate_async._predictions.outputs import with_files
from replicate_async._predictions.progress import map_progress, run_progress
from replicate_async._predictions.requests import ModelLike, ModelRef, PredictionOptions, check_create_options
from replicate_async._predictions.run import PredictionRun, RunEvents, create_or_cancel, run
from replicate_async._predictions.streaming import StreamEvent
from replicate_async._typing import Self, Unpack, aiohttp, tenacity
from replicate_async._usage import Usage
from replicate_async._views import AsyncReplicateRaw, AsyncReplicateStreaming
from replicate_async.hooks import Hook, Hooks
from replicate_async.resources._resource import View, resource
from replicate_async.resources.account import AsyncAccounts
from replicate_async.resources.collections import AsyncCollections
from replicate_async.resources.deployments import AsyncDeployments
from replicate_async.resources.files import AsyncFiles
from replicate_async.resources.hardware import AsyncHardwareKinds
from replicate_async.resources.low_level import AsyncLowLevel
from replicate_async.resources.models import AsyncModels
from replicate_async.resources.predictions import AsyncPredictions
from replicate_async.resources.search import AsyncSearch
from replicate_async.resources.trainings import AsyncTrainings
from replicate_async.resources.webhook_receiver import AsyncWebhookReceiver
from replicate_async.resources.webhooks import AsyncWebhooks
from replicate_async.types import Prediction, WebhookSecret

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_BASE_URL = "https://api.replicate.com/v1"
BASE_URL_VARIABLE = "REPLICATE_BASE_URL"


class AsyncReplicate(AsyncSearch, AsyncLowLevel, HintedClient):
    """An asynchronous client for Replicate's API.

    It opens no connection before its first call, and can be used from any number of threads and event loops. Close it
    with ``close()``, or use it as a context manager.

    Calls raise ``TypeError`` or ``ValueError`` if an argument is invalid, and ``ReplicateError`` if there is no token
    or the client is closed.
    """

    @explain_arguments
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
        hooks: Sequence[Hook] | None = None,
    ) -> None:
        """Create a client.

        Args:
            bearer_token: API token. If omitted, the environment variable ``REPLICATE_API_TOKEN`` is read when a token
                is first needed.
            api_token: Alias of ``bearer_token``.
            base_url: URL of the API. If omitted, the environment variable ``REPLICATE_BASE_URL``, or Replicate's own.
            timeout: Timeout of each attempt in seconds, or an ``aiohttp.ClientTimeout``. None: no limit.
            max_retries: Maximum number of retries of a call that failed and can be repeated safely. If omitted, 2;
                calls that were refused with 429 are repeated for one minute, and creates for ten.
            default_headers: Headers of every request to the API.
            default_query: Query parameters of every request to the API.
            session: ``aiohttp.ClientSession`` to use. The client never closes it. If omitted, the client opens one for
                each event loop.
            max_connections: Maximum number of requests in flight; the rest wait in a queue.
            retry: tenacity policy that replaces the built-in one. Regardless of the policy, a call that may have been
                billed is not repeated.
            rate_limit: Maximum numbers of calls per minute, shared by all clients of this process with the same token
                and base URL. If omitted, limits are learned from the API's responses.
            hooks: Functions that are called with each event: see ``replicate_async.hooks``.

        Raises:
            TypeError: an argument has the wrong type, or both ``bearer_token`` and ``api_token`` are passed.
            ValueError: an argument is invalid, for example an empty token.
        """
        if bearer_token is not None and api_token is not None:
            raise TypeError("pass bearer_token or api_token, not both: they mean the same")
        token = api_token if bearer_token is None else bearer_token
        if isinstance(max_connections, bool) or not isinstance(max_connections, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"max_connections must be an int, not {type(max_connections).__name__}")
        if session is not None and not hasattr(session, "request"):
            raise TypeError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        if max_connections < 1:
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
            hooks=Hooks(hooks or ()),
        )
        pool = SessionPool(session, max_connections, warn_unclosed=True)
        super().__init__(Transport(settings.checked(), pool, send_create))

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
        hooks: Sequence[Hook] | UnsetType | None = UNSET,
    ) -> Self:
        """Return a client with other options, which shares this client's connections and is closed with it.

        Args:
            bearer_token: API token.
            base_url: URL of the API.
            timeout: Timeout of each attempt in seconds, or an ``aiohttp.ClientTimeout``. None: no limit.
            max_retries: Maximum number of retries of a call that failed and can be repeated safely.
            default_headers: Headers of every request to the API, which replace this client's.
            default_query: Query parameters of every request to the API, which replace this client's.
            retry: tenacity policy.
            hooks: Functions that are called with each event, which replace this client's.

        Returns:
            The client. Options that are not passed are those of this client.

        Raises:
            TypeError: an option has the wrong type.
            ValueError: an option is invalid, for example an empty token.
        """
        # None is a value here: it resets an option to its default.
        options: dict[str, Any] = {
            "token": bearer_token,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": default_headers,
            "default_query": default_query,
            "retry": retry,
            "hooks": hooks if hooks is UNSET else Hooks(hooks or ()),
        }
        changes = {name: value for name, value in options.items() if value is not UNSET}
        transport = self._transport
        client = object.__new__(type(self))
        client._transport = Transport(
            msgspec.structs.replace(transport.settings, **changes).checked(), transport.pool, transport.guard
        )
        return client

    copy = with_options

    # --- resources ---

    @resource
    def account(self) -> AsyncAccounts:
        """The account that the token belongs to."""
        return AsyncAccounts(self._transport)

    @resource
    def collections(self) -> AsyncCollections:
        """Collections of models."""
        return AsyncCollections(self._transport)

    @resource
    def deployments(self) -> AsyncDeployments:
        """Deployments, and predictions with them."""
        return AsyncDeployments(self._transport)

    @resource
    def files(self) -> AsyncFiles:
        """Files."""
        return AsyncFiles(self._transport)

    @resource
    def hardware(self) -> AsyncHardwareKinds:
        """The hardware that models run on."""
        return AsyncHardwareKinds(self._transport)

    @resource
    def models(self) -> AsyncModels:
        """Models, their versions, examples and READMEs."""
        return AsyncModels(self._transport)

    @resource
    def predictions(self) -> AsyncPredictions:
        """Predictions."""
        return AsyncPredictions(self._transport)

    @resource
    def trainings(self) -> AsyncTrainings:
        """Trainings."""
        return AsyncTrainings(self._transport)

    @resource
    def webhooks(self) -> AsyncWebhooks:
        """Webhooks, and the secret that signs them."""
        return AsyncWebhooks(self._transport)

    # --- responses ---

    with_raw_response: View[AsyncReplicateRaw] = View(AsyncReplicateRaw)
    """The same calls, returning the response with its whole body."""

    with_streaming_response: View[AsyncReplicateStreaming] = View(AsyncReplicateStreaming)
    """The same calls, returning the response before its body is read."""

    # --- high-level calls ---

    async def run(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | None = None,
        *,
        wait: bool | int | None = True,
        time_limit: float | None = None,
        cancel_on_abort: bool = True,
        use_file_output: bool = True,
        on_update: Callable[[Prediction], None] | None = None,
        progress: bool = False,
        stream: bool | None = None,
        key: str | None = None,
        journal: JournalLike | None = None,
        **options: Unpack[PredictionOptions],
    ) -> Any:
        """Run a model and return its output.

        Args:
            ref: The model: ``owner/name``, ``owner/name:version``, a version id, or a ``Model`` or ``ModelVersion``.
            input: Inputs of the model by name. Files can be anywhere in it: paths (``pathlib.Path``), open binary
                files, bytes, uploads of web frameworks, pictures, and the file outputs of other runs.
            wait: How long the API may hold its response until the output is ready: 1 to 60 seconds; False: not at all;
                True: 60 seconds while few predictions are in flight, and none with the same input, but not at all with
                ``on_update``, ``progress`` or a webhook receiver. With ``key``, it is never held. In any case, the call
                waits for the output.
            time_limit: Seconds after which to stop waiting. None: no limit.
            cancel_on_abort: Whether to cancel the prediction if the waiting ends early: by the time limit, a canceled
                task, or Ctrl-C.
            use_file_output: Whether URLs in the output become file outputs.
            on_update: Function that is called with the prediction when it has been created, and whenever its status or
                logs have changed; with the blocking client, on the thread of the background loop.
            progress: Whether to draw a progress bar with tqdm, which must be installed. It shows the status, and the
                percentage that the model logs.
            stream: Whether to request a stream of the output. Models that support streaming always provide one.
            key: Name of the prediction in ``journal``. The prediction is created once, whichever process repeats the
                call: a repetition returns its output or raises its error. It is not canceled if the waiting ends early.
            journal: ``AsyncJournal``, path of an SQLite file, or URL of a PostgreSQL database. Errors of its store are
                raised as they are.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The output of the model: any JSON value, with file outputs in place of URLs.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            ReplicateError: the prediction of ``key`` ended more than an hour ago, and the API has removed its output.
            APITimeoutError: the time limit has passed, or a request took too long.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed. The error has the ``prediction_id`` if there is one.
            TypeError: ``input`` is not a mapping, or has a value that cannot be sent; the error names its place.
            ValueError: ``ref`` is not a model, the key was used with another input, or another argument is invalid.
            OSError: a file in the input can't be read, for example because it does not exist.
            ImportError: ``progress`` needs tqdm, or a PostgreSQL journal asyncpg, which is not installed.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        model = ModelRef.parse(ref)
        with run_progress(on_update) if progress else nullcontext(on_update) as report:
            prediction_run = make_run(
                self._transport,
                model,
                {} if input is None else input,
                options,
                key=key,
                journal=journal,
                wait=True if wait is None else wait,
                stream=stream,
                cancel_on_abort=cancel_on_abort,
                on_update=report,
            )
            return await run(prediction_run, time_limit=time_limit, use_file_output=use_file_output)

    async def stream(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | None = None,
        *,
        cancel_on_abort: bool = True,
        **options: Unpack[PredictionOptions],
    ) -> AsyncGenerator[StreamEvent, None]:
        """Run a model and yield its output as it is made.

        A broken connection is resumed without losing or repeating anything. Models that don't support streaming are
        polled instead.

        Args:
            ref: The model: ``owner/name``, ``owner/name:version``, a version id, or a ``Model`` or ``ModelVersion``.
            input: Inputs of the model by name. Files are accepted as in ``run``.
            cancel_on_abort: Whether to cancel the prediction if the iteration is left early.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The events. Each is a string: a piece of the output, or empty for logs and the end.

        Raises:
            ModelError: the prediction failed. The error's ``prediction`` has the output so far.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed. The error has the ``prediction_id`` if there is one.
            TypeError: ``input`` is not a mapping, or has a value that cannot be sent; the error names its place.
            ValueError: ``ref`` is not a model, or another argument is invalid.
            OSError: a file in the input can't be read, for example because it does not exist.

        Source: https://replicate.com/docs/topics/predictions/streaming
        """
        inputs: Mapping[str, Any] = {} if input is None else input
        prediction_run = PredictionRun(
            self._transport, ModelRef.parse(ref), inputs, options, stream=True, cancel_on_abort=cancel_on_abort
        )
        async with RunEvents(prediction_run) as events:
            while (event := await events.next()) is not None:
                yield event

    async def submit(
        self,
        ref: ModelLike,
        input: Mapping[str, Any] | None = None,
        *,
        use_file_output: bool = True,
        on_update: Callable[[Prediction], None] | None = None,
        key: str | None = None,
        journal: JournalLike | None = None,
        **options: Unpack[PredictionOptions],
    ) -> AsyncRun:
        """Start a model and return a handle to its prediction, which also has the id, logs and metrics.

        Args:
            ref: The model: ``owner/name``, ``owner/name:version``, a version id, or a ``Model`` or ``ModelVersion``.
            input: Inputs of the model by name. Files are accepted as in ``run``.
            use_file_output: Whether URLs in the output become file outputs.
            on_update: Function that is called with the prediction whenever its status or logs have changed, while a
                caller waits.
            key: Name of the prediction in ``journal``. The prediction is created once, whichever process repeats the
                call.
            journal: ``AsyncJournal``, path of an SQLite file, or URL of a PostgreSQL database. Errors of its store are
                raised as they are.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The handle, with ``prediction``, ``output()``, ``wait()``, ``logs()`` and ``cancel()``. The prediction
            continues whether or not a caller waits for it.

        Raises:
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed.
            TypeError: ``input`` is not a mapping, or has a value that cannot be sent; the error names its place.
            ValueError: ``ref`` is not a model, the key was used with another input, or another argument is invalid.
            OSError: a file in the input can't be read, for example because it does not exist.
            ImportError: a PostgreSQL journal needs asyncpg, which is not installed.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        inputs: Mapping[str, Any] = {} if input is None else input
        model = ModelRef.parse(ref)
        prediction_run = make_run(
            self._transport, model, inputs, options, key=key, journal=journal, on_update=on_update
        )
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
        progress: bool = False,
        cancel_on_abort: bool = True,
        use_file_output: bool = True,
        journal: JournalLike | None = None,
        **options: Unpack[PredictionOptions],
    ) -> AsyncGenerator[Any, None]:
        """Run a model on many inputs and yield the outputs.

        Inputs are read on demand, so there can be any number of them. If one fails, or can't be read, no more are
        started, but those in progress are completed and their outputs yielded, because they are billed. Then the error
        is raised, with notes about other failures.

        Args:
            ref: The model: ``owner/name``, ``owner/name:version``, a version id, or a ``Model`` or ``ModelVersion``.
            inputs: Inputs of the model by name, for each run: any iterable or asynchronous iterable. Iterables that are
                neither sequences nor asynchronous are read in a thread, because they may block.
            concurrency: Maximum number of predictions in progress.
            ordered: Whether outputs come in the order of their inputs, or as they are ready. While a slow one is
                pending, at most four times the concurrency of later outputs are kept.
            return_exceptions: Whether to yield an error in place of the output and continue.
            on_update: Function that is called with a ``MapProgress`` whenever a prediction has been created, changed or
                ended; with the blocking client, on the thread of the background loop. An error that it raises ends the
                map like a failure.
            progress: Whether to draw a progress bar with tqdm, which must be installed.
            cancel_on_abort: Whether to cancel the predictions in progress if the iteration is left early.
            use_file_output: Whether URLs in the outputs become file outputs.
            journal: ``AsyncJournal``, path of an SQLite file, or URL of a PostgreSQL database. It records
                each prediction by the index of its input, so that the same call resumes after an interruption: no input
                is paid for twice, and what was running is waited for. With a journal, nothing is canceled. Errors of
                its store are raised as they are.
            **options: Options of the create and of its requests:

                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The outputs, and with ``return_exceptions`` also the errors.

        Raises:
            ModelError: a prediction failed.
            PredictionCanceledError: a prediction was canceled, or aborted before it ran.
            ReplicateError: the client was closed before all outputs were read, or the API has removed the output of a
                prediction in the journal, which ended more than an hour ago.
            CreateOutcomeUnknown: a response was lost; whether one of ``candidates`` is its prediction is unknown.
            APIError: a call failed.
            TypeError: an input is not a mapping, or has a value that cannot be sent.
            ValueError: ``ref`` is not a model, a journal has another input, or another argument is invalid.
            OSError: a file in an input can't be read, for example because it does not exist.
            ImportError: ``progress`` needs tqdm, or a PostgreSQL journal asyncpg, which is not installed.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        model = ModelRef.parse(ref)
        check_create_options(options)

        def run_for(index: int, input: Mapping[str, Any]) -> PredictionRun:
            key = None if journal is None else index_key(index)
            return make_run(
                *(self._transport, model, input, options),
                key=key,
                journal=journal,
                wait=True,
                cancel_on_abort=cancel_on_abort,
            )

        failed: list[MapResult] = []
        with map_progress(on_update, length_hint(inputs)) if progress else nullcontext(on_update) as report:
            runner = MapRunner(
                self._transport.pool,
                inputs,
                run_for,
                concurrency=concurrency,
                use_file_output=use_file_output,
                stop_on_failure=not return_exceptions,
                on_update=report,
            )
            async with runner:
                while (result := await runner.next(ordered=ordered)) is not None:
                    if result.error is None or return_exceptions:
                        yield result.output if result.error is None else result.error
                    else:
                        failed.append(result)
        runner.raise_failure(failed)

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
            ref: The model: ``owner/name``, ``owner/name:version``, a version id, or a ``Model`` or ``ModelVersion``.
            hint: Function with the inputs and output of the model, for editors and type checkers. It is never called.
            streaming: Whether calls return the output as it is made.
            **options: Options of the function, of its creates and of their requests:

                - ``validate``: Whether to check inputs against the model's schema before anything is billed.
                - ``cancel_on_abort``: Whether to cancel the prediction if the waiting ends before it does; True if
                  omitted.
                - ``key``, ``journal``: Name of the prediction in a journal, and the journal, as for ``run``.
                - ``webhook``: URL that receives webhook events.
                - ``webhook_events_filter``: Events to send to the webhook. If omitted, all events are sent.
                - ``cancel_after``: Maximum lifetime, after which the API cancels the prediction: seconds, or a string
                  such as ``"90s"``, ``"5m"`` or ``"1h30m"``. The minimum is 5 seconds.
                - ``file_encoding_strategy``: How to send files in the input: ``"base64"`` embeds them in the request,
                  ``"url"`` uploads them first. If omitted, files larger than 256 kB are uploaded, and all files beyond
                  1 MB in the requests of the predictions in flight.
                - The options of every request, see ``RequestOptions``.

        Returns:
            The function.

        Raises:
            TypeError: ``ref`` is not a str or a model, or an option is unknown or has the wrong type.
            ValueError: ``ref`` does not name a model, or an option is invalid.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        kind = AsyncStreamingFunction[...] if streaming else AsyncModelFunction[..., Any]
        return kind(self._transport, ref, options)

    def usage(self) -> Usage:
        """Collect what predictions take: count, ``predict_time``, images, tokens, and all other metrics, by model.

        ``with client.usage() as usage:`` collects the predictions that are created in the block, by its own code and by
        the tasks that it starts, whichever call creates them. Predictions of other threads belong to it if they run in
        a copy of its context, as with ``asyncio.to_thread``.

        Returns:
            The collection, a context manager.
        """
        return Usage(self._transport.hooks)

    def receive_webhooks(self, url: str, *, secret: WebhookSecret | str | None = None) -> AsyncWebhookReceiver:
        """Wait by webhook instead of polling, in a server that Replicate can reach.

        In the block of the receiver, ``run``, ``submit``, ``map`` and the functions of ``use`` register it as the
        webhook of their predictions, unless they are streamed or have a ``webhook`` of their own. The end of a
        prediction is known as soon as its webhook arrives. If it does not arrive, the prediction is polled: every 20
        seconds, and more often while no webhooks arrive.

        Args:
            url: URL at which Replicate reaches the receiver's ``app``, or the handler that calls its ``deliver``.
            secret: Secret that signs the webhooks. If omitted, it is fetched when the block is entered.

        Returns:
            The receiver, a context manager.

        Raises:
            ValueError: ``url`` is not an HTTP URL.
            APIError: the secret can't be fetched when the block is entered.

        Source: https://replicate.com/docs/topics/webhooks/receive-webhook
        """
        return AsyncWebhookReceiver(self._transport, url, secret)

    # --- opening and closing ---

    async def close(self) -> None:
        """Close the connections of this client and its copies. A ``session`` that was passed stays open."""
        await self._transport.pool.close()

    def is_closed(self) -> bool:
        """Return whether ``close`` was called."""
        return self._transport.pool.closed

    async def __aenter__(self) -> Self:
        """Prepare for calls, and return the client.

        Raises:
            ReplicateError: the client is closed, or ``session`` belongs to another event loop.
        """
        # Importing aiohttp blocks the event loop: better when an application starts than while it serves.
        self._transport.pool.current()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the client."""
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transport.settings.base_url}>"
