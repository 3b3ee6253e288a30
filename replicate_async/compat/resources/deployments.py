"""The groups of operations on deployments by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat._async_groups import AsyncDeployments as AsyncDeploymentsResource
from replicate_async.compat._async_groups import AsyncDeploymentsPredictions as AsyncPredictionsResource
from replicate_async.compat.deployment import Deployments as DeploymentsResource
from replicate_async.compat.deployment import DeploymentsPredictions as PredictionsResource

__all__ = ["AsyncDeploymentsResource", "AsyncPredictionsResource", "DeploymentsResource", "PredictionsResource"]
