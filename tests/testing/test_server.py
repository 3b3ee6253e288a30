"""Starting and stopping a server, in a loop, in a thread, in a process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from replicate_async.testing import LocalServer, VirtualClock, models

from .conftest import serve


def request(url: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Send a request to a server in another thread or process, and return the JSON of the response."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        headers.setdefault("Authorization", "Bearer local-token")
        connection.request(method, f"/v1{path}", json.dumps(body) if body is not None else None, headers)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def run(url: str, model: str, **inputs: Any) -> Any:
    return request(url, "POST", f"/models/{model}/predictions", {"input": inputs}, Prefer="wait")


@pytest.mark.anyio
async def test_in_the_loop() -> None:
    """A server in the running loop has a port of its own, and is gone afterwards."""
    async with serve(tidy=True) as (server, call), serve(tidy=True) as (other_server, _):
        assert server.base_url == f"{server.url}/v1"
        assert server.url != other_server.url
        assert (await call("GET", "/account")).data["username"] == "local"
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.url


def test_in_a_thread() -> None:
    """A server in a thread serves blocking code, and models can be registered before and while it runs."""
    server = LocalServer(tidy=True, username="alice", token="secret")
    server.model("alice/before")(models.hello_world)
    with server:
        server.model("alice/after")(models.hello_world)
        headers = {"Authorization": "Bearer secret"}
        assert request(server.url, "GET", "/account", **headers)["username"] == "alice"
        for name in ("before", "after"):
            body = {"input": {"text": "a"}}
            path = f"/models/alice/{name}/predictions"
            assert request(server.url, "POST", path, body, Prefer="wait", **headers)["output"] == "hello a"
    assert not [thread for thread in threading.enumerate() if "LocalServer" in thread.name]
    # A server that starts again keeps its state.
    for count in (3, 4):
        with server:
            path = "/models/alice/before/predictions"
            answer = request(server.url, "POST", path, {"input": {"text": "a"}}, Prefer="wait=9", **headers)
            assert (answer["output"], len(server.predictions)) == ("hello a", count)


@pytest.mark.anyio
async def test_in_a_thread_of_a_program_with_a_loop() -> None:
    """A server in a thread has a loop of its own, so it can be used where a loop runs."""
    with LocalServer(tidy=True) as server:
        assert (await asyncio.to_thread(request, server.url, "GET", "/account"))["type"] == "user"


@pytest.mark.anyio
async def test_ipv6() -> None:
    """A server can listen on an IPv6 address, which is in brackets in its URLs."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    # This machine has no IPv6.
    except OSError:
        with pytest.raises(OSError):
            await LocalServer(tidy=True, host="::1").__aenter__()
        return
    async with serve(tidy=True, host="::1") as (server, call):
        models.register(server)
        assert server.url.startswith("http://[::1]:")
        assert server.delivery_url.startswith("http://[::1]:")
        prediction = await call.run("replicate-local/stream-text", prompt="a b", delay=0)
        assert (await call("GET", prediction["urls"]["stream"])).status == 200


def test_quick() -> None:
    """Starting and stopping take milliseconds."""
    with LocalServer(tidy=True):
        # The first start imports modules.
        pass
    seconds: list[float] = []
    for _ in range(5):
        begin = time.perf_counter()
        with LocalServer(tidy=True) as server:
            models.register(server)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.05


def test_a_busy_port() -> None:
    """Starting a server on a port in use raises an error."""
    with LocalServer(tidy=True) as server:
        port = urlsplit(server.url).port
        with pytest.raises(OSError, match="in use"), LocalServer(tidy=True, port=port or 0):
            pass


@pytest.mark.anyio
async def test_started_twice() -> None:
    """A running server can't be started again."""
    async with LocalServer(tidy=True) as server:
        with pytest.raises(RuntimeError, match="already running"):
            await server.__aenter__()


@pytest.mark.parametrize("model", ["me/async", "me/thread", "me/generator"])
def test_stopping_while_requests_are_held(model: str) -> None:
    """A server stops at once, also while models run and requests are held, and leaves nothing behind."""
    server = LocalServer(tidy=True)
    gone = threading.Event()

    @server.model("me/async")
    async def endless() -> None:
        await asyncio.Event().wait()

    @server.model("me/thread")
    def blocked() -> None:
        gone.wait(10)

    @server.model("me/generator")
    def generator() -> Iterator[str]:
        yield "a"
        gone.wait(10)

    def held() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            run(server.url, model)

    with server:
        client = threading.Thread(target=held)
        client.start()
        while not any(prediction.started_at for prediction in server.predictions.values()):
            time.sleep(0.002)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 6
    assert [prediction.status for prediction in server.predictions.values()] == ["canceled"]
    client.join(5)
    assert not client.is_alive()
    gone.set()
    # A socket or task that was left behind causes a warning here, which is an error.
    gc.collect()


