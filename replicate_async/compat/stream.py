"""Streaming: events of the output as it is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async.compat._arguments import CreatePredictionParams, run_options, to_reference
from replicate_async.compat._events import ServerSentEvent, to_event
from replicate_async.compat.helpers import rewind
from replicate_async.compat.prediction import model_errors
from replicate_async.compat.settings import BaseClient


async def async_stream(
    client: BaseClient,
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> AsyncGenerator[ServerSentEvent, None]:
    """Run a model and yield its output as it is made.

    If the iteration is left early, the prediction is canceled.
    """
    options = run_options(params)
    # A stream is not held, and is a stream in any case.
    for name in ("wait", "stream"):
        options.pop(name, None)
    with model_errors(client):
        events = client.native.stream(to_reference(ref), rewind(input), **options)
        try:
            async for event in events:
                yield to_event(client, event, use_file_output=use_file_output is not False)
        finally:
            await events.aclose()


def stream(
    client: BaseClient,
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Generator[ServerSentEvent, None, None]:
    """Run a model and yield its output as it is made; see ``async_stream``."""
    yield from _bridge.iterate(async_stream(client, ref, input, use_file_output=use_file_output, **params))


__all__ = ["ServerSentEvent", "async_stream", "stream"]
