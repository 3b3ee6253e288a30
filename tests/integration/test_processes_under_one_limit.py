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


def start_together(program: str, server: LocalServer, *, processes: int, runs: int) -> None:
    """Start processes, let their runs begin at the same time, and wait until all have ended well."""
    programs = [
        start(
            program.replace("sys.argv[1]", repr(server.base_url))
            .replace("sys.argv[2]", repr(str(number)))
            .replace("sys.argv[3]", str(runs))
        )
        for number in range(processes)
    ]
    try:
        for process in programs:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in programs:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [(process.communicate(timeout=100), process.returncode) for process in programs]
    finally:
        for process in programs:
            process.kill()
    assert results == [(("", ""), 0)] * processes


def test_processes_that_share_a_limit(tmp_path):
    """Four processes with a limit in one store keep it together, and use at least 90 % of it."""
    limit = f"RateLimit(creates=2400, store={str(tmp_path / 'limits.db')!r})"
    with LocalServer() as server:

        @server.model("owner/model", official=True)
        async def model(text: str) -> str:
            return f"hello {text}"

        program = PROGRAM.replace("import AsyncReplicate", "import AsyncReplicate, RateLimit")
        program = program.replace("base_url=sys.argv[1]", f"base_url=sys.argv[1], rate_limit={limit}")
        start_together(program, server, processes=4, runs=80)
        created_at = [prediction.created_at for prediction in server.predictions.values()]
    assert len(created_at) == 320
    # Forty per second, after a burst of one second's worth.
    seconds = (max(created_at) - min(created_at)).total_seconds()
    assert 0.98 * 7 <= seconds <= 7 / 0.9


@pytest.mark.parametrize(("processes", "runs"), [(10, 1), (2, 10)])
def test_processes_under_one_limit(processes, runs):
    """No run fails, nothing is created twice, and together they take at most 1.3x the time that the limit allows."""
    with LocalServer(limits={"creates": 60, "create_burst": 3}) as server:

        @server.model("owner/model", official=True)
        async def model(text: str) -> str:
            return f"hello {text}"

        start_together(PROGRAM, server, processes=processes, runs=runs)
        assert len(server.predictions) == processes * runs
        created_at = [prediction.created_at for prediction in server.predictions.values()]
    # One create per second. How long the processes take to start and to end is not what is measured.
    assert (max(created_at) - min(created_at)).total_seconds() <= 1.3 * (processes * runs - 3)
