"""Journals: a key is paid for once, whoever repeats the call; what was lost is looked for; results are kept."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from callers import Caller, calling
from programs import run as run_program
from replicate_async import (
    AsyncJournal,
    AsyncReplicate,
    CreateOutcomeUnknown,
    Journal,
    JournalResult,
    ModelError,
    PaymentRequiredError,
    Replicate,
    SQLiteStore,
    UnprocessableEntityError,
)
from replicate_async.testing import LocalServer, OutputFile, VirtualClock

CREATE = "models.predictions.create"


class MemoryStore:
    """A store as users write them."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        if self.values.get(key) != old:
            return False
        if new is None:
            del self.values[key]
        else:
            self.values[key] = new
        return True

    async def page(self, after: str) -> list[tuple[str, bytes]]:
        return [(key, value) for key, value in sorted(self.values.items()) if key > after][:2]

    async def close(self) -> None:
        """Keep the values."""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = LocalServer(clock=VirtualClock())

    @server.model("me/shout", official=True)
    async def shout(text: str, fail: bool = False) -> str:
        if fail:
            raise ValueError("no luck")
        await server.clock.sleep(5)
        return text.upper()

    @server.model("me/file", official=True)
    def file(text: str) -> OutputFile:
        return OutputFile(text.encode(), "text/plain", "out.txt")

    @server.model("me/community")
    def community(text: str) -> str:
        return text.upper()

    with server:
        yield server


@pytest.fixture(params=["async", "blocking"])
async def client(request: pytest.FixtureRequest, server: LocalServer) -> AsyncIterator[Caller]:
    async with calling(request.param, server.base_url, server.token) as caller:
        yield caller


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def journal_of(client: Caller, store: Any) -> Any:
    return Journal(store) if client.blocking else AsyncJournal(store)


def interrupted(server: LocalServer, store: Any, *texts: str, key: str = "k") -> None:
    """Begin runs in an event loop that ends while their creates are in flight, as a process does that is killed."""

    async def main() -> None:
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, max_retries=0) as client:
            count = len(server.requests)
            runs = [
                client.run("me/shout", {"text": text}, key=f"{key}{number or ''}", journal=AsyncJournal(store))
                for number, text in enumerate(texts)
            ]
            tasks = [asyncio.ensure_future(each) for each in runs]
            while len([1 for call in server.requests[count:] if call.operation == CREATE]) < len(texts):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()

    asyncio.run(main())


# --- each key is paid for once ---


@pytest.mark.anyio
async def test_a_key_is_paid_for_once(client, server, path):
    """A repetition of a call with a key returns the recorded output, and sends nothing but a look at the model."""
    journal = journal_of(client, path)
    first = await client("run", "me/shout", {"text": "a"}, key="k", journal=journal)
    server.requests.clear()
    assert [await client("run", "me/shout", {"text": "a"}, key="k", journal=journal), first] == ["A", "A"]
    assert server.requests == []
    assert await client("run", "me/shout", {"text": "a"}, key="other", journal=str(path)) == "A"
    assert len(server.predictions) == 2
    await client.of(journal.close)


@pytest.mark.anyio
async def test_every_kind_of_call(client, server, path):
    """``run``, ``submit`` and functions share a key; a handle has the recorded prediction."""
    options = {"key": "k", "journal": path}
    handle = await client("submit", "me/shout", {"text": "a"}, **options)
    function = client.client.use("me/shout", **options)
    assert await client.of(function, text="a") == await client("run", "me/shout", {"text": "a"}, **options) == "A"
    again = await client("submit", "me/shout", {"text": "a"}, **options)
    assert (again.id, again.prediction.status) == (handle.id, "succeeded")
    assert await client.of(again.output) == await client.of(handle.output) == "A"
    assert len(server.predictions) == 1


