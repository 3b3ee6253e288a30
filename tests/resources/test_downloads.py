"""Downloads: they take as long as bytes arrive, continue where a connection broke, and are complete or an error."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import threading
import tty
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

import programs
from callers import Caller, transport_of
from rawserver import TOKEN, RawRequest, RawServer, answer, drip, part_of, prediction, record_pauses, stall
from replicate_async import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AsyncFileOutput,
    AsyncReplicate,
    FileOutput,
    NotFoundError,
    Replicate,
)
from replicate_async._threads import run_in_thread
from simulation import Simulation, simulate

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 1000
CHANGED = DATA[::-1]
TAG = {"ETag": '"v1"'}
SIGNED = {"file_id": "f1", "owner": "alice", "expiry": 2**31, "signature": "x/y+z="}
WAYS = ["read", "save", "iterate", "local_path", "download.read", "download.save", "download.iterate", "raw"]


class Storage:
    """A server of one file that breaks connections.

    ``breaks`` are the numbers of bytes after which the connections break, one after another; the last is repeated. None
    sends all. ``on_request`` may change the rest in between.
    """

    def __init__(self, *breaks: int | None, data: bytes = DATA, headers: dict[str, str] | None = None) -> None:
        self.breaks = list(breaks)
        self.data = data
        self.headers = TAG if headers is None else headers
        self.has_ranges = True
        self.compares = True
        self.ending: Callable[[asyncio.StreamWriter], Any] | None = None
        self.on_request: Callable[[int], None] = lambda number: None
        self.server = RawServer(self.step)

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.server.requests]

    async def step(self, writer: asyncio.StreamWriter) -> None:
        self.on_request(len(self.server.requests))
        writer.write(self.response(self.server.requests[-1]))
        await writer.drain()
        if self.ending is not None:
            await self.ending(writer)

    def response(self, request: RawRequest) -> bytes:
        limit = self.breaks.pop(0) if len(self.breaks) > 1 else self.breaks[0]
        start, status, headers = 0, 200, {"Content-Type": "image/png", **self.headers}
        asked = request.headers.get("range")
        validators = {self.headers.get("ETag"), self.headers.get("Last-Modified")}
        if asked and self.has_ranges and (request.headers.get("if-range") in validators or not self.compares):
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(self.data):
                return answer(416, {}, {"Content-Range": f"bytes */{len(self.data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        head, _, body = answer(status, self.data[start:], headers).partition(b"\r\n\r\n")
        return head + b"\r\n\r\n" + body[:limit]

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.server.__aexit__(*error)


async def get(storage: Storage, call: Caller, way: str, folder: Path) -> bytes:
    """Return the content of the file, fetched in one of the ways."""
    target = folder / "out.png"
    if way == "raw":
        return (await call("files.with_raw_response.download", **SIGNED)).read()
    if way.startswith("download"):
        file = await call("files.download", **SIGNED)
    else:
        file = AsyncFileOutput(f"{storage.server.url}/out.png", transport_of(call.client))
        file = FileOutput(file) if call.blocking else file
    if way.endswith("read"):
        return await call.of(file.read)
    if way.endswith("iterate"):
        return b"".join(await call.all(file.iter_bytes(10_000)))
    path = await (call.of(file.local_path) if way == "local_path" else call.of(file.save, target))
    return await anyio.Path(path).read_bytes()


@pytest.fixture(params=["async", "blocking"])
def make_call(request: pytest.FixtureRequest) -> Callable[..., Caller]:
    kind = AsyncReplicate if request.param == "async" else Replicate

    def make(storage: Storage, **options: Any) -> Caller:
        record_pauses()
        return Caller(kind(bearer_token=TOKEN, base_url=f"{storage.server.url}/v1", **options))

    return make


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- what can't be completed ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_download_that_gets_nowhere(make_call, tmp_path, way):
    """Connections that all break at the same byte end in an error after the usual attempts, and leave no file."""
    for headers in (TAG, {}):
        async with Storage(1000, 0, headers=headers) as storage:
            storage.has_ranges = bool(headers)
            call = make_call(storage)
            with pytest.raises(APIConnectionError):
                await get(storage, call, way, tmp_path)
            await call("close")
        assert len(storage.ranges) == (1 if "iterate" in way and not headers else 3)
    assert names(tmp_path) == []


async def test_a_download_that_always_starts_over(make_call, tmp_path):
    """Without ranges, connections that always break after the same number of bytes end in an error as well."""
    for headers in ({}, TAG):
        async with Storage(1000, headers=headers) as storage:
            storage.has_ranges = False
            call = make_call(storage)
            for way in ("read", "save"):
                storage.server.requests.clear()
                with pytest.raises(APIConnectionError):
                    await get(storage, call, way, tmp_path)
                assert len(storage.ranges) == 3
            await call("close")
    assert names(tmp_path) == []


async def test_no_retries(make_call, tmp_path):
    """With ``max_retries=0``, a broken download is not continued."""
    async with Storage(1000, None) as storage:
        call = make_call(storage, max_retries=0)
        for way in WAYS:
            storage.breaks = [1000, None]
            storage.server.requests.clear()
            with pytest.raises(APIConnectionError):
                await get(storage, call, way, tmp_path)
            assert len(storage.ranges) == 1
        await call("close")


async def test_a_file_that_is_gone_meanwhile(make_call, tmp_path):
    """A file that is deleted while it is downloaded raises the error that says so."""
    async with Storage(1000) as storage:
        call = make_call(storage)
        storage.server.steps = [storage.step, answer(404, {})]
        with pytest.raises(NotFoundError, match="gone"):
            await get(storage, call, "save", tmp_path)
        await call("close")
    assert names(tmp_path) == []


@pytest.mark.parametrize("way", ["iterate", "download.iterate"])
async def test_an_iteration_over_a_file_that_changes(make_call, tmp_path, way):
    """Chunks that were yielded can't be taken back, so a file that has changed is an error."""
    for has_ranges in (True, False):
        async with Storage(1000, None) as storage:
            storage.has_ranges = has_ranges
            storage.on_request = partial(change, storage)
            call = make_call(storage)
            with pytest.raises(APIConnectionError):
                await get(storage, call, way, tmp_path)
            await call("close")


