"""The official SDK's surface on top of this package: settings, safety, what it leaves out, and what it costs."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answering import answering
from replicate_async import compat, errors
from replicate_async.compat.prediction import Prediction
from replicate_async.compat.stream import ServerSentEvent
from replicate_async.testing import LocalServer
from replicate_async.types import Prediction as NativePrediction


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(tidy=True, username="owner") as server:

        @server.model("owner/text")
        def text(text: str = "nobody") -> list[str]:
            return ["hello ", text]

        ended = threading.Event()

        @server.model("owner/endless")
        def endless() -> str:
            ended.wait()
            return ""

        yield server
        # Its threads would go on in the tests that follow.
        ended.set()


@pytest.fixture
def client(server: LocalServer) -> Iterator[compat.Client]:
    with compat.Client(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- what can't be read ---

ODD_ITEMS: list[Any] = [None, 5, "x", ["y"], [{"id": 5}], {"self": 1, "kind": 2}]


@pytest.mark.parametrize(
    "group", ["models", "predictions", "trainings", "files", "deployments", "collections", "hardware"]
)
def test_items_that_are_no_objects(group: str) -> None:
    """An item of a list that is not an object stays what it is; the others are as usual."""
    item = {"id": "x", "name": "n", "sku": "s", "owner": "o", "slug": "s"}
    items = [*ODD_ITEMS, item]
    body = items if group == "hardware" else {"results": items, "next": None, "previous": None}
    with answering(lambda *_: body) as url, compat.Client(api_token="r8_x", base_url=url) as client:
        listed: Any = getattr(client, group).list()
        results = listed if group == "hardware" else listed.results
        assert results[:5] == ODD_ITEMS[:5]
        assert results[5].self == 1
        assert type(results[6]) is type(results[5])
        if group != "hardware":
            assert listed.dict()["results"][:5] == ODD_ITEMS[:5]
            assert len(list(listed)) == 7


# --- installing it ---


def test_nothing_of_it_is_imported() -> None:
    """The package and its clients import nothing of it."""
    code = "import sys, replicate_async; replicate_async.Replicate; print([m for m in sys.modules if 'compat' in m])"
    assert python(code.replace(" m]", " m and m.startswith('replicate')]")) == "[]"


def test_installed_modules_have_specs() -> None:
    """After ``install()``, each module of the official SDK is found and has a spec; functions stay functions."""
    code = """
from importlib.util import find_spec
from replicate_async.compat import install
install()
install()
import replicate, replicate.run, replicate.stream
names = "account client collection deployment exceptions file hardware helpers identifier model pagination".split()
names += "prediction resource run schema stream training types version webhook types.prediction".split()
assert all(find_spec(f"replicate.{name}") for name in names)
from replicate.run import run
from replicate.prediction import Prediction
assert callable(replicate.run) and callable(replicate.stream) and find_spec("replicate")
print(replicate.__name__)
"""
    assert python(code) == "replicate_async.compat"


def test_it_is_installed_before_the_official_sdk(tmp_path: Any) -> None:
    """If the official SDK was imported before, ``install()`` raises: its importers would keep it."""
    (tmp_path / "replicate.py").write_text("", encoding="utf-8")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import replicate
from replicate_async.compat import install
try:
    install()
except RuntimeError as error:
    print("call install() first" in str(error))
"""
    assert python(code) == "True"


# --- settings ---


def test_settings_take_effect_at_any_time(server: LocalServer, client: compat.Client) -> None:
    """A token that is assigned later is the one that is sent, whatever the attribute is called."""
    assert client.account.get().username == "owner"
    for name in ("bearer_token", "api_token", "_api_token"):
        setattr(client, name, "r8_wrong")
        with pytest.raises(compat.AuthenticationError):
            client.account.get()
        setattr(client, name, server.token)
        assert client.account.get().username == "owner"