def test_interrupts_of_models() -> None:
    """A KeyboardInterrupt outside of the main thread fails its prediction only, because it isn't Ctrl-C."""
    with LocalServer(tidy=True) as server:

        @server.model("me/plain")
        def plain() -> None:
            raise KeyboardInterrupt

        @server.model("me/async")
        async def asynchronous() -> None:
            raise KeyboardInterrupt

        for name in ("me/plain", "me/async"):
            failed = run(server.url, name)
            assert (failed["status"], "KeyboardInterrupt" in failed["error"]) == ("failed", True)
            assert f"in {name[3:5]}" in failed["logs"]


def test_interrupted_in_a_model() -> None:
    """Ctrl-C while the main thread runs a model ends the program that runs the server."""
    seen: list[str] = []

    async def main() -> None:
        async with serve(tidy=True) as (server, call):

            @server.model("me/plain")
            def plain() -> None:
                raise KeyboardInterrupt

            @server.model("me/async")
            async def asynchronous() -> None:
                raise KeyboardInterrupt

            seen.append((await call.run("me/plain"))["status"])
            seen.append((await call.run("me/async"))["status"])

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == ["failed"]


@pytest.mark.anyio
async def test_stopping_leaves_no_tasks() -> None:
    """After the server has stopped, the loop has the tasks that it had before."""
    before = asyncio.all_tasks()
    async with LocalServer(tidy=True) as server:

        @server.model("me/endless")
        async def endless() -> None:
            await asyncio.Event().wait()

        await asyncio.gather(*(asyncio.to_thread(_start, server.url) for _ in range(5)))
        assert len(asyncio.all_tasks() - before) >= 5
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def _start(url: str) -> None:
    request(url, "POST", "/models/me/endless/predictions", {"input": {}})


