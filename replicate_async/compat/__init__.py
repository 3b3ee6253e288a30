"""The API of the official SDK ``replicate``, versions 1.x and 2.x, on top of this package.

``from replicate_async import compat as replicate`` replaces ``import replicate`` in your own code. ``install()`` makes
``import replicate`` import this package, also in libraries; ``python -m replicate_async.compat program.py`` runs a
program that way.

Where the versions differ, ``Client`` and the functions of this module follow 1.x, ``Replicate`` and
``AsyncReplicate`` follow 2.x.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from replicate_async._http.options import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
from replicate_async._http.options import RequestOptions as RequestOptions
from replicate_async._http.response import APIResponse as APIResponse
from replicate_async._predictions.outputs import AsyncFileOutput as AsyncFileOutput
from replicate_async._typing import Unpack
from replicate_async._version import __version__ as __version__
from replicate_async.compat._arguments import NOT_GIVEN as NOT_GIVEN
from replicate_async.compat._arguments import CreatePredictionParams, Maybe, Options
from replicate_async.compat._arguments import NotGiven as NotGiven
from replicate_async.compat._arguments import Omit as Omit
from replicate_async.compat._arguments import Timeout as Timeout
from replicate_async.compat._arguments import not_given as not_given
from replicate_async.compat._arguments import omit as omit
from replicate_async.compat._events import ServerSentEvent
from replicate_async.compat._install import install as install
from replicate_async.compat.account import Accounts
from replicate_async.compat.asynchronous import AsyncReplicate as AsyncReplicate
from replicate_async.compat.client import Client as Client
from replicate_async.compat.client import Replicate as Replicate
from replicate_async.compat.collection import Collections
from replicate_async.compat.deployment import Deployments
from replicate_async.compat.exceptions import APIConnectionError as APIConnectionError
from replicate_async.compat.exceptions import APIError as APIError
from replicate_async.compat.exceptions import APIResponseValidationError as APIResponseValidationError
from replicate_async.compat.exceptions import APIStatusError as APIStatusError
from replicate_async.compat.exceptions import APITimeoutError as APITimeoutError
from replicate_async.compat.exceptions import AuthenticationError as AuthenticationError
from replicate_async.compat.exceptions import BadRequestError as BadRequestError
from replicate_async.compat.exceptions import ConflictError as ConflictError
from replicate_async.compat.exceptions import InternalServerError as InternalServerError
from replicate_async.compat.exceptions import NotFoundError as NotFoundError
from replicate_async.compat.exceptions import PermissionDeniedError as PermissionDeniedError
from replicate_async.compat.exceptions import RateLimitError as RateLimitError
from replicate_async.compat.exceptions import ReplicateError as ReplicateError
from replicate_async.compat.exceptions import UnprocessableEntityError as UnprocessableEntityError
from replicate_async.compat.file import Files
from replicate_async.compat.hardware import HardwareNamespace
from replicate_async.compat.helpers import FileOutput as FileOutput
from replicate_async.compat.helpers import file_from_path as file_from_path
from replicate_async.compat.helpers import get_path_url as get_path_url
from replicate_async.compat.identifier import ModelVersionIdentifier as ModelVersionIdentifier
from replicate_async.compat.model import Model as Model
from replicate_async.compat.model import Models
from replicate_async.compat.pagination import async_paginate as async_paginate
from replicate_async.compat.pagination import paginate as paginate
from replicate_async.compat.prediction import Predictions
from replicate_async.compat.resource import Resource
from replicate_async.compat.search import SearchResponse
from replicate_async.compat.settings import BaseClient
from replicate_async.compat.training import Trainings
from replicate_async.compat.version import Version as Version
from replicate_async.compat.webhook import Webhooks

AsyncClient = AsyncReplicate
BaseModel = Resource
NoneType: type[None] = type(None)
DEFAULT_MAX_RETRIES: int = 2

# The modules whose names are not those of functions and groups below.
for _name in ("exceptions", "resources", "run", "schema", "stream", "types"):
    import_module(f"{__name__}.{_name}")

default_client: Client = Client()
"""The client of the functions and groups of this module. Another one, or other settings of it, may be assigned."""


class _DefaultClient:
    """Stands for the default client of the moment."""

    def __getattr__(self, name: str) -> Any:
        return getattr(default_client, name)


_current = cast("BaseClient", _DefaultClient())
account: Accounts = Accounts(_current)
collections: Collections = Collections(_current)
deployments: Deployments = Deployments(_current)
files: Files = Files(_current)
hardware: HardwareNamespace = HardwareNamespace(_current)
models: Models = Models(_current)
predictions: Predictions = Predictions(_current)
trainings: Trainings = Trainings(_current)
webhooks: Webhooks = Webhooks(_current)


def run(
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Any:
    """Run a model and return its output; see ``Client.run``."""
    return default_client.run(ref, input, use_file_output=use_file_output, **params)


async def async_run(
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Any:
    """Run a model and return its output; see ``Client.async_run``."""
    return await default_client.async_run(ref, input, use_file_output=use_file_output, **params)


def stream(
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> Generator[ServerSentEvent, None, None]:
    """Run a model and yield its output as it is made; see ``Client.stream``."""
    return default_client.stream(ref, input, use_file_output=use_file_output, **params)


async def async_stream(
    ref: Any,
    input: Mapping[str, Any] | None = None,
    *,
    use_file_output: bool | None = True,
    **params: Unpack[CreatePredictionParams],
) -> AsyncGenerator[ServerSentEvent, None]:
    """Run a model and return its events, to be read with ``async for``; see ``Client.async_stream``."""
    return await default_client.async_stream(ref, input, use_file_output=use_file_output, **params)


def use(ref: Any, *, hint: Any = None, streaming: bool = False, use_async: bool = False) -> Any:
    """Return a model as a function; with ``use_async``, an asynchronous one."""
    client: Any = default_client
    return (client.native if use_async else client).use(ref, hint=hint, streaming=streaming)


def search(*, query: str, limit: Maybe[int] = None, **options: Unpack[Options]) -> SearchResponse:
    """Search for models, collections and pages of the documentation; see ``Client.search``."""
    return default_client.search(query=query, limit=limit, **options)


if not TYPE_CHECKING:
    _SETTINGS = frozenset(
        {
            *("bearer_token", "api_token", "_api_token", "base_url", "timeout", "max_retries", "default_headers"),
            "default_query",
        }
    )
    _LEFT_OUT = dict.fromkeys(
        ("DefaultHttpxClient", "DefaultAsyncHttpxClient", "DefaultAioHttpClient", "Transport", "ProxiesTypes"),
        "the HTTP library is aiohttp, not httpx; see replicate_async.AsyncReplicate(session=...)",
    ) | dict.fromkeys(("Stream", "AsyncStream"), "replicate.stream() returns a generator")

    class _Module(ModuleType):
        """A module whose settings, as those of 2.x, are those of its default client."""

        def __getattr__(self, name: str) -> Any:
            if name in _SETTINGS:
                return getattr(default_client, name)
            reason = f": {_LEFT_OUT[name]}" if name in _LEFT_OUT else ""
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{reason}", name=name, obj=self)

        def __setattr__(self, name: str, value: object) -> None:
            if name == "http_client":
                raise TypeError(f"http_client: {_LEFT_OUT['Transport']}")
            if name in _SETTINGS:
                setattr(default_client, name, value)
            else:
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Module
