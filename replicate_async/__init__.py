"""An async-first SDK for Replicate's HTTP API, with a blocking client generated from the same code.

``AsyncReplicate`` and ``Replicate`` are the clients. The functions and resources of this module
(``replicate_async.run(...)``, ``replicate_async.predictions.get(...)``) share a ``Replicate``, created on first use.

Importing this package imports none of its modules: each is imported on first use.
"""

from __future__ import annotations

import atexit
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from replicate_async._version import __version__ as __version__

if TYPE_CHECKING:
    from replicate_async import _sync
    from replicate_async import errors as errors
    from replicate_async import hooks as hooks
    from replicate_async import types as types
    from replicate_async._client import AsyncReplicate as AsyncReplicate
    from replicate_async._http.options import RequestOptions as RequestOptions
    from replicate_async._http.pages import AsyncPage as AsyncPage
    from replicate_async._http.pages import AsyncPaginator as AsyncPaginator
    from replicate_async._http.ratelimit import RateLimit as RateLimit
    from replicate_async._http.response import APIResponse as APIResponse
    from replicate_async._http.response import AsyncStreamedResponse as AsyncStreamedResponse
    from replicate_async._postgres import PostgresStore as PostgresStore
    from replicate_async._predictions.functions import AsyncModelFunction as AsyncModelFunction
    from replicate_async._predictions.functions import AsyncOutputStream as AsyncOutputStream
    from replicate_async._predictions.functions import AsyncRun as AsyncRun
    from replicate_async._predictions.functions import AsyncStreamingFunction as AsyncStreamingFunction
    from replicate_async._predictions.functions import FunctionOptions as FunctionOptions
    from replicate_async._predictions.journal import AsyncJournal as AsyncJournal
    from replicate_async._predictions.journal import JournalResult as JournalResult
    from replicate_async._predictions.map import MapProgress as MapProgress
    from replicate_async._predictions.outputs import AsyncFileOutput as AsyncFileOutput
    from replicate_async._predictions.requests import PredictionOptions as PredictionOptions
    from replicate_async._predictions.streaming import StreamEvent as StreamEvent
    from replicate_async._stores import JournalStore as JournalStore
    from replicate_async._stores import SQLiteStore as SQLiteStore
    from replicate_async._sync import FileOutput as FileOutput
    from replicate_async._sync import Journal as Journal
    from replicate_async._sync import ModelFunction as ModelFunction
    from replicate_async._sync import OutputStream as OutputStream
    from replicate_async._sync import Page as Page
    from replicate_async._sync import Replicate as Replicate
    from replicate_async._sync import Run as Run
    from replicate_async._sync import StreamedResponse as StreamedResponse
    from replicate_async._sync import StreamingFunction as StreamingFunction
    from replicate_async._sync import WebhookReceiver as WebhookReceiver
    from replicate_async._sync import default_client as default_client
    from replicate_async._sync import delete as delete
    from replicate_async._sync import get as get
    from replicate_async._sync import map as map  # noqa: A004 - as the clients' method
    from replicate_async._sync import patch as patch
    from replicate_async._sync import post as post
    from replicate_async._sync import put as put
    from replicate_async._sync import receive_webhooks as receive_webhooks
    from replicate_async._sync import request as request
    from replicate_async._sync import run as run
    from replicate_async._sync import search as search
    from replicate_async._sync import stream as stream
    from replicate_async._sync import submit as submit
    from replicate_async._sync import usage as usage
    from replicate_async._sync import use as use
    from replicate_async._usage import Cost as Cost
    from replicate_async._usage import ModelUsage as ModelUsage
    from replicate_async._usage import Usage as Usage
    from replicate_async._webhooks import verify_webhook as verify_webhook
    from replicate_async.errors import *  # noqa: F403 - all of its ``__all__``
    from replicate_async.resources.webhook_receiver import AsyncWebhookReceiver as AsyncWebhookReceiver

    AsyncClient = AsyncReplicate
    Client = Replicate

