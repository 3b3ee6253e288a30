"""Operations on the account, deployments, hardware and the webhook secret."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from replicate_async.types import Deployment, DeploymentConfiguration, DeploymentRelease, WebhookSecret

from ._calls import Call, Problem, Response, empty_response, invalid, json_response
from ._pagination import paginate
from ._store import Sku, Store

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")

MinInstances = Annotated[int, Meta(ge=0, le=5)]
MaxInstances = Annotated[int, Meta(ge=0, le=20)]


class CreateDeployment(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``deployments.create``."""

    hardware: Sku
    max_instances: MaxInstances
    min_instances: MinInstances
    model: str
    name: Annotated[str, Meta(extra_json_schema={"pattern": f"^{_NAME.pattern}$"})]
    version: str


class UpdateDeployment(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``deployments.update``."""

    hardware: Sku | UnsetType = UNSET
    max_instances: MaxInstances | UnsetType = UNSET
    min_instances: MinInstances | UnsetType = UNSET
    version: str | UnsetType = UNSET


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
        raise invalid("name", f"Does not match pattern '^{_NAME.pattern}$'", "pattern")
    owner = store.account.username
    name = f"{owner}/{body.name}"
    if name in store.deployments:
        raise Problem(409, "A deployment with that name already exists")
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
        if value is not UNSET and name in configuration.__struct_fields__
    }
    deployment.current_release = _release(
        store,
        (release.number or 0) + 1,
        release.model or "",
        release.version or "" if body.version is UNSET else body.version,
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
    if model not in store.models or version not in store.models[model].versions:
        raise Problem(
            422,
            "The specified version does not exist (or perhaps you don't have permission to use it?)",
            title="Invalid version or not permitted",
        )
    store.check_hardware(configuration.hardware or "")
    if (configuration.min_instances or 0) > (configuration.max_instances or 0):
        raise invalid("min_instances", "min_instances must be less than or equal to max_instances")
    return DeploymentRelease(
        number=number,
        model=model,
        version=version,
        created_at=store.clock.now(),
        created_by=store.account,
        configuration=configuration,
    )