def change(storage: Storage, number: int) -> None:
    """Replace the file after the first request."""
    if number == 2:
        storage.data, storage.headers = CHANGED, {"ETag": '"v2"'}


@pytest.mark.parametrize("framing", ["length", "until close", "chunked"])
@pytest.mark.parametrize("at", [5, 100, -9, -1], ids=["head", "middle", "trailer", "last byte"])
async def test_compressed_bodies_that_are_cut_off(tmp_path, framing, at):
    """A compressed body without its end is an error, even if the server thinks that it is complete."""
    packed = gzip.compress(DATA)[:at]
    headers = {"Content-Encoding": "gzip"}
    if framing == "length":
        response = answer(200, packed, headers)
    else:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
        response = head + (b"Connection: close\r\n\r\n" + packed if framing == "until close" else chunked)

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        await writer.drain()

    record_pauses()
    async with RawServer(step) as server, server.client() as client:
        output = AsyncFileOutput(f"{server.url}/a.bin", transport_of(client))
        for fetch in (output.read, partial(output.save, tmp_path / "a.bin"), partial(collect, output)):
            with pytest.raises(APIConnectionError):
                await fetch()
        streamed = await client.files.download(**SIGNED)
        with pytest.raises(APIConnectionError):
            await streamed.read()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"Content-Range": "bytes=50-99/100"},
        {"Content-Range": "50-99/100"},
        {"Content-Range": "bytes 50-99"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
        {"status": "202"},
    ],
    ids=["none", "equals sign", "no unit", "no size", "several", "accepted"],
)
async def test_parts_that_begin_nobody_knows_where(make_call, tmp_path, part):
    """Bytes whose place in the file is unknown are neither the whole file nor the rest of it."""
    headers = {**TAG, **part}
    status = int(headers.pop("status", "206"))
    whole = answer(200, DATA[:100], TAG)
    async with Storage(None) as storage:
        steps = [part_of(whole[:-50]), answer(status, DATA[50:100], headers), whole]
        storage.server.steps = [*steps]
        call = make_call(storage)
        for way in ("save", "read", "download.save"):
            storage.server.steps = [*steps]
            assert await get(storage, call, way, tmp_path) == DATA[:100]
        await call("close")