# The resources of the default client. ``__getattr__`` looks for their names in these annotations.
account: _sync.Accounts
collections: _sync.Collections
deployments: _sync.Deployments
files: _sync.Files
hardware: _sync.HardwareKinds
models: _sync.Models
predictions: _sync.Predictions
trainings: _sync.Trainings
webhooks: _sync.Webhooks


@atexit.register
def _stop() -> None:
    # Registered here, not in that module: exit functions that a program registers after this import run earlier, and
    # may still make calls.
    if (background := sys.modules.get(f"{__name__}._background")) is not None:
        background.stop()


# Type checkers see the imports above, and would accept every misspelled name because of ``__getattr__``.
if not TYPE_CHECKING:
    _EXPORTS = {
        "_client": "AsyncClient AsyncReplicate",
        "_http.options": "RequestOptions",
        "_http.pages": "AsyncPage AsyncPaginator",
        "_http.ratelimit": "RateLimit",
        "_http.response": "APIResponse AsyncStreamedResponse",
        "_predictions.functions": (
            "AsyncModelFunction AsyncOutputStream AsyncRun AsyncStreamingFunction FunctionOptions"
        ),
        "_postgres": "PostgresStore",
        "_predictions.journal": "AsyncJournal JournalResult",
        "_predictions.map": "MapProgress",
        "_predictions.outputs": "AsyncFileOutput",
        "resources.webhook_receiver": "AsyncWebhookReceiver",
        "_predictions.requests": "PredictionOptions",
        "_predictions.streaming": "StreamEvent",
        "_stores": "JournalStore SQLiteStore",
        "_sync": (
            "Client FileOutput Journal ModelFunction OutputStream Page Replicate Run StreamedResponse "
            "StreamingFunction WebhookReceiver default_client delete get map patch post put receive_webhooks "
            "request run search stream submit usage use"
        ),
        "_usage": "Cost ModelUsage Usage",
        "_webhooks": "verify_webhook",
        "errors": (
            "APIConnectionError APIError APIResponseValidationError APIStatusError APITimeoutError "
            "AuthenticationError BadRequestError ConflictError CreateOutcomeUnknown InternalServerError "
            "ModelError NotFoundError PaymentRequiredError PermissionDeniedError PredictionCanceledError "
            "RateLimitError ReplicateError UnprocessableEntityError WebhookVerificationError"
        ),
    }
    _MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}
    _ALIASES = {"AsyncClient": "AsyncReplicate", "Client": "Replicate"}
    _SUBMODULES = ("errors", "hooks", "types")
    __all__ = ["__version__", *_MODULES, *_SUBMODULES, *__annotations__]  # noqa: PLE0604 - all are strings

    def __getattr__(name: str) -> Any:
        if name in __annotations__:
            # Not stored, because another default client has other resources.
            return getattr(import_module(f"{__name__}._sync").default_client(), name)
        if name in _SUBMODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _MODULES:
            hints = import_module(f"{__name__}._hints")
            raise hints.missing_attribute(sys.modules[__name__], __name__, name)
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), _ALIASES.get(name, name))
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)

    class _Module(ModuleType):
        """A module that refuses settings, which would have no effect: other credentials would be used, and billed."""

        def __setattr__(self, name: str, value: object) -> None:
            # Tests may replace the function by another.
            if name == "default_client" and not callable(value):
                raise AttributeError("default_client can't be replaced: create a Replicate(...), and call its methods")
            if not isinstance(value, ModuleType) and name in import_module(f"{__name__}._hints").SETTINGS:
                raise import_module(f"{__name__}._hints").missing_attribute(self, __name__, name)
            super().__setattr__(name, value)

        def __reduce__(self) -> tuple[object, ...]:
            # Functions that use the module are sent to other processes, with it.
            return import_module, (self.__name__,)

    sys.modules[__name__].__class__ = _Module
