"""What a fault is: which requests it affects, how often, and what happens to them. Plain data."""

from __future__ import annotations

import difflib
import fnmatch
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta

from ._operation_names import OPERATION_NAMES, WEBHOOK_NAMES

_RequestKind = Literal[
    "delay", "stall", "reset", "truncate", "drip", "json", "html", "status", "rate_limit", "redirect"
]
Kind = Literal[_RequestKind, "duplicate", "reorder"]
Hint = Literal["header", "body", "detail"]
HINTS: tuple[Hint, ...] = ("header", "body", "detail")

_Count = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(ge=0)]


class _Fields(NamedTuple):
    """The required and the optional fields of a kind."""

    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


_FIELDS_OF_KIND: dict[str, _Fields] = {
    "delay": _Fields(needs=("seconds",), takes=("after",)),
    "stall": _Fields(takes=("after",)),
    "reset": _Fields(takes=("after",)),
    "truncate": _Fields(needs=("at",), takes=("clean",)),
    "drip": _Fields(needs=("rate",)),
    "json": _Fields(needs=("body",), takes=("status", "after")),
    "html": _Fields(takes=("body", "status", "after")),
    "status": _Fields(needs=("status",), takes=("problem", "headers", "after")),
    "rate_limit": _Fields(takes=("retry_after", "hints")),
    "redirect": _Fields(needs=("location",), takes=("status",)),
    "duplicate": _Fields(takes=("copies",)),
    "reorder": _Fields(),
}
# All kinds take these fields, although some kinds need them. The value is the default.
_COMMON_DEFAULTS = {"seconds": 0.0}
_KIND_FIELDS = {name for fields in _FIELDS_OF_KIND.values() for name in (*fields.needs, *fields.takes)}
# All other kinds affect requests only.
_OPERATIONS_OF_KIND = {
    "delay": OPERATION_NAMES | WEBHOOK_NAMES,
    "duplicate": WEBHOOK_NAMES,
    "reorder": WEBHOOK_NAMES,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault. Raises ``ValueError`` if its fields are invalid, here or when it is added to a server.

    These fields select requests:

    Attributes:
        operation: The name of the operation, or a pattern such as ``predictions.*``. If omitted, all requests match.
            Webhook deliveries are ``webhook.start``, ``webhook.output``, ``webhook.logs`` and ``webhook.completed``.
        times: How many times the fault occurs at most.
        skip: How many matching requests succeed first.
        probability: The probability that the fault occurs for a matching request, after those skipped.
        seed: The seed of the random numbers. The same seed gives the same sequence.
        when: A function that takes the ``Call`` and returns whether the fault occurs.

    These fields describe the effect:

    Attributes:
        kind: ``delay`` only waits for ``seconds``. ``stall`` never responds. ``reset`` resets the connection.
            ``truncate`` ends the response after ``at`` bytes of its body, also in an event stream; with ``clean`` the
            response looks complete, without it the transfer breaks off. ``drip`` sends the body with ``rate`` bytes
            per second. ``json`` responds with ``body`` as JSON; a string is sent as it is. ``html`` is the 502 of a
            gateway. ``status`` responds with a problem. ``rate_limit`` is a 429 whose ``hints`` (``header``, ``body``,
            ``detail``) give ``retry_after`` seconds. ``redirect`` redirects to ``location``. For webhooks,
            ``duplicate`` delivers ``copies`` more, and ``reorder`` delivers one after the next.
        seconds: The time that passes first, by the server's clock.
        after: Whether the server carries out the operation before its response is lost.
    """

    kind: Kind
    operation: str = "*"
    times: _Count | None = None
    skip: _Count = 0
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: int = 0
    # A Callable[[Call], object], which msgspec can't convert.
    when: Any = None
    seconds: _Seconds = 0.0
    after: bool = False
    at: _Count | None = None
    clean: bool = False
    rate: Annotated[float, Meta(gt=0)] | None = None
    body: Any = UNSET
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    problem: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    retry_after: _Seconds | None = None
    hints: tuple[Hint, ...] | None = None
    location: str | None = None
    copies: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        self._check_fields()
        if not self.operations:
            similar = difflib.get_close_matches(self.operation, self._possible_operations, 1)
            suggestion = f"; did you mean {similar[0]}?" if similar else ""
            raise ValueError(f"operation: there is no {self.operation!r} for the kind {self.kind}{suggestion}")
        if self.when is not None and not callable(self.when):
            raise ValueError("when: expected a function that takes the call; a file can't contain one")
        for name, text in {"location": self.location or "", **(self.headers or {})}.items():
            # A line break in a header would break the connection instead.
            if not f"{name}{text}".isprintable():
                raise ValueError(f"{name!a}: expected a header without line breaks, got {text!a}")

    def _check_fields(self) -> None:
        if self.kind not in _FIELDS_OF_KIND:
            raise ValueError(f"kind: expected one of {', '.join(_FIELDS_OF_KIND)}, got {self.kind!r}")
        fields = _FIELDS_OF_KIND[self.kind]
        for name in fields.needs:
            if not self._is_set(name):
                raise ValueError(f"{name}: required by the kind {self.kind}")
        for name in _KIND_FIELDS - {*fields.needs, *fields.takes, *_COMMON_DEFAULTS}:
            if self._is_set(name):
                raise ValueError(f"{name}: not for the kind {self.kind}")

    def _is_set(self, name: str) -> bool:
        value = getattr(self, name)
        if name == "body":
            # None is a body: JSON's null.
            return value is not UNSET
        return value is not None and value is not False and value != _COMMON_DEFAULTS.get(name)

    @property
    def operations(self) -> frozenset[str]:
        """The names of all operations that the fault affects."""
        return frozenset(fnmatch.filter(self._possible_operations, self.operation))

    @property
    def _possible_operations(self) -> frozenset[str]:
        return _OPERATIONS_OF_KIND.get(self.kind, OPERATION_NAMES)
