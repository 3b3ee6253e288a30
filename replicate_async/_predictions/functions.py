"""Models as functions: called with their inputs, returning their output in the form that their schema describes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar, cast

from replicate_async import _schema as schemas
from replicate_async._hints import HintedObject
from replicate_async._http.locks import KeyedLock
from replicate_async._http.options import RequestOptions, follow_up_headers, follow_up_options
from replicate_async._http.request import Request, format_path
from replicate_async._http.transport import Transport
from replicate_async._json import is_dict, is_list
from replicate_async._predictions.jobs import cancel_request, output_of
from replicate_async._predictions.journal import JournalLike, make_run
from replicate_async._predictions.outputs import has_files, with_files
from replicate_async._predictions.requests import (
    ModelLike,
    ModelRef,
    PredictionOptions,
    check_create_options,
    request_options,
)
from replicate_async._predictions.run import PredictionRun, RunEvents, create_or_cancel, run
from replicate_async.errors import APIError
from replicate_async.types import Model, ModelVersion, Prediction, logs_of

P = ParamSpec("P")
T = TypeVar("T")


class _SchemaCache:
    """The schemas and examples of models, each fetched once."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[object, ...], tuple[dict[str, Any], Prediction | None]] = {}
        self._lock = KeyedLock()

    async def get(
        self, transport: Transport, ref: ModelRef, options: RequestOptions
    ) -> tuple[dict[str, Any], Prediction | None]:
        """Return a model's OpenAPI document and its example."""
        key = *transport.account_key, ref
        async with self._lock.hold(*key):
            if key not in self._schemas:
                self._schemas[key] = await _fetch_schema(transport, ref, options)
        return self._schemas[key]


async def _fetch_schema(
    transport: Transport, ref: ModelRef, options: RequestOptions
) -> tuple[dict[str, Any], Prediction | None]:
    if not (ref.owner and ref.name):
        # The API gives no schema for a version id without the model's name.
        return {}, None
    model = await transport.call(Request[Model]("GET", ref.path(), Model, options))
    version = model.latest_version if isinstance(model.latest_version, ModelVersion) else None
    example = model.default_example if isinstance(model.default_example, Prediction) else None
    if ref.version and (version is None or version.id != ref.version):
        tail = format_path("/versions/{version_id}", version_id=ref.version)
        version = await transport.call(Request[ModelVersion]("GET", ref.path(tail), ModelVersion, options))
    document: Any = version.openapi_schema if version else None
    return document if is_dict(document) else {}, example


class FunctionOptions(PredictionOptions, total=False):
    """Options of a model as a function, in addition to ``PredictionOptions``.

    Attributes:
        validate: Whether to check inputs against the model's schema before anything is billed. If omitted, False.
        cancel_on_abort: Whether to cancel the prediction if the waiting ends before it does. If omitted, True.
        key: The name of the prediction in the journal.
        journal: The journal in which the prediction is recorded.
    """

    validate: bool | None
    cancel_on_abort: bool | None
    key: str | None
    journal: JournalLike | None