@pytest.mark.anyio
async def test_at_the_same_time(server, path):
    """Calls with one key wait for each other; identical inputs with several keys are paid for once each."""
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        calls = [("one", 0)] * 10 + [("many", number) for number in range(10)]
        runs = [client.run("me/shout", {"text": "a"}, key=f"{name} {n}", journal=path) for name, n in calls]
        assert await asyncio.gather(*runs) == ["A"] * 20
    assert len(server.predictions) == 11


@pytest.mark.anyio
async def test_a_community_model(server, path):
    """A model that only runs by its version is created once, although it is first refused."""
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        for _ in range(2):
            assert await client.run("me/community", {"text": "a"}, key="k", journal=path) == "A"
    assert len(server.predictions) == 1


@pytest.mark.anyio
async def test_another_input(client, server, path):
    """A key that was used with another model or input raises, and nothing is sent."""
    await client("run", "me/shout", {"text": "a"}, key="k", journal=path)
    server.requests.clear()
    with pytest.raises(ValueError, match=r"key='k' was used with another input"):
        await client("run", "me/shout", {"text": "b"}, key="k", journal=path)
    with pytest.raises(ValueError, match=r"key='k' was used with the model me/shout"):
        await client("run", "me/file", {"text": "a"}, key="k", journal=path)
    assert server.requests == []


@pytest.mark.anyio
async def test_arguments(client, server, path):
    """A key needs a journal and a journal a key; nothing is sent otherwise."""
    for options in ({"key": "k"}, {"journal": path}):
        with pytest.raises(TypeError, match="key and journal belong together"):
            await client("run", "me/shout", {"text": "a"}, **options)
    with pytest.raises(TypeError, match="key must be a str, not int"):
        await client("submit", "me/shout", {"text": "a"}, key=3, journal=path)
    assert server.requests == []


# --- failures ---


@pytest.mark.anyio
async def test_a_failed_prediction(client, server, path):
    """A failure is recorded and raised again; only when the key is removed, it is repeated."""
    journal = journal_of(client, path)
    for _ in range(2):
        with pytest.raises(ModelError, match="no luck"):
            await client("run", "me/shout", {"text": "a", "fail": True}, key="k", journal=journal)
    assert len(server.predictions) == 1
    await client.of(journal.remove, "k")
    with pytest.raises(KeyError, match="k"):
        await client.of(journal.remove, "k")
    with pytest.raises(ModelError, match="no luck"):
        await client("run", "me/shout", {"text": "a", "fail": True}, key="k", journal=journal)
    assert len(server.predictions) == 2
    await client.of(journal.close)


@pytest.mark.anyio
async def test_a_refused_create(client, server, path):
    """What the API has refused costs nothing, and is not recorded."""
    with pytest.raises(UnprocessableEntityError):
        await client("run", "me/shout", {"text": 3}, key="k", journal=path)
    server.faults.add(kind="status", operation=CREATE, status=402, times=1)
    with pytest.raises(PaymentRequiredError):
        await client("run", "me/shout", {"text": "a"}, key="k", journal=path)
    assert await client("run", "me/shout", {"text": "a"}, key="k", journal=path) == "A"


@pytest.mark.anyio
async def test_a_lost_answer(server, path):
    """A create whose answer is lost is looked for at once, also without retries."""
    server.faults.add(kind="truncate", operation=CREATE, at=20, times=1)
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, max_retries=0) as client:
        assert await client.run("me/shout", {"text": "a"}, key="k", journal=path) == "A"
    assert len(server.predictions) == 1


@pytest.mark.anyio
async def test_a_caller_that_gives_up(client, server, path):
    """With a journal, the prediction runs on, and the next call waits for it."""
    with pytest.raises(Exception, match="not done after 1 s"):
        await client("run", "me/shout", {"text": "a"}, key="k", journal=path, time_limit=1)
    assert await client("run", "me/shout", {"text": "a"}, key="k", journal=path) == "A"
    assert [prediction.status for prediction in server.predictions.values()] == ["succeeded"]


