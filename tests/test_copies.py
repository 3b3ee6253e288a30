"""Pickling and copying clients and pages, for example for other processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import methodcaller
from typing import Any

import pytest

import replicate_async
from replicate_async import AsyncReplicate, Replicate
from replicate_async.testing import LocalServer, models

pytestmark = pytest.mark.anyio


def repickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


COPIES = pytest.mark.parametrize("copied", [repickled, copy.deepcopy])


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(page_size=2) as server:
        models.register(server)
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url, max_retries=7) as client:
        yield client


@COPIES
def test_a_client_is_copied_by_its_configuration(client: Replicate, copied: Callable[[Any], Any]) -> None:
    """A copy has the token, the options and its own connections, so that closing one does not close the other."""
    # After a call, the client has a connection, which can't be copied.
    client.predictions.list()
    with copied(client) as copied_client:
        assert copied_client.account.get() == client.account.get()
        assert repr(copied_client) == repr(client)
    assert copied_client.is_closed()
    assert not client.is_closed()
    assert client.account.get().username


@COPIES
async def test_copies_of_an_asynchronous_client(server: LocalServer, copied: Callable[[Any], Any]) -> None:
    """The same holds for the asynchronous client, even while it is in use."""
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        account = await client.account.get()
        async with copied(client) as copied_client:
            assert await copied_client.account.get() == account


@COPIES
def test_copies_of_pages(client: Replicate, copied: Callable[[Any], Any]) -> None:
    """A copied page fetches the pages that follow."""
    for name in ("a", "b", "c"):
        client.run("replicate/hello-world", input={"text": name})
    page = client.predictions.list()
    copied_page = copied(page)
    assert copied_page.results == page.results
    assert copied_page.get_next_page().results == page.get_next_page().results


def test_a_client_works_in_other_processes(client: Replicate) -> None:
    """Worker processes get their clients by pickling, and run models with them."""
    client.account.get()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        hello = methodcaller("run", "replicate/hello-world", input={"text": "Alice"})
        assert list(workers.map(hello, [client, client])) == ["hello Alice", "hello Alice"]


@COPIES
def test_the_module(copied: Callable[[Any], Any]) -> None:
    """The module is the same one in another process, as functions need it that clusters send there."""
    assert copied(replicate_async) is replicate_async
