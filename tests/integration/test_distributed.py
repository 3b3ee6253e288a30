"""Clients in the processes of a cluster, and on their way there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import cloudpickle
import pytest

from replicate_async import ModelError, NotFoundError, Replicate
from replicate_async.testing import LocalServer, OutputFile

from .conftest import Running, statuses

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(DASK,) = [block for block in BLOCKS if "dask" in block]
# Dask warns if another test has a dashboard.
QUIET = ("-W", "ignore:Port 8787")


def test_the_pages_example(running: Running, server: LocalServer, tmp_path: Path) -> None:
    """The example for Dask runs as written; run again, it finds its predictions and creates none."""
    names = [f"number {number}" for number in range(12)]
    (tmp_path / "example.py").write_text(DASK, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    for _ in range(2):
        with running(*QUIET, "example.py", "notes", *names) as process:
            output, errors = process.communicate(timeout=90)
        assert (process.returncode, errors) == (0, "")
        assert sorted(output.splitlines()) == sorted(f"hello {name}" for name in names)
        assert len(server.predictions) == len(names)


# The page's functions, on a model that takes its time; a worker is killed while all tasks are waiting for it.
KILLED = """
import os, signal, sys
from pathlib import Path
from dask.distributed import Client, as_completed
import example

def main():
    with Client(n_workers=2, threads_per_worker=8) as dask:
        dask.register_plugin(example.WithReplicate())
        notes = Path("notes")
        tasks = [dask.submit(example.hello, str(number), notes.resolve(), retries=3) for number in range(8)]
        while len(list(notes.glob("*.prediction"))) < 8:
            pass
        address, pid = next(iter(dask.run(os.getpid).items()))
        os.kill(pid, signal.SIGKILL)
        print("killed", flush=True)
        for task in as_completed(tasks):
            print(task.result(), flush=True)

if __name__ == "__main__":
    main()
"""


def test_a_retried_task_is_billed_once(running: Running, server: LocalServer, tmp_path: Path) -> None:
    """Tasks that are lost with their worker run on another one, which waits for the same predictions."""
    go_on = tmp_path / "go on"

    @server.model("replicate/hello-world")
    async def hello(text: str) -> str:
        while not go_on.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return f"hello {text}"

    (tmp_path / "example.py").write_text(DASK, encoding="utf-8")
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    # Dask writes about the worker that it lost.
    with running("killed.py", stderr=DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "killed\n"
        go_on.touch()
        output = process.stdout.read()
        assert process.wait() == 0
    assert sorted(output.splitlines()) == [f"hello {number}" for number in range(8)]
    assert statuses(server) == ["succeeded"] * 8


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