@pytest.mark.parametrize("unit", ["bytes 50-99/100", "Bytes  50-99/100 "])
async def test_units_of_ranges(make_call, tmp_path, unit):
    """The unit is the same in any case, and spaces don't matter."""
    whole = answer(200, DATA[:100], TAG)
    async with Storage(None) as storage:
        storage.server.steps = [part_of(whole[:-50]), answer(206, DATA[50:100], {**TAG, "Content-Range": unit})]
        call = make_call(storage)
        assert await get(storage, call, "save", tmp_path) == DATA[:100]
        await call("close")


@pytest.mark.parametrize("first_is_compressed", [True, False])
async def test_a_compression_that_changes(make_call, tmp_path, first_is_compressed):
    """A body goes on only with what is compressed in the same way. Otherwise, it starts over."""
    head = b"HTTP/1.1 200 OK\r\nLast-Modified: Wed, 21 Oct 2026 07:28:00 GMT\r\nTransfer-Encoding: chunked\r\n"
    plain = head + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA)
    data = gzip.compress(DATA)
    packed = head + b"Content-Encoding: gzip\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    first, second = (packed, plain) if first_is_compressed else (plain, packed)
    async with Storage(None) as storage:
        storage.server.steps = [part_of(first[:-100]), second]
        call = make_call(storage)
        assert await get(storage, call, "save", tmp_path) == DATA
        await call("close")


async def test_a_part_that_was_not_asked_for(make_call, tmp_path):
    """A first response with the end of a file is not taken for the file."""
    async with Storage(None) as storage:
        storage.server.steps = [answer(206, DATA[50:100], {**TAG, "Content-Range": "bytes 50-99/100"})]
        call = make_call(storage)
        with pytest.raises(APIResponseValidationError, match="a part of the content"):
            await get(storage, call, "save", tmp_path)
        await call("close")


async def test_reading_nothing_between_parts(make_call):
    """``read(0)`` gives nothing, and changes nothing; ``read(None)`` gives all."""
    async with Storage(None, data=b"abcdef") as storage:
        call = make_call(storage)
        file = AsyncFileOutput(f"{storage.server.url}/out.png", transport_of(call.client))
        output: Any = FileOutput(file) if call.blocking else file
        assert [await call.of(output.read, size) for size in (3, 0, 100, 0, 100, 2)] == [
            b"abc",
            b"",
            b"def",
            b"",
            b"",
            b"ab",
        ]
        assert await call.of(output.read, None) == b"abcdef"
        await call("close")


async def collect(output: AsyncFileOutput) -> bytes:
    return b"".join([chunk async for chunk in output])


async def test_bodies_that_are_not_what_their_header_says():
    """Broken compression, and one that was not asked for, are errors of the API."""
    for encoding, body in [("gzip", b"no gzip"), ("br", b"x"), ("zstd", b"x")]:
        async with RawServer(answer(200, body, {"Content-Encoding": encoding})) as server, server.client() as client:
            with pytest.raises(APIResponseValidationError):
                await AsyncFileOutput(f"{server.url}/a.bin", transport_of(client)).read()


async def test_a_stalled_download():
    """A download without a byte for as long as the timeout is continued, and fails if that does not help."""
    async with Storage(1000, 1000, None) as storage:
        storage.ending = stall
        async with storage.server.client(timeout=0.2) as client:
            record_pauses()
            output = AsyncFileOutput(f"{storage.server.url}/a.bin", transport_of(client))
            assert await output.read() == DATA
            assert storage.ranges == [None, "bytes=1000-", "bytes=2000-"]
            storage.breaks = [1000, 0]
            with pytest.raises(APITimeoutError):
                await output.read()


# --- what takes long ---


def test_slow_downloads():
    """A download at one byte per second for minutes is one request, whatever the timeout is."""

    async def main(sim: Simulation) -> None:
        body = bytes(range(200))
        async with RawServer(drip(answer(200, body), every=1)) as server, server.client(timeout=5) as client:
            output = AsyncFileOutput(f"{server.url}/a.bin", transport_of(client))
            assert await output.read() == body
            assert sim.monotonic() > 200
            assert await collect(output) == body
            assert await (await client.files.download(**SIGNED)).read() == body
            assert len(server.requests) == 3

    simulate(main)


def test_slow_readers():
    """The time that the reader takes for itself does not count."""

    async def main(sim: Simulation) -> None:
        async with RawServer(answer(200, DATA * 20)) as server, server.client(timeout=5) as client:
            output = AsyncFileOutput(f"{server.url}/a.bin", transport_of(client))
            size = 0
            async for chunk in output.iter_bytes(2**18):
                size += len(chunk)
                await asyncio.sleep(10)
            assert size == len(DATA) * 20
            assert len(server.requests) == 1

    simulate(main)


