"""What notebooks show: files, galleries, predictions, tracebacks, names and progress bars."""

from __future__ import annotations

import base64
import inspect
import json
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import replicate_async
from callers import transport_of
from replicate_async import AsyncFileOutput, AsyncReplicate, FileOutput, ModelError, Replicate, errors, testing, types
from replicate_async.testing import LocalServer, OutputFile, VirtualClock
from replicate_async.types import Prediction

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LARGE = 9 * 2**20


@pytest.fixture
def server(replicate_server: LocalServer) -> LocalServer:
    @replicate_server.model("owner/file", official=True)
    def file(type: str = "image/png", name: str = "a.png", size: int = 0) -> OutputFile:
        return OutputFile(bytes(size) or PICTURE, type, name)

    @replicate_server.model("owner/files", official=True)
    def files(number: int = 3) -> list[OutputFile]:
        return [OutputFile(PICTURE, "image/png", f"{index}.png") for index in range(number)]

    @replicate_server.model("owner/hello", official=True)
    def hello(text: str = "world") -> str:
        if text == "broken":
            raise ValueError("no luck")
        return f"hello {text}"

    return replicate_server


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with Replicate() as client:
        yield client


def run(client: Replicate, kind: str, model: str, **inputs: Any) -> Any:
    """Return the output of a model, with files of either client. They are fetched when they are shown."""
    output = client.run(model, inputs, wait=False)
    if kind == "blocking":
        return output
    source = transport_of(client)
    return (
        [AsyncFileOutput(f.url, source) for f in output]
        if isinstance(output, list)
        else AsyncFileOutput(output.url, source)
    )


# --- files ---


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize(
    ("type", "name", "start"),
    [
        ("image/png", "a.png", "<img "),
        ("audio/mpeg", "a.mp3", "<audio controls "),
        ("video/mp4", "a.mp4", "<video controls "),
        # The type is that of the response.
        ("image/webp", "a", "<img "),
    ],
)
def test_media_are_embedded(client: Replicate, kind: str, type: str, name: str, start: str) -> None:
    """Pictures, audio and video are shown with their content, because their URLs expire within an hour."""
    html = run(client, kind, "owner/file", type=type, name=name)._repr_html_()
    assert html.startswith(f'{start}src="data:{type};base64,{base64.b64encode(PICTURE).decode()}"')


def test_other_files_are_text(client: Replicate) -> None:
    """Other files are shown as text, like any object."""
    output = client.run("owner/file", {"type": "application/zip", "name": "a.zip"}, wait=False)
    assert output._repr_html_() is None


def test_large_files_are_links(client: Replicate) -> None:
    """A notebook stays small: a large file is shown from its URL."""
    output = client.run("owner/file", {"size": LARGE}, wait=False)
    assert output._repr_html_() == f'<img src="{output.url}" style="max-width: 100%">'
    inline = AsyncFileOutput(f"data:image/png;base64,{'A' * 2 * LARGE}")
    assert inline._repr_html_() is None


def test_missing_files_are_links(client: Replicate, server: LocalServer) -> None:
    """What can't be fetched raises nothing."""
    output = client.run("owner/file", wait=False)
    server.faults.add(kind="status", status=404, operation="outputs.download")
    assert output._repr_html_() == f'<img src="{output.url}" style="max-width: 100%">'


@pytest.mark.replicate_server(clock=VirtualClock)
def test_slow_files_are_links(client: Replicate, server: LocalServer) -> None:
    """The output of a cell waits for ten seconds at most."""
    output = client.run("owner/file", wait=False)
    server.faults.add(kind="stall", operation="outputs.download")
    before = server.clock.monotonic()
    assert output._repr_html_() == f'<img src="{output.url}" style="max-width: 100%">'
    assert server.clock.monotonic() - before == pytest.approx(10, abs=0.5)


