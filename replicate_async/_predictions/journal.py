"""Journals: predictions that are paid for once, however often a call is repeated, and by whichever process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias

import msgspec

from replicate_async import _background as background
from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.concurrency import Slot
from replicate_async._http.request import Request
from replicate_async._http.transport import Transport
from replicate_async._json import is_mapping
from replicate_async._predictions.claims import LEASE_SECONDS, Claim, Entries, Entry, Owner, server_time
from replicate_async._predictions.creates import CreateLedger
from replicate_async._predictions.jobs import fetch_job
from replicate_async._predictions.requests import ModelRef, PredictionOptions, request_options
from replicate_async._predictions.run import PredictionRun
from replicate_async._stores import JournalStore, StoreLike, open_store
from replicate_async._tasks import wait_shielded
from replicate_async._typing import Self, UncheckedType
from replicate_async.errors import APIError
from replicate_async.types import Prediction


class HasStore(Protocol):
    """A journal of either client."""

    @property
    def store(self) -> JournalStore:
        """Where its entries are."""
        ...


# A journal, or what it is opened with.
JournalLike: TypeAlias = Annotated[HasStore, UncheckedType()] | StoreLike

_RENEW_SECONDS = 10.0
# After a kill, the predictions of creates in flight have to be found in the list of predictions.
_MAX_CONCURRENT_CREATES = 8


class JournalResult(NamedTuple):
    """A result in a journal. ``pandas.DataFrame(results)`` has a column for each field.

    ``error`` is the text of the failure; None if the prediction succeeded.
    """

    key: str
    model: str
    id: str
    status: str
    output: Any
    error: str | None
    metrics: dict[str, Any]


class AsyncJournal:
    """Records predictions and their results by key, for any number of processes.

    ``client.run``, ``submit``, ``map`` and ``use`` take it. They pay for a key once, whichever process repeats the
    call, and return what was recorded. Close the journal with ``close()``, or use it as a context manager.

    Errors of its store are raised as they are, by the methods of the journal and by the calls that take it.
    """

    def __init__(self, store: StoreLike) -> None:
        """Describe a journal. It is opened when it is first used.

        Args:
            store: Path of an SQLite file, for the processes of one machine; URL of a PostgreSQL database, for many
                machines; or a ``JournalStore``.
        """
        self.store: JournalStore = open_store(store)
        """The store, which a ``RateLimit`` can use as well."""
        self._entries = Entries(self.store)

    async def results(self) -> AsyncGenerator[JournalResult, None]:
        """Yield the results of the predictions that have ended, in the order of their keys.

        Returns:
            The results. The keys of ``map`` are the indices of the inputs, with eight digits.

        Raises:
            Exception: an error of the store; see ``SQLiteStore`` and ``PostgresStore``.
        """
        after = ""
        while entries := await self._entries.page(after):
            for key, _, entry in entries:
                after = key
                if (prediction := entry.result) is not None:
                    values = prediction.id, prediction.status, prediction.output, prediction.error
                    metrics: object = prediction.metrics
                    yield JournalResult(key, entry.model, *values, dict(metrics) if is_mapping(metrics) else {})

    async def remove(self, key: str) -> None:
        """Forget a key, so that the next call with it creates a prediction: to repeat a failed one, for example.

        Args:
            key: The key. The keys of ``map`` are the indices of the inputs, with eight digits.

        Raises:
            KeyError: the journal does not have the key.
            Exception: an error of the store; see ``SQLiteStore`` and ``PostgresStore``.
        """
        while (value := await self._entries.get(key)) is not None:
            if await self._entries.swap(key, value, None) is not None:
                return
        raise KeyError(key)

    async def close(self) -> None:
        """Close the store. A journal that is used again opens it again."""
        await self.store.close()

    async def __aenter__(self) -> Self:
        """Return the journal."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the store."""
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.store!r}>"

    def __reduce__(self) -> tuple[type[AsyncJournal], tuple[JournalStore]]:
        return type(self), (self.store,)


class _OpenJournals(dict[str, AsyncJournal]):
    """The journals that a client has opened, by name. They are closed with it."""


class _JournaledCreateSlots(asyncio.Semaphore):
    """The creates of one event loop that are in flight for journals."""

    def __init__(self) -> None:
        super().__init__(_MAX_CONCURRENT_CREATES)


def index_key(index: int) -> str:
    """Return the key of an input of ``map``."""
    return f"{index:08}"


def make_run(
    transport: Transport,
    model: ModelRef,
    input: Mapping[str, Any],
    options: PredictionOptions,
    *,
    key: str | None,
    journal: JournalLike | None,
    **fields: Any,
) -> PredictionRun:
    """Describe a prediction, with a key in a journal if there is one.

    Raises:
        TypeError: the key or the journal is missing, or the key is not a str.
    """
    if (key is None) != (journal is None):
        raise TypeError("key and journal belong together: pass both, or neither")
    if key is None:
        return PredictionRun(transport, model, input, options, **fields)
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not key or re.search(r"[\x00\ud800-\udfff]", key):
        raise ValueError(f"key={key!r} must not be empty, and must be text that a database can keep")
    return JournaledRun(
        *(transport, model, input, options),
        **fields,
        key=key,
        entries=_entries_of(transport, journal),
        ref=model,
        digest=digest_of(input),
    )


