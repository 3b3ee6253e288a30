"""Faults on demand: what goes wrong, with which requests, how often; as data."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
from msgspec import UNSET, Meta

from ._calls import Answer, Call, Problem
from ._clock import Clock
from ._limits import HINTS, Hint, throttled
from ._routes import DELIVERY, OPERATIONS

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Incoming = Literal["delay", "stall", "reset", "truncate", "drip", "json", "html", "status", "rate_limit", "redirect"]
Kind = Literal[_Incoming, "duplicate", "reorder"]
Work = Callable[[], Awaitable[Answer]]
_Count = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(ge=0)]

_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"


class _Fields(NamedTuple):
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


_KINDS: dict[str, _Fields] = {
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
_UNSPECIFIC = {"seconds": 0.0}  # a field of all kinds, though one of them needs it
_SPECIFIC = {name for fields in _KINDS.values() for name in (*fields.needs, *fields.takes)} - {*_UNSPECIFIC}
_SPOILING = {"truncate", "drip"}  # what is done to an answer, so there has to be one
_REQUESTS = {operation.name for operation in [*OPERATIONS, *DELIVERY]}
_WEBHOOKS = {"webhook.start", "webhook.output", "webhook.logs", "webhook.completed"}
_CONCERNED = {"delay": _REQUESTS | _WEBHOOKS, "duplicate": _WEBHOOKS, "reorder": _WEBHOOKS}  # the others: requests


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong; what makes no sense is a ``ValueError`` here or when it is added to a server.

    Which requests it concerns:

    Attributes:
        operation: The operation's name, or a pattern such as ``predictions.*``; by default every request. Webhooks
            are ``webhook.start``, ``webhook.output``, ``webhook.logs`` and ``webhook.completed``.
        times: How often it happens at most.
        skip: How many requests that it concerns go well before.
        probability: How likely it happens to each request after those.
        seed: What the chances are drawn from; the same seed gives the same ones.
        when: A function that is given the ``Call`` and says whether it happens.

    What happens:

    Attributes:
        kind: ``delay`` only takes ``seconds``. ``stall`` never answers. ``reset`` breaks the connection off.
            ``truncate`` ends the answer after ``at`` bytes of its body, an event stream as well; with ``clean`` as if
            that was all, else in the middle of the transfer. ``drip`` sends the body with ``rate`` bytes a second.
            ``json`` answers with ``body`` as JSON, or, if it is a text, with that text for JSON. ``html`` is a
            gateway's 502. ``status`` answers with a problem. ``rate_limit`` is a 429 with ``hints`` (``header``,
            ``body``, ``detail``) to wait for ``retry_after`` seconds. ``redirect`` sends to ``location``. Of webhooks,
            ``duplicate`` delivers ``copies`` more, and ``reorder`` has one delivered after the next.
        seconds: What passes before it happens, by the server's clock.
        after: Whether the operation is carried out all the same, before its answer is lost.
    """

    kind: Kind
    operation: str = "*"
    times: _Count | None = None
    skip: _Count = 0
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: int = 0
    when: Any = None  # Callable[[Call], object], which no file can hold
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
        self._check_kind()
        if not self.operations:
            near = difflib.get_close_matches(self.operation, self._concerned, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"operation: there is no {self.operation!r} for the kind {self.kind}{hint}")
        if self.when is not None and not callable(self.when):
            raise ValueError("when: expected a function that takes the call; in a file there can be none")
        for name, text in {"location": self.location or "", **(self.headers or {})}.items():
            if not f"{name}{text}".isprintable():  # the connection would break instead
                raise ValueError(f"{name!a}: expected a header without line breaks, got {text!a}")

    def _check_kind(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, got {self.kind!r}")
        fields = _KINDS[self.kind]
        for name in fields.needs:
            if not self._given(name):
                raise ValueError(f"{name}: required by the kind {self.kind}")
        for name in _SPECIFIC - {*fields.needs, *fields.takes}:
            if self._given(name):
                raise ValueError(f"{name}: not for the kind {self.kind}")

    def _given(self, name: str) -> bool:
        value = getattr(self, name)
        if name == "body":
            return value is not UNSET  # null is a body
        return value is not None and value is not False and value != _UNSPECIFIC.get(name)

    @property
    def operations(self) -> frozenset[str]:
        """The operations that it concerns."""
        return frozenset(fnmatch.filter(self._concerned, self.operation))

    @property
    def _concerned(self) -> set[str]:
        return _CONCERNED.get(self.kind, _REQUESTS)


class FaultFields(TypedDict, total=False):
    """The fields of a fault, as keyword arguments."""

    kind: Kind
    operation: str
    times: int | None
    skip: int
    probability: float
    seed: int
    when: Callable[[Call], object] | None
    seconds: float
    after: bool
    at: int | None
    clean: bool
    rate: float | None
    body: Any
    status: int | None
    problem: dict[str, Any] | None
    headers: dict[str, str] | None
    retry_after: float | None
    hints: tuple[Hint, ...] | None
    location: str | None
    copies: int | None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[dict[str, Any]]


class Faults:
    """The faults of one server: ``LocalServer.faults``. The first that concerns a request and is due acts, alone."""

    def __init__(self) -> None:
        self._active: list[_Active] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter([active.fault for active in self._active])

    def __len__(self) -> int:
        return len(self._active)

    def add(self, fault: Fault | None = None, /, **fields: Unpack[FaultFields]) -> Fault:
        """Add a fault, given as such or by its fields; see ``Fault`` for what they mean.

        Returns:
            The fault. The calls that it acted on have it as their ``fault``.

        Raises:
            ValueError: The fault makes no sense; the message says why.
        """
        given = msgspec.structs.asdict(fault) if fault is not None else {}
        checked = _convert({**given, **fields})  # a struct that was made directly has only its values checked
        added = checked if fault is None or fields else fault
        self._active.append(_Active(added))
        return added

    def load(self, source: Mapping[str, Any] | Path | str) -> list[Fault]:
        """Add the faults in a TOML file, or in what such a file reads as: a dict with the list ``faults``.

        Raises:
            ValueError: A fault makes no sense; the message says which, and why. None is added then.
        """
        if isinstance(source, Mapping):
            faults = _read(source)
        else:
            try:
                faults = _read(_parse_toml(Path(source).read_text(encoding="utf-8")))
            except ValueError as error:  # not UTF-8, not TOML, or no faults
                raise ValueError(f"{source}: {error}") from None
        return [self.add(fault) for fault in faults]

    def remove(self, fault: Fault) -> None:
        """Remove a fault; one that isn't there is none."""
        self._active = [active for active in self._active if active.fault is not fault]

    def clear(self) -> None:
        """Remove all faults."""
        self._active = []

    def choose(self, call: Call) -> Fault | None:
        """Return the fault that acts on a call, if any."""
        for active in self._active:
            if active.acts_on(call):
                call.fault = active.fault
                return active.fault
        return None


class _Active:
    """A fault, and how often it has acted."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._operations = fault.operations
        self._skip, self._left = fault.skip, fault.times
        self._random = random.Random(fault.seed)

    def acts_on(self, call: Call) -> bool:
        fault = self.fault
        if call.operation not in self._operations or self._left == 0 or not (fault.when is None or fault.when(call)):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        if self._left is not None:
            self._left -= 1
        return True


async def act(fault: Fault, work: Work, clock: Clock) -> Answer:
    """Return what a fault makes of an answer; ``work`` carries the operation out."""
    answer = await work() if fault.after or fault.kind in _SPOILING else None
    if fault.seconds:
        await clock.sleep(fault.seconds)
    kind = fault.kind
    if kind == "stall" or kind == "reset":  # noqa: PLR1714  (type checkers understand this)
        return Answer(status=0, ending=kind)
    if kind == "rate_limit":
        retry_after = 30.0 if fault.retry_after is None else fault.retry_after
        return throttled(retry_after, hints=HINTS if fault.hints is None else fault.hints).answer()
    if kind == "status":
        return _problem(fault)
    if kind == "html":
        text = _BAD_GATEWAY if fault.body is UNSET else str(fault.body)
        return Answer(text.encode(), fault.status or 502, "text/html")
    if kind == "redirect":
        return Answer(status=fault.status or 307, content_type=None, headers={"Location": fault.location or ""})
    if kind == "json":
        body = fault.body.encode() if isinstance(fault.body, str) else msgspec.json.encode(fault.body)
        return Answer(body, fault.status or (answer.status if answer else 200))
    answer = answer or await work()
    return dataclasses.replace(answer, cut=fault.at, clean=fault.clean, rate=fault.rate)


def _problem(fault: Fault) -> Answer:
    problem = Problem(fault.status or 500, "The local server was told to fail.")
    problem.document.update(fault.problem or {})
    problem.headers = fault.headers
    return problem.answer()


def _read(document: Mapping[str, Any]) -> list[Fault]:
    try:
        tables = msgspec.convert(document, _File).faults
    except msgspec.ValidationError as error:
        raise ValueError(f"faults are tables [[faults]]: {error}") from None
    return [_convert(table, f"faults[{number}]") for number, table in enumerate(tables)]


def _convert(fields: Mapping[str, Any], where: str = "") -> Fault:
    try:
        return msgspec.convert(fields, Fault)
    except msgspec.ValidationError as error:
        text, _, field = str(error).partition(" - at `$")  # as in "Expected `int` >= 0 - at `$.times`"
        place = f"{where}{field.removesuffix('`')}".removeprefix(".")
        raise ValueError(f"{place}: {text}" if place else text) from None


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise ValueError("reading TOML needs Python 3.11, or the package tomli") from None
    document: dict[str, Any] = toml.loads(text)
    return document
