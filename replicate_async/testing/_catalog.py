"""Operations on models, versions and collections, and search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from replicate_async.types import (
    Collection,
    SearchCollection,
    SearchModel,
    SearchModelMetadata,
    SearchPage,
    SearchResults,
)

from ._calls import (
    Call,
    Problem,
    Response,
    empty_response,
    forbidden,
    invalid,
    json_response,
    not_found,
    parse_int,
)
from ._hosted import HostedModel
from ._jobs import to_wire
from ._pagination import paginate
from ._store import NAME, Sku, Store

_DOCUMENTATION_PAGES = [
    SearchPage(name="HTTP API reference", href="/docs/reference/http"),
    SearchPage(name="Get started with Python", href="/docs/get-started/python"),
    SearchPage(name="Webhooks", href="/docs/topics/webhooks"),
]


class CreateModel(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``models.create``."""

    owner: str
    name: Annotated[str, Meta(extra_json_schema={"pattern": f"^{NAME.pattern}$"})]
    visibility: Literal["public", "private"]
    hardware: Sku
    description: str | UnsetType = UNSET
    github_url: str | UnsetType = UNSET
    paper_url: str | UnsetType = UNSET
    license_url: str | UnsetType = UNSET
    cover_image_url: str | UnsetType = UNSET


class UpdateModel(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``models.update``; omitted fields stay unchanged."""

    description: str | UnsetType = UNSET
    readme: str | UnsetType = UNSET
    github_url: str | UnsetType = UNSET
    paper_url: str | UnsetType = UNSET
    weights_url: str | UnsetType = UNSET
    license_url: str | UnsetType = UNSET


async def list_(store: Store, call: Call) -> Response:
    """List public models."""
    # Further pages of a search have the path of this operation.
    if "query" in call.query:
        return _search_page(store, call, call.query["query"])
    sort_by = _choice(call, "sort_by", ("latest_version_created_at", "model_created_at"))
    descending = _choice(call, "sort_direction", ("desc", "asc")) == "desc"
    entries: list[tuple[tuple[float, int], HostedModel]] = []
    for (number,), model in store.models.newest_first():
        created_at = model.created_at
        if sort_by == "latest_version_created_at" and model.latest is not None:
            created_at = model.latest.record.created_at
        if model.record.visibility == "public":
            entries.append(((created_at.timestamp(), number), model))
    entries.sort(key=lambda entry: entry[0], reverse=descending)
    return paginate(
        store, call, [(key, model.to_wire()) for key, model in entries], descending=descending, page_size=25
    )


async def create(store: Store, call: Call) -> Response:
    """Create a model without versions."""
    body = call.decode(CreateModel)
    store.check_hardware(body.hardware)
    if body.owner != store.account.username:
        raise forbidden()
    name = f"{body.owner}/{body.name}"
    if name in store.models:
        raise Problem(409, "A model with that name and owner already exists")
    fields = {field: value for field, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    hardware = fields.pop("hardware")
    del fields["owner"], fields["name"]
    try:
        model = store.add_model(name, **fields)
    except ValueError:
        raise invalid("name", f"Does not match pattern '^{NAME.pattern}$'", "pattern") from None
    model.hardware = hardware
    return json_response(model.to_wire(), 201)


async def search_models(store: Store, call: Call) -> Response:
    """List the public models that match the text in the body."""
    # The official SDK sends the text as JSON.
    if call.headers.get("Content-Type", "").startswith("application/json"):
        return _search_page(store, call, call.decode(str))
    return _search_page(store, call, call.body.decode("utf-8", "replace"))


async def get(store: Store, call: Call) -> Response:
    """Get a model."""
    return json_response(_find(store, call).to_wire())


async def update(store: Store, call: Call) -> Response:
    """Change the description, README and URLs of a model."""
    body = call.decode(UpdateModel)
    model = _owned(store, _find(store, call))
    for name, value in msgspec.structs.asdict(body).items():
        if value is UNSET:
            continue
        if name == "readme":
            model.readme = value
        else:
            setattr(model.record, name, value)
    return json_response(model.to_wire())


async def delete(store: Store, call: Call) -> Response:
    """Delete a model, which must be private, without versions, and of the authenticated account."""
    model = _private(_owned(store, _find(store, call)))
    if model.versions:
        raise Problem(409, "Only models without versions can be deleted")
    store.models.remove(model.name)
    return empty_response(204)


async def list_examples(store: Store, call: Call) -> Response:
    """List a model's example predictions."""
    return paginate(
        store, call, [(key, to_wire(example)) for key, example in _find(store, call).examples.newest_first()]
    )


async def get_readme(store: Store, call: Call) -> Response:
    """Get a model's README."""
    return Response(_find(store, call).readme.encode(), content_type="text/plain")


async def list_versions(store: Store, call: Call) -> Response:
    """List a model's versions, newest first."""
    model = _with_public_versions(_find(store, call))
    return paginate(store, call, [(key, version.record) for key, version in model.versions.newest_first()])


async def get_version(store: Store, call: Call) -> Response:
    """Get a version of a model."""
    model = _with_public_versions(_find(store, call))
    return json_response(model.version(call).record)


async def delete_version(store: Store, call: Call) -> Response:
    """Delete a version and its predictions; its model must be private and of the authenticated account."""
    model = _private(_owned(store, _find(store, call)))
    version_id = model.version(call).record.id
    for deployment in store.deployments.values():
        if deployment.current_release is not None and deployment.current_release.version == version_id:
            raise Problem(409, "A deployment uses this version")
    store.remove_version(model, version_id)
    return empty_response(202)


async def list_collections(store: Store, call: Call) -> Response:
    """List collections, without their models."""
    return paginate(store, call, store.collections.newest_first(), encode=_to_wire)


async def get_collection(store: Store, call: Call) -> Response:
    """Get a collection with its models: on this server, all public models."""
    slug = call.path_arguments["collection_slug"]
    if slug not in store.collections:
        raise not_found()
    public_models = [model.to_wire() for model in store.models.values() if model.record.visibility == "public"]
    return json_response({**_to_wire(store.collections[slug]), "models": public_models})


async def search(store: Store, call: Call) -> Response:
    """Search models, collections and documentation pages."""
    query = call.query.get("query")
    if query is None:
        raise invalid("", "query is required", "required")
    limit = parse_int(call.query.get("limit", "20"))
    if limit is None or not 1 <= limit <= 50:
        raise invalid("limit", "limit must be between 1 and 50")
    models = [model for _, model in store.models.newest_first() if _matches(query, model)][:limit]
    return json_response(
        SearchResults(
            query=query,
            models=[
                SearchModel(
                    model=model.record,
                    metadata=SearchModelMetadata(
                        generated_description=model.record.description, tags=model.record.name.split("-"), score=1.0
                    ),
                )
                for model in models
            ],
            collections=[
                SearchCollection(name=collection.name, slug=collection.slug, description=collection.description)
                for collection in store.collections.values()
                if _contains(query, (collection.name, collection.slug, collection.description))
            ],
            pages=[document for document in _DOCUMENTATION_PAGES if _contains(query, (document.name, document.href))],
        )
    )


def _find(store: Store, call: Call) -> HostedModel:
    return store.model(call.path_arguments["model_owner"], call.path_arguments["model_name"])


def _with_public_versions(model: HostedModel) -> HostedModel:
    if model.record.is_official:
        raise not_found()
    return model


def _owned(store: Store, model: HostedModel) -> HostedModel:
    if model.record.owner != store.account.username:
        raise forbidden()
    return model


def _private(model: HostedModel) -> HostedModel:
    if model.record.visibility != "private":
        raise forbidden()
    return model


def _choice(call: Call, name: str, choices: tuple[str, ...]) -> str:
    value = call.query.get(name, choices[0])
    if value not in choices:
        words = ", ".join(f'"{choice}"' for choice in choices)
        raise invalid(name, f"{name} must be one of the following: {words}", "enum")
    return value


def _search_page(store: Store, call: Call, query: str) -> Response:
    matches = [(key, model) for key, model in store.models.newest_first() if _matches(query, model)]
    return paginate(store, call, matches, page_size=25, encode=HostedModel.to_wire, query=query)


def _to_wire(collection: Collection) -> dict[str, Any]:
    """Return a collection as the API sends it. Lists omit the models."""
    return {name: value for name, value in msgspec.to_builtins(collection).items() if value is not None}


def _matches(query: str, model: HostedModel) -> bool:
    return model.record.visibility == "public" and _contains(query, (model.name, model.record.description))


def _contains(query: str, texts: Iterable[str | None]) -> bool:
    text = " ".join(text for text in texts if text).lower()
    return all(word in text for word in query.lower().split())