def _entries_of(transport: Transport, journal: Any) -> Entries:
    # The blocking client's journal wraps an asynchronous one.
    opened = getattr(journal, "_async", journal)
    if not isinstance(opened, AsyncJournal):
        name = os.fspath(journal) if isinstance(journal, str) or hasattr(journal, "__fspath__") else str(id(journal))
        opened = transport.pool.state(_OpenJournals).setdefault(name, AsyncJournal(journal))
        if opened.store is not journal:
            transport.pool.current().on_close.add(opened.close)
    return opened._entries  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def digest_of(input: object) -> str:
    """Return a digest that shows whether an input is another one. Of files it has the paths, or only that they are."""
    try:
        text = msgspec.json.encode(input, enc_hook=_describe, order="sorted")
    except (TypeError, ValueError, RecursionError):
        # The create raises an error that says where the input is wrong.
        text = b""
    return hashlib.sha256(text).hexdigest()[:32]


def _describe(value: object) -> Any:
    if is_mapping(value):
        return dict(value)
    return str(value) if hasattr(value, "__fspath__") else type(value).__name__


class JournaledRun(PredictionRun, kw_only=True):
    """A prediction with a key in a journal. It is created once, and runs on if its caller gives up."""

    key: str
    entries: Entries
    # The model as the caller has named it.
    ref: ModelRef
    digest: str
    # The encoded entry with the prediction's id.
    value: bytes | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # The sooner the journal has the id, the less has to be looked for after a crash.
        self.wait = False
        self.cancel_on_abort = False

    async def create(self) -> Prediction:
        """Return the recorded prediction of the key, or create it."""
        self.prediction = await self._recorded()
        return self.prediction or await super().create()

    async def abandon(self) -> None:
        """Send nothing any more. What has been sent is recorded, and runs on."""
        if self.creating is not None and not (self.call and self.call.may_exist):
            self.creating.cancel()

    async def wait_until_done(self) -> Prediction:
        """Wait until the prediction has ended, and record its result."""
        prediction = await super().wait_until_done()
        await self.record_end(prediction)
        return prediction

    async def record_end(self, prediction: Prediction) -> None:
        """Record the result."""
        await super().record_end(prediction)
        if self.value is not None:
            result = msgspec.structs.replace(prediction, input={}).to_json().encode()
            entry = self._entry(id=prediction.id, prediction=msgspec.Raw(result))
            # Another process may have recorded it.
            await self.entries.swap(self.key, self.value, entry)
            self.value = None

    def _entry(self, **members: Any) -> Entry:
        return Entry(str(self.ref), self.digest, **members)

    async def _recorded(self) -> Prediction | None:
        """Return the prediction of the key, if there is one, when no create of it is in flight.

        Raises:
            ValueError: the key was used with another model or input.
        """
        settled = await self.entries.settled(self.transport, self.ref, self.key)
        if settled is None:
            return None
        value, entry = settled
        if (entry.model, entry.digest) != (str(self.ref), self.digest):
            reason = f"the model {entry.model}" if entry.model != str(self.ref) else "another input"
            raise ValueError(f"key={self.key!r} was used with {reason}: use another key, or remove it from the journal")
        if (prediction := entry.result) is not None:
            return prediction
        self.value = value
        return await fetch_job(self.transport, str(entry.id), Prediction, request_options(self.options))

    async def _call(self, request: Request[Prediction], ready: Slot) -> Prediction:
        # This runs in a task of its own, which goes on if the caller is canceled. It waits for a slot of another kind.
        ready.release()
        prediction = None
        while prediction is None:
            async with self.transport.pool.current().state(_JournaledCreateSlots):
                prediction = await self._claim_and_create(request)
            prediction = prediction or await self._recorded()
        return prediction

    async def _claim_and_create(self, request: Request[Prediction]) -> Prediction | None:
        """Create the prediction; None if the key is another process's."""
        call = self.call = self.transport.prepare(request)
        now = await server_time(self.transport, self.ref)
        with Owner() as owner:
            claim = Claim(owner, request.path, msgspec.Raw(call.body), sent_at=now, renewed_at=now)
            call.deadline = clock.current.monotonic() + LEASE_SECONDS
            if (value := await self.entries.swap(self.key, None, self._entry(claim=claim))) is None:
                return None
            if (task := asyncio.current_task()) is not None:
                background.keep(task)
            creating = asyncio.ensure_future(self.transport.call(call))
            try:
                while value is not None and not creating.done():
                    with clock.time_limit(_RENEW_SECONDS):
                        await asyncio.wait([creating])
                    if not creating.done():
                        deadline = clock.current.monotonic() + LEASE_SECONDS
                        now = await server_time(self.transport, self.ref)
                        renewed = self._entry(claim=msgspec.structs.replace(claim, renewed_at=now))
                        value = await self.entries.swap(self.key, value, renewed)
                        call.deadline = deadline
            finally:
                creating.cancel()
                try:
                    await wait_shielded(creating)
                finally:
                    if value is not None:
                        await self._record(value, creating, call)
        return None if value is None else creating.result()

    async def _record(self, value: bytes, creating: asyncio.Task[Prediction], call: Call[Prediction]) -> None:
        """Replace the claim of a create by its outcome. If that is unknown, the claim stays, and is lost."""
        error = None if creating.cancelled() else creating.exception()
        prediction_id = error.prediction_id if isinstance(error, APIError) else None
        if error is None and not creating.cancelled():
            prediction_id = creating.result().id
        if prediction_id is None:
            if not call.may_exist:
                await self.entries.swap(self.key, value, None)
            return
        try:
            self.value = await self.entries.swap(self.key, value, self._entry(id=prediction_id))
        except BaseException:
            # The next call with this key looks for it.
            self.transport.account.state(CreateLedger).unclaim(prediction_id)
            raise