@pytest.mark.anyio
async def test_a_store_that_fails(server):
    """If the id can't be recorded, the call raises, and the next one finds the prediction."""

    class Failing(MemoryStore):
        async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
            if old is not None and fails:
                raise OSError("disk full")
            return await super().swap(key, old, new)

    fails, store = True, Failing()
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        with pytest.raises(OSError, match="disk full"):
            await client.run("me/shout", {"text": "a"}, key="k", journal=store)
        fails = False
        assert await client.run("me/shout", {"text": "a"}, key="k", journal=store) == "A"
    assert len(server.predictions) == 1


# --- lost creates ---


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_create(server, path, carried_out):
    """A create whose process ended is looked for: it is adopted, or sent again if it was not carried out."""
    server.faults.add(kind="stall", operation=CREATE, after=carried_out, times=1)
    interrupted(server, path, "a")
    assert len(server.predictions) == carried_out
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        assert client.run("me/shout", {"text": "a"}, key="k", journal=path) == "A"
    assert len(server.predictions) == 1


def test_identical_lost_creates(server, path):
    """Several that are identical are told apart together: each key gets a prediction of its own."""
    server.faults.add(kind="stall", operation=CREATE, after=True, times=3)
    interrupted(server, path, "a", "a", "a")
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        runs = [client.submit("me/shout", {"text": "a"}, key=key, journal=path) for key in ("k2", "k", "k1")]
        assert {run.id for run in runs} == set(server.predictions)
        assert [run.output() for run in runs] == ["A", "A", "A"]
    assert len(server.predictions) == 3


def test_a_lost_create_that_may_be_another_programs(server, path):
    """If another program has created the same, the error names both, and nothing is paid until the key is removed."""
    server.faults.add(kind="stall", operation=CREATE, after=True, times=1)
    interrupted(server, path, "a")
    # What another process does is not known in this one.
    with Replicate(bearer_token=server.token, base_url=server.base_url.replace("127.0.0.1", "localhost")) as other:
        other.run("me/shout", {"text": "a"})
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        for _ in range(2):
            with pytest.raises(CreateOutcomeUnknown) as unknown:
                client.run("me/shout", {"text": "a"}, key="k", journal=path)
            assert set(unknown.value.candidates) == set(server.predictions)
        with Journal(path) as journal:
            journal.remove("k")
        assert client.run("me/shout", {"text": "a"}, key="k", journal=path) == "A"
    assert len(server.predictions) == 3


def test_predictions_of_other_keys_are_not_adopted(server, path):
    """What the journal knows to be another key's is no candidate."""
    server.faults.add(kind="stall", operation=CREATE, times=1)
    interrupted(server, path, "a")
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        other = client.submit("me/shout", {"text": "a"}, key="other", journal=path)
        mine = client.submit("me/shout", {"text": "a"}, key="k", journal=path)
        assert mine.id != other.id
    assert len(server.predictions) == 2


@pytest.mark.anyio
async def test_a_process_of_another_machine(server):
    """Whether it is dead is unknown: its claim counts until it was not renewed for thirty seconds."""
    store = MemoryStore()
    server.faults.add(kind="stall", operation=CREATE, after=True, times=1)
    await asyncio.to_thread(interrupted, server, store, "a")
    (key,) = store.values
    store.values[key] = store.values[key].replace(b'"owner":"', b'"owner":"elsewhere-')
    before = server.clock.now()
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        assert await client.run("me/shout", {"text": "a"}, key="k", journal=store) == "A"
    assert 30 < (server.clock.now() - before).total_seconds() < 45
    assert len(server.predictions) == 1