def test_urls_are_escaped() -> None:
    """A model can't put markup into a notebook."""
    output = AsyncFileOutput('data:image/png,"><script>&')
    assert output._repr_html_() == ('<img src="data:image/png,&quot;&gt;&lt;script&gt;&amp;" style="max-width: 100%">')
    assert FileOutput(output)._repr_html_() == output._repr_html_()
    assert "<script" not in str(AsyncFileOutput('data:image/"><script>,x')._repr_html_())


@pytest.mark.parametrize("kind", ["run", "use", "map", "submit"])
def test_galleries(client: Replicate, kind: str) -> None:
    """A list of files is a list, and is shown as a gallery."""
    output = {
        "run": lambda: client.run("owner/files"),
        "use": client.use("owner/files"),
        "map": lambda: next(client.map("owner/files", [{}])),
        "submit": lambda: client.submit("owner/files").output(),
    }[kind]()
    assert isinstance(output, list)
    assert [type(item) for item in output] == [FileOutput] * 3
    html = output._repr_html_()  # type: ignore[attr-defined]
    assert html.count(base64.b64encode(PICTURE).decode()) == 3
    assert output == list(output)
    assert len(pickle.loads(pickle.dumps(output))) == 3
    assert json.dumps(output, default=str).startswith('["')


def test_galleries_are_bounded(client: Replicate, server: LocalServer) -> None:
    """All files of a list together have a limit as well."""

    @server.model("owner/album", official=True)
    def album() -> list[OutputFile]:
        return [OutputFile(bytes(7 * 2**20), "image/png", f"{index}.png") for index in range(5)]

    html = client.run("owner/album", wait=False)._repr_html_()
    assert html.count("<img") == 3
    assert len(html) < 33 * 2**20


def test_lists_without_files(client: Replicate, server: LocalServer) -> None:
    """Other lists stay plain."""
    server.model("owner/list", official=True)(lambda: ["a", 1])
    assert type(client.run("owner/list")) is list


# --- predictions ---


def test_a_prediction_is_one_line(client: Replicate) -> None:
    """The repr of a prediction is short, whatever it holds; a notebook shows a table."""
    client.run("owner/hello", {"text": "<b>" * 1000})
    prediction = next(iter(client.predictions.list()))
    text = repr(prediction)
    assert text.startswith(
        f"Prediction(id='{prediction.id}', status='succeeded', model='owner/hello', output='hello <b>"
    )
    assert len(text) < 300
    html = prediction._repr_html_()
    assert f'/{prediction.id}">{prediction.id}</a>' in html
    assert "<b>" not in html
    assert "predict_time" in html
    assert len(html) < 5000
    assert len(repr(client.models.get("owner/file"))) < 1000


def test_odd_predictions_have_tables(client: Replicate) -> None:
    """Members of an unexpected type are shown as they are."""
    client.run("owner/hello")
    prediction = next(iter(client.predictions.list()))
    for name in ("urls", "status", "model", "output", "error", "input"):
        odd: Any = pickle.loads(pickle.dumps(prediction))
        setattr(odd, name, [{"a": {5: b"x"}}])
        assert "<table>" in odd._repr_html_()
        assert repr(odd)
    prediction.urls.web = "javascript:alert(1)"
    assert "javascript" not in prediction._repr_html_()


def test_columns(client: Replicate) -> None:
    """Dicts of predictions have one column for each field."""
    client.run("owner/hello")
    (row,) = [prediction.to_dict() for prediction in client.predictions.list()]
    assert list(row) == list(Prediction.__struct_fields__)


# --- tracebacks and names ---


