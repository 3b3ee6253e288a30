"""The entries of a journal, and creates that were lost with their process.

An entry begins as a claim: who is about to send a create, and what it sends. It then has the prediction's id, and at
last its result. If the owner of a claim is dead, its create is lost: it is looked for on the server before the key is
free again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import ClassVar

import msgspec

from replicate_async._decoding import json_decoder
from replicate_async._http import clock
from replicate_async._http.locks import KeyedLock
from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async._predictions.creates import MAX_CREATE_SECONDS, CreateLedger, reconcile
from replicate_async._predictions.matching import ServerClock
from replicate_async._predictions.requests import ModelRef
from replicate_async._stores import JournalStore
from replicate_async.errors import CreateOutcomeUnknown, ReplicateError
from replicate_async.types import Prediction

_PREFIX = "run/"
# In seconds: a claim that is not renewed for so long is lost. Its owner sends nothing after that.
LEASE_SECONDS = 30.0
_MIN_POLL, _MAX_POLL = 0.05, 1.0
_MAX_LOOKUPS = 5

_NULL = msgspec.Raw(b"null")
_decode_result = json_decoder(Prediction | None)


class Claim(msgspec.Struct, frozen=True):
    """A create that is about to be sent, or has been. Times are the server's, in seconds since 1970."""

    owner: str
    path: str
    body: msgspec.Raw
    sent_at: float
    renewed_at: float

    def is_identical(self, claim: Claim) -> bool:
        """Return whether two creates have the same request."""
        return self.path == claim.path and bytes(self.body) == bytes(claim.body)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a journal has for a key."""

    model: str
    digest: str
    claim: Claim | None = None
    id: str | None = None
    # As JSON, when it has ended.
    prediction: msgspec.Raw = _NULL

    @property
    def result(self) -> Prediction | None:
        """The prediction, if it has ended."""
        prediction: Prediction | None = _decode_result(bytes(self.prediction))
        return prediction


encode_entry = msgspec.json.encode
_decoder = msgspec.json.Decoder(Entry)


def decode_entry(key: str, value: bytes) -> Entry:
    """Return the entry of a key.

    Raises:
        ValueError: the store has something else for the key.
    """
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise ValueError(f"the journal's entry of key {key!r} can't be read: {error}") from error


class Owner:
    """The owner of claims, alive inside of its context, and at most as long as its process."""

    _alive: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.name = f"{_machine()}/{os.getpid()}/{uuid.uuid4().hex}"

    def __enter__(self) -> str:
        self._alive.add(self.name)
        return self.name

    def __exit__(self, *exc_info: object) -> None:
        self._alive.discard(self.name)

    @classmethod
    def is_dead(cls, name: str) -> bool:
        """Return whether an owner is certainly dead. That of another machine never is."""
        machine, pid, _ = name.split("/")
        if machine != _machine() or not machine:
            return False
        if int(pid) == os.getpid():
            return name not in cls._alive
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


@cache
def _machine() -> str:
    """Return what names the processes among which a process id is unique; empty if that is unknown."""
    if sys.platform == "win32":
        return ""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return "" if sys.platform == "linux" else socket.gethostname().replace("/", "-")


class _ClockLock(KeyedLock):
    """Lets one task read the server's clock."""


async def server_time(transport: Transport, model: ModelRef) -> float:
    """Return the time by the server's clock, which stamps predictions.

    It is read once, from a response that also checks the token and the model.
    """
    server_clock = transport.account.state(CreateLedger).server_clock
    async with transport.account.state(_ClockLock).hold():
        if not server_clock.is_known:
            path = model.path() if model.owner else "/account"
            server_clock.learn_from(await transport.send(Request("GET", path, msgspec.Raw, {})))
    return server_clock.earliest + clock.current.monotonic()