@pytest.mark.anyio
async def test_a_claim_that_was_taken_over(server):
    """A process that was suspended for too long sends nothing any more, and returns what the other one has created."""
    store = MemoryStore()
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        await client.run("me/shout", {"text": "other"}, key="other", journal=store)
        server.faults.add(kind="rate_limit", operation=CREATE, retry_after=100, times=1)
        waiting = asyncio.ensure_future(client.run("me/shout", {"text": "a"}, key="k", journal=store))
        while "run/k" not in store.values:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        taken = store.values["run/other"].replace(b'"model"', b'"x":0,"model"')
        digest = store.values["run/k"].partition(b'"digest":"')[2][:32]
        store.values["run/k"] = taken.replace(taken.partition(b'"digest":"')[2][:32], digest)
        assert await waiting == "OTHER"
    assert len(server.predictions) == 1


# --- map ---


@pytest.mark.anyio
async def test_map_resumes(client, server, path):
    """A map that was left early goes on where it was: each input is paid for once, and nothing was canceled."""
    inputs = [{"text": f"text {number}"} for number in range(30)]

    def first_outputs() -> list[str]:
        outputs = []
        for output in client.client.map("me/shout", inputs, journal=path, concurrency=10):
            outputs.append(output)
            if len(outputs) == 12:
                break
        return outputs

    if client.blocking:
        outputs = await asyncio.to_thread(first_outputs)
    else:
        outputs, generator = [], client.client.map("me/shout", inputs, journal=path, concurrency=10)
        async for output in generator:
            outputs.append(output)
            if len(outputs) == 12:
                break
        await generator.aclose()
    assert outputs == [f"TEXT {number}" for number in range(12)]
    created = len(server.predictions)
    assert created < 30
    assert await client.all(client.client.map("me/shout", inputs, journal=path)) == [
        each["text"].upper() for each in inputs
    ]
    assert len(server.predictions) == 30
    assert {prediction.status for prediction in server.predictions.values()} == {"succeeded"}


@pytest.mark.anyio
async def test_map_creates_nothing_after_it_was_left(server, path):
    """Runs that waited for their turn are dropped with the map; those in flight are recorded."""
    server.faults.add(kind="delay", operation=CREATE, seconds=3)
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        outputs = client.map("me/shout", [{"text": str(n)} for n in range(40)], journal=path, concurrency=40)
        first = asyncio.ensure_future(anext(outputs))
        while not any(call.operation == CREATE for call in server.requests):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(0.1)
        assert len([1 for call in server.requests if call.operation == CREATE]) <= 8


@pytest.mark.anyio
async def test_map_with_changed_inputs(client, server, path):
    """Inputs that are not those of before are an error, not new predictions."""
    await client.all(client.client.map("me/shout", [{"text": "a"}, {"text": "b"}], journal=path))
    with pytest.raises(ValueError, match="key='00000001' was used with another input"):
        await client.all(client.client.map("me/shout", [{"text": "a"}, {"text": "c"}], journal=path))
    assert len(server.predictions) == 2


# --- results and stores ---


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_results(client, server, path, kind):
    """Results can be read back, as rows; failures and what has not ended are told apart."""
    journal = journal_of(client, path if kind == "file" else MemoryStore())
    inputs = [{"text": "a"}, {"text": "b", "fail": True}, {"text": "c"}]
    await client.all(client.client.map("me/shout", inputs, journal=journal, return_exceptions=True))
    await client("submit", "me/shout", {"text": "z"}, key="z", journal=journal)
    results = await client.all(journal.results())
    assert [(result.key, result.output, result.error) for result in results] == [
        ("00000000", "A", None),
        ("00000001", None, "no luck"),
        ("00000002", "C", None),
    ]
    assert {result.id for result in results} < set(server.predictions)
    assert all(type(result) is JournalResult and result.metrics["predict_time"] >= 0 for result in results)
    assert JournalResult._fields == ("key", "model", "id", "status", "output", "error", "metrics")
    await client.of(journal.close)


@pytest.mark.anyio
async def test_files(client, server, path):
    """Recorded files are file outputs; an input with files is recognized by their paths."""
    for _ in range(2):
        output = await client("run", "me/file", {"text": "a"}, key="k", journal=path)
        assert await client.of(output.read) == b"a"
    assert len(server.predictions) == 1


