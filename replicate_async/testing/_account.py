"""Operations on the account, deployments, hardware and the webhook secret."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from replicate_async.types import Deployment, DeploymentConfiguration, DeploymentRelease, WebhookSecret

from ._calls import Call, Problem, Response, empty_response, json_response
from ._pagination import paginate
from ._store import Sku, Store

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


async def get_account(store: Store, _call: Call) -> Response:
    """Get the authenticated account."""
    return json_response(store.account)


async def list_hardware(store: Store, _call: Call) -> Response:
    """List the available hardware."""
    return json_response(store.hardware)


async def get_webhook_secret(store: Store, _call: Call) -> Response:
    """Get the secret that signs webhooks."""
    return json_response(WebhookSecret(key=store.webhooks.secret))


async def list_deployments(store: Store, call: Call) -> Response:
    """List deployments, newest first."""
    return paginate(store, call, store.deployments.newest_first())


async def create_deployment(store: Store, call: Call) -> Response:
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
    return json_response(store.deployments.add(name, deployment))


async def get_deployment(store: Store, call: Call) -> Response:
    """Get a deployment."""
    return json_response(store.deployment(call)[0])


async def update_deployment(store: Store, call: Call) -> Response:
    """Change a deployment, which creates a new release."""
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
    return json_response(deployment)


async def delete_deployment(store: Store, call: Call) -> Response:
    """Delete a deployment."""
    deployment = store.deployment(call)[0]
    store.deployments.remove(f"{deployment.owner}/{deployment.name}")
    return empty_response(204)


def _release(
    store: Store, number: int, model: str, version: str, configuration: DeploymentConfiguration
) -> DeploymentRelease:
    if model not in store.models:
        raise Problem(422, f"model: there is no model {model} on this server. {store.registered()}")
    if version not in store.models[model].versions:
        raise Problem(422, f"version: the model {model} has no version {version}")
    store.check_hardware(configuration.hardware or "")
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
