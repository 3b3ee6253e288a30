"""Kills programs at random moments, and starts them again, until they have been killed often enough."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

from programs import start
from replicate_async.testing import LocalServer

# What a program does with its arguments: the server's URL, the journal, and a list of texts.
RUN = """
    from concurrent.futures import ThreadPoolExecutor
    from replicate_async import Journal, Replicate

    with Replicate(bearer_token="local-token", base_url={url!r}) as client, Journal({journal!r}) as journal:
        def hello(text):
            return client.run("me/shout", {{"text": text}}, key=f"frame-{{text}}", journal=journal)

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(hello, {texts!r})) == [text.upper() for text in {texts!r}]
"""
MAP = """
    import asyncio
    from replicate_async import AsyncReplicate

    async def main():
        async with AsyncReplicate(bearer_token="local-token", base_url={url!r}) as client:
            inputs = [{{"text": text}} for text in {texts!r}]
            outputs = [output async for output in client.map("me/shout", inputs, journal={journal!r}, concurrency=10)]
            assert outputs == [text.upper() for text in {texts!r}]

    asyncio.run(main())
"""


def serve_slowly(server: LocalServer) -> None:
    """Give the server a model whose creates are answered late, so that it often knows more than the journal."""

    @server.model("me/shout", official=True)
    async def shout(text: str) -> str:
        return text.upper()

    server.faults.add(kind="delay", operation="models.predictions.create", seconds=0.2, after=True)


def kill_and_restart(server: LocalServer, programs: Sequence[str], *, kills: int, seed: int, total: int) -> int:
    """Run programs at the same time; kill one of them at a random moment, start it again, and let all end.

    Returns how many kills came before all of the predictions existed.
    """
    chance = random.Random(seed)
    running = [start(program) for program in programs]
    started = [time.monotonic()] * len(programs)
    early = 0
    try:
        for _ in range(kills):
            # Python takes long to start.
            number = min(range(len(programs)), key=lambda number: started[number] + chance.random())
            seen, end = len(server.requests), started[number] + 10
            while running[number].poll() is None and time.monotonic() < min(end, started[number] + 1):
                time.sleep(0.002)
            while running[number].poll() is None and len(server.requests) == seen and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(chance.expovariate(8))
            early += len(server.predictions) < total
            running[number].kill()
            errors = running[number].communicate(timeout=30)[1]
            assert running[number].returncode in {-9, 0}, errors
            running[number], started[number] = start(programs[number]), time.monotonic()
        for program in running:
            _, errors = program.communicate(timeout=110)
            assert (program.returncode, errors) == (0, "")
    finally:
        for program in running:
            program.kill()
    return early


def paid(server: LocalServer) -> Counter[str]:
    """Return how often each text was paid for."""
    return Counter(prediction.input["text"] for prediction in server.predictions.values())