def test_a_client_closes_what_it_has_opened(server, path):
    """A journal that was passed by name is closed with the client, and leaves one file."""
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        client.run("me/shout", {"text": "a"}, key="k", journal=path)
    assert [file.name for file in path.parent.iterdir()] == ["run.db"]


@pytest.mark.anyio
async def test_a_database_that_can_not_be_reached(client, server):
    """Only the call raises that, not the end of the client's context, which closes all connections."""
    with pytest.raises((OSError, ModuleNotFoundError)) as caught:
        await client("run", "me/shout", {"text": "a"}, key="k", journal="postgresql://127.0.0.1:1/none")
    assert "127.0.0.1" in str(caught.value) or "replicate-async[postgres]" in str(caught.value)
    await client("close")
    assert server.requests == []


@pytest.mark.anyio
async def test_closing_a_journal_that_another_process_uses(path):
    """Closing waits for a call that waits for another process, and does not hold up the event loop meanwhile."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("CREATE TABLE journal (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
    store = SQLiteStore(path)
    reading = asyncio.ensure_future(store.get("k"))
    await asyncio.sleep(0.1)
    reading.cancel()
    closing = asyncio.ensure_future(store.close())
    # The event loop goes on.
    await asyncio.sleep(0.1)
    assert not closing.done()
    other.close()
    await closing


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x" * 1000, "is not a readable journal: file is not a database"),
        ("CREATE TABLE line (number)", "was written by an older version"),
    ],
    ids=["no database", "old"],
)
def test_not_a_journal(server, path, content, says):
    """A file that is something else raises before anything is sent, and is left as it is."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as db:
            db.execute(content)
        db.close()
    before = path.read_bytes()
    with (
        Replicate(bearer_token=server.token, base_url=server.base_url) as client,
        pytest.raises(ValueError, match=says),
    ):
        client.run("me/shout", {"text": "a"}, key="k", journal=path)
    assert server.requests == []
    if isinstance(content, bytes):
        assert path.read_bytes() == before


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", "a\ud800", "a\x00"])
async def test_keys_that_no_database_can_keep(client, server, path, key):
    """Such a key is refused before anything is sent."""
    with pytest.raises(ValueError, match="must not be empty, and must be text"):
        await client("run", "me/shout", {"text": "a"}, key=key, journal=path)
    assert server.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("journal", [5, b"run.db", [], object()])
async def test_what_is_no_journal(client, server, journal):
    """An object of another kind is named."""
    with pytest.raises(TypeError, match="a store is a path, a postgresql:// URL or a JournalStore, not"):
        await client("run", "me/shout", {"text": "a"}, key="k", journal=journal)
    assert server.requests == []