# --- what is continued ---


@pytest.mark.parametrize("validator", [TAG, {"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT", "ETag": 'W/"1"'}])
@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_download_continues(make_call, tmp_path, way, validator):
    """Only the missing bytes are asked for, on the condition that the file is the same."""
    async with Storage(1000, 50_000, None, headers=validator) as storage:
        call = make_call(storage)
        assert await get(storage, call, way, tmp_path) == DATA
        await call("close")
    assert storage.ranges == [None, "bytes=1000-", "bytes=51000-"]
    condition = validator["ETag"] if validator is TAG else validator["Last-Modified"]
    assert [request.headers.get("if-range") for request in storage.server.requests] == [None, condition, condition]


async def test_a_download_that_breaks_often(make_call, tmp_path):
    """As long as bytes arrive, a download goes on, however many connections that takes."""
    async with Storage(20_000) as storage:
        call = make_call(storage)
        for way in ("read", "iterate"):
            storage.server.requests.clear()
            assert await get(storage, call, way, tmp_path) == DATA
            assert len(storage.ranges) == 13
        await call("close")


async def test_connections_that_break_before_the_first_byte(make_call, tmp_path):
    """They are retried, but the content does not start over with them: it still may twice, when some has arrived."""
    async with Storage(0, 0, 1000, 1000, None, headers={}) as storage:
        storage.has_ranges = False
        call = make_call(storage)
        assert await get(storage, call, "read", tmp_path) == DATA
        await call("close")
    assert len(storage.ranges) == 5


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_without_ranges(make_call, tmp_path, way):
    """If a server sends the same file from its beginning, the bytes that were read before are skipped."""
    async with Storage(1000, 20_000, None) as storage:
        storage.has_ranges = False
        call = make_call(storage)
        assert await get(storage, call, way, tmp_path) == DATA
        await call("close")


@pytest.mark.parametrize("way", [way for way in WAYS if "iterate" not in way])
@pytest.mark.parametrize("kind", ["ranges", "no ranges", "ranges of anything"])
async def test_a_file_that_changes_starts_over(make_call, tmp_path, way, kind):
    """Parts of two files are never put together."""
    async with Storage(1000, None) as storage:
        storage.has_ranges, storage.compares = kind != "no ranges", kind == "ranges"
        storage.on_request = partial(change, storage)
        call = make_call(storage)
        assert await get(storage, call, way, tmp_path) == CHANGED
        await call("close")


async def test_a_file_that_becomes_shorter(make_call, tmp_path):
    """A range beyond the end of a file that is shorter now starts over."""

    def shorten(storage: Storage, number: int) -> None:
        if number == 2:
            storage.data, storage.headers, storage.compares = b"short", {"ETag": '"v2"'}, False

    async with Storage(1000, None) as storage:
        storage.on_request = partial(shorten, storage)
        call = make_call(storage)
        assert await get(storage, call, "save", tmp_path) == b"short"
        await call("close")


async def test_compressed_downloads_continue(make_call, tmp_path):
    """A compressed body is continued where it broke, and decompressed as a whole."""
    packed = gzip.compress(DATA[:100_000], 0) + gzip.compress(DATA[100_000:], 0)
    for data, encoding in [(packed, "gzip"), (zlib.compress(DATA, 0), "deflate")]:
        async with Storage(30_000, data=data, headers={**TAG, "Content-Encoding": encoding}) as storage:
            call = make_call(storage)
            for way in ("read", "save", "iterate", "download.iterate"):
                assert await get(storage, call, way, tmp_path) == DATA
            await call("close")


async def test_chunks_of_compressed_downloads():
    """A megabyte that decompresses to a gigabyte comes in chunks of the size that was asked for."""
    packed = gzip.compress(bytes(2**26))
    async with RawServer(answer(200, packed, {"Content-Encoding": "gzip"})) as server, server.client() as client:
        output = AsyncFileOutput(f"{server.url}/a.bin", transport_of(client))
        sizes = [len(chunk) async for chunk in output.iter_bytes(100_000)]
    assert (sum(sizes), max(sizes)) == (2**26, 100_000)