def test_frames_are_hidden(client: Replicate) -> None:
    """IPython and pytest hide every frame of the blocking client; the last is where the error was raised."""
    calls = [
        lambda: client.run("owner/hello", {"text": "broken"}),
        lambda: client.run(5),  # type: ignore[arg-type]
        lambda: client.predictions.get(""),
        lambda: list(client.map("owner/hello", [{"text": "broken"}])),
        lambda: list(client.stream("owner/hello", {"text": "broken"})),
        lambda: client.use("owner/hello")(text="broken"),
        lambda: client.predictions.with_raw_response.get("missing"),
        lambda: replicate_async.run("owner/hello", {"text": "broken"}),
    ]
    for call in calls:
        with pytest.raises((ModelError, TypeError, ValueError, errors.NotFoundError)):
            call()
        try:
            call()
        except Exception as error:  # noqa: BLE001
            frames = [frame for frame in inspect.getinnerframes(error.__traceback__) if "_sync" in frame.filename]
            frames += [frame for frame in inspect.getinnerframes(error.__traceback__) if "_bridge" in frame.filename]
            assert frames
            assert all(frame.frame.f_locals.get("__tracebackhide__") for frame in frames), frames


def test_names() -> None:
    """``dir`` of a public module, and so completion, has public names only."""
    assert dir(replicate_async) == sorted(replicate_async.__all__)
    for module in (replicate_async, types, errors, testing):
        for name in dir(module):
            assert not name.startswith("_") or name == "__version__"
            assert not inspect.ismodule(getattr(module, name)) or name in {"errors", "types"}
    assert {"Any", "atexit", "sys", "annotations"}.isdisjoint(dir(replicate_async))


# --- progress bars ---


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_progress_of_a_map(client: Replicate, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar counts what has ended, and ``on_update`` is called as without it."""
    updates: list[Any] = []
    inputs = [{"text": str(number)} for number in range(5)] + [{"text": "broken"}]
    options: dict[str, Any] = {"progress": True, "return_exceptions": True, "on_update": updates.append}
    if kind == "blocking":
        outputs = list(client.map("owner/hello", inputs, **options))
    else:
        outputs = replicate_async._bridge.run(collect(inputs, options))
    assert outputs[:5] == [f"hello {number}" for number in range(5)]
    assert updates[-1].succeeded + updates[-1].failed == 6
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last
    assert "6/6" in last
    assert "failed=1" in last


async def collect(inputs: Any, options: Any) -> list[Any]:
    async with AsyncReplicate() as client:
        return [output async for output in client.map("owner/hello", inputs, **options)]


def test_progress_of_inputs_without_a_length(client: Replicate, capsys: pytest.CaptureFixture[str]) -> None:
    """A generator has no end to show."""
    inputs: Iterator[dict[str, Any]] = ({} for _ in range(2))
    assert len(list(client.map("owner/hello", inputs, progress=True))) == 2
    assert "2run [" in capsys.readouterr().err.split("\r")[-1]


def test_progress_of_a_run(client: Replicate, server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar has the percentage that the model logs, and its status."""

    @server.model("owner/steps", official=True)
    def steps() -> str:
        print(" 40%|####      | 20/50 [00:02<00:03, 9.8it/s]")  # noqa: T201
        return "done"

    updates: list[str] = []
    output = client.run("owner/steps", progress=True, on_update=lambda prediction: updates.append(prediction.status))
    assert output == "done"
    assert updates[-1] == "succeeded"
    assert "succeeded 100%|" in capsys.readouterr().err.split("\r")[-1]


def test_progress_of_a_failure(client: Replicate, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure ends the bar, and is raised."""
    with pytest.raises(ModelError):
        client.run("owner/hello", {"text": "broken"}, progress=True)
    assert "failed" in capsys.readouterr().err
    with pytest.raises(ModelError):
        list(client.map("owner/hello", [{"text": "broken"}], progress=True))
    assert "failed=1" in capsys.readouterr().err


def test_no_tqdm(client: Replicate, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm, the error says what to install, and nothing is sent."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        client.run("owner/hello", progress=True)
    with pytest.raises(ImportError, match="pip install tqdm"):
        list(client.map("owner/hello", [{}], progress=True))
    assert not server.predictions


def test_no_bar_without_progress(client: Replicate, capsys: pytest.CaptureFixture[str]) -> None:
    """By default, nothing is drawn."""
    list(client.map("owner/hello", [{}]))
    assert capsys.readouterr().err == ""