class AsyncModelReference(HintedObject):
    """A model and the options with which it is used."""

    # ``self`` is positional-only where inputs are keyword arguments: a model may have an input of that name.

    def __init__(self, transport: Transport, ref: ModelLike, options: FunctionOptions) -> None:
        self._transport = transport
        self._ref = ModelRef.parse(ref)
        self._validate = bool(options.pop("validate", None))
        self._cancel_on_abort = options.pop("cancel_on_abort", None) is not False
        self._record = {"key": options.pop("key", None), "journal": options.pop("journal", None)}
        self._options = cast("PredictionOptions", options)
        check_create_options(self._options)

    async def _prepare(self, inputs: Mapping[str, Any], **options: Any) -> PredictionRun:
        """Describe a prediction; invalid inputs raise here, before anything is billed."""
        if self._validate and (problems := schemas.problems(await self.openapi_schema(), inputs)):
            raise ValueError(f"the inputs don't fit {self}: " + "; ".join(problems))
        options = {**self._record, "cancel_on_abort": self._cancel_on_abort, **options}
        return make_run(self._transport, self._ref, inputs, self._options, **options)

    async def create(self, /, **inputs: Any) -> AsyncRun:
        """Start a prediction and return a handle to it.

        Args:
            **inputs: The model's inputs.

        Returns:
            The handle.

        Raises:
            TypeError: an input has a value that cannot be sent; the error names its place.
            ValueError: the inputs don't fit the schema, if ``validate`` is set; or the key was used with others.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        return AsyncRun(await create_or_cancel(await self._prepare(inputs)), self._convert_output)

    async def openapi_schema(self) -> dict[str, Any]:
        """Return the OpenAPI document of the model's inputs and outputs, which is fetched once for each client.

        Returns:
            The document; empty if the model has none.

        Raises:
            NotFoundError: there is no such model or version.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.get
        """
        return (await self._describe())[0]

    async def default_example(self) -> Prediction | None:
        """Return the prediction that the model's author shows as an example, if there is one.

        Returns:
            The example.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.get
        """
        return (await self._describe())[1]

    async def signature(self) -> inspect.Signature:
        """Return the signature of the function according to the model's schema.

        Returns:
            The signature, with types and defaults, in the order of the model's inputs.

        Raises:
            APIError: the schema couldn't be fetched.
        """
        return schemas.signature(await self.openapi_schema())

    async def documentation(self) -> str:
        """Return the description of the inputs in the model's schema.

        Returns:
            A docstring.

        Raises:
            APIError: the schema couldn't be fetched.
        """
        return schemas.documentation(str(self), await self.openapi_schema())

    async def _describe(self) -> tuple[dict[str, Any], Prediction | None]:
        cache = self._transport.pool.state(_SchemaCache)
        return await cache.get(self._transport, self._ref, follow_up_options(request_options(self._options)))

    async def _convert_output(self, output: Any) -> Any:
        """Return an output in the form that the schema describes: pieces of text joined, and URIs as files."""
        # The schema is only needed if a list of texts may be one text, or a URL may be a plain text.
        is_texts = is_list(output) and all(isinstance(item, str) for item in output)
        if not is_texts and not has_files(output, self._transport):
            return output
        document = await self.openapi_schema()
        if is_texts and schemas.is_text(document):
            return "".join(output)
        return with_files(self._transport, output, document, schemas.output(document))

    async def _convert_piece(self, piece: str) -> Any:
        if not has_files(piece, self._transport):
            return piece
        document = await self.openapi_schema()
        items = schemas.below(document, schemas.output(document))
        return with_files(self._transport, piece, document, items or schemas.output(document))

    def __str__(self) -> str:
        return str(self._ref)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class AsyncModelFunction(AsyncModelReference, Generic[P, T]):
    """A model as a function: call it with its inputs to get its output."""

    async def __call__(self, /, *args: P.args, **inputs: P.kwargs) -> T:
        """Run the model.

        Args:
            *args: Not supported: inputs are keyword arguments.
            **inputs: The model's inputs; files as for ``run``, and outputs of other models.

        Returns:
            The output: text in one piece, files as file outputs.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            ReplicateError: the key's prediction ended more than an hour ago, and the API has removed its output.
            TypeError: an argument is positional, or has a value that cannot be sent; the error names its place.
            ValueError: the inputs don't fit the schema, if ``validate`` is set; or the key was used with others.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed.
        """
        _check_keyword_only(args)
        prediction_run = await self._prepare(inputs, wait=True)
        output = await run(prediction_run, time_limit=None, use_file_output=False)
        with _naming(prediction_run):
            return cast("T", await self._convert_output(output))


class AsyncStreamingFunction(AsyncModelReference, Generic[P]):
    """A model as a function whose output can be read as it is made."""

    def __call__(self, /, *args: P.args, **inputs: P.kwargs) -> AsyncOutputStream:
        """Run the model.

        Args:
            *args: Not supported: inputs are keyword arguments.
            **inputs: The model's inputs; files as for ``run``, and outputs of other models.

        Returns:
            The output: iterate it for its pieces, or pass it to another model.

        Raises:
            TypeError: an argument is positional. All other errors are raised when the output is read.
        """
        _check_keyword_only(args)
        return AsyncOutputStream(self, inputs)


class AsyncOutputStream:
    """An output as it is made: iterate it for its pieces, ``read`` it whole, or pass it to another model.

    The model runs when the output is first read.
    """

    def __init__(self, model: AsyncModelReference, inputs: Mapping[str, Any]) -> None:
        self._model = model
        self._inputs = inputs
        self._run: PredictionRun | None = None
        self._lock = KeyedLock()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Yield the output's pieces: text, or file outputs. The model runs once, however often the output is read.

        It raises the errors of ``read``.
        """
        model = self._model
        async with self._lock.hold(self):
            if self._run is None:
                prediction_run = await model._prepare(self._inputs, stream=True)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                self._run = await create_or_cancel(prediction_run)
        async with RunEvents(self._run) as events:
            while (event := await events.next()) is not None:
                if event.event == "output":
                    with _naming(self._run):
                        piece = await model._convert_piece(str(event))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                    yield piece

    async def read(self) -> Any:
        """Return the whole output.

        Returns:
            A text if all pieces are text, otherwise the list of pieces.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            TypeError: an input has a value that cannot be sent; the error names its place.
            ValueError: the inputs don't fit the schema, if ``validate`` is set; or the key was used with others.
            OSError: a file in the input can't be read, for example because it does not exist.
            CreateOutcomeUnknown: the response was lost; whether one of ``candidates`` is the prediction is unknown.
            APIError: a call failed.
        """
        pieces = [piece async for piece in self]
        return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else pieces

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the whole output, as ``read`` does."""
        return self.read().__await__()


class AsyncRun(HintedObject):
    """A handle to a prediction that was started: wait for its output, or check on it."""

    def __init__(self, prediction_run: PredictionRun, convert_output: Callable[[Any], Any] | None) -> None:
        self._run = prediction_run
        self._convert_output = convert_output

    @property
    def prediction(self) -> Prediction:
        """The prediction as it was last fetched."""
        assert self._run.prediction is not None  # noqa: S101 - it has been created
        return self._run.prediction

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.prediction.id

    async def wait(self) -> Prediction:
        """Wait until the prediction has ended, whatever its status.

        Returns:
            The prediction in its final status, with output, logs and metrics.

        Raises:
            APIError: a call failed.
        """
        return await self._run.wait_until_done()

    async def output(self) -> Any:
        """Wait for the output, and return it.

        Returns:
            The output, as ``run`` or the model's function returns it.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            ReplicateError: the prediction ended more than an hour ago, and the API has removed its output.
            APIError: a call failed.
        """
        output = output_of(await self._run.wait_until_done())
        if self._convert_output is not None:
            output = self._convert_output(output)
        with _naming(self._run):
            return await output if inspect.isawaitable(output) else output

    async def logs(self) -> str:
        """Return the prediction's logs so far.

        Returns:
            The logs.

        Raises:
            APIError: the call failed.
        """
        return logs_of(await self._run.reload())

    async def cancel(self) -> Prediction:
        """Cancel the prediction.

        Returns:
            The prediction, canceled or about to be.

        Raises:
            APIError: the call failed.
        """
        options = follow_up_headers(self._run.options)
        self._run.prediction = await self._run.transport.call(cancel_request(self.prediction.id, options))
        return self._run.prediction

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prediction.id} {self.prediction.status}>"


@contextmanager
def _naming(prediction_run: PredictionRun) -> Generator[None, None, None]:
    """Add the prediction's id to errors. If the schema is not available, the output is: by its prediction."""
    try:
        yield
    except APIError as error:
        error.prediction_id = prediction_run.prediction.id if prediction_run.prediction else None
        raise


def _check_keyword_only(args: tuple[object, ...]) -> None:
    if args:
        raise TypeError("a model's inputs are keyword arguments: pass them by name")
