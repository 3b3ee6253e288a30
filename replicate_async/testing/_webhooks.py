"""Webhooks: which events are told, signed how, and how often it is tried."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from replicate_async.types import WebhookEvent

from ._calls import Call
from ._clock import Clock, Timer
from ._offline import NetworkRefusedError

if TYPE_CHECKING:
    from ._faults import Fault, Faults
    from ._jobs import Job

_log = logging.getLogger("replicate_async.testing")

_PAUSE = 0.5  # seconds, at least, between two webhooks of a job that tell of output or logs
_BACKOFF = (1, 2, 4, 8, 16, 32)  # the last attempt is about a minute after the first
_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(eq=False)
class _Message:
    """What is told once; repeating it doesn't change its id."""

    event: WebhookEvent
    body: bytes
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    fault: Fault | None = None


class Webhooks:
    """Delivers the webhooks of one server. ``journal`` has every attempt."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self.journal: list[Call] = []
        self.clock = clock
        self._faults = faults
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, job: Job[Any], url: str, events: list[WebhookEvent] | None) -> None:
        """Tell a URL of a job's events, by default of all."""
        job.listeners.append(_Watcher(self, job, url, events).hear)

    def start(self, watcher: _Watcher) -> None:
        """Have a watcher deliver what it has."""
        task = asyncio.get_running_loop().create_task(watcher.deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def choose(self, message: _Message, url: str) -> None:
        """Choose the fault that acts on a message, if any."""
        try:
            message.fault = self._faults.choose(self._call(message, url))
        except Exception:  # noqa: BLE001  (a fault of the test, which must not keep the others from being told)
            _log.exception("choosing a fault for webhook.%s failed, so none acts", message.event)

    async def attempt(self, message: _Message, url: str) -> int:
        """Try to deliver a message; return the status, 0 if there was no answer."""
        call = self._call(message, url)
        self.journal.append(call)
        if self._session is None:
            # Neither cookies nor proxies: each delivery stands for itself.
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.post(url, data=call.body, headers=call.headers, allow_redirects=False) as response:
                call.status = response.status
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, NetworkRefusedError, UnicodeError):
            return 0  # the last is what a host is refused with that no name server could know
        return call.status

    async def stop(self) -> None:
        """Give up what hasn't been delivered."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _call(self, message: _Message, url: str) -> Call:
        timestamp = str(int(self.clock.now().timestamp()))
        signed = f"{message.id}.{timestamp}.".encode() + message.body
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        headers = {
            "Content-Type": "application/json",
            "Webhook-Id": message.id,
            "Webhook-Timestamp": timestamp,
            "Webhook-Signature": f"v1,{signature}",
        }
        return Call(f"webhook.{message.event}", "POST", url, "", {}, headers, body=message.body, fault=message.fault)


class _Watcher:
    """Follows one job, and delivers what there is to tell, one after the other."""

    def __init__(self, webhooks: Webhooks, job: Job[Any], url: str, events: list[WebhookEvent] | None) -> None:
        self._webhooks = webhooks
        self._clock = webhooks.clock
        self._job = job
        self._url = url
        self._events = events
        self._queue: deque[_Message] = deque()
        self._late: deque[_Message] = deque()  # to come after the next one, as a fault wants it
        self._delivering = False
        self._progress: WebhookEvent = "output"
        self._told = float("-inf")
        self._timer: Timer | None = None

    def hear(self, _job: Job[Any], event: WebhookEvent) -> None:
        """Take note of an event."""
        wanted = self._events is None or event in self._events
        if event in {"output", "logs"}:
            if wanted:
                self._progress = event
                self._tell_soon()
            return
        if event == "completed" and self._timer is not None:
            self._timer.cancel()  # what it would tell is part of the end
        if wanted:
            self._tell(event)
        elif event == "completed":
            self._start()  # somebody may wait for what never comes

    async def deliver(self) -> None:
        """Deliver what there is."""
        with self._clock.working():
            while self._queue or (self._late and self._job.done):
                if self._queue:
                    message = self._queue.popleft()
                    self._webhooks.choose(message, self._url)
                    if message.fault is not None and message.fault.kind == "reorder":
                        self._late.append(message)
                        continue
                    await self._send(message)
                while self._late:
                    await self._send(self._late.popleft())
        self._delivering = False

    def _tell_soon(self) -> None:
        if self._timer is None:
            pause = self._told + _PAUSE - self._clock.monotonic()
            if pause > 0:
                self._timer = self._clock.call_later(pause, self._tell_progress)
            else:
                self._tell_progress()

    def _tell_progress(self) -> None:
        self._timer = None
        self._told = self._clock.monotonic()
        self._tell(self._progress)

    def _tell(self, event: WebhookEvent) -> None:
        self._queue.append(_Message(event, msgspec.json.encode(self._job.record)))
        self._start()

    def _start(self) -> None:
        if not self._delivering:
            self._delivering = True
            self._webhooks.start(self)

    async def _send(self, message: _Message) -> None:
        fault = message.fault
        if fault is not None and fault.seconds:
            await self._clock.sleep(fault.seconds)
        copies = (fault.copies or 1) if fault is not None and fault.kind == "duplicate" else 0
        for _ in range(1 + copies):
            pauses = iter(_BACKOFF if message.event == "completed" else ())
            while not 0 < await self._webhooks.attempt(message, self._url) < 500:
                pause = next(pauses, None)
                if pause is None:
                    break
                await self._clock.sleep(pause)
