"""A Python function as a model: how the server calls it, and how its result becomes the output."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import pathlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from ._capture import Sink, enter_capture
from ._files import OutputFile
from ._schema import Signature, is_pydantic
from ._threads import WorkerThreads

# Returns the URL of an output file.
Publish = Callable[[OutputFile], str]

_SCALARS = (str, int, float, bool, type(None))
_END = object()


class ModelFunction:
    """A registered function. Raises ``TypeError`` if it can't be a model; the message says why."""

    def __init__(
        self, function: Callable[..., Any], *, inline: bool = False, schema: Mapping[str, Any] | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"a model is a function, not {function!r}")
        self.function = function
        self._async = _is(inspect.iscoroutinefunction, function)
        self._async_generator = _is(inspect.isasyncgenfunction, function)
        self._generator = _is(inspect.isgeneratorfunction, function)
        self._inline = inline
        self.streams = self._generator or self._async_generator
        self.signature = Signature(function, streams=self.streams, document=schema)

    async def call(
        self, arguments: Mapping[str, Any], threads: WorkerThreads, write: Sink, metrics: dict[str, Any]
    ) -> Any:
        """Call a function that returns once, and return its result.

        A generator that a wrapper returns becomes a list of its items, because the wrapper hid that it streams.
        """
        enter_capture(write, metrics)
        if self._async or self._inline:
            result = _collect(self.function(**arguments))
        else:
            context = contextvars.copy_context()
            result = await threads.run(lambda: context.run(lambda: _collect(self.function(**arguments))))
        if inspect.isawaitable(result):
            result = _collect(await result)
        return [item async for item in result] if inspect.isasyncgen(result) else result

    async def iterate(
        self, arguments: Mapping[str, Any], threads: WorkerThreads, write: Sink, metrics: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Call a generator function, and yield its items. Closing this iterator closes the generator."""
        enter_capture(write, metrics)
        generator = self.function(**arguments)
        if self._async_generator:
            try:
                async for item in generator:
                    yield item
            finally:
                await generator.aclose()
        elif self._inline:
            try:
                for item in generator:
                    yield item
                    # Let clients see each item.
                    await asyncio.sleep(0)
            finally:
                generator.close()
        else:
            context = contextvars.copy_context()
            step = threads.submit(lambda: context.run(next, generator, _END))
            try:
                while (item := await asyncio.wrap_future(step)) is not _END:
                    yield item
                    step = threads.submit(lambda: context.run(next, generator, _END))
            finally:
                # A thread may still run the generator, so the last step closes it when it is done.
                step.add_done_callback(lambda _: context.copy().run(generator.close))


def _collect(result: Any) -> Any:
    return list(cast("Iterable[Any]", result)) if inspect.isgenerator(result) else result


def _is(predicate: Callable[[Any], bool], function: Any) -> bool:
    """Return whether a function, or the ``__call__`` of an object, satisfies a predicate."""
    return predicate(function) or predicate(getattr(function, "__call__", None))  # noqa: B004  (not callable())


def to_output(value: object, publish: Publish) -> Any:
    """Return a model's result as JSON values. Files are published, and their URLs take their place.

    Raises an error if the result has no JSON form.
    """
    output = _to_json(value, publish)
    # Raises an error for huge integers and broken Unicode.
    msgspec.json.encode(output)
    return output


def _to_json(value: object, publish: Publish) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, OutputFile | bytes | pathlib.Path):
        return publish(OutputFile.coerce(value))
    if isinstance(value, Mapping):
        return {str(key): _to_json(item, publish) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json(item, publish) for item in cast("Iterable[object]", value)]
    # The names and the tag are those of the struct's schema.
    if isinstance(value, msgspec.Struct):
        content = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=lambda part: _to_json(part, publish))
        return _to_json(content, publish)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name), publish) for field in dataclasses.fields(value)}
    if is_pydantic(value):
        return _to_json(cast("Any", value).model_dump(by_alias=True), publish)
    return msgspec.to_builtins(value)