def test_settings_of_the_module(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's settings are those of its default client, which can be replaced."""
    monkeypatch.setattr(compat, "default_client", compat.Client(bearer_token="r8_wrong", base_url=server.base_url))
    with pytest.raises(compat.AuthenticationError):
        compat.account.get()
    compat.bearer_token = server.token
    assert compat.account.get().username == "owner"
    assert compat.models.get("owner/text").versions.list()[0].id
    assert compat.bearer_token == compat.default_client.bearer_token == server.token
    compat.default_client.close()


@pytest.mark.parametrize(
    ("base_url", "options", "used"),
    [
        ("https://gateway.example", {"api_token": "r8_x"}, "https://gateway.example/v1"),
        ("https://gateway.example/replicate", {"api_token": "r8_x"}, "https://gateway.example/replicate/v1"),
        ("https://gateway.example/v1/", {"api_token": "r8_x"}, "https://gateway.example/v1"),
        ("https://gateway.example/replicate", {"bearer_token": "r8_x"}, "https://gateway.example/replicate"),
        ("https://gateway.example", {"bearer_token": "r8_x"}, "https://gateway.example/v1"),
        (None, {"api_token": "r8_x"}, "https://api.replicate.com/v1"),
    ],
)
def test_base_urls(base_url: str | None, options: dict[str, str], used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 1.x, base URLs are without the version of the API."""
    monkeypatch.delenv("REPLICATE_BASE_URL", raising=False)
    assert compat.Client(base_url=base_url, **options).native_url == used  # type: ignore[arg-type]


def test_timeouts_of_httpx() -> None:
    """The numbers of an ``httpx.Timeout``, and of the module's own ``Timeout``, are used."""
    for timeout in (httpx.Timeout(5.0, read=30.0), compat.Timeout(5.0, read=30.0)):
        used = compat.Client(api_token="r8_x", timeout=timeout).transport.settings.timeout
        assert (used.sock_connect, used.sock_read, used.total) == (5.0, 30.0, None)


def test_the_token_is_never_shown(server: LocalServer, client: compat.Client) -> None:
    """Neither reprs nor pickles of clients' objects have the token."""
    prediction = client.predictions.create(model="owner/text", input={})
    for text in (repr(client), repr(prediction), repr(vars(prediction)), repr(pickle.dumps(prediction))):
        assert server.token not in text


# --- safety, as in the native client ---


def test_a_canceled_run_cancels_its_prediction(server: LocalServer) -> None:
    """If the task of ``async_run`` is canceled, so is the prediction."""

    async def main() -> None:
        async with compat.AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            task = asyncio.create_task(client.run("owner/endless", input={}))
            while not (await client.predictions.list()).results:  # noqa: ASYNC110 - the server sends no event
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (prediction,) = (await client.predictions.list()).results
            assert (await client.predictions.wait(prediction.id)).status == "canceled"

    asyncio.run(main())


def test_creates_are_not_repeated(server: LocalServer) -> None:
    """A create whose response is a 500 is not repeated blindly, as it is in 2.x: it was carried out."""
    with compat.Client(bearer_token=server.token, base_url=server.base_url) as client:
        server.faults.add(kind="status", operation="*predictions.create", status=500, after=True, times=1)
        output = client.run(client.models.get("owner/text").latest_version, input={"text": "Ann"})
        assert "".join(output) == "hello Ann"
        assert len(client.predictions.list()) == 1


def test_leaving_an_output_iterator_leaves_the_prediction(client: compat.Client) -> None:
    """The events and pieces of an existing prediction are only watched: it continues if they are left."""
    prediction = client.predictions.create(model="owner/endless", input={})
    while prediction.status == "starting":
        prediction.reload()
    for _ in range(2):
        events = prediction.stream()
        events.close()
    prediction.reload()
    assert prediction.status == "processing"
    prediction.cancel()
    prediction.wait()
    assert prediction.status == "canceled"


# --- what is left out ---


@pytest.mark.parametrize("option", ["transport", "http_client", "proxies", "verify", "mounts"])
def test_options_of_httpx(option: str) -> None:
    """A transport or HTTP client of httpx is refused by every client, with the alternative."""
    for kind in (compat.Client, compat.Replicate, compat.AsyncReplicate):
        with pytest.raises(TypeError, match=f"{option}.*aiohttp.*session="):
            kind(**{option: object()})
    with pytest.raises(TypeError, match="aiohttp"):
        compat.http_client = httpx.Client


def test_names_of_httpx() -> None:
    """The names that are left out say why."""
    for name in ("DefaultHttpxClient", "Transport", "Stream"):
        assert not hasattr(compat, name)
        with pytest.raises(AttributeError, match=r"httpx|generator"):
            getattr(compat, name)
    with pytest.raises(AttributeError, match="status_code"):
        _ = errors.NotFoundError("gone", status_code=404).response
    with pytest.raises(AttributeError, match="no pydantic models"):
        _ = Prediction.construct(id="p1").model_fields


def test_objects_made_by_programs_make_no_calls() -> None:
    """An object that no client has fetched says so."""
    with pytest.raises(RuntimeError, match="not fetched by a client"):
        Prediction(id="p1", status="starting").reload()


# --- objects ---

NATIVE = NativePrediction(
    id="p1",
    status="aborted",
    created_at=__import__("datetime").datetime(2025, 1, 2, 3, 4, 5, tzinfo=__import__("datetime").timezone.utc),
    urls={"get": "https://x.example/p1", "cancel": "https://x.example/p1/cancel"},  # type: ignore[arg-type]
)


def test_times_are_texts_and_datetimes() -> None:
    """A time is the API's text, and has the attributes and arithmetic of a datetime."""
    prediction = Prediction(**NATIVE.to_dict())
    created = prediction.created_at
    assert created == "2025-01-02T03:04:05Z"
    assert (created.year, created.tzinfo is not None, f"{created:%H:%M}") == (2025, True, "03:04")
    assert created == NATIVE.created_at
    later = NATIVE.created_at.replace(year=2026)
    assert created < later
    assert later > created
    assert not created >= later
    assert (later - created).days == (created.datetime - later).days * -1 == 365
    assert created.replace(tzinfo=None).tzinfo is None
    assert created.replace("2025", "2024").startswith("2024")
    assert json.dumps(created) == '"2025-01-02T03:04:05Z"'


def test_urls_are_dicts_and_attributes() -> None:
    """URLs are keys, with ``get(key)``, and attributes, among which ``get`` is a URL."""
    urls = Prediction(**NATIVE.to_dict()).urls
    assert urls["get"] == urls.get == urls.get("get") == "https://x.example/p1"
    assert urls.cancel == urls.get("cancel") == "https://x.example/p1/cancel"
    assert (urls.get("stream"), urls.get("other", "default"), urls.stream) == (None, "default", None)
    assert json.loads(json.dumps(urls))["cancel"] == urls["cancel"]


def test_an_aborted_prediction_ends_loops() -> None:
    """1.x has no status ``aborted``: its loops would wait for ever."""
    assert Prediction(**NATIVE.to_dict()).status == "canceled"


def test_objects_are_values() -> None:
    """Objects compare, copy, pickle, and become dicts, JSON and pydantic fields."""
    from pydantic import BaseModel

    prediction = Prediction(**NATIVE.to_dict())
    for other in (copy.deepcopy(prediction), pickle.loads(pickle.dumps(prediction)), prediction.copy()):
        assert other == prediction
        assert other.urls.get == prediction.urls.get
    assert dict(prediction)["id"] == json.loads(prediction.json())["id"] == "p1"
    assert len({prediction, prediction.copy()}) == 1

    class Job(BaseModel):
        prediction: Prediction

    job = Job(prediction={"id": "p1", "status": "succeeded", "created_at": "2025-01-02T03:04:05Z"})
    assert job.prediction.created_at.year == 2025
    assert json.loads(job.model_dump_json())["prediction"]["status"] == "succeeded"


def test_events_are_texts_of_a_kind() -> None:
    """An event compares with its kind as an enum and as text, and is the text of its output."""
    event = ServerSentEvent(event="output", data="hi", id="1")
    assert event.event == ServerSentEvent.EventType.OUTPUT == "output"
    assert (str(event), f"{event}", event.data, event.retry) == ("hi", "hi", "hi", None)
    assert str(ServerSentEvent("logs", "loading")) == ""
    restored = pickle.loads(pickle.dumps(event))
    assert (restored, restored.event, restored.id) == (event, event.event, "1")


def test_outputs_are_lists_and_iterators(client: compat.Client) -> None:
    """A list has indexes, a length and a next item, and can be iterated asynchronously."""
    output = client.run("owner/text", input={"text": "Ann"})
    assert (output[0], len(output), next(output), list(output)) == ("hello ", 2, "hello ", ["hello ", "Ann"])
    assert json.dumps(output) == '["hello ", "Ann"]'

    async def read() -> list[str]:
        return [piece async for piece in client.run("owner/text", input={"text": "Bob"})]

    assert asyncio.run(read()) == ["hello ", "Bob"]


def test_annotations_evaluate_at_run_time() -> None:
    """Tools that inject dependencies or make schemas can evaluate all annotations."""
    names = [f"replicate_async.compat.{info.name}" for info in pkgutil.iter_modules(compat.__path__)]
    for module in [importlib.import_module(name) for name in names if not name.endswith("__main__")]:
        for value in [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]:
            functions = [value, *vars(value).values()] if inspect.isclass(value) else [value]
            for function in functions:
                if inspect.isfunction(function) or inspect.isclass(function):
                    typing.get_type_hints(function)
