"""Models as functions: called with their inputs, returning their output in the shape that their schema gives it."""

from __future__ import annotations

import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from msgspec import UNSET, UnsetType

from replicate_async._http.locks import KeyedLock
from replicate_async._http.options import follow_up_options
from replicate_async._predictions import schema
from replicate_async._predictions.jobs import output_of
from replicate_async._predictions.outputs import has_files, with_files
from replicate_async._predictions.requests import to_model_ref
from replicate_async._predictions.run import PredictionRun, created, run, stream
from replicate_async.errors import APIError
from replicate_async.resources.models import AsyncModels
from replicate_async.resources.predictions import AsyncPredictions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from replicate_async._http.options import RequestOptions
    from replicate_async._http.transport import Transport
    from replicate_async._predictions.requests import ModelRef
    from replicate_async.types import Model, ModelVersion, Prediction

P = ParamSpec("P")
T = TypeVar("T")


class AsyncModelReference:
    """A model, as it can be used."""

    # Where inputs are keyword arguments, ``self`` is positional only: a model may have an input of that name.

    def __init__(
        self,
        transport: Transport,
        ref: str | Model | ModelVersion,
        options: RequestOptions,
        *,
        validate: bool = False,
        cancel_on_abort: bool = True,
        cancel_after: str | int | UnsetType = UNSET,
    ) -> None:
        self._transport = transport
        self._model: ModelRef = to_model_ref(ref)
        self._options = options
        self._validate = validate
        self._cancel_on_abort = cancel_on_abort
        self._cancel_after = cancel_after

    def _job(self, inputs: Mapping[str, Any], **how: Any) -> PredictionRun:
        return PredictionRun(
            self._transport,
            self._model,
            inputs,
            self._options,
            cancel_on_abort=self._cancel_on_abort,
            cancel_after=self._cancel_after,
            **how,
        )

    async def _check(self, inputs: Mapping[str, Any]) -> None:
        """Say all that is wrong with the inputs, before anything is billed."""
        if self._validate and (problems := schema.problems(await self.openapi_schema(), inputs)):
            raise ValueError(f"the inputs don't fit {self}: " + "; ".join(problems))

    async def create(self, /, **inputs: Any) -> AsyncRun:
        """Start a prediction and return a handle to it.

        Args:
            **inputs: The model's inputs.

        Returns:
            The handle.

        Raises:
            ValueError: the inputs don't fit the model's schema, where that is to be checked.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#predictions.create
        """
        await self._check(inputs)
        return AsyncRun(await created(self._job(inputs)), self._shaped)

    async def openapi_schema(self) -> dict[str, Any]:
        """Return the OpenAPI document of the model's inputs and outputs, fetched once for each client.

        Returns:
            The document; empty for models that have none.

        Raises:
            NotFoundError: there is no such model or version.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.versions.get
        """
        return (await self._described())[0]

    async def default_example(self) -> Prediction | None:
        """Return the prediction that the model's author shows, if there is one.

        Returns:
            The example.

        Raises:
            NotFoundError: there is no such model.
            APIError: the call failed.

        Source: https://replicate.com/docs/reference/http#models.get
        """
        return (await self._described())[1]

    async def signature(self) -> inspect.Signature:
        """Return the signature that the model's schema gives the function.

        Returns:
            The signature, with types, defaults and the order of the model's own.

        Raises:
            APIError: the schema couldn't be fetched.
        """
        return schema.signature(await self.openapi_schema())

    async def documentation(self) -> str:
        """Return what the model's schema says of its inputs.

        Returns:
            A docstring.

        Raises:
            APIError: the schema couldn't be fetched.
        """
        return schema.documentation(str(self), await self.openapi_schema())

    async def _described(self) -> tuple[dict[str, Any], Prediction | None]:
        """Return schema and example."""
        pool, settings = self._transport.pool, self._transport.settings
        key = (settings.base_url, settings.token, self._model)
        async with pool.locks.of("schema", *key):
            if key not in pool.schemas:
                pool.schemas[key] = await self._describe()
        return pool.schemas[key]

    async def _describe(self) -> tuple[dict[str, Any], Prediction | None]:
        owner, name, version = self._model.owner, self._model.name, self._model.version
        if not (owner and name):
            return {}, None  # a bare version id: the API tells no schema without the model's name
        models, options = AsyncModels(self._transport), follow_up_options(self._options)
        model = await models.get(owner, name, **options)
        latest = model.latest_version
        if version and (latest is None or latest.id != version):
            latest = await models.versions.get(owner, name, version, **options)
        return (latest.openapi_schema if latest else None) or {}, model.default_example

    async def _shaped(self, output: Any) -> Any:
        """Give an output the shape that the schema tells of: pieces of text become one, and URIs files."""
        # Where texts in a list may be one, or where a URL may be a text, the schema is looked at; otherwise not.
        pieces: list[Any] = cast("list[Any]", output) if isinstance(output, list) else []  # type: ignore[redundant-cast]
        texts = isinstance(output, list) and all(isinstance(one, str) for one in pieces)
        if not texts and not has_files(output, self._transport):
            return cast("Any", output)
        document = await self.openapi_schema()
        if texts and schema.is_text(document):
            return "".join(pieces)
        return with_files(self._transport, output, document, schema.output(document))

    async def _shaped_piece(self, piece: str) -> Any:
        if not has_files(piece, self._transport):
            return piece
        document = await self.openapi_schema()
        items = schema.below(document, schema.output(document))
        return with_files(self._transport, piece, document, items or schema.output(document))

    def __str__(self) -> str:
        model = self._model
        name = f"{model.owner}/{model.name}" if model.owner else ""
        return ":".join(part for part in (name, model.version) if part)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class AsyncModelFunction(AsyncModelReference, Generic[P, T]):
    """A model as a function: call it with its inputs, get its output."""

    async def __call__(self, /, *args: P.args, **inputs: P.kwargs) -> T:
        """Run the model.

        Args:
            *args: Nothing: inputs have names.
            **inputs: The model's inputs; files as for ``run``, and outputs of other models.

        Returns:
            The output: text in one piece, files as file outputs.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            ValueError: the inputs don't fit the model's schema, where that is to be checked.
            APIError: a call failed.
        """
        _only_named(args)
        await self._check(inputs)
        job = self._job(inputs, wait=True)
        output = await run(job, time_limit=None, use_file_output=False)
        try:
            return cast("T", await self._shaped(output))
        except APIError as error:  # the schema couldn't be had; the output can be, by its prediction
            error.prediction_id = job.prediction.id if job.prediction else None
            raise