@pytest.mark.anyio
async def test_odd_metrics(client, server):
    """A prediction whose metrics are no object hides no other result."""
    store = MemoryStore()
    for key in ("a", "b"):
        await client("run", "me/shout", {"text": key}, key=key, journal=store)
    store.values["run/a"] = re.sub(rb'"metrics":{[^}]*}', b'"metrics":"fast"', store.values["run/a"])
    results = await client.all(journal_of(client, store).results())
    assert [(result.key, result.output, result.metrics.keys() & {"predict_time"}) for result in results] == [
        ("a", "A", set()),
        ("b", "B", {"predict_time"}),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("value", [b"", b"{", b"5", b'{"model": 5}'])
async def test_an_entry_that_can_not_be_read(client, server, value):
    """The error names the key, and nothing is sent."""
    store = MemoryStore()
    store.values["run/k"] = value
    with pytest.raises(ValueError, match="the journal's entry of key 'k' can't be read"):
        await client("run", "me/shout", {"text": "a"}, key="k", journal=store)
    with pytest.raises(ValueError, match="the journal's entry of key 'k' can't be read"):
        await client.all(journal_of(client, store).results())
    assert server.requests == []


def test_journals_travel(path):
    """A journal is pickled and copied by where it is, also to a process with another working directory."""
    for journal in (Journal(path), AsyncJournal(path), SQLiteStore(path)):
        for copied in (pickle.loads(pickle.dumps(journal)), copy.copy(journal)):
            assert repr(copied) == repr(journal)
    assert "secret" not in repr(Journal("postgresql://user:secret@host/database"))


def test_databases_that_are_not_supported():
    """The URL of another database is refused without its password, and is not taken for a path."""
    with pytest.raises(ValueError, match=r"mysql://$"):
        Journal("mysql://user:secret@host/database")


def test_a_streaming_function(server, path):
    """A function that streams shares its key with other calls; the recorded output is streamed again."""

    @server.model("me/words", official=True)
    def words(count: int) -> Iterator[str]:
        yield from (f"word {number} " for number in range(count))

    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        function = client.use("me/words", streaming=True, key="k", journal=path)
        expected = ["word 0 ", "word 1 "]
        assert list(function(count=2)) == expected
        with Journal(path) as journal:
            assert [(result.key, result.output) for result in journal.results()] == [("k", expected)]
        assert client.run("me/words", {"count": 2}, key="k", journal=path) == expected
        assert list(function(count=2)) == expected
    assert len(server.predictions) == 1


@pytest.mark.anyio
async def test_a_store_that_fails_while_a_stream_is_left(server):
    """Leaving a stream early records nothing, and so hides no error of the program."""

    @server.model("me/words", official=True)
    def words(count: int) -> Iterator[str]:
        yield from (f"word {number} " for number in range(count))

    store = MemoryStore()
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        function = client.use("me/words", streaming=True, key="k", journal=AsyncJournal(store))
        assert await function(count=2).read() == "word 0 word 1 "

        async def fail(*_arguments: Any) -> bool:
            raise OSError("the disk is away")

        store.values["run/k"] = re.sub(rb',"prediction":{.*}}$', b"}", store.values["run/k"])
        store.swap = fail  # type: ignore[method-assign]

        async def leave() -> None:
            async with aclosing(aiter(function(count=2))) as pieces:
                async for _ in pieces:
                    raise LookupError

        with pytest.raises(LookupError):
            await leave()
        with pytest.raises(OSError, match="the disk is away"):
            await function(count=2).read()


def test_journals_that_are_closed_at_the_end_of_a_program(server, path):
    """A program may close its journal and its client when it ends, also on a Python that starts no thread then."""
    output = run_program(
        f"""
        import atexit
        import replicate_async as replicate
        journal = replicate.Journal({str(path)!r})
        client = replicate.Replicate()
        print(client.run("me/shout", {{"text": "a"}}, key="k", journal=journal))
        print(client.run("me/shout", {{"text": "b"}}, key="k2", journal={str(path)!r}))
        atexit.register(journal.close)
        atexit.register(client.close)
        """,
        REPLICATE_API_TOKEN=server.token,
        REPLICATE_BASE_URL=server.base_url,
    )
    assert output == "A\nB\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process(tmp_path):
    """A journal that was open when its process forked works in parent and child."""
    with LocalServer(token="local-token") as server:
        server.model("me/shout", official=True)(lambda text: text.upper())
        program = f"""
            import os, warnings
            from replicate_async import Journal, Replicate
            warnings.simplefilter("ignore", DeprecationWarning)
            client = Replicate(bearer_token="local-token", base_url={server.base_url!r})
            with client, Journal({str(tmp_path / "run.db")!r}) as journal:
                run = lambda text: client.run("me/shout", {{"text": text}}, key=text, journal=journal)
                assert run("a") == "A"
                if not (child := os.fork()):
                    os._exit(run("a") + run("b") != "AB")
                assert os.waitpid(child, 0)[1] == 0
                assert run("b") + run("c") == "BC"
        """
        run_program(program)
        assert len(server.predictions) == 3
