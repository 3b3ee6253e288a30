"""Event loops other than asyncio's own, and those that pytest plugins create."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from .conftest import Running

HELLO = """
import asyncio, os, warnings
import replicate_async as replicate
import uvloop

async def hello(client):
    return await client.run("replicate/hello-world", input={"text": "Alice"})
"""

UVLOOP = """
client = replicate.AsyncReplicate()

async def main():
    outputs = await asyncio.gather(*[hello(client) for _ in range(20)])
    stream = client.stream("replicate-local/stream-text", input={"prompt": "a b c", "delay": 0})
    assert "".join([str(event) async for event in stream]) == "a b c"
    return set(outputs)

print(uvloop.run(main()), asyncio.run(main()), uvloop.run(main()))
uvloop.run(client.close())
"""

UVLOOP_BELOW = """
warnings.filterwarnings("ignore", category=DeprecationWarning)
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
client = replicate.Replicate()
print(client.run("replicate/hello-world", input={"text": "parent"}), flush=True)
child = os.fork()
print(client.run("replicate/hello-world", input={"text": "both"}), flush=True)
if child:
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (UVLOOP, "{'hello Alice'} {'hello Alice'} {'hello Alice'}\n"),
        (UVLOOP_BELOW, "hello parent\nhello both\nhello both\n0\n"),
    ],
    ids=["asynchronous", "below the blocking client"],
)
def test_uvloop(running: Running, program: str, expected: str) -> None:
    """One client works under uvloop and asyncio in turn, and the blocking client under uvloop, also after a fork."""
    with running("-W", "error", "-W", "ignore::ResourceWarning", "-c", HELLO + program) as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, expected, "")


PYTEST_ASYNCIO = """
import pytest, pytest_asyncio
from replicate_async import AsyncReplicate, Replicate

# Created at import time, used in a loop for each test.
client = AsyncReplicate()
blocking = Replicate()

@pytest_asyncio.fixture
async def own():
    async with AsyncReplicate() as client:
        yield client

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    async with AsyncReplicate() as client:
        yield client

@pytest.mark.parametrize("name", ["a", "b", "c"])
async def test_the_modules_client(name):
    assert await client.run("replicate/hello-world", input={"text": name}) == f"hello {name}"

async def test_a_fixture(own):
    assert await own.run("replicate/hello-world", input={"text": "x"}) == "hello x"

@pytest.mark.asyncio(loop_scope="module")
async def test_a_shared_fixture(shared):
    assert await shared.run("replicate/hello-world", input={"text": "x"}) == "hello x"

async def test_blocking_within_a_loop():
    assert blocking.run("replicate/hello-world", input={"text": "x"}) == "hello x"

async def test_the_end():
    blocking.close()
    await client.close()
"""

ANYIO = """
import pytest
from replicate_async import AsyncReplicate, Replicate

pytestmark = pytest.mark.anyio
client = AsyncReplicate()

@pytest.fixture(scope="module", params=[("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})])
def anyio_backend(request):
    return request.param

@pytest.fixture(scope="module")
async def shared(anyio_backend):
    async with AsyncReplicate() as client:
        yield client

@pytest.fixture
async def own():
    async with AsyncReplicate() as client:
        yield client

async def test_fixtures(own, shared):
    for one in (own, shared, client):
        assert await one.run("replicate/hello-world", input={"text": "x"}) == "hello x"

async def test_again(shared):
    assert await shared.run("replicate/hello-world", input={"text": "x"}) == "hello x"
    assert await client.run("replicate/hello-world", input={"text": "x"}) == "hello x"

async def test_blocking_within_a_loop():
    with Replicate() as blocking:
        assert blocking.run("replicate/hello-world", input={"text": "x"}) == "hello x"
"""


@pytest.mark.parametrize(
    ("tests", "options", "passed"),
    [
        (PYTEST_ASYNCIO, "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function", 7),
        (ANYIO, "addopts = -p no:asyncio", 6),
    ],
    ids=["pytest-asyncio", "anyio"],
)
def test_pytest_plugins(running: Running, tmp_path: Path, tests: str, options: str, passed: int) -> None:
    """Clients live in fixtures of any scope and in modules, whatever loops the plugin creates, without a warning."""
    (tmp_path / "test_theirs.py").write_text(tests, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{dedent(options)}\nfilterwarnings = error\n", encoding="utf-8")
    with running("-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:xdist", "test_theirs.py") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, ""), output
    assert f"{passed} passed in" in output