class AsyncStreamingFunction(AsyncModelReference, Generic[P]):
    """A model as a function whose output can be read while it is made."""

    def __call__(self, /, *args: P.args, **inputs: P.kwargs) -> AsyncOutputStream:
        """Run the model.

        Args:
            *args: Nothing: inputs have names.
            **inputs: The model's inputs; files as for ``run``, and outputs of other models.

        Returns:
            The output: iterate it for its pieces, or pass it to another model.
        """
        _only_named(args)
        return AsyncOutputStream(self, inputs)


class AsyncOutputStream:
    """An output that is being made: iterate it for its pieces, ``read`` it whole, or pass it to another model.

    Nothing happens before.
    """

    def __init__(self, model: AsyncModelReference, inputs: Mapping[str, Any]) -> None:
        self._model = model
        self._inputs = inputs
        self._job: PredictionRun | None = None
        self._locks = KeyedLock()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Yield the output's pieces: text, or file outputs. However often it is read, the model runs once."""
        model = self._model
        async with self._locks.of(self):
            if self._job is None:
                await model._check(self._inputs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                job = model._job(self._inputs, stream=True)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                self._job = await created(job)
        async with aclosing(stream(self._job)) as events:
            async for event in events:
                if event.event == "output":
                    yield await model._shaped_piece(str(event))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def read(self) -> Any:
        """Return the whole output.

        Returns:
            A text where all pieces are text, otherwise the list of pieces.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APIError: a call failed.
        """
        pieces = [piece async for piece in self]
        return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else pieces

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the whole output, as ``read`` does."""
        return self.read().__await__()


class AsyncRun:
    """A prediction that has been started: a handle to wait for its output, or to look at it."""

    def __init__(self, job: PredictionRun, shape: Callable[[Any], Any] | None) -> None:
        self._job = job
        self._shape = shape  # what the output becomes; may have to be awaited

    @property
    def prediction(self) -> Prediction:
        """The prediction, as it was when it was last looked at."""
        if self._job.prediction is None:
            raise RuntimeError("the prediction hasn't been created")
        return self._job.prediction

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.prediction.id

    async def wait(self) -> Prediction:
        """Wait until the prediction has ended, however it ends.

        Returns:
            The prediction in its final status, with output, logs and metrics.

        Raises:
            APIError: a call failed.
        """
        return await self._job.finish()

    async def output(self) -> Any:
        """Wait for the output, and return it.

        Returns:
            The output, as ``run`` or the model's function returns it.

        Raises:
            ModelError: the prediction failed.
            PredictionCanceledError: the prediction was canceled, or aborted before it ran.
            APIError: a call failed.
        """
        output = output_of(await self._job.finish())
        if self._shape is not None:
            output = self._shape(output)
        return await output if inspect.isawaitable(output) else output

    async def logs(self) -> str:
        """Return the prediction's logs so far.

        Returns:
            The logs.

        Raises:
            APIError: the call failed.
        """
        return (await self._job.look()).logs or ""

    async def cancel(self) -> Prediction:
        """Cancel the prediction.

        Returns:
            The prediction, canceled or about to be.

        Raises:
            APIError: the call failed.
        """
        self._job.prediction = await AsyncPredictions(self._job.transport).cancel(self.prediction.id)
        return self._job.prediction

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prediction.id} {self.prediction.status}>"


def _only_named(args: tuple[object, ...]) -> None:
    if args:
        raise TypeError("a model's inputs have names: pass them as keyword arguments")
