"""A Python function as a model: how it is called, and what becomes of what it returns."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import pathlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from . import _printing
from ._files import OutputFile
from ._schema import Signature, is_pydantic
from ._threads import Workers

Publish = Callable[[OutputFile], str]

_ATOMS = (str, int, float, bool, type(None))
_END = object()


class ModelFunction:
    """A registered function. Raises ``TypeError`` with the reason if it can't be a model."""

    def __init__(self, function: Callable[..., Any], *, inline: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"a model is a function, not {function!r}")
        self.function = function
        self._async = _is(inspect.iscoroutinefunction, function)
        self._async_generator = _is(inspect.isasyncgenfunction, function)
        self._generator = _is(inspect.isgeneratorfunction, function)
        self._inline = inline
        self.streams = self._generator or self._async_generator
        self.signature = Signature(function, streams=self.streams)

    async def call(self, arguments: Mapping[str, Any], workers: Workers, write: _printing.Sink) -> Any:
        """Call a function that returns once, and return what it returns.

        A generator that comes out of a wrapper, which nobody could tell before, becomes the list of what it yields.
        """
        _printing.sink.set(write)
        _printing.install()
        if self._async or self._inline:
            result = _drained(self.function(**arguments))
        else:
            context = contextvars.copy_context()
            result = await workers.run(lambda: context.run(lambda: _drained(self.function(**arguments))))
        if inspect.isawaitable(result):
            result = _drained(await result)
        return [item async for item in result] if inspect.isasyncgen(result) else result

    async def iterate(
        self, arguments: Mapping[str, Any], workers: Workers, write: _printing.Sink
    ) -> AsyncGenerator[Any, None]:
        """Call a generator function, and yield what it yields; closing this iterator closes the generator."""
        _printing.sink.set(write)
        _printing.install()
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
                    await asyncio.sleep(0)  # let others see it
            finally:
                generator.close()
        else:
            context = contextvars.copy_context()
            step = workers.submit(lambda: context.run(next, generator, _END))
            try:
                while (item := await asyncio.wrap_future(step)) is not _END:
                    yield item
                    step = workers.submit(lambda: context.run(next, generator, _END))
            finally:
                # A thread may be inside of the generator still: whoever is there last closes it.
                step.add_done_callback(lambda _: context.copy().run(generator.close))


def _drained(result: Any) -> Any:
    return list(cast("Iterable[Any]", result)) if inspect.isgenerator(result) else result


def _is(test: Callable[[Any], bool], function: Any) -> bool:
    return test(function) or test(getattr(function, "__call__", None))  # noqa: B004  (an object with __call__)


def to_output(value: object, publish: Publish) -> Any:
    """Return what a model returned as JSON values; files are published and stand as their URL.

    Raises an error that says so for what has no JSON form.
    """
    output = _plain(value, publish)
    msgspec.json.encode(output)  # integers without end and broken Unicode show up here
    return output


def _plain(value: object, publish: Publish) -> Any:
    if type(value) in _ATOMS:
        return value
    if isinstance(value, OutputFile | bytes | pathlib.Path):
        return publish(OutputFile.of(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item, publish) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, publish) for item in cast("Iterable[object]", value)]
    if isinstance(value, msgspec.Struct):  # by the names, with the tag, that its schema has
        content = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=lambda part: _plain(part, publish))
        return _plain(content, publish)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), publish) for field in dataclasses.fields(value)}
    if is_pydantic(value):
        return _plain(cast("Any", value).model_dump(by_alias=True), publish)
    return msgspec.to_builtins(value)
