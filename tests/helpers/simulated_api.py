"""Replicate's API in memory and in virtual time: latency, rate limits, competing programs, and storms of 429 responses.

A client takes it as its ``session``, so that everything in the client but aiohttp is real. An hour takes a second.
"""

from __future__ import annotations

import asyncio
import json
import math
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from multidict import CIMultiDict

from replicate_async import AsyncReplicate
from simulation import START, Simulation

_PAGE_SIZE = 100
_EPSILON = 1e-6


class ApiLimit:
    """A rate limit of the API: a token bucket, and what its responses say about it.

    Args:
        rate: The tokens per second.
        burst: The tokens of a full bucket.
        hint: The Retry-After of 429 responses: ``"whole"`` seconds, ``"exact"``, or None for no hint.
        headers: Whether responses have the headers ``ratelimit-remaining`` and ``ratelimit-reset``.
    """

    def __init__(self, rate: float, burst: float, hint: str | None = "whole", *, headers: bool = False) -> None:
        self.rate, self.burst, self.hint, self.has_headers = rate, burst, hint, headers
        self._tokens, self._filled = float(burst), 0.0

    def take(self, now: float) -> tuple[bool, float | None]:
        """Return whether a call is accepted, and the Retry-After if it is not."""
        self._fill(now)
        if self._tokens < 1 - _EPSILON:
            wait = (1 - self._tokens) / self.rate
            return False, {"whole": max(1, math.ceil(wait - _EPSILON)), "exact": wait, None: None}[self.hint]
        self._tokens -= 1
        return True, None

    def reduce(self, rate: float, burst: float) -> None:
        """Reduce the limit, as the API does when the credit becomes low."""
        self.rate, self.burst = rate, burst

    def drain(self, now: float) -> None:
        """Take all tokens, as another program of the account does."""
        self._fill(now)
        self._tokens -= math.floor(self._tokens + _EPSILON)

    @property
    def remaining(self) -> int | None:
        """What the response to the last call says is remaining."""
        return math.floor(self._tokens + _EPSILON) if self.has_headers else None

    def headers(self) -> dict[str, str]:
        """Return the headers of a response to the last call."""
        if self.remaining is None:
            return {}
        reset = max(1, math.ceil((self.burst - self._tokens) / self.rate - _EPSILON))
        return {"ratelimit-remaining": str(self.remaining), "ratelimit-reset": str(reset)}

    def _fill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now


class _Sink:
    """Takes a body as aiohttp's writer does."""

    def __init__(self) -> None:
        self.received = bytearray()

    async def write(self, chunk: bytes) -> None:
        """Take a chunk."""
        self.received += chunk


@dataclass
class Creation:
    """A create as the API saw it."""

    at: float
    accepted: bool


@dataclass
class _Prediction:
    number: int
    created: float
    ends: float
    input: Any
    canceled: float = math.inf

    @property
    def id(self) -> str:
        return f"p{self.number}"

    def encode(self, now: float) -> bytes:
        ended = min(self.ends, self.canceled)
        status = "processing" if now < ended else "canceled" if self.canceled < self.ends else "succeeded"
        document = {
            "id": self.id,
            "model": "owner/model",
            "version": "hidden",
            "input": self.input,
            "status": status,
            "created_at": _time(self.created),
            "completed_at": _time(ended) if now >= ended else None,
            "output": f"hello {self.number}" if status == "succeeded" else None,
            "urls": {},
        }
        return json.dumps(document).encode()


