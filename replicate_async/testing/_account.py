"""The operations on the account and what belongs to it: deployments, hardware, the webhook secret."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from replicate_async.types import Deployment, DeploymentConfiguration, DeploymentRelease, WebhookSecret

from ._calls import Answer, Call, Problem, empty_answer, json_answer
from ._catalog import Sku, check_hardware
from ._pages import page
from ._store import Store

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")

Count = Annotated[int, Meta(ge=0)]


class CreateDeployment(msgspec.Struct):
    """The body of ``deployments.create``."""

    hardware: Sku
    max_instances: Count
    min_instances: Count
    model: str
    name: Annotated[str, Meta(extra_json_schema={"pattern": f"^{_NAME.pattern}$"})]
    version: str


class UpdateDeployment(msgspec.Struct):
    """The body of ``deployments.update``."""

    hardware: Sku | None = None
    max_instances: Count | None = None
    min_instances: Count | None = None
    version: str | None = None


async def get_account(store: Store, _call: Call) -> Answer:
    """Get the account that the token belongs to."""
    return json_answer(store.account)


async def list_hardware(store: Store, _call: Call) -> Answer:
    """List kinds of hardware."""
    return json_answer(store.hardware)


async def get_webhook_secret(store: Store, _call: Call) -> Answer:
    """Get the key that signs webhooks."""
    return json_answer(WebhookSecret(key=store.webhooks.secret))


async def list_deployments(store: Store, call: Call) -> Answer:
    """List deployments, newest first."""
    return page(store, call, store.deployments.newest_first())


async def create_deployment(store: Store, call: Call) -> Answer:
    """Create a deployment."""
    body = call.decode(CreateDeployment)
    if not _NAME.fullmatch(body.name):
        raise Problem(422, f"name: expected lower-case letters, digits and hyphens, got {body.name!r}")
    owner = store.account.username
    name = f"{owner}/{body.name}"
    if name in store.deployments:
        raise Problem(409, f"A deployment with the name {name} exists already.")
    configuration = DeploymentConfiguration(
        hardware=body.hardware, min_instances=body.min_instances, max_instances=body.max_instances
    )
    release = _release(store, 1, body.model, body.version, configuration)
    deployment = Deployment(owner=owner, name=body.name, current_release=release)
    return json_answer(store.deployments.add(name, deployment))


async def get_deployment(store: Store, call: Call) -> Answer:
    """Get a deployment."""
    return json_answer(store.deployment(call)[0])


async def update_deployment(store: Store, call: Call) -> Answer:
    """Change a deployment, which makes a new release of it."""
    body = call.decode(UpdateDeployment)
    deployment, release, configuration = store.deployment(call)
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(body).items()
        if value is not None and name in configuration.__struct_fields__
    }
    deployment.current_release = _release(
        store,
        (release.number or 0) + 1,
        release.model or "",
        body.version or release.version or "",
        msgspec.structs.replace(configuration, **changes),
    )
    return json_answer(deployment)


async def delete_deployment(store: Store, call: Call) -> Answer:
    """Delete a deployment."""
    deployment = store.deployment(call)[0]
    store.deployments.remove(f"{deployment.owner}/{deployment.name}")
    return empty_answer(204)


def _release(
    store: Store, number: int, model: str, version: str, configuration: DeploymentConfiguration
) -> DeploymentRelease:
    if model not in store.models:
        raise Problem(422, f"model: there is no model {model} on this server. {store.registered()}")
    if version not in store.models[model].versions:
        raise Problem(422, f"version: the model {model} has no version {version}")
    check_hardware(store, configuration.hardware or "")
    if (configuration.min_instances or 0) > (configuration.max_instances or 0):
        raise Problem(422, "min_instances and max_instances: expected min_instances <= max_instances")
    return DeploymentRelease(
        number=number,
        model=model,
        version=version,
        created_at=store.clock.now(),
        created_by=store.account,
        configuration=configuration,
    )
