"""Usage: what predictions took, and what that costs by a table of prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

import msgspec

from replicate_async._json import is_mapping
from replicate_async._typing import Self
from replicate_async.hooks import Event, Hooks, PredictionCreated, PredictionEnded
from replicate_async.types import Prediction, Training

# Runners report tokens by one of two names.
_OTHER_NAMES = {
    "input_token_count": "token_input_count",
    "output_token_count": "token_output_count",
    "token_input_count": "input_token_count",
    "token_output_count": "output_token_count",
}
# Larger numbers are not exact as floats, and their sums may not be finite.
_MAX_NUMBER = 2**53
# A block that is entered in itself is here several times.
_blocks: ContextVar[tuple[Usage, ...]] = ContextVar("replicate_async.usage", default=())


class ModelUsage(msgspec.Struct):
    """What the predictions of one model took.

    Attributes:
        predictions: The number of predictions that have ended.
        statuses: The number of predictions with each status.
        metrics: The sum of each metric that is a number, such as ``predict_time`` in seconds.
        reported: The number of predictions that reported each metric.
    """

    predictions: int = 0
    statuses: Counter[str] = msgspec.field(default_factory=Counter[str])
    metrics: dict[str, float] = {}
    reported: Counter[str] = msgspec.field(default_factory=Counter[str])


class Cost(msgspec.Struct, frozen=True):
    """What predictions cost by a table of prices.

    Attributes:
        total: The sum of what has a price.
        models: The sum for each model that has a price.
        unpriced: The number of predictions of each model that have no price, or did not report what the price is for.
    """

    total: float
    models: dict[str, float]
    unpriced: dict[str, int]


class Usage:
    """What predictions took, by model.

    ``with client.usage() as usage:`` collects the predictions that are created in the block, by its own code and by the
    tasks that it starts. ``hooks=[usage]``, with ``usage = Usage()``, collects all predictions that a client creates,
    fetches or waits for.
    """

    def __init__(self, hooks: Hooks | None = None) -> None:
        """Create an empty collection.

        Args:
            hooks: The hooks of the client; for ``client.usage()`` only.
        """
        self.models: dict[str, ModelUsage] = {}
        """What was used, by the name of the model."""
        self._hooks = hooks
        self._entries = 0
        # The predictions that have not ended, and the ones that have.
        self._open: dict[str, None] = {}
        self._ended: set[str] = set()

    @property
    def predictions(self) -> int:
        """The number of predictions that have ended."""
        return sum(model.predictions for model in self.models.values())

    @property
    def unfinished(self) -> list[str]:
        """The ids of the predictions whose end was not seen, so that they are not counted."""
        return list(self._open)

    @property
    def metrics(self) -> dict[str, float]:
        """The sum of each metric of all models."""
        total: dict[str, float] = {}
        for model in self.models.values():
            for name, value in model.metrics.items():
                total[name] = total.get(name, 0) + value
        return total

    def cost(self, prices: Mapping[str, Mapping[str, Any]]) -> Cost:
        """Return what the predictions cost.

        Args:
            prices: For each model the price of one unit of a metric: ``{"owner/name": {"image_count": 0.003}}``.
                ``prediction`` is the price of a whole prediction. ``"hardware": "gpu-t4"`` stands for the price of a
                second of ``predict_time``, which is in the table's entry ``hardware``.

        Returns:
            The cost. Predictions without a price are listed, and are not a part of the sums.

        Raises:
            ValueError: a price is not a number, or the table lacks the hardware.
        """
        costs: dict[str, Decimal] = {}
        unpriced: dict[str, int] = {}
        for name, usage in self.models.items():
            model_prices = _prices_of(name, prices)
            missing = 0 if model_prices else usage.predictions
            for metric, price in model_prices.items():
                if metric == "prediction":
                    amount: float = usage.predictions
                else:
                    reported_as = metric if metric in usage.metrics else _OTHER_NAMES.get(metric, metric)
                    amount = usage.metrics.get(reported_as, 0)
                    missing = max(missing, usage.predictions - usage.reported[reported_as])
                costs[name] = costs.get(name, Decimal(0)) + Decimal(str(amount)) * price
            if missing:
                unpriced[name] = missing
        sums = {name: float(cost) for name, cost in costs.items()}
        return Cost(float(sum(costs.values(), Decimal(0))), sums, unpriced)

    @staticmethod
    def check(prices: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise ValueError if a table of prices is invalid."""
        for name in prices.keys() - {"hardware"}:
            _prices_of(name, prices)

    def __call__(self, event: Event) -> None:
        """Note an event of a client."""
        if isinstance(event, PredictionCreated):
            if self._hooks is None or self in _blocks.get():
                self._open[event.prediction.id] = None
        elif isinstance(event, PredictionEnded) and (self._hooks is None or event.prediction.id in self._open):
            self._add(event.prediction)

    def _add(self, prediction: Prediction | Training) -> None:
        self._open.pop(prediction.id, None)
        if prediction.id in self._ended:
            return
        self._ended.add(prediction.id)
        usage = self.models.setdefault(str(prediction.model or prediction.version), ModelUsage())
        usage.predictions += 1
        usage.statuses[str(prediction.status)] += 1
        for name, value in metrics_of(prediction).items():
            usage.metrics[name] = usage.metrics.get(name, 0) + value
            usage.reported[name] += 1

    def __enter__(self) -> Self:
        if self._hooks is not None:
            _blocks.set((*_blocks.get(), self))
            self._entries += 1
            if self._entries == 1:
                self._hooks.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._hooks is not None and self._entries:
            # The block may have been entered in another context, as those of fixtures are.
            blocks = list(_blocks.get())
            if self in blocks:
                blocks.remove(self)
                _blocks.set(tuple(blocks))
            self._entries -= 1
            if not self._entries:
                self._hooks.remove(self)

    def __repr__(self) -> str:
        models = "; ".join(f"{name}: {usage.predictions} predictions" for name, usage in self.models.items())
        return f"<Usage {models or 'of no predictions'}>"


def metrics_of(job: Prediction | Training) -> dict[str, float]:
    """Return the metrics of a prediction or training that are numbers; models may report anything."""
    metrics: Any = job.metrics
    return {name: value for name, value in metrics.items() if _is_number(value)} if is_mapping(metrics) else {}


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that can be added up: NaN, for one, is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER


def _prices_of(model: str, prices: Mapping[str, Mapping[str, Any]]) -> dict[str, Decimal]:
    """Return the prices of a model's metrics."""
    for name in (model, "hardware"):
        if not is_mapping(table := prices.get(name, {})):
            raise ValueError(f"prices: {name} must have a table of prices, not {table!r}")
    entry = dict(prices.get(model, {}))
    if (hardware := entry.pop("hardware", None)) is not None:
        if not isinstance(hardware, str) or hardware not in prices.get("hardware", {}):
            raise ValueError(f"prices: {model} runs on {hardware!r}, which has no price in the entry 'hardware'")
        entry["predict_time"] = prices["hardware"][hardware]
    for metric, price in entry.items():
        if not (price.is_finite() if isinstance(price, Decimal) else _is_number(price)):
            raise ValueError(f"prices: {metric} of {model} must be a number, not {price!r}")
    return {metric: Decimal(str(price)) for metric, price in entry.items()}
