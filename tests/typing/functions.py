"""What type checkers know of models as functions, their streams, handles and files. Checked, never run."""
# pyright: strict

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import assert_type

import replicate_async as replicate
from replicate_async import (
    AsyncFileOutput,
    AsyncModelFunction,
    AsyncOutputStream,
    AsyncReplicate,
    AsyncRun,
    AsyncStreamingFunction,
    FileOutput,
    ModelFunction,
    OutputStream,
    Replicate,
    Run,
    StreamEvent,
    StreamingFunction,
    types,
)


class Options(TypedDict, total=False):
    """What a model takes, for a hint."""

    seed: int


def paint(*, prompt: str, options: Options | None = None, steps: int = 4) -> list[FileOutput]:
    """Say what a model takes and returns, for blocking code."""
    raise NotImplementedError


def paint_async(*, prompt: str, steps: int = 4) -> list[AsyncFileOutput]:
    """Say the same for asynchronous code."""
    raise NotImplementedError


async def asynchronous(client: AsyncReplicate, model: types.Model, version: types.ModelVersion) -> None:
    plain = client.use("owner/name", validate=True, cancel_on_abort=False, cancel_after="5m", timeout=5)
    assert_type(plain, AsyncModelFunction[..., Any])
    assert_type(await plain(prompt="hi", image=Path("a.png"), seed=None), Any)
    assert_type(await client.use(model)(prompt="hi"), Any)
    assert_type(await client.use(version)(), Any)
    hinted = client.use("owner/name", hint=paint_async)
    pictures = await hinted(prompt="hi", steps=5)
    assert_type(pictures, list[AsyncFileOutput])
    await plain(image=pictures[0], images=pictures)
    streamed = client.use("owner/name", streaming=True)
    assert_type(streamed, AsyncStreamingFunction[...])
    stream = streamed(prompt="hi")
    assert_type(stream, AsyncOutputStream)
    assert_type(client.use("owner/name", hint=paint_async, streaming=True)(prompt="hi", steps=5), AsyncOutputStream)
    async for piece in stream:
        assert_type(piece, Any)
    assert_type(await stream, Any)
    assert_type(await stream.read(), Any)
    handle = await plain.create(prompt=stream)
    assert_type(handle, AsyncRun)
    assert_type(handle.prediction, types.Prediction)
    assert_type(await handle.output(), Any)
    assert_type(await handle.logs(), str)
    assert_type(await handle.cancel(), types.Prediction)
    assert_type(await plain.openapi_schema(), dict[str, Any])
    assert_type(await plain.default_example(), "types.Prediction | None")
    assert_type(await plain.signature(), inspect.Signature)
    assert_type(await plain.documentation(), str)


async def either(client: AsyncReplicate, flag: bool) -> None:
    plain = client.use("owner/name", streaming=flag)
    assert_type(plain, "AsyncModelFunction[..., Any] | AsyncStreamingFunction[...]")
    assert_type(await plain(prompt="hi"), Any)
    hinted = client.use("owner/name", hint=paint_async, streaming=flag)
    if isinstance(hinted, AsyncModelFunction):
        assert_type(await hinted(prompt="hi"), list[AsyncFileOutput])
    else:
        assert_type(hinted(prompt="hi"), AsyncOutputStream)


async def async_files(output: AsyncFileOutput) -> None:
    assert_type(output.url, str)
    assert_type(output.content_type, "str | None")
    assert_type(output.size, "int | None")
    assert_type(await output.read(), bytes)
    assert_type(await output.save("folder"), Path)
    assert_type(await output.save(Path("a.png")), Path)
    assert_type(await output.local_path(), str)
    async for chunk in output:
        assert_type(chunk, bytes)
    async for chunk in output.iter_bytes(1000):
        assert_type(chunk, bytes)


def blocking(client: Replicate, flag: bool) -> None:
    hinted = client.use("owner/name", hint=paint)
    assert_type(hinted(prompt="hi", options={"seed": 5}), list[FileOutput])
    assert_type(client.use("owner/name"), ModelFunction[..., Any])
    streamed = client.use("owner/name", streaming=True)
    assert_type(streamed, StreamingFunction[...])
    assert_type(streamed(prompt="hi"), OutputStream)
    assert_type(client.use("owner/name", hint=paint, streaming=True)(prompt="hi"), OutputStream)
    assert_type(client.use("owner/name", streaming=flag), "ModelFunction[..., Any] | StreamingFunction[...]")
    assert_type(client.use("owner/name", hint=paint, streaming=flag)(prompt="hi"), "list[FileOutput] | OutputStream")
    for piece in streamed(prompt="hi"):
        assert_type(piece, Any)
    handle = hinted.create(prompt="hi")
    assert_type(handle, Run)
    assert_type(handle.prediction, types.Prediction)
    assert_type(handle.output(), Any)
    assert_type(handle.logs(), str)
    for event in client.stream("owner/name", input={"prompt": "hi"}, file_encoding_strategy="url"):
        assert_type(event, StreamEvent)
    for event in client.predictions.stream(handle.prediction, cancel_on_abort=False):
        assert_type(event, StreamEvent)


def files(output: FileOutput) -> None:
    assert_type(output.read(), bytes)
    assert_type(output.save("folder"), Path)
    for chunk in output:
        assert_type(chunk, bytes)
    path: os.PathLike[str] = output
    assert_type(os.fspath(output), str)
    with open(path, "rb") as file:  # noqa: PTH123 - what takes paths is what this is for
        assert_type(file.read(), bytes)


async def the_module(flag: bool) -> None:
    assert_type(replicate.use("owner/name"), ModelFunction[..., Any])
    assert_type(replicate.use("owner/name", hint=paint)(prompt="hi"), list[FileOutput])
    assert_type(replicate.use("owner/name", streaming=True), StreamingFunction[...])
    assert_type(replicate.use("owner/name", use_async=True), AsyncModelFunction[..., Any])
    hinted = replicate.use("owner/name", hint=paint_async, use_async=True)
    assert_type(await hinted(prompt="hi"), list[AsyncFileOutput])
    assert_type(replicate.use("owner/name", streaming=True, use_async=True), AsyncStreamingFunction[...])
    assert_type(replicate.use("owner/name", hint=paint, streaming=True)(prompt="hi"), OutputStream)
    stream = replicate.use("owner/name", hint=paint_async, streaming=True, use_async=True)(prompt="hi")
    assert_type(stream, AsyncOutputStream)
    assert_type(replicate.use("owner/name", streaming=flag), "ModelFunction[..., Any] | StreamingFunction[...]")
    either = replicate.use("owner/name", hint=paint, streaming=flag)(prompt="hi")
    assert_type(either, "list[FileOutput] | OutputStream")
    one = replicate.use("owner/name", streaming=flag, use_async=True)
    assert_type(one, "AsyncModelFunction[..., Any] | AsyncStreamingFunction[...]")
    other = replicate.use("owner/name", hint=paint_async, streaming=flag, use_async=True)
    assert_type(await other(prompt="hi"), "list[AsyncFileOutput] | Any")
    for event in replicate.stream("owner/name", {"prompt": "hi"}):
        assert_type(event, StreamEvent)
