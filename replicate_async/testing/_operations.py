"""What an operation of the API is: a name, where requests for it go, and the function that responds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ._calls import Call, Response
from ._operation_names import OperationName
from ._store import Store

Handler = Callable[[Store, Call], Awaitable[Response]]


class Operation(NamedTuple):
    """An operation of the API."""

    name: OperationName
    method: str
    path: str
    handler: Handler
