"""The operations on models and the account."""

from __future__ import annotations

from ._calls import Answer, Call, Problem, json_answer
from ._pages import page
from ._store import HostedModel, Store


async def get_account(store: Store, _call: Call) -> Answer:
    """Get the account that the token belongs to."""
    return json_answer(store.account)


async def get(store: Store, call: Call) -> Answer:
    """Get a model."""
    return json_answer(_find(store, call).record)


async def list_versions(store: Store, call: Call) -> Answer:
    """List a model's versions, newest first."""
    model = _find(store, call)
    _versioned(model)
    return page(store, call, [(number, version.record) for number, version in model.versions.newest_first()])


async def get_version(store: Store, call: Call) -> Answer:
    """Get a version of a model."""
    model = _find(store, call)
    _versioned(model)
    version_id = call.path_arguments["version_id"]
    if version_id not in model.versions:
        raise Problem(404, f"The model {model.name} has no version {version_id}. It has: {', '.join(model.versions)}.")
    return json_answer(model.versions[version_id].record)


def _find(store: Store, call: Call) -> HostedModel:
    return store.model(call.path_arguments["model_owner"], call.path_arguments["model_name"])


def _versioned(model: HostedModel) -> None:
    if model.record.is_official:
        raise Problem(404, f"{model.name} is an official model: its versions can't be addressed.")
