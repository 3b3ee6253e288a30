"""A notebook, executed in a kernel."""

from __future__ import annotations

import base64
import os
import re
import signal
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from replicate_async.testing import LocalServer, OutputFile, models

from .conftest import statuses, until

WIDGET = "application/vnd.jupyter.widget-view+json"
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


SHOWN = """
import replicate_async as replicate
client = replicate.AsyncReplicate()
---
replicate.run("replicate-local/gradient", {"width": 30, "height": 20}, wait=False)
---
await client.run("replicate-local/gradient", {"width": 30, "height": 20}, wait=False)
---
list(replicate.map("owner/pictures", [{}]))[0]
---
await client.run("owner/pictures", wait=False)
---
prediction = next(iter(replicate.predictions.list()))
prediction
---
import pandas
pandas.DataFrame([prediction.to_dict() for prediction in replicate.predictions.list()])[["id", "status", "model"]]
---
replicate.run("owner/broken")
---
await client.run("owner/broken")
---
replicate.run(5)
---
print(set(get_ipython().Completer.all_completions("replicate.")) - {f"replicate.{name}" for name in replicate.__all__})
---
outputs = list(replicate.map("replicate/hello-world", [{"text": str(number)} for number in range(30)], progress=True))
---
await client.run("replicate/hello-world", {"text": "a"}, progress=True)
---
%xmode Verbose
---
replicate.run("owner/broken")
"""


# Jupyter's own libraries give warnings.
@pytest.mark.filterwarnings("default")
def test_what_a_notebook_shows(
    server: LocalServer, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pictures are embedded, errors are short, completion is clean, and progress is a widget."""

    @server.model("owner/broken", official=True)
    def broken() -> str:
        raise ValueError("no luck")

    @server.model("owner/pictures", official=True)
    def pictures() -> list[OutputFile]:
        return [models.gradient(width=30, height=20)] * 3

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in SHOWN.split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    executing = NotebookClient(notebook, timeout=60, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}})
    executing.execute()
    (
        _,
        one,
        awaited,
        gallery,
        awaited_gallery,
        shown,
        table,
        failed,
        awaited_failed,
        wrong,
        completed,
        mapped,
        ran,
        _,
        whole,
    ) = [cell.outputs for cell in notebook.cells]
    png = base64.b64encode(models.gradient(width=30, height=20).data).decode()
    for outputs, count in ((one, 1), (awaited, 1), (gallery, 3), (awaited_gallery, 3)):
        assert outputs[0].data["text/html"].count(png) == count
    assert len(shown[0].data["text/plain"]) < 400
    assert "<table><caption>Prediction" in shown[0].data["text/html"]
    assert "<td>succeeded</td>" in table[0].data["text/html"]

    def lines_of(outputs: Any) -> list[str]:
        text = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(outputs[0].traceback))
        return [line for line in text.splitlines() if line.strip()]

    for outputs in (failed, awaited_failed):
        # A rule, the name of the error, the cell and its line, and the message.
        assert len(lines_of(outputs)) == 5
        assert lines_of(outputs)[-1].endswith("failed: no luck")
    assert len(lines_of(wrong)) < 15
    assert any("jobs.py" in line for line in lines_of(whole))
    assert completed[0].text == "set()\n"
    for outputs, value in ((mapped, 30), (ran, 100)):
        assert any(WIDGET in output.get("data", {}) for output in outputs)
        assert value in [state["state"].get("value") for state in executing.widget_state.values()]
