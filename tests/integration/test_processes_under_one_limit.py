"""Several processes share the rate limit of one account, as programs of one team do."""

from __future__ import annotations

import pytest

from programs import start
from replicate_async.testing import LocalServer

pytestmark = pytest.mark.endurance

PROGRAM = """
    import asyncio, sys
    from replicate_async import AsyncReplicate

    async def main():
        async with AsyncReplicate(bearer_token="local-token", base_url=sys.argv[1]) as client:
            await client.account.get()
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            inputs = [{"text": f"{sys.argv[2]} {number}"} for number in range(int(sys.argv[3]))]
            outputs = await asyncio.gather(*[client.run("owner/model", input=each) for each in inputs])
            assert outputs == ["hello " + each["text"] for each in inputs]

    asyncio.run(main())
"""


@pytest.mark.parametrize(("processes", "runs"), [(10, 1), (2, 10)])
def test_processes_under_one_limit(processes, runs):
    """No run fails, nothing is created twice, and together they take at most 1.3x the time that the limit allows."""
    with LocalServer(limits={"creates": 60, "create_burst": 3}) as server:

        @server.model("owner/model", official=True)
        async def model(text: str) -> str:
            return f"hello {text}"

        programs = [
            start(
                PROGRAM.replace("sys.argv[1]", repr(server.base_url))
                .replace("sys.argv[2]", repr(str(number)))
                .replace("sys.argv[3]", str(runs))
            )
            for number in range(processes)
        ]
        try:
            for program in programs:
                assert program.stdout is not None
                assert program.stdout.readline() == "ready\n"
            for program in programs:
                assert program.stdin is not None
                program.stdin.write("go\n")
                program.stdin.flush()
            results = [(program.communicate(timeout=100), program.returncode) for program in programs]
        finally:
            for program in programs:
                program.kill()
        assert results == [(("", ""), 0)] * processes
        assert len(server.predictions) == processes * runs
        created_at = [prediction.created_at for prediction in server.predictions.values()]
    # One create per second. How long the processes take to start and to end is not what is measured.
    assert (max(created_at) - min(created_at)).total_seconds() <= 1.3 * (processes * runs - 3)