@pytest.mark.anyio
async def test_printing_is_restored() -> None:
    """After the server has stopped, the standard streams are what they were."""
    before = sys.stdout, sys.stderr
    async with serve(tidy=True) as (server, call):
        models.register(server)
        await call.run("replicate/hello-world", text="a")
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.anyio
async def test_printing_while_another_server_stops(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's prints are still in its logs after another server in this process has stopped."""
    before = sys.stdout
    go = asyncio.Event()
    async with serve(tidy=True) as (server, call):

        @server.model("me/patient")
        async def patient() -> None:
            print("before")  # noqa: T201
            await go.wait()
            print("after")  # noqa: T201

        prediction = await call.start("me/patient")
        await call.until(prediction, "processing")
        async with serve(tidy=True) as (other_server, _):
            models.register(other_server)
        go.set()
        assert (await call.until(prediction, "succeeded"))["logs"] == "before\nafter\n"
    assert sys.stdout is before
    assert capsys.readouterr().out == ""


def test_in_a_process() -> None:
    """A server in a process has the demonstration models, and ends with the with statement."""
    with LocalServer.process(tidy=True, username="alice") as server:
        assert server.base_url == f"{server.url}/v1"
        assert request(server.url, "GET", "/account")["username"] == "alice"
        assert run(server.url, "replicate/hello-world", text="Alice")["output"] == "hello Alice"
        assert run(server.url, "replicate-local/stream-text", prompt="a b", delay=0)["output"] == ["a", " b"]
        image = run(server.url, "replicate-local/gradient", width=2)["output"]
        assert image.startswith(f"{server.delivery_url}/")
        assert image.endswith("/gradient.png")
    with pytest.raises(OSError, match="refused"):
        request(server.url, "GET", "/account")


def test_options_of_a_process() -> None:
    """Options of a server in a process are plain data."""
    options: dict[str, Any] = {
        "limits": {"creates": 1, "create_burst": 1},
        "faults": {"faults": [{"operation": "hardware.list", "kind": "status", "status": 503}]},
        "files": "data",
    }
    with LocalServer.process(tidy=True, **options) as server:
        assert request(server.url, "GET", "/hardware")["status"] == 503
        assert run(server.url, "replicate-local/gradient", width=2)["output"].startswith("data:image/png;base64,")
        assert run(server.url, "replicate-local/gradient", width=2)["retry_after"] == 60


def test_a_path_for_a_process(tmp_path: Path) -> None:
    """An option can be a path; options that can't be passed to another process are refused."""
    path = tmp_path / "faults.toml"
    path.write_text('[[faults]]\noperation = "hardware.list"\nkind = "status"\nstatus = 503\n', encoding="utf-8")
    with LocalServer.process(tidy=True, faults=path) as server:
        assert request(server.url, "GET", "/hardware")["status"] == 503
    with pytest.raises(TypeError, match=r"VirtualClock.* can't be passed to another process"):
        LocalServer.process(tidy=True, clock=VirtualClock())


def test_own_models_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process finds the same modules as this one, and may print."""
    source = """
    print("loading")

    def register(server):
        @server.model("me/shout")
        def shout(text: str) -> str:
            return text.upper()
    """
    (tmp_path / "my_models.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with LocalServer.process("my_models:register", tidy=True, token="t") as server:
        body = {"input": {"text": "a"}}
        headers = {"Authorization": f"Bearer {server.token}", "Prefer": "wait"}
        answer = request(server.url, "POST", "/models/me/shout/predictions", body, **headers)
        assert answer["output"] == "A"


def test_a_process_that_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Output that bypasses ``sys.stdout`` goes to standard error, so it can't block the server."""
    source = """
    import os, subprocess, sys

    def register(server):
        @server.model("me/writes")
        def writes() -> str:
            os.write(1, b"x" * 200_000)
            return "written"

        @server.model("me/runs")
        def runs() -> str:
            subprocess.run([sys.executable, "-c", "print('y' * 200_000)"], check=True)
            return "run"
    """
    (tmp_path / "noisy_models.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with LocalServer.process("noisy_models:register", tidy=True) as server:
        assert run(server.url, "me/writes")["output"] == "written"
        assert run(server.url, "me/runs")["output"] == "run"
    captured = capfd.readouterr()
    assert (captured.out, captured.err.count("x"), captured.err.count("y")) == ("", 200_000, 200_000)


def test_a_process_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """A process that can't start raises an error with its exit status; its error output has the reason."""
    with pytest.raises(RuntimeError, match="status 1"), LocalServer.process("no_such_module:register", tidy=True):
        pass
    assert "no_such_module" in capfd.readouterr().err


def test_a_process_ends_with_its_parent() -> None:
    """A process ends by itself if its parent is killed."""
    script = """
    import os
    from replicate_async.testing import LocalServer
    server = LocalServer.process().__enter__()
    print(server.url, flush=True)
    os._exit(9)
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, encoding="utf-8", check=False, cwd=root
    )
    assert done.returncode == 9, done.stderr
    url = done.stdout.strip()
    for _ in range(200):
        try:
            request(url, "GET", "/account")
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError("the process is still there")


def test_the_module_as_a_program() -> None:
    """Python -m replicate_async.testing prints its URL, serves models, and exits quietly on Ctrl-C."""
    command = [sys.executable, "-m", "replicate_async.testing", "--options", '{"tidy": true}']
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        assert run(hello["url"], "replicate/hello-world", text="Alice")["output"] == "hello Alice"
        process.send_signal(2)
        assert process.communicate(timeout=5) == (b"", b"")
        assert process.returncode == 0


def test_bad_names() -> None:
    """A malformed model name or version is refused when it is registered."""
    server = LocalServer(tidy=True)
    for name in ("hello", "a/b/c", "/b", "a/", "a b/c", "a/b:c"):
        with pytest.raises(ValueError, match="owner/name"):
            server.model(name)(models.hello_world)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        server.model("a/b", version="1")(models.hello_world)
    server.model("a/b", version="ab" * 32)(models.hello_world)
    with pytest.raises(ValueError, match="belongs to a/b"):
        server.model("c/d", version="ab" * 32)(models.hello_world)


def test_import_costs() -> None:
    """Importing the SDK doesn't import the test kit."""
    script = (
        "import sys, replicate_async; print(any(name.startswith('replicate_async.testing') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True, cwd=root)
    assert done.stdout == "False\n"