def _time(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@dataclass
class SimulatedApi:
    """The API: its latency in seconds, its limits, and a record of what happened.

    ``storms`` are intervals during which all creates get a 429 response with a Retry-After of ``storm_hint``.
    ``hogs`` are intervals during which another program takes all tokens for creates.
    """

    sim: Simulation
    latency: float = 0.2
    creates: ApiLimit | None = None
    polls: ApiLimit | None = None
    others: ApiLimit | None = None
    storms: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    storm_hint: float | None = 1.0
    hogs: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    # Whether the list takes times in whole seconds only.
    ignores_fractions: bool = False
    # Headers of all responses.
    headers: dict[str, str] = field(default_factory=dict[str, str])
    creations: list[Creation] = field(default_factory=list[Creation])
    requests: int = 0
    refused: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self.predictions: list[_Prediction] = []
        self._encoded: dict[int, bytes] = {}
        self._refusals: list[tuple[str, str, float]] = []

    def refuse_next(self, method: str, path: str, *, retry_after: float) -> None:
        """Refuse the next such request."""
        self._refusals.append((method, path, retry_after))

    def client(self, account_of: str = "one", **options: Any) -> AsyncReplicate:
        """Return a client. Those of different names share no state, like those of different processes."""
        session = SimpleNamespace(
            request=self._request, closed=False, connector=None, _loop=asyncio.get_running_loop(), close=None
        )
        return AsyncReplicate(
            bearer_token=f"r8_{account_of}", base_url="http://simulated.test/v1", session=session, **options
        )

    @property
    def refused_creates(self) -> float:
        """The fraction of creates that got a 429 response."""
        return sum(not creation.accepted for creation in self.creations) / max(1, len(self.creations))

    def pace(self, start: float, end: float) -> float:
        """Return the accepted creates per second in an interval."""
        return sum(creation.accepted and start <= creation.at < end for creation in self.creations) / (end - start)

    async def _request(self, method: str, url: Any, **arguments: Any) -> Any:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if (payload := arguments.get("data")) is not None:
            sink = _Sink()
            await payload.write(sink)
            arguments["data"] = bytes(sink.received)
        try:
            await asyncio.sleep(self.latency / 2)
            status, headers, body = await self._respond(method, str(url), arguments)
            await asyncio.sleep(self.latency / 2)
        finally:
            self.in_flight -= 1
        self.refused += status == 429

        content = asyncio.StreamReader()
        content.feed_data(body)
        content.feed_eof()
        return SimpleNamespace(
            status=status, headers=CIMultiDict(headers), content=content, read=content.read, release=lambda: None
        )

    async def _respond(self, method: str, url: str, arguments: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        now = self.sim.monotonic()
        parts = urlsplit(url)
        path = parts.path.removeprefix("/v1").strip("/").split("/")
        is_create = method == "POST" and path[-1] == "predictions"
        is_poll = method == "GET" and path[0] == "predictions" and len(path) == 2
        limit = self.creates if is_create else self.polls if is_poll else self.others
        accepted, hint = self._admit(limit, now, is_create=is_create)
        headers = {**self.headers, **(limit.headers() if limit else {})}
        for refusal in self._refusals:
            if refusal[:2] == (method, "/" + "/".join(path)):
                accepted, hint = False, refusal[2]
                self._refusals.remove(refusal)
                break
        if not accepted:
            if hint is not None:
                headers["Retry-After"] = f"{hint:g}"
            return 429, headers, b'{"detail":"Request was throttled.","status":429}'
        if is_create:
            return 201, headers, await self._create(arguments)
        if is_poll:
            return 200, headers, self._encode(self.predictions[int(path[1][1:])], now)
        if path[-1] == "cancel":
            self.predictions[int(path[1][1:])].canceled = now
            return 200, headers, self._encode(self.predictions[int(path[1][1:])], now)
        if path == ["predictions"]:
            return 200, headers, self._page(parse_qs(parts.query), now)
        return 200, headers, b'{"type":"user","username":"alice"}'

    def _admit(self, limit: ApiLimit | None, now: float, *, is_create: bool) -> tuple[bool, float | None]:
        accepted, hint = True, None
        if is_create and any(start <= now < end for start, end in self.storms):
            accepted, hint = False, self.storm_hint
        else:
            if limit and is_create and any(start <= now < end for start, end in self.hogs):
                limit.drain(now)
            if limit:
                accepted, hint = limit.take(now)
        if is_create:
            self.creations.append(Creation(now, accepted))
        return accepted, hint

    async def _create(self, arguments: dict[str, Any]) -> bytes:
        sent = json.loads(arguments["data"])["input"]
        now = self.sim.monotonic()
        prediction = _Prediction(len(self.predictions), now, now + sent.get("seconds", 0.0), sent)
        self.predictions.append(prediction)
        prefer = arguments["headers"].get("Prefer")
        if prefer is not None:
            await asyncio.sleep(min(prediction.ends - now, float(prefer.partition("=")[2] or 60)))
        return prediction.encode(self.sim.monotonic())

    def _page(self, query: dict[str, list[str]], now: float) -> bytes:
        end = len(self.predictions)
        if "created_before" in query:
            before = datetime.fromisoformat(query["created_before"][0].replace("Z", "+00:00")).timestamp()
            before = math.floor(before) if self.ignores_fractions else before
            end = bisect_left(self.predictions, before - START.timestamp(), key=lambda prediction: prediction.created)
        if "cursor" in query:
            end = int(query["cursor"][0])
        start = max(0, end - _PAGE_SIZE)
        entries = b",".join(self._encode(prediction, now) for prediction in reversed(self.predictions[start:end]))
        after = b'"http://simulated.test/v1/predictions?cursor=%d"' % start if start else b"null"
        return b'{"results":[%s],"next":%s,"previous":null}' % (entries, after)

    def _encode(self, prediction: _Prediction, now: float) -> bytes:
        ended = now >= min(prediction.ends, prediction.canceled)
        encoded = self._encoded.get(prediction.number) if ended else None
        if encoded is None:
            encoded = prediction.encode(now)
            if ended:
                self._encoded[prediction.number] = encoded
        return encoded


@dataclass
class Result:
    """What a situation came to: ``ratio`` is the time relative to the least possible time."""

    seconds: float
    ratio: float
    refused: float
    requests_per_run: float
    connections: int
    failed: int
    api: SimulatedApi


async def run_all(
    sim: Simulation,
    api: SimulatedApi,
    count: int,
    seconds: float = 5.0,
    *,
    processes: int = 1,
    while_running: Callable[[], Awaitable[None]] | None = None,
) -> Result:
    """Run predictions in one or several processes at once, and return what came of it."""
    clients = [api.client(f"process{number}") for number in range(processes)]
    started = sim.monotonic()
    runs = [
        client.run("owner/model", input={"text": str(number), "seconds": seconds})
        for client in clients
        for number in range(count)
    ]
    outputs = await asyncio.gather(*runs, return_exceptions=True)
    wall = sim.monotonic() - started
    limit = api.creates
    queued = max(0.0, count * processes - limit.burst) / limit.rate if limit else 0.0
    least = queued + seconds + 2 * api.latency
    return Result(
        wall,
        wall / least,
        api.refused_creates,
        api.requests / (count * processes),
        api.most_in_flight,
        sum(isinstance(output, BaseException) for output in outputs),
        api,
    )
