"""A server that responds immediately with prepared responses, and runs in its own process.

The server does as little as possible, so that the benchmarks measure the client. It looks only at the method and the
path, doesn't check the token, and doesn't parse the body. While requests come in, it doesn't sleep, because the sender
pays for waking a process on another core. In a virtual machine, waking it costs up to 10 us per call.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
INPUT = {"text": "Alice"}
OUTPUT = "hello Alice"
PAGE = 100

_ID = "gm3qorzdhgbfurvjtvhg6dckhu"
_PREDICTION = {
    "id": _ID,
    "model": "replicate/hello-world",
    "version": VERSION,
    "input": INPUT,
    "logs": "",
    "output": OUTPUT,
    "error": None,
    "status": "succeeded",
    "created_at": "2023-09-08T16:19:34.765994Z",
    "data_removed": False,
    "started_at": "2023-09-08T16:19:34.779176Z",
    "completed_at": "2023-09-08T16:19:34.791859Z",
    "metrics": {"predict_time": 0.012683},
    "urls": {
        "cancel": f"https://api.replicate.com/v1/predictions/{_ID}/cancel",
        "get": f"https://api.replicate.com/v1/predictions/{_ID}",
        "web": f"https://replicate.com/p/{_ID}",
    },
}
_MODEL = {
    "url": "https://replicate.com/replicate/hello-world",
    "owner": "replicate",
    "name": "hello-world",
    "description": "A tiny model that says hello",
    "visibility": "public",
    "is_official": False,
    "github_url": "https://github.com/replicate/cog-examples",
    "paper_url": None,
    "license_url": None,
    "run_count": 5681081,
    "cover_image_url": "",
    "default_example": _PREDICTION,
    "latest_version": {
        "id": VERSION,
        "created_at": "2022-04-26T19:29:04.418669Z",
        "cog_version": "0.3.0",
        "openapi_schema": {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "components": {
                "schemas": {
                    "Input": {
                        "type": "object",
                        "title": "Input",
                        "required": ["text"],
                        "properties": {
                            "text": {
                                "type": "string",
                                "title": "Text",
                                "x-order": 0,
                                "description": "Text to prefix with 'hello '",
                            }
                        },
                    },
                    "Output": {"type": "string", "title": "Output"},
                }
            },
        },
    },
}

_SETTING = {
    "type": "number",
    "title": "Guidance Scale",
    "default": 7.5,
    "minimum": 1,
    "maximum": 20,
    "description": "How closely the picture follows the prompt: lower values give it more freedom, higher ones less",
}


def _with_settings(model: dict[str, Any], count: int) -> dict[str, Any]:
    """Return a copy of a model with ``count`` more inputs, as image models have. Each adds 200 bytes to its schema."""
    model = json.loads(json.dumps(model))
    properties = model["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]["properties"]
    properties.update({f"setting_{number}": {**_SETTING, "x-order": number} for number in range(1, count + 1)})
    return model


def _response(value: Any, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


def _page(item: Any) -> bytes:
    return _response({"results": [item] * PAGE, "next": None, "previous": None})


_CREATED = _response(_PREDICTION, "201 Created")
_PAGES = {
    b"/v1/predictions": _page(_PREDICTION),
    b"/v1/models": _page(_MODEL),
    # This path belongs to another base URL, /v1/large.
    b"/v1/large/models": _page(_with_settings(_MODEL, 25)),
}
_FETCHED = _response(_PREDICTION)

# The server sleeps after this time without a request, so that benchmarks of whole processes have the machine to
# themselves.
_AWAKE_SECONDS = 0.01


class _Connection(asyncio.Protocol):
    _transport: asyncio.WriteTransport
    _received = b""
    _last_request_at = 0.0  # across all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    @classmethod
    def stay_awake(cls) -> None:
        idle = monotonic() - cls._last_request_at > _AWAKE_SECONDS
        asyncio.get_running_loop().call_later(0.01 if idle else 0, cls.stay_awake)

    def data_received(self, data: bytes) -> None:
        _Connection._last_request_at = monotonic()
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            end += 4
            _, separator, rest = head.lower().partition(b"content-length:")
            if separator:
                end += int(rest.partition(b"\r\n")[0])
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            method, path, _ = head.split(b" ", 2)
            self._transport.write(_CREATED if method == b"POST" else _PAGES.get(path, _FETCHED))


async def serve(connection: type[asyncio.Protocol]) -> None:
    """Print the port, and serve until the parent process ends or closes the standard input of this process."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        # This returns when the parent process ends or closes its end of the pipe.
        sys.stdin.read()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=watch, daemon=True).start()
    await stopped.wait()


@contextmanager
def running(module: str = __spec__.name) -> Generator[str, None, None]:
    """Run the server of this module or of another module, and yield its base URL."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.stdin.close()


async def _main() -> None:
    _Connection.stay_awake()
    await serve(_Connection)


if __name__ == "__main__":
    asyncio.run(_main())
