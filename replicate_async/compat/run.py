"""Running a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async.compat._arguments import CreatePredictionParams, run_options, to_reference
from replicate_async.compat.helpers import convert_output, rewind
from replicate_async.compat.prediction import model_errors
from replicate_async.compat.settings import BaseClient


async def native_run(
    client: BaseClient,
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Any:
    """Run a model and return its output, with native file outputs."""
    options = run_options(params)
    with model_errors(client):
        return await client.native.run(
            to_reference(ref), rewind(input), use_file_output=use_file_output is not False, **options
        )


async def async_run(
    client: BaseClient,
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Any:
    """Run a model and return its output, once the prediction has ended.

    If the task is canceled, so is the prediction.
    """
    return convert_output(await native_run(client, ref, input, use_file_output=use_file_output, **params))


def run(
    client: BaseClient,
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Any:
    """Run a model and return its output; see ``async_run``."""
    return _bridge.run(async_run(client, ref, input, use_file_output=use_file_output, **params))


__all__ = ["async_run", "run"]
