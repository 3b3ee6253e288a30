"""Fault injection: the faults of a server, which of them affects a request, and what it does to the response."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from msgspec import UNSET

from replicate_async._typing import Unpack

from ._calls import Call, Problem, Response
from ._faults import HINTS, Fault, Hint, Kind
from ._limits import throttled
from ._real_clock import Clock

Operate = Callable[[], Awaitable[Response]]

_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
# These kinds change a response, so the operation has to be carried out first.
_BODY_KINDS = {"truncate", "drip"}


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


class _FaultsDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a file of faults."""

    faults: list[dict[str, Any]]


class Faults:
    """The faults of a server: ``LocalServer.faults``. Only the first that matches a request and is due occurs."""

    def __init__(self) -> None:
        self._active: list[_ActiveFault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter([active.fault for active in self._active])

    def __len__(self) -> int:
        return len(self._active)

    def add(self, fault: Fault | None = None, /, **fields: Unpack[FaultFields]) -> Fault:
        """Add a fault, as a ``Fault`` or by its fields.

        Args:
            fault: The fault.
            fields: The fields of ``Fault``; they replace those of ``fault``.

        Returns:
            The fault. It is the ``fault`` of the calls that it affects.

        Raises:
            ValueError: The fault is invalid; the message says why.
        """
        values = msgspec.structs.asdict(fault) if fault is not None else {}
        # Constructing a struct doesn't check the types of its fields; converting does.
        checked = _convert({**values, **fields})
        added = checked if fault is None or fields else fault
        self._active.append(_ActiveFault(added))
        return added

    def load(self, source: Mapping[str, Any] | Path | str) -> list[Fault]:
        """Add the faults of a TOML file, or of a dict with the same content: a list ``faults``.

        Args:
            source: The dict, or the path of the file.

        Returns:
            The faults.

        Raises:
            ValueError: A fault or the file is invalid; the message says which and why. No fault is added.
            OSError: The file can't be read.
        """
        if isinstance(source, Mapping):
            faults = _read(source)
        else:
            try:
                faults = _read(_parse_toml(Path(source).read_text(encoding="utf-8")))
            except ValueError as error:
                raise ValueError(f"{source}: {error}") from None
        return [self.add(fault) for fault in faults]

    def remove(self, fault: Fault) -> None:
        """Remove a fault; does nothing if it isn't in the list."""
        self._active = [active for active in self._active if active.fault is not fault]

    def clear(self) -> None:
        """Remove all faults."""
        self._active = []

    def choose(self, call: Call) -> Fault | None:
        """Return the fault that affects a call, if any."""
        for active in self._active:
            if active.is_due(call):
                call.fault = active.fault
                return active.fault
        return None


class _ActiveFault:
    """A fault, with the number of times that it has yet to be skipped and may still occur."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._operations = fault.operations
        self._skip, self._remaining = fault.skip, fault.times
        self._random = random.Random(fault.seed)

    def is_due(self, call: Call) -> bool:
        """Return whether the fault affects a call, and count it if so."""
        fault = self.fault
        if call.operation not in self._operations or self._remaining == 0:
            return False
        if fault.when is not None and not fault.when(call):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        if self._remaining is not None:
            self._remaining -= 1
        return True


async def inject(fault: Fault, operate: Operate, clock: Clock) -> Response:
    """Return the response that a fault causes; ``operate`` carries out the operation."""
    response = await operate() if fault.after or fault.kind in _BODY_KINDS else None
    if fault.seconds:
        await clock.sleep(fault.seconds)
    kind = fault.kind
    if kind == "stall" or kind == "reset":  # noqa: PLR1714  (type checkers understand this)
        return Response(status=0, abort=kind)
    if kind == "rate_limit":
        retry_after = 30.0 if fault.retry_after is None else fault.retry_after
        return throttled(retry_after, hints=HINTS if fault.hints is None else fault.hints).response()
    if kind == "status":
        return _problem(fault)
    if kind == "html":
        text = _BAD_GATEWAY if fault.body is UNSET else str(fault.body)
        return Response(text.encode(), fault.status or 502, "text/html")
    if kind == "redirect":
        return Response(status=fault.status or 307, content_type=None, headers={"Location": fault.location or ""})
    if kind == "json":
        body = fault.body.encode() if isinstance(fault.body, str) else msgspec.json.encode(fault.body)
        return Response(body, fault.status or (response.status if response else 200))
    response = response or await operate()
    return dataclasses.replace(response, truncate_at=fault.at, clean_end=fault.clean, bytes_per_second=fault.rate)


def _problem(fault: Fault) -> Response:
    problem = Problem(fault.status or 500, "The local server injected this error.")
    problem.document.update(fault.problem or {})
    problem.headers = fault.headers
    return problem.response()


def _read(document: Mapping[str, Any]) -> list[Fault]:
    try:
        tables = msgspec.convert(document, _FaultsDocument).faults
    except msgspec.ValidationError as error:
        raise ValueError(f"faults are tables [[faults]]: {error}") from None
    return [_convert(table, f"faults[{number}]") for number, table in enumerate(tables)]


def _convert(fields: Mapping[str, Any], path: str = "") -> Fault:
    try:
        return msgspec.convert(fields, Fault)
    except msgspec.ValidationError as error:
        # The text is, for example, "Expected `int` >= 0 - at `$.times`".
        text, _, field = str(error).partition(" - at `$")
        path = f"{path}{field.removesuffix('`')}".removeprefix(".")
        raise ValueError(f"{path}: {text}" if path else text) from None


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise ValueError("reading TOML needs Python 3.11, or the package tomli") from None
    document: dict[str, Any] = toml.loads(text)
    return document
