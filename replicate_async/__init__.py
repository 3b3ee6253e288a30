"""An async-first SDK for Replicate's HTTP API, with a blocking client generated from the same code.

``AsyncReplicate`` and ``Replicate`` are the clients. The functions and resources of this module
(``replicate_async.run(...)``, ``replicate_async.predictions.get(...)``) use a ``Replicate`` that is made on first use.

Importing this package loads none of its parts: each is loaded when it is first asked for.
"""

from __future__ import annotations

import atexit
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from replicate_async._version import __version__

if TYPE_CHECKING:
    from replicate_async import errors, types
    from replicate_async._client import AsyncReplicate
    from replicate_async._client import AsyncReplicate as AsyncClient
    from replicate_async._http.options import RequestOptions
    from replicate_async._http.pages import AsyncPage, AsyncPaginator
    from replicate_async._http.ratelimit import RateLimit
    from replicate_async._http.response import APIResponse, AsyncStreamedResponse
    from replicate_async._predictions.functions import (
        AsyncModelFunction,
        AsyncOutputStream,
        AsyncRun,
        AsyncStreamingFunction,
    )
    from replicate_async._predictions.map import MapProgress
    from replicate_async._predictions.outputs import AsyncFileOutput
    from replicate_async._predictions.streaming import StreamEvent
    from replicate_async._sync import (
        Accounts,
        Collections,
        Deployments,
        FileOutput,
        Files,
        HardwareKinds,
        ModelFunction,
        Models,
        OutputStream,
        Page,
        Predictions,
        Replicate,
        Run,
        StreamedResponse,
        StreamingFunction,
        Trainings,
        Webhooks,
        default_client,
        delete,
        get,
        map,  # noqa: A004 - as the clients' method
        patch,
        post,
        put,
        request,
        run,
        search,
        stream,
        submit,
        use,
    )
    from replicate_async._sync import Replicate as Client
    from replicate_async._webhooks import verify_webhook
    from replicate_async.errors import (
        APIConnectionError,
        APIError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConflictError,
        CreateOutcomeUnknown,
        InternalServerError,
        ModelError,
        NotFoundError,
        PermissionDeniedError,
        PredictionCanceledError,
        RateLimitError,
        ReplicateError,
        UnprocessableEntityError,
        WebhookVerificationError,
    )

    account: Accounts
    collections: Collections
    deployments: Deployments
    files: Files
    hardware: HardwareKinds
    models: Models
    predictions: Predictions
    trainings: Trainings
    webhooks: Webhooks

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponse",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncFileOutput",
    "AsyncModelFunction",
    "AsyncOutputStream",
    "AsyncPage",
    "AsyncPaginator",
    "AsyncReplicate",
    "AsyncRun",
    "AsyncStreamedResponse",
    "AsyncStreamingFunction",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "CreateOutcomeUnknown",
    "FileOutput",
    "InternalServerError",
    "MapProgress",
    "ModelError",
    "ModelFunction",
    "NotFoundError",
    "OutputStream",
    "Page",
    "PermissionDeniedError",
    "PredictionCanceledError",
    "RateLimit",
    "RateLimitError",
    "Replicate",
    "ReplicateError",
    "RequestOptions",
    "Run",
    "StreamEvent",
    "StreamedResponse",
    "StreamingFunction",
    "UnprocessableEntityError",
    "WebhookVerificationError",
    "__version__",
    "account",
    "collections",
    "default_client",
    "delete",
    "deployments",
    "errors",
    "files",
    "get",
    "hardware",
    "map",
    "models",
    "patch",
    "post",
    "predictions",
    "put",
    "request",
    "run",
    "search",
    "stream",
    "submit",
    "trainings",
    "types",
    "use",
    "verify_webhook",
    "webhooks",
]

_LAZY = {
    "_http.options": ("RequestOptions",),
    "_client": ("AsyncReplicate",),
    "_http.ratelimit": ("RateLimit",),
    "_predictions.map": ("MapProgress",),
    "_predictions.outputs": ("AsyncFileOutput",),
    "_predictions.streaming": ("StreamEvent",),
    "_predictions.functions": ("AsyncModelFunction", "AsyncOutputStream", "AsyncRun", "AsyncStreamingFunction"),
    "_http.pages": ("AsyncPage", "AsyncPaginator"),
    "_sync": (
        *("Page", "Replicate", "StreamedResponse", "default_client"),
        *("FileOutput", "ModelFunction", "OutputStream", "Run", "StreamingFunction"),
        *("delete", "get", "map", "patch", "post", "put", "request", "run", "search", "stream", "submit", "use"),
    ),
    "_webhooks": ("verify_webhook",),
    "_http.response": ("APIResponse", "AsyncStreamedResponse"),
}
_MODULE_OF = {name: home for home, names in _LAZY.items() for name in names}
_RESOURCES = {
    *("account", "collections", "deployments", "files", "hardware", "models", "predictions", "trainings", "webhooks"),
}
_ALIASES = {"AsyncClient": "AsyncReplicate", "Client": "Replicate"}


@atexit.register
def _stop() -> None:
    # Registered here, not where the loop is: what a program registers after this import comes before it, and may
    # still make calls.
    if (bridge := sys.modules.get(f"{__name__}._bridge")) is not None:
        bridge.stop()


if not TYPE_CHECKING:  # they would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _RESOURCES:
            # Looked up each time: another default client has others.
            return getattr(import_module(f"{__name__}._sync").default_client(), name)
        if name in {"errors", "types"}:
            return import_module(f"{__name__}.{name}")
        wanted = _ALIASES.get(name, name)
        value = getattr(import_module(f"{__name__}.{_MODULE_OF.get(wanted, 'errors')}"), wanted)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
