"""Clients in the processes of a cluster, and on their way there."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import cloudpickle
import pytest

from postgres import running_postgres
from replicate_async import Journal, ModelError, NotFoundError, Replicate
from replicate_async.testing import LocalServer, OutputFile

from .conftest import Running, until

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(DASK,) = [block for block in BLOCKS if "dask" in block]
(RAY,) = [block for block in BLOCKS if "ray" in block]
# Dask warns if another test has a dashboard.
QUIET = ("-W", "ignore:Port 8787")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_pages_example(running: Running, server: LocalServer, tmp_path: Path, kind: str) -> None:
    """The example for Dask runs as written; run again, it returns what is recorded, and creates nothing."""
    names = [f"number {number}" for number in range(12)]
    (tmp_path / "example.py").write_text(DASK, encoding="utf-8")
    with running_postgres() if kind == "postgres" else nullcontext(str(tmp_path / "run.db")) as journal:
        for _ in range(2):
            with running(*QUIET, "example.py", journal, *names) as process:
                output, errors = process.communicate(timeout=90)
            assert (process.returncode, errors) == (0, "")
            assert sorted(output.splitlines()) == sorted(f"hello {name}" for name in names)
            assert len(server.predictions) == len(names)


if find_spec("ray"):

    def test_the_pages_example_for_ray(running: Running, server: LocalServer, tmp_path: Path) -> None:
        """The example for Ray runs as written, where Ray is installed."""
        (tmp_path / "example.py").write_text(RAY, encoding="utf-8")
        for _ in range(2):
            # Ray writes about itself.
            with running("example.py", str(tmp_path / "run.db"), "Alice", "Bob", "Carol", stderr=DEVNULL) as process:
                output, _ = process.communicate(timeout=90)
            assert process.returncode == 0
            assert sorted(output.splitlines()) == ["hello Alice", "hello Bob", "hello Carol"]
            assert len(server.predictions) == 3


# The page's functions; a worker is killed when the test says so.
KILLED = """
import os, signal, sys
from dask.distributed import Client, as_completed
import example

def main():
    with Client(n_workers=2, threads_per_worker=8) as dask:
        dask.register_plugin(example.WithReplicate())
        tasks = [dask.submit(example.hello, str(number), sys.argv[1], retries=3) for number in range(40)]
        sys.stdin.readline()
        address, pid = next(iter(dask.run(os.getpid).items()))
        os.kill(pid, signal.SIGKILL)
        for task in as_completed(tasks):
            print(task.result(), flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("created", [1, 9])
def test_a_retried_task_is_billed_once(running: Running, server: LocalServer, tmp_path: Path, created: int) -> None:
    """Tasks that are lost with their worker run on another one, which pays for nothing again, at whichever moment."""

    @server.model("replicate/hello-world")
    async def hello(text: str) -> str:
        await asyncio.sleep(0.3)
        return f"hello {text}"

    # The server often knows more than the journal.
    server.faults.add(kind="delay", operation="predictions.create", seconds=0.1, after=True)
    (tmp_path / "example.py").write_text(DASK, encoding="utf-8")
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    journal = str(tmp_path / "run.db")
    # Dask writes about the worker that it lost.
    with running("killed.py", journal, stdin=PIPE, stderr=DEVNULL) as process:
        until(lambda: len(server.predictions) >= created)
        output, _ = process.communicate("kill\n", timeout=90)
        assert process.returncode == 0
    assert sorted(output.splitlines()) == sorted(f"hello {number}" for number in range(40))
    assert Counter(prediction.input["text"] for prediction in server.predictions.values()) == Counter(
        map(str, range(40))
    )
    with Journal(journal) as opened:
        assert {result.id for result in opened.results()} == set(server.predictions)


PASSED = """
from dask.distributed import Client, LocalCluster
import replicate_async as replicate

def passed(client, name):
    return client.run("replicate/hello-world", input={"text": name})

def made(name):
    with replicate.Replicate() as client:
        return client.run("replicate/hello-world", input={"text": name})

def failing():
    try:
        return replicate.predictions.get("nonsense")
    except replicate.NotFoundError as error:
        return error

if __name__ == "__main__":
    cluster = LocalCluster(processes=True, n_workers=2, threads_per_worker=4)
    with cluster, Client(cluster) as dask, replicate.Replicate() as client:
        # The client is in use.
        client.account.get()
        there = dask.scatter(client)
        print(*dask.gather([dask.submit(passed, there, str(number)) for number in range(6)]))
        print(*dask.gather([dask.submit(made, str(number)) for number in range(6)]))
        print(*dask.gather([dask.submit(replicate.run, "replicate/hello-world", {"text": "module"})]))
        print(type(dask.submit(failing).result()).__name__)
        page = dask.submit(lambda: replicate.predictions.list()).result()
        print(len(list(page)))
"""


def test_clients_in_tasks(running: Running, server: LocalServer, tmp_path: Path) -> None:
    """A client works in tasks, passed to them or created there; errors and pages are returned from them."""
    (tmp_path / "passed.py").write_text(PASSED, encoding="utf-8")
    with running(*QUIET, "passed.py") as process:
        output, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (0, "")
    hellos = " ".join(f"hello {number}" for number in range(6))
    assert output.splitlines() == [hellos, hellos, "hello module", "NotFoundError", "13"]


def test_cloudpickle(server: LocalServer) -> None:
    """Everything that pickles does so with cloudpickle too: clients in closures, results, pages, errors and files."""

    @server.model("owner/painter")
    def painter() -> OutputFile:
        return OutputFile(b"\x89PNG\r\n\x1a\n", "image/png", "out.png")

    @server.model("owner/broken")
    async def broken() -> str:
        raise ValueError("no luck today")

    def copied(thing: Any) -> Any:
        return cloudpickle.loads(cloudpickle.dumps(thing))

    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        hello = copied(lambda name: client.run("replicate/hello-world", input={"text": name}))
        assert hello("Alice") == "hello Alice"
        page = client.predictions.list()
        assert copied(page).results == page.results
        assert copied(page.results[0]) == page.results[0]
        assert copied(client.run("owner/painter")).read() == b"\x89PNG\r\n\x1a\n"
        with pytest.raises(ModelError) as failed:
            client.run("owner/broken")
        assert copied(failed.value).prediction == failed.value.prediction
        with pytest.raises(NotFoundError) as missing:
            client.predictions.get("nonsense")
        assert str(copied(missing.value)) == str(missing.value)
