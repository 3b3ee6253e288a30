"""Journals with a real PostgreSQL server, with pandas, and in the guide's examples."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pandas import DataFrame

from killing import RUN, kill_and_restart, paid, serve_slowly
from postgres import running_postgres
from replicate_async import Journal, PostgresStore, RateLimit, Replicate
from replicate_async.testing import LocalServer

from .conftest import Running

GUIDE = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def test_the_store(database: str) -> None:
    """Keys are swapped only if they have the expected value, by several at once; pages are in the order of bytes."""

    async def main() -> None:
        stores = [PostgresStore(database, table="test_store") for _ in range(8)]
        # All create the table at the same time, and one of them the key.
        assert sum(await asyncio.gather(*[store.swap("k", None, b"0") for store in stores])) == 1
        store = pickle.loads(pickle.dumps(stores[0]))
        assert [await store.swap("k", b"1", b"2"), await store.swap("k", b"0", b"2")] == [False, True]
        assert [await store.get("k"), await store.get("other")] == [b"2", None]
        assert [await store.swap("k", b"0", None), await store.swap("k", b"2", None)] == [False, True]
        keys = [f"{letter}{number:03}" for letter in ("B", "a", "é") for number in range(80)]
        for key in keys:
            assert await store.swap(key, None, b"x")
        listed: list[str] = []
        while page := await store.page(listed[-1] if listed else ""):
            listed += [key for key, _ in page]
        assert listed == keys
        for each in (*stores, store):
            await each.close()

    asyncio.run(main())
    with pytest.raises(ValueError, match="table='x; y' is invalid"):
        PostgresStore(database, table="x; y")


def test_a_table_that_can_not_be_created(database: str) -> None:
    """A store that could not be opened leaves no connection open, and closes well."""

    async def main() -> None:
        store, other = PostgresStore(database, table="missing.journal"), PostgresStore(database, table="test_count")
        for _ in range(3):
            with pytest.raises(Exception, match="missing"):
                await store.get("k")
        await store.close()
        assert await other.get("k") is None
        pool = await asyncpg.create_pool(database, min_size=1, max_size=1)
        count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        # Its own, and the other store's. The server notices soon that the others were closed.
        for _ in range(100):
            if (connections := await pool.fetchval(count)) == 2:
                break
            await asyncio.sleep(0.1)
        assert connections == 2
        await asyncio.gather(pool.close(), other.close())

    asyncio.run(main())


def test_runs(database: str, server: LocalServer) -> None:
    """A journal and a shared limit in a database: results are recorded, found again, and a table for pandas."""
    limit = RateLimit(creates=6000, store=database)
    with (
        Replicate(bearer_token=server.token, base_url=server.base_url, rate_limit=limit) as client,
        Journal(database) as journal,
    ):
        for _ in range(2):
            inputs = [{"text": str(number)} for number in range(20)]
            outputs = list(client.map("replicate/hello-world", inputs, journal=database))
            assert outputs == [f"hello {number}" for number in range(20)]
            assert client.run("replicate/hello-world", {"text": "a"}, key="k", journal=journal) == "hello a"
        table = DataFrame(journal.results())
    assert list(table.columns) == ["key", "model", "id", "status", "output", "error", "metrics"]
    assert set(table["id"]) == set(server.predictions)
    assert list(table["key"]) == [f"{number:08}" for number in range(20)] + ["k"]


@pytest.mark.timeout(300)
def test_killed_with_a_database(database: str) -> None:
    """Four processes that share a database are killed at random moments: each input is paid for once."""
    texts = [f"text {number}" for number in range(80)]
    with LocalServer(token="local-token") as server:
        serve_slowly(server)
        shifts = [number * len(texts) // 4 for number in range(4)]
        programs = [
            RUN.format(url=server.base_url, journal=database, texts=texts[shift:] + texts[:shift]) for shift in shifts
        ]
        kill_and_restart(server, programs, kills=4, seed=1, total=len(texts))
        assert paid(server) == dict.fromkeys(texts, 1)
        with Journal(database) as journal:
            results = [result for result in journal.results() if result.key.startswith("frame-")]
        assert sorted(result.output for result in results) == sorted(text.upper() for text in texts)


def test_the_guide(running: Running, server: LocalServer) -> None:
    """The guide's examples run as they are written, one after the other."""
    for block in re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE):
        with running("-W", "error::ResourceWarning", "-c", block) as process:
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, ""), block
        assert "greeting" not in block or output == "hello Alice\nhello Alice\n"
    assert len(server.predictions) == 101
