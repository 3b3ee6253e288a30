"""With other people's libraries: dependency injection, commands, pictures, tables, uploads, clocks and loops."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Any

import dishka
import flask
import injector
import numpy as np
import pandas as pd
import punq
import pytest
import time_machine
import trio
import typer
from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile, TemporaryUploadedFile
from PIL import Image
from typer.testing import CliRunner

from replicate_async import AsyncReplicate, Replicate
from replicate_async.testing import LocalServer, OutputFile
from replicate_async.types import Prediction


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = LocalServer()

    @server.model("owner/any", official=True)
    async def any_input(x: Any = None) -> str:
        await asyncio.sleep(0.05)
        return "done"

    @server.model("owner/table", official=True)
    def table() -> OutputFile:
        return OutputFile(b"a,b\n1,2\n3,4\n", "text/csv", "table.csv")

    @server.model("owner/picture", official=True)
    def picture() -> OutputFile:
        file = io.BytesIO()
        Image.new("RGB", (4, 3), "red").save(file, "PNG")
        return OutputFile(file.getvalue(), "image/png", "picture.png")

    with server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


def sent(client: Replicate, server: LocalServer, value: Any) -> Any:
    """Return what a model gets for a value."""
    client.run("owner/any", {"x": value})
    return json.loads(server.requests[-1].body)["input"]["x"]


def decoded(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


class Service:
    @injector.inject
    def __init__(self, client: Replicate, other: AsyncReplicate) -> None:
        self.clients = client, other


def test_punq_and_injector() -> None:
    """Containers create clients, and what needs clients."""
    container = punq.Container()
    for kind in (Replicate, AsyncReplicate, Service):
        container.register(kind)
    for service in (container.resolve(Service), injector.Injector().get(Service)):
        assert [type(client) for client in service.clients] == [Replicate, AsyncReplicate]


def test_dishka() -> None:
    """Dishka's providers give clients."""

    class Provider(dishka.Provider):
        scope = dishka.Scope.APP

        @dishka.provide
        async def client(self) -> AsyncIterable[AsyncReplicate]:
            async with AsyncReplicate(bearer_token="x") as client:
                yield client

    async def main() -> None:
        container = dishka.make_async_container(Provider())
        client = await container.get(AsyncReplicate)
        await container.close()
        assert client.is_closed()

    asyncio.run(main())


def test_typer() -> None:
    """Typer's commands have our types in their annotations."""
    application = typer.Typer()

    @application.command()
    def command(ref: str) -> Prediction | None:
        print(ref)  # noqa: T201
        return None

    assert CliRunner().invoke(application, ["owner/name"]).output == "owner/name\n"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I"])
def test_pictures(client: Replicate, server: LocalServer, mode: str) -> None:
    """A picture of PIL is sent as PNG, whatever its mode."""
    picture = Image.new(mode, (4, 3))
    assert decoded(sent(client, server, [picture])[0]).size == (4, 3)


def test_a_turned_picture(client: Replicate, server: LocalServer) -> None:
    """The orientation that a camera has noted is applied."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(file, "JPEG", exif=exif)
    assert decoded(sent(client, server, Image.open(file))).size == (30, 40)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_arrays(client: Replicate, server: LocalServer, mode: str) -> None:
    """An array is sent as the same picture that PIL would make of it."""
    shape = (5, 7) if mode == "L" else (5, 7, len(mode))
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = decoded(sent(client, server, array))
    assert picture.mode == mode
    assert (np.asarray(picture) == array).all()


def test_tables(client: Replicate, server: LocalServer) -> None:
    """Times and columns of pandas are values; a whole table is an error."""
    assert sent(client, server, pd.Timestamp("2025-01-02T03:04:05Z")) == "2025-01-02T03:04:05+00:00"
    assert sent(client, server, pd.Series([1, 2])) == [1, 2]
    assert sent(client, server, pd.Timedelta(seconds=3)) == "PT3S"
    for value in (pd.NaT, pd.Series([1.0, None]), pd.DataFrame({"a": [1]})):
        with pytest.raises((TypeError, ValueError), match=r"input\.x"):
            sent(client, server, value)


def test_outputs_are_opened(client: Replicate) -> None:
    """PIL and pandas open file outputs as they are."""
    with Image.open(client.run("owner/picture")) as picture:
        assert picture.size == (4, 3)
    output = client.run("owner/table")
    for _ in range(2):
        assert pd.read_csv(output).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_uploads_of_django(client: Replicate, server: LocalServer) -> None:
    """Django's uploads keep their types and names, whether they are in memory or on disk."""
    if not settings.configured:
        settings.configure()
    temporary = TemporaryUploadedFile("cat.webp", "image/webp", 7, None)
    temporary.write(b"content")
    temporary.seek(0)
    memory = InMemoryUploadedFile(io.BytesIO(b"content"), "field", "cat.webp", "image/webp", 7, None)
    for upload in (memory, SimpleUploadedFile("cat.webp", b"content", "image/webp"), temporary):
        assert sent(client, server, upload).startswith("data:image/webp;base64,")
        file = client.files.create(upload)
        assert (file.name, file.content_type, file.size) == ("cat.webp", "image/webp", 7)
        upload.close()


def test_uploads_of_flask(client: Replicate, server: LocalServer) -> None:
    """Flask's uploads keep their types and names, and file outputs are JSON with a default function."""
    application = flask.Flask(__name__)

    @application.post("/")
    def handle() -> Any:
        file = client.files.create(flask.request.files["picture"])
        return {"name": file.name, "type": file.content_type, "output": str(client.run("owner/picture", wait=False))}

    data = {"picture": (io.BytesIO(b"content"), "cat.webp", "image/webp")}
    answer = application.test_client().post("/", data=data).json
    assert answer is not None
    assert (answer["name"], answer["type"]) == ("cat.webp", "image/webp")
    assert answer["output"].startswith(server.delivery_url)


@pytest.mark.parametrize("tick", [True, False])
def test_time_machine(server: LocalServer, tick: bool) -> None:
    """Both clients wait for predictions while time-machine has moved or frozen the time."""

    async def main() -> str:
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            return await client.run("owner/any", wait=False)

    with time_machine.travel("2020-01-01", tick=tick):
        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            assert client.run("owner/any", wait=False) == "done"
        assert asyncio.run(main()) == "done"


def test_trio(client: Replicate, tmp_path: Path) -> None:
    """Under trio, the asynchronous client says what is missing, and the blocking one works in a thread."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
            await AsyncReplicate(bearer_token="x").run("owner/any")
        assert await trio.to_thread.run_sync(client.run, "owner/any") == "done"

    trio.run(main)
