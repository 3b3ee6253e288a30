"""``replicate-async predictions``: list, show and cancel predictions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import msgspec

from replicate_async._client import AsyncReplicate
from replicate_async._json import is_mapping
from replicate_async.cli._client import local_option
from replicate_async.cli._console import print_text
from replicate_async.cli._listing import call, first, json_option, limit_option, print_fields, print_rows
from replicate_async.types import Prediction, logs_of


@click.group("predictions", no_args_is_help=False)
def predictions_group() -> None:
    """List, show and cancel predictions."""


@predictions_group.command("list")
@local_option
@click.option("--model", metavar="REF", help="List only predictions of the model REF.")
@click.option(
    "--status", metavar="STATUS", help="List only predictions with this status, such as failed or processing."
)
@limit_option
@json_option
def list_predictions(*, local: bool, model: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List the account's predictions, the newest first.

    A line for each prediction: its id, status, time of creation in UTC, and model.
    """

    def keep(prediction: Prediction) -> bool:
        # Items that are no predictions are kept as they are.
        wanted = {"status": status, "model": model}
        return all(value in (None, getattr(prediction, name, None)) for name, value in wanted.items())

    async def fetch(client: AsyncReplicate) -> list[Prediction]:
        return await first(client.predictions.list(), limit, keep)

    print_rows(call(fetch, local=local), _columns, as_json=as_json)


@predictions_group.command("show")
@click.argument("prediction_id", metavar="ID")
@local_option
@json_option
def show(*, prediction_id: str, local: bool, as_json: bool) -> None:
    """Show a prediction.

    The command prints its status, times, error, the end of its logs, and its output.
    """

    async def get(client: AsyncReplicate) -> Prediction:
        return await client.predictions.get(prediction_id)

    prediction = call(get, local=local)
    progress = prediction.progress
    fields = {
        "id": prediction.id,
        "status": prediction.status,
        "model": prediction.model,
        "created": prediction.created_at,
        "started": prediction.started_at,
        "completed": prediction.completed_at,
        "progress": f"{progress.percentage:.0%}" if progress and not prediction.done else None,
        "metrics": _joined(prediction),
        "error": prediction.error,
        "logs": logs_of(prediction).rstrip().rpartition("\n")[2],
        "output": "removed by the API" if prediction.data_removed else None,
    }
    print_fields(prediction, fields, as_json=as_json)
    output = prediction.output
    if output is not None and not as_json:
        print_text(output if isinstance(output, str) else msgspec.json.encode(output).decode())


@predictions_group.command("cancel")
@click.argument("prediction_ids", metavar="ID...", nargs=-1, required=True)
@local_option
def cancel(*, prediction_ids: tuple[str, ...], local: bool) -> None:
    """Cancel predictions, and print their status.

    A prediction that has ended stays as it is.
    """

    async def cancel_all(client: AsyncReplicate) -> None:
        for prediction_id in prediction_ids:
            print_rows([await client.predictions.cancel(prediction_id)], _columns, as_json=False)

    call(cancel_all, local=local)


def _columns(prediction: Prediction) -> Iterable[object]:
    return prediction.id, prediction.status, prediction.created_at, prediction.model


def _joined(prediction: Prediction) -> object:
    metrics: Any = prediction.metrics
    if not is_mapping(metrics):
        return metrics
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()
    )