async def test_no_compression_is_asked_for():
    """Downloads ask for the file itself."""
    async with RawServer(answer(200, b"x")) as server, server.client() as client:
        await AsyncFileOutput(f"{server.url}/a.bin", transport_of(client)).read()
        await client.files.download(**SIGNED)
        assert [request.header_values("accept-encoding") for request in server.requests] == [["identity"]] * 2


async def test_compressed_errors():
    """A compressed error is readable."""
    problem = gzip.compress(b'{"detail": "no such thing"}')
    async with RawServer(answer(400, problem, {"Content-Encoding": "gzip"})) as server, server.client() as client:
        with pytest.raises(APIStatusError, match="no such thing"):
            await client.files.download(**SIGNED)


async def test_ranges_of_the_caller():
    """A range that the caller asks for is what the caller gets."""
    body = answer(206, DATA[:100], {"Content-Range": f"bytes 0-99/{len(DATA)}"})
    async with RawServer(body) as server, server.client() as client:
        response = await client.files.download(**SIGNED, extra_headers={"Range": "bytes=0-99"})
        assert await response.read() == DATA[:100]
        assert len(server.requests) == 1


async def test_other_responses_are_not_continued():
    """A response that is no download is not put together from several, and an error if it breaks."""
    cut = answer(200, {"a": "b" * 1000}, TAG)[:-10]

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(cut)
        await writer.drain()

    async with RawServer(step) as server, server.client() as client:
        async with client.account.with_streaming_response.get() as response:
            with pytest.raises(APIConnectionError):
                await response.json()
        assert len(server.requests) == 1


# --- where downloads are saved ---


async def test_many_outputs_of_one_name(tmp_path):
    """Outputs that have the same name are all kept in a folder, even if they are saved at the same time."""
    async with Storage(None) as storage, storage.server.client() as client:
        outputs = [AsyncFileOutput(f"{storage.server.url}/{i}/out-0.png", transport_of(client)) for i in range(20)]
        paths = await asyncio.gather(*[output.save(tmp_path) for output in outputs])
    assert sorted(path.name for path in paths) == names(tmp_path)
    assert names(tmp_path) == sorted(["out-0.png", *(f"out-0-{number}.png" for number in range(1, 20))])
    assert {path.read_bytes() for path in paths} == {DATA}


@pytest.mark.parametrize("linkable", [True, False])
async def test_a_folder_with_files(tmp_path, monkeypatch, linkable):
    """In a folder, no file is replaced, not even an empty one, a broken link or another folder."""
    if not linkable:
        monkeypatch.setattr(os, "link", partial(refuse, "no hard links"))
    (tmp_path / "out.png").touch()
    (tmp_path / "out-1.png").symlink_to("nowhere")
    (tmp_path / "out-2.png").mkdir()
    async with Storage(None) as storage, storage.server.client() as client:
        path = await AsyncFileOutput(f"{storage.server.url}/out.png", transport_of(client)).save(tmp_path)
    assert (path.name, path.read_bytes()) == ("out-3.png", DATA)
    assert names(tmp_path) == ["out-1.png", "out-2.png", "out-3.png", "out.png"]


def refuse(reason: str, *_arguments: Any) -> None:
    raise PermissionError(1, reason)


@pytest.mark.parametrize("way", ["save", "download.save"])
async def test_links_are_written_through(make_call, tmp_path, way):
    """A link stays, and its target gets the content, if there is one yet or not."""
    async with Storage(None) as storage:
        call = make_call(storage)
        for existing in (True, False):
            (tmp_path / "target").unlink(missing_ok=True)
            (tmp_path / "out.png").unlink(missing_ok=True)
            if existing:
                (tmp_path / "target").write_bytes(b"older")
            (tmp_path / "out.png").symlink_to("target")
            assert await get(storage, call, way, tmp_path) == DATA
            assert (tmp_path / "out.png").is_symlink()
            assert (tmp_path / "target").read_bytes() == DATA
        # A download that breaks does not touch the target.
        storage.breaks = [1000, 0]
        storage.data = CHANGED
        with pytest.raises(APIConnectionError):
            await get(storage, call, way, tmp_path)
        await call("close")
    assert (tmp_path / "target").read_bytes() == DATA
    assert names(tmp_path) == ["out.png", "target"]


