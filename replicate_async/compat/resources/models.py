"""The groups of operations on models by their names in 2.x."""

from __future__ import annotations

from replicate_async.compat._async_groups import AsyncModelExamples as AsyncExamplesResource
from replicate_async.compat._async_groups import AsyncModelReadme as AsyncReadmeResource
from replicate_async.compat._async_groups import AsyncModels as AsyncModelsResource
from replicate_async.compat._async_groups import AsyncModelsPredictions as AsyncPredictionsResource
from replicate_async.compat._async_groups import AsyncVersions as AsyncVersionsResource
from replicate_async.compat.model import ModelExamples as ExamplesResource
from replicate_async.compat.model import ModelReadme as ReadmeResource
from replicate_async.compat.model import Models as ModelsResource
from replicate_async.compat.model import ModelsPredictions as PredictionsResource
from replicate_async.compat.version import Versions as VersionsResource

__all__ = [
    "AsyncExamplesResource",
    "AsyncModelsResource",
    "AsyncPredictionsResource",
    "AsyncReadmeResource",
    "AsyncVersionsResource",
    "ExamplesResource",
    "ModelsResource",
    "PredictionsResource",
    "ReadmeResource",
    "VersionsResource",
]
