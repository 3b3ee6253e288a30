"""Webhooks: which events are delivered, their signatures, and retries."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta

from replicate_async.types import WebhookEvent, WebhookSecret

from ._calls import Call, invalid
from ._fault_injection import Faults
from ._faults import Fault
from ._jobs import Job
from ._offline import NetworkRefusedError
from ._real_clock import Clock, Timer

_log = logging.getLogger("replicate_async.testing")

# Webhooks of a job for output and logs are at least this far apart.
_MIN_INTERVAL_SECONDS = 0.5
# The last attempt is about a minute after the first.
_RETRY_DELAYS = (1, 2, 4, 8, 16, 32)
_TIMEOUT = aiohttp.ClientTimeout(total=10)

WebhookUrl = Annotated[str, Meta(extra_json_schema={"pattern": "^https?://[^/]"})]


def check_webhook(url: str | None) -> None:
    """Raise the API's 422 if the URL isn't an HTTP URL with a host."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return
    except ValueError:
        pass
    raise invalid("webhook", "webhook must be an HTTPS URL")


def sign_webhook(
    body: bytes | str,
    secret: str | WebhookSecret,
    *,
    message_id: str | None = None,
    timestamp: datetime | None = None,
) -> dict[str, str]:
    """Return the headers with which the API delivers a webhook, for tests of code that verifies webhooks.

    Args:
        body: The body of the webhook.
        secret: The secret that signs it, such as ``whsec_...``.
        message_id: The id of the delivery. If omitted, a random one.
        timestamp: The time of the delivery. If omitted, now.

    Returns:
        The headers by name.

    Raises:
        ValueError: The secret is malformed.

    Source: https://replicate.com/docs/topics/webhooks/verify-webhook
    """
    key = secret.key if isinstance(secret, WebhookSecret) else secret
    content = body.encode() if isinstance(body, str) else body
    message_id = message_id or f"msg_{secrets.token_hex(12)}"
    seconds = int((timestamp or datetime.now(timezone.utc)).timestamp())
    try:
        key_bytes = base64.b64decode(key.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("secret: expected whsec_ and base64") from None
    signature = hmac.digest(key_bytes, f"{message_id}.{seconds}.".encode() + content, "sha256")
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(seconds),
        "Webhook-Signature": f"v1,{base64.b64encode(signature).decode()}",
    }


@dataclass(eq=False)
class _Message:
    """An event to deliver. Retries and duplicates keep its id."""

    event: WebhookEvent
    body: bytes
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    fault: Fault | None = None


class Webhooks:
    """Delivers the webhooks of one server. ``journal`` contains every attempt."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self.journal: list[Call] = []
        self.clock = clock
        self._faults = faults
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(self, job: Job[Any], url: str, events: list[WebhookEvent] | None) -> None:
        """Deliver the events of a job to a URL. If no events are listed, all are delivered."""
        job.members |= {"webhook": url, "webhook_events_filter": events}
        job.listeners.append(_Subscriber(self, job, url, events).on_event)

    def start(self, subscriber: _Subscriber) -> None:
        """Start a task that delivers the messages of a subscriber."""
        task = asyncio.get_running_loop().create_task(subscriber.deliver())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def choose_fault(self, message: _Message, url: str) -> None:
        """Set the fault that affects a message, if any."""
        try:
            message.fault = self._faults.choose(self._call(message, url))
        except Exception:  # noqa: BLE001  (an error of the test's own function must not stop other deliveries)
            _log.exception("choosing a fault for webhook.%s failed, so none occurs", message.event)

    async def attempt(self, message: _Message, url: str) -> int:
        """Try to deliver a message; return the status, 0 if there was no response."""
        call = self._call(message, url)
        self.journal.append(call)
        if self._session is None:
            # Deliveries are independent, so they share no cookies, and they go directly, without a proxy.
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.post(url, data=call.body, headers=call.headers, allow_redirects=False) as response:
                call.status = response.status
        # A host name that DNS can't encode is a UnicodeError.
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, NetworkRefusedError, UnicodeError):
            return 0
        return call.status

    async def stop(self) -> None:
        """Cancel all deliveries."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _call(self, message: _Message, url: str) -> Call:
        headers = sign_webhook(message.body, self.secret, message_id=message.id, timestamp=self.clock.now())
        headers["Content-Type"] = "application/json"
        return Call(f"webhook.{message.event}", "POST", url, "", {}, headers, body=message.body, fault=message.fault)


class _Subscriber:
    """Delivers the events of one job to one URL, one after the other."""

    def __init__(self, webhooks: Webhooks, job: Job[Any], url: str, events: list[WebhookEvent] | None) -> None:
        self._webhooks = webhooks
        self._clock = webhooks.clock
        self._job = job
        self._url = url
        self._events = events
        self._queue: deque[_Message] = deque()
        # Messages that a fault moves behind the next one.
        self._reordered: deque[_Message] = deque()
        self._delivering = False
        self._progress: WebhookEvent = "output"
        self._last_progress_at = float("-inf")
        self._timer: Timer | None = None

    def on_event(self, _job: Job[Any], event: WebhookEvent) -> None:
        """Queue an event of the job for delivery, if it is subscribed."""
        subscribed = self._events is None or event in self._events
        if event in {"output", "logs"}:
            if subscribed:
                self._progress = event
                self._schedule_progress()
            return
        # The final webhook contains all progress.
        if event == "completed" and self._timer is not None:
            self._timer.cancel()
        if subscribed:
            self._enqueue(event)
        elif event == "completed":
            # A reordered message may still wait for the next one, which never comes.
            self._start()

    async def deliver(self) -> None:
        """Deliver all queued messages."""
        with self._clock.working():
            while self._queue or (self._reordered and self._job.done):
                if self._queue:
                    message = self._queue.popleft()
                    self._webhooks.choose_fault(message, self._url)
                    if message.fault is not None and message.fault.kind == "reorder":
                        self._reordered.append(message)
                        continue
                    await self._send(message)
                while self._reordered:
                    await self._send(self._reordered.popleft())
        self._delivering = False

    def _schedule_progress(self) -> None:
        if self._timer is None:
            delay = self._last_progress_at + _MIN_INTERVAL_SECONDS - self._clock.monotonic()
            if delay > 0:
                self._timer = self._clock.call_later(delay, self._enqueue_progress)
            else:
                self._enqueue_progress()

    def _enqueue_progress(self) -> None:
        self._timer = None
        self._last_progress_at = self._clock.monotonic()
        self._enqueue(self._progress)

    def _enqueue(self, event: WebhookEvent) -> None:
        self._queue.append(_Message(event, msgspec.json.encode(self._job.to_wire())))
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
            delays = iter(_RETRY_DELAYS if message.event == "completed" else ())
            while not 0 < await self._webhooks.attempt(message, self._url) < 500:
                delay = next(delays, None)
                if delay is None:
                    break
                await self._clock.sleep(delay)