@pytest.mark.parametrize("way", ["save", "download.save"])
async def test_pipes_are_written_to(make_call, tmp_path, way):
    """A pipe gets the content, and stays a pipe."""
    pipe = tmp_path / "out.png"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    async with Storage(1000, None) as storage:
        call = make_call(storage)
        file = await call("files.download", **SIGNED)
        if way == "save":
            file = AsyncFileOutput(f"{storage.server.url}/out.png", transport_of(call.client))
            file = FileOutput(file) if call.blocking else file
        assert await call.of(file.save, pipe) == pipe
        await call("close")
    await anyio.to_thread.run_sync(reader.join)
    assert received == [DATA]
    assert pipe.is_fifo()


async def test_devices_are_written_to():
    """A device gets the content, and stays a device."""
    # Where no program can create files, so that a mistake replaces no device of this machine.
    controller, device = os.openpty()
    tty.setraw(device)
    path = os.ttyname(device)
    async with Storage(None, data=DATA[:1000]) as storage, storage.server.client() as client:
        output = AsyncFileOutput(f"{storage.server.url}/out.png", transport_of(client))
        assert await output.save(path) == Path(path)
    assert os.read(controller, 2000) == DATA[:1000]
    assert os.ttyname(device) == path
    os.close(device)
    os.close(controller)


async def test_a_link_in_a_circle(tmp_path):
    """A link that leads nowhere is not replaced, and the error names it."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        await AsyncFileOutput("data:text/plain,x").save(tmp_path / "loop")
    assert names(tmp_path) == ["loop"]
    assert (tmp_path / "loop").is_symlink()


# --- programs ---

PIPES = """
    import asyncio, os, pathlib, tempfile
    import replicate_async as replicate

    folder = pathlib.Path(tempfile.mkdtemp())
    for number in range(3):
        os.mkfifo(folder / f"pipe{number}")
    output = replicate.AsyncFileOutput("data:text/plain,x")

    async def main():
        async with replicate.AsyncReplicate(bearer_token="x") as client:
            for call in (
                client.run("owner/name", {"file": folder / "pipe0"}),
                client.files.create(folder / "pipe1"),
                output.save(folder / "pipe2"),
            ):
                try:
                    await asyncio.wait_for(call, 0.2)
                except asyncio.TimeoutError:
                    print("canceled")

    asyncio.run(main())
    print(sorted(path.name for path in folder.iterdir()))
"""


def test_pipes_without_another_end():
    """A pipe that nobody writes or reads blocks neither a canceled caller nor the end of the program."""
    assert programs.run(PIPES).split("\n")[:4] == ["canceled"] * 3 + ["['pipe0', 'pipe1', 'pipe2']"]


ITERATIONS = """
    import asyncio, os
    import replicate_async as replicate

    async def main():
        async with replicate.AsyncReplicate(bearer_token="x", base_url=os.environ["URL"]) as client:
            own = await client.run("owner/name")
            other = replicate.AsyncFileOutput(own.url)
            keep.extend([own.iter_bytes(10), own.__aiter__(), other.iter_bytes(10), other.__aiter__()])
            for iterator in keep:
                await iterator.__anext__()
            if not os.environ["CLOSE"]:
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)

    keep = []
    try:
        asyncio.run(main())
    except asyncio.TimeoutError:
        pass
"""


async def test_an_error_in_a_thread_whose_caller_is_canceled():
    """The canceled caller waits for what must be completed, and its error is not logged."""
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    go_on, threads = threading.Event(), []

    def fail() -> None:
        threads.append(threading.current_thread())
        go_on.wait(10)
        raise OSError("the disk is full")

    writing = asyncio.ensure_future(run_in_thread(fail, abandon=False))
    await asyncio.sleep(0.01)
    writing.cancel()
    await asyncio.sleep(0.01)
    assert not writing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    threads.pop().join()
    del writing
    gc.collect()
    assert logged == []


@pytest.mark.parametrize("close", ["", "1"])
async def test_iterations_that_the_program_leaves(close):
    """An iteration that is open when the event loop ends is closed in silence."""

    async def step(writer: asyncio.StreamWriter) -> None:
        ended = {"status": "succeeded", "completed_at": "2025-01-01T00:00:01Z", "output": f"{server.url}/a.bin"}
        is_file = server.requests[-1].target == "/a.bin"
        writer.write(answer(200, DATA) if is_file else answer(201, prediction(**ended)))
        await writer.drain()

    async with RawServer(step) as server:
        run = partial(programs.run, ITERATIONS, URL=f"{server.url}/v1", CLOSE=close)
        assert await anyio.to_thread.run_sync(run) == ""
