"""Web servers and workers that fork, and those with threads."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import celery
import celery.exceptions
import httpx
import pytest

from replicate_async.testing import LocalServer

from .conftest import Running, statuses, until

DJANGO = """
import sys
from socketserver import ThreadingMixIn

import django
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from replicate_async import AsyncReplicate, Replicate

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
blocking, asynchronous = Replicate(), AsyncReplicate()

def hello(request, name):
    return HttpResponse(blocking.run("owner/patient", input={"text": name}))

async def hello_async(request, name):
    return HttpResponse(await asynchronous.run("owner/patient", input={"text": name}))

async def hello_mixed(request, name):
    return HttpResponse(blocking.run("owner/patient", input={"text": name}))

def story(request, prompt):
    return StreamingHttpResponse(blocking.stream("replicate-local/stream-text", input={"prompt": prompt, "delay": 0}))

urlpatterns = [
    path("hello/<name>", hello), path("async/<name>", hello_async), path("mixed/<name>", hello_mixed),
    path("story/<prompt>", story),
]

class Handler(WSGIRequestHandler):
    def log_message(self, *args):
        pass

server = ThreadedWSGIServer(("127.0.0.1", 0), Handler)
server.set_app(get_wsgi_application())
print(server.server_port, flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
"""


def test_django(running: Running, server: LocalServer) -> None:
    """Views of a threaded server share clients, blocking and asynchronous; Ctrl-C ends the server at once."""
    with running("-c", DJANGO) as process:
        assert process.stdout is not None
        origin = f"http://127.0.0.1:{int(process.stdout.readline())}"
        paths = [f"/{view}/{number}" for view in ("hello", "async", "mixed") for number in range(8)]
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda path: httpx.get(origin + path, timeout=30), paths))
        assert [(answer.status_code, answer.text) for answer in answers] == [
            (200, f"at last {path[-1]}") for path in paths
        ]
        assert httpx.get(f"{origin}/story/once upon a time").text == "once upon a time"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - started < 5
    assert (process.returncode, errors) == (0, "")


GUNICORN = """
import os
from replicate_async import Replicate

client = Replicate()
# The master makes a call before it forks.
client.account.get()

def application(environ, start_response):
    output = client.run("owner/patient", input={"text": environ["PATH_INFO"]})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {output}".encode()]
"""


def test_gunicorn(running: Running, server: LocalServer, tmp_path: Path) -> None:
    """With ``--preload``, a client that the master has created and used works in each of its workers."""
    (tmp_path / "app.py").write_text(GUNICORN, encoding="utf-8")
    command = ("-m", "gunicorn", "--preload", "--workers", "2", "--bind", "unix:socket", "--log-level", "warning")
    with running(*command, "app:application") as process:
        until((tmp_path / "socket").exists)
        transport = httpx.HTTPTransport(uds=str(tmp_path / "socket"), retries=3)
        visitor = httpx.Client(transport=transport, base_url="http://app", timeout=30)
        with visitor, ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: visitor.get(f"/{number}").text.split(" ", 1), range(16)))
        assert [output for _, output in answers] == [f"at last /{number}" for number in range(16)]
        workers = {int(pid) for pid, _ in answers}
        assert len(workers) == 2
        assert process.pid not in workers
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


CELERY = """
import os
from celery import Celery
from replicate_async import ModelError, Replicate

app = Celery("tasks")
app.config_from_object("settings")
client = Replicate()
# The parent makes a call before it forks.
client.account.get()

@app.task
def hello(name):
    return os.getpid(), client.run("owner/patient", input={"text": name})

@app.task
def words(prompt):
    return [str(event) for event in client.stream("replicate-local/stream-text", input={"prompt": prompt, "delay": 0})]

@app.task(soft_time_limit=1)
def endless():
    return client.run("owner/endless")
"""
CELERY_SETTINGS = """
from pathlib import Path
folder = Path(__file__).parent / "queue"
folder.mkdir(exist_ok=True)
broker_url = "filesystem://"
broker_transport_options = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(folder))
result_backend = f"file://{folder}"
broker_connection_retry_on_startup = True
worker_hijack_root_logger = False
"""


@pytest.fixture
def worker(running: Running, tmp_path: Path) -> Any:
    """Return a function that starts a Celery worker with two children."""
    (tmp_path / "tasks.py").write_text(CELERY, encoding="utf-8")
    (tmp_path / "settings.py").write_text(CELERY_SETTINGS, encoding="utf-8")

    @contextmanager
    def start() -> Generator[Popen[str], None, None]:
        command = ("-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2")
        # Its banner isn't read, and mustn't fill a pipe.
        with running(*command, "--without-mingle", "--without-gossip", stdout=DEVNULL, stderr=DEVNULL) as process:
            yield process

    return start


# Celery opens its own files without an encoding.
@pytest.mark.filterwarnings("ignore::EncodingWarning")
def test_celery(worker: Any, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that the worker has created and used before it forked runs models in both of its children."""
    with worker() as process:
        monkeypatch.syspath_prepend(str(tmp_path))
        app = celery.Celery("caller")
        app.config_from_object("settings")
        sent = [app.send_task("tasks.hello", [str(number)]) for number in range(8)]
        results = [one.get(timeout=60) for one in sent]
        assert [output for _, output in results] == [f"at last {number}" for number in range(8)]
        children = {pid for pid, _ in results}
        assert len(children) == 2
        assert process.pid not in children
        assert "".join(app.send_task("tasks.words", ["a b c"]).get(timeout=60)) == "a b c"
        # Celery's limit is a signal: what waits is interrupted, and its prediction cancelled.
        with pytest.raises(celery.exceptions.SoftTimeLimitExceeded):
            app.send_task("tasks.endless").get(timeout=60)
        assert statuses(server)[-1] == "canceled"
        assert app.send_task("tasks.hello", ["after"]).get(timeout=60)[1] == "at last after"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
