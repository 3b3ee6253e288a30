"""The groups of operations on deployments by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat.asynchronous import AsyncNamespace
from replicate_async.compat.deployment import Deployments as DeploymentsResource
from replicate_async.compat.deployment import DeploymentsPredictions as PredictionsResource

AsyncDeploymentsResource = AsyncPredictionsResource = AsyncNamespace

__all__ = ["AsyncDeploymentsResource", "AsyncPredictionsResource", "DeploymentsResource", "PredictionsResource"]
