"""Hints: what to write in place of the official SDK's names, for errors about attributes that do not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

F = TypeVar("F", bound="Callable[..., Any]")

_DICT, _JSON = "{0}.to_dict()", "{0}.to_json()"
_STRUCT = {"dict": _DICT, "model_dump": _DICT, "json": _JSON, "model_dump_json": _JSON}
_RESPONSE = "the attributes status_code, headers and body of the error: the HTTP library is not httpx"
_JOB = {"reload": "{0} = client.{0}s.get({0})", "cancel": "client.{0}s.cancel({0})"}

# The names of versions 1 and 2 that this package does not have, by class, each with what to write for it.
_HINTS: dict[str, dict[str, str]] = {
    "Prediction": {
        **_JOB,
        "wait": "{0} = client.predictions.wait({0})",
        "stream": "client.predictions.stream({0})",
        "output_iterator": "client.predictions.stream({0})",
    },
    "Training": {**_JOB, "wait": "{0} = client.trainings.wait({0})", "destination": "training.output.version"},
    "Model": {
        "versions": "client.models.versions.list(model)",
        "predict": "client.run(model, input=...)",
        "reload": "model = client.models.get(model)",
        "id": 'f"{{model.owner}}/{{model.name}}"',
        "username": "model.owner",
    },
    "Deployment": {
        "predictions": "client.deployments.predictions.create(deployment, input=...)",
        "id": 'f"{{deployment.owner}}/{{deployment.name}}"',
        "username": "deployment.owner",
    },
    "Collection": {"id": "collection.slug"},
    "Hardware": {"id": "hardware.sku"},
    "Replicate": {
        "accounts": "client.account.get()",
        "paginate": "first_page.iter_pages(), where first_page = client.predictions.list()",
        "poll_interval": "nothing: the interval adapts to how long a prediction takes",
    },
    "Accounts": {"current": "client.account.get()"},
    "Webhooks": {"validate": "replicate_async.verify_webhook(body, headers, secret)"},
    "DefaultWebhook": {"secret": "client.webhooks.default.secret.get()"},
    "replicate_async": {
        "accounts": "replicate_async.account.get()",
        "paginate": "first_page.iter_pages(), where first_page = replicate_async.predictions.list()",
        "exceptions": "replicate_async.errors",
        "NOT_GIVEN": "nothing: omit the argument",
        "NotGiven": "nothing: omit the argument",
        "omit": "nothing: omit the argument",
        "Timeout": "timeout=60.0, or an aiohttp.ClientTimeout",
        "DefaultHttpxClient": "session=aiohttp.ClientSession(...)",
        "DefaultAsyncHttpxClient": "session=aiohttp.ClientSession(...)",
    },
}
# The options of clients that the official SDK keeps in attributes of the client and of the module.
_OPTIONS = frozenset({"bearer_token", "base_url", "timeout", "max_retries", "default_headers", "default_query"})
SETTINGS = _OPTIONS | {"api_token", "_api_token", "_base_url", "_timeout", "http_client"}
_TWINS = {
    f"async_{name}" for name in ("run", "stream", "create", "get", "list", "cancel", "update", "delete", "search")
}


def _advice() -> Any:
    """Return the module with the advice for common mistakes, which only errors need."""
    return import_module("replicate_async._advice")


def missing_attribute(owner: object, kind: str, name: str) -> AttributeError:
    """Return the error for an attribute that does not exist, with a hint if the official SDK has it.

    Args:
        owner: Object that lacks the attribute.
        kind: Name of its class, or of the module.
        name: Name of the attribute.
    """
    subject = f"module {kind!r}" if kind == "replicate_async" else f"{kind!r} object"
    message = f"{subject} has no attribute {name!r}"
    plain = kind.removeprefix("Async")
    if hint := _hint_for(plain, name, is_async=plain != kind):
        message += f". Write {hint}; replicate_async.compat has the names of the official SDK"
    elif remedy := _advice().for_attribute(owner, plain, name):
        # Without the name, Python adds no suggestion of its own.
        return AttributeError(message + remedy)
    return AttributeError(message, name=name, obj=owner)


def _hint_for(kind: str, name: str, *, is_async: bool) -> str:
    """Return what to write for a name of the official SDK; empty if it has no such name."""
    blocking = name.removeprefix("async_")
    hints = _HINTS.get(kind, {})
    if kind.endswith("Error"):
        return _RESPONSE if name in {"response", "request"} else ""
    if kind in {"Replicate", "replicate_async"}:
        if name in SETTINGS:
            option = name.lstrip("_") if name.lstrip("_") in _OPTIONS else "bearer_token"
            return f"client.with_options({option}=...), or Replicate({option}=...), and use the client that it returns"
    else:
        hints = {**_STRUCT, **hints}
    if hint := hints.get(name) or hints.get(blocking):
        return hint.format(kind.lower()).replace("client.", "await client.", is_async or blocking != name)
    if name in _TWINS:
        return f"await {blocking}(...) of an AsyncReplicate"
    return ""


class Hinted:
    """The base of what users may look for an attribute of the official SDK on."""

    __slots__ = ()

    # Type checkers would accept every misspelled name.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing_attribute(self, type(self).__name__, name)


class HintedObject(Hinted):
    """The base of what people take for a list or a dict. Not of structs: msgspec takes what has items for a mapping."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getitem__(self, key: object) -> Any:
            kind = type(self).__name__
            raise TypeError(f"{kind!r} object has no items: {_advice().for_index(kind, key)}")


class HintedPage(HintedObject):
    """The base of pages, which people take for lists."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __len__(self) -> int:
            raise TypeError("a page has no length: len(page.results) is that of this page alone")

        def __bool__(self) -> bool:
            return True


class HintedClient(Hinted):
    """The base of clients, whose options are not attributes: assigning to those would have no effect."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if name in SETTINGS:
                raise missing_attribute(self, type(self).__name__, name)
            super().__setattr__(name, value)

        def __enter__(self) -> Any:
            raise TypeError("AsyncReplicate is asynchronous: write async with, or use Replicate")

        def __exit__(self, *_exc_info: object) -> None:
            """Python looks for it before it calls ``__enter__``."""


class _WithoutSettings:
    """A function that refuses attributes, such as those of a client in ``default_client._api_token = ...``."""

    __slots__ = ("__wrapped__",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if name != "__wrapped__":
                raise missing_attribute(self, "Replicate", name)
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> Any:
            if name in SETTINGS:
                raise missing_attribute(self, "Replicate", name)
            try:
                return getattr(self.__wrapped__, name)
            except AttributeError:
                raise AttributeError(f"default_client is a function: write default_client().{name}") from None


def explain_missing_version(function: Callable[..., Any]) -> None:
    """Let a create without version and input reach the checks of both. Its signature still requires them."""
    # Imported here, because the errors need nothing of it.
    import inspect

    vars(function)["__signature__"] = inspect.signature(function)
    cast("Any", function).__defaults__ = (None, None)


def check_version(version: object, options: Mapping[str, Any]) -> None:
    """Raise TypeError if a create has no version, as in ``predictions.create(model=...)`` of the official SDK."""
    if not version and not isinstance(version, str):
        group = "deployments" if "deployment" in options else "models"
        raise TypeError(
            "predictions.create needs version=: an 'owner/name' (official models only), an 'owner/name:version', or a "
            f"version id. For a model or a deployment, write client.{group}.predictions.create('owner/name', "
            "input=...); replicate_async.compat has the arguments of the official SDK"
        )


def without_settings(function: F) -> F:
    """Return a function that raises AttributeError if an option of a client is assigned to it."""
    return cast("F", _WithoutSettings(function))
