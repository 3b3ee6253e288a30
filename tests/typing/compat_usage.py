"""What programs of the official SDK look like on ``compat``, as type checkers see it. Checked, never run."""

from __future__ import annotations

import builtins

from typing_extensions import assert_type

from replicate_async import compat as replicate
from replicate_async.compat.account import Account
from replicate_async.compat.file import File
from replicate_async.compat.hardware import Hardware
from replicate_async.compat.model import Model
from replicate_async.compat.pagination import AsyncCursorURLPage, AsyncPaginator, Page
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.training import Training
from replicate_async.compat.version import Version
from replicate_async.compat.webhook import WebhookSigningSecret


def the_functions_of_version_1(client: replicate.Client) -> None:
    prediction = replicate.predictions.create("owner/name:version", {"prompt": "hi"})
    assert_type(prediction, Prediction)
    prediction.wait()
    assert_type(client.predictions.list(), Page[Prediction])
    assert_type([model.name for model in client.models.list()], list[str])
    assert_type(client.models.get("owner/name").versions.get("version"), Version)
    assert_type(client.trainings.get("id"), Training)


async def the_twins_of_version_1(client: replicate.Client) -> None:
    assert_type(await client.predictions.async_get("id"), Prediction)
    assert_type(await client.models.async_list(), Page[Model])


async def the_asynchronous_client_of_version_2() -> None:
    async with replicate.AsyncReplicate() as client:
        prediction = await client.predictions.create(version="version", input={"prompt": "hi"})
        assert_type(prediction, Prediction)
        assert_type(await client.predictions.get(prediction_id="id"), Prediction)
        assert_type(client.predictions.list(), AsyncPaginator[Prediction])
        assert_type(await client.predictions.list(), AsyncCursorURLPage[Prediction])
        assert_type([each async for each in client.models.list()], list[Model])
        assert_type(await client.models.search(body="query"), AsyncCursorURLPage[Model])
        assert_type(await client.models.predictions.create(model_owner="a", model_name="b", input={}), Prediction)
        assert_type(await client.deployments.predictions.create("owner/name", {}), Prediction)
        assert_type(await client.models.readme.get(model_owner="owner", model_name="name"), str)
        assert_type(await client.hardware.list(), builtins.list[Hardware])
        assert_type(await client.account.get(), Account)
        assert_type(await client.files.get("id"), File)
        assert_type(await client.webhooks.default.secret.get(), WebhookSigningSecret)
        await client.predictions.reload("id")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
