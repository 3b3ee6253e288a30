"""A notebook, executed in a kernel."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest
from nbclient import NotebookClient

from replicate_async.testing import LocalServer

from .conftest import statuses, until

CELLS = [
    "import asyncio, replicate_async as replicate",
    "print(asyncio.get_running_loop().is_running())",
    "print(replicate.run('replicate/hello-world', input={'text': 'blocking'}))",
    """
    for event in replicate.stream("replicate-local/stream-text", input={"prompt": "a b c", "delay": 0}):
        print(event, end="")
    """,
    """
    client = replicate.AsyncReplicate()
    print(await client.run("replicate/hello-world", input={"text": "awaited"}))
    print(*await asyncio.gather(*[client.run("replicate/hello-world", input={"text": name}) for name in "ab"]))
    """,
    """
    try:
        replicate.run("owner/endless")
    except KeyboardInterrupt:
        print("interrupted")
    """,
    "print(replicate.run('replicate/hello-world', input={'text': 'after'}))",
    "await client.close(); replicate.default_client().close()",
]
OUTPUTS = [
    "",
    "True\n",
    "hello blocking\n",
    "a b c",
    "hello awaited\nhello a hello b\n",
    "interrupted\n",
    "hello after\n",
    "",
]


# Jupyter's own libraries give warnings.
@pytest.mark.filterwarnings("default")
def test_a_notebook(
    server: LocalServer, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both clients work in cells, where a loop runs; the stop button cancels the call in progress."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cells = [nbformat.v4.new_code_cell(dedent(cell)) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    executing = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})

    def press_stop() -> None:
        until(lambda: "processing" in statuses(server), 60)
        os.kill(executing.km.provisioner.pid, signal.SIGINT)

    threading.Thread(target=press_stop, daemon=True).start()
    executing.execute()
    assert ["".join(output.get("text", "?") for output in cell.outputs) for cell in notebook.cells] == OUTPUTS
    assert statuses(server).count("canceled") == 1