class Entries:
    """The entries of a journal by key."""

    def __init__(self, store: JournalStore) -> None:
        self.store: JournalStore = store
        self._lock = KeyedLock()
        # The values of claims, and since when they have not changed.
        self._observed: dict[str, tuple[bytes, float]] = {}

    async def get(self, key: str) -> bytes | None:
        """Return the encoded entry of a key, if there is one."""
        with clock.busy():
            return await self.store.get(_PREFIX + key)

    async def swap(self, key: str, old: bytes | None, new: Entry | None) -> bytes | None:
        """Replace an entry, and return the encoded new one; None if that is not done, because it has changed."""
        value = encode_entry(new) if new is not None else None
        with clock.busy():
            return (value or b"") if await self.store.swap(_PREFIX + key, old, value) else None

    async def page(self, after: str) -> list[tuple[str, bytes, Entry]]:
        """Return the next keys after a key with their entries, encoded and decoded; an empty list after the last."""
        with clock.busy():
            items = await self.store.page(_PREFIX + after)
        own = [(key.removeprefix(_PREFIX), value) for key, value in items if key.startswith(_PREFIX)]
        return [(key, value, decode_entry(key, value)) for key, value in own]

    async def settled(self, transport: Transport, model: ModelRef, key: str) -> tuple[bytes, Entry] | None:
        """Return the entry of a key, when no create of it is in flight; None if there is none.

        Raises:
            CreateOutcomeUnknown: a create was lost, and it is unknown whether it was carried out.
        """
        delay = _MIN_POLL
        while True:
            value = await self.get(key)
            if value is None:
                return None
            entry = decode_entry(key, value)
            if entry.claim is None:
                self._observed.pop(key, None)
                return value, entry
            if self._is_lost(key, value, entry.claim):
                await server_time(transport, model)
                await self._recover(transport, key, entry.claim)
            await clock.current.sleep(delay)
            delay = min(2 * delay, _MAX_POLL)

    def _is_lost(self, key: str, value: bytes, claim: Claim) -> bool:
        """Return whether the owner of a claim is dead, or has not renewed it for too long."""
        # By this process's own clock, because those of machines differ.
        now = clock.current.monotonic()
        seen, since = self._observed.get(key, (b"", now))
        if seen != value:
            since = now
        self._observed[key] = value, since
        return Owner.is_dead(claim.owner) or now - since > LEASE_SECONDS

    async def _recover(self, transport: Transport, key: str, lost: Claim) -> None:
        """Find out what became of a lost create, if no other process does, and put that into the journal.

        Identical creates can only be distinguished together: all of them must be lost, or have their ids.
        """
        server_clock = transport.account.state(CreateLedger).server_clock
        async with self._lock.hold(lost.path, bytes(lost.body)):
            end = clock.current.monotonic() + MAX_CREATE_SECONDS
            claims, _ = await self._identical(lost, server_clock.earliest + end)
            if key not in claims or not all(self._is_lost(name, *claim) for name, claim in claims.items()):
                return
            results: list[str | BaseException | None] = []
            taken: dict[str, tuple[bytes, Entry]] = {}
            # The ids that are known, but not recorded yet.
            pending_ids: set[str] = set()
            try:
                with Owner() as owner:
                    for name, (value, claim) in claims.items():
                        entry = decode_entry(name, value)
                        entry = msgspec.structs.replace(entry, claim=msgspec.structs.replace(claim, owner=owner))
                        if (renewed := await self.swap(name, value, entry)) is None:
                            # Another process recovers them.
                            return
                        taken[name] = renewed, entry
                    results = await self._look_up(transport, taken, end, pending_ids)
                    for (name, (value, entry)), result in zip(taken.items(), results, strict=True):
                        if not isinstance(result, BaseException):
                            new = msgspec.structs.replace(entry, claim=None, id=result) if result else None
                            if await self.swap(name, value, new) is not None:
                                pending_ids.discard(result or "")
            finally:
                _unclaim(transport, pending_ids)
            failure = results[[*taken].index(key)]
            if isinstance(failure, BaseException):
                raise failure

    async def _look_up(
        self, transport: Transport, taken: dict[str, tuple[bytes, Entry]], end: float, pending_ids: set[str]
    ) -> list[str | BaseException | None]:
        """Return the ids of the results of identical lost creates, None where a create was not carried out."""
        ledger = transport.account.state(CreateLedger)
        server_clock = ledger.server_clock
        claims = [entry.claim for _, entry in taken.values() if entry.claim is not None]

        async def find(claim: Claim) -> str | None:
            prediction_id = await _find(transport, claim, server_clock, end)
            if prediction_id is not None:
                pending_ids.add(prediction_id)
            return prediction_id

        results: list[str | BaseException | None] = []
        for _ in range(_MAX_LOOKUPS):
            _, ids = await self._identical(claims[0], server_clock.earliest + end)
            for prediction_id in ids:
                ledger.claim(prediction_id, by_lookup=True)
            results = await asyncio.gather(*map(find, claims), return_exceptions=True)
            others, new_ids = await self._identical(claims[0], server_clock.earliest + end)
            seen = pending_ids.union(
                *[error.candidates for error in results if isinstance(error, CreateOutcomeUnknown)]
            )
            if others.keys() <= taken.keys() and not seen & (new_ids - ids):
                break
            # Another process has created the same in the meantime.
            _unclaim(transport, pending_ids)
            pending_ids.clear()
            await clock.current.sleep(_MAX_POLL)
        return results

    async def _identical(self, lost: Claim, until: float) -> tuple[dict[str, tuple[bytes, Claim]], set[str]]:
        """Return the claims by key that are identical to one, and were made until then, and all ids in the journal."""
        claims: dict[str, tuple[bytes, Claim]] = {}
        ids: set[str] = set()
        after = ""
        while entries := await self.page(after):
            for key, value, entry in entries:
                after = key
                if entry.id is not None:
                    ids.add(entry.id)
                elif entry.claim is not None and entry.claim.sent_at <= until and lost.is_identical(entry.claim):
                    claims[key] = value, entry.claim
        return claims, ids


def _unclaim(transport: Transport, prediction_ids: set[str]) -> None:
    """Let other lookups of this process find predictions that have not become a result here."""
    for prediction_id in prediction_ids:
        transport.account.state(CreateLedger).unclaim(prediction_id)


async def _find(transport: Transport, claim: Claim, server_clock: ServerClock, end: float) -> str | None:
    """Return the id of a lost create's result; None if it was not carried out.

    Raises:
        CreateOutcomeUnknown: that is unknown.
    """
    request = Request[Prediction]("POST", claim.path, Prediction, {}, json=claim.body, billable=True)
    call = transport.prepare(request)
    # Later responses only narrow the bounds of the server's time, so that this stays too early rather than too late.
    call.sent_at = claim.sent_at - server_clock.latest
    last = claim.renewed_at - server_clock.earliest + LEASE_SECONDS + MAX_CREATE_SECONDS
    return await reconcile(transport, call, ReplicateError("its process has ended"), end=min(end, last))
