"""What type checkers must refuse: a line that they stop refusing fails the check. Checked, never run."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from datetime import date

import replicate_async as replicate
from replicate_async import AsyncReplicate, Replicate, types


async def asynchronous(client: AsyncReplicate) -> None:
    AsyncReplicate("r8_x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncReplicate(token="r8_x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncReplicate(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncReplicate(max_retries=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncReplicate(default_headers={"X-A": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    client.with_options(session=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass

    await client.run()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.run(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", input="text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", input={1: 2})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", prompt="hi")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.run("a/b", wait="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", webhook_events_filter=["done"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", webhook_events_filter="completed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.run("a/b", extra_headers={"X-A": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]

    await client.predictions.create("v", {}, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.create(input={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.create(version="v")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.create(version="v", input={}, wait=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.create(version="v", input={}, cancel_after=5.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.predictions.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.get(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.predictions.get(id="abc")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.predictions.wait(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.predictions.wait("abc", 60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.models.list(sort_by="name")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.models.create(owner="o", name="n", visibility="secret", hardware="cpu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.deployments.create(name="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.deployments.update("o", "n", max_instances="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.search("x", limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.files.create(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.predictions.list(created_after=date(2025, 1, 1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.predictions.list(source="api")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = client.predictionz  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]

    for one in client.predictions.list():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        del one
    _ = client.predictions.list().results  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    page = await client.predictions.list()
    page.next = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    page.results.append("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    prediction = await client.predictions.get("abc")
    _ = prediction.identifier  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    prediction.id = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    prediction.completed_at.isoformat()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    _ = prediction.metrics.predict_time  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    types.Prediction("abc")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    types.Hardware(name="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    number: int = await client.get("/x", cast_to=str)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    del number
    _ = (await client.get("/x")).nothing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def caption(prompt: str, *, steps: int = 4) -> list[str]:
    """Say what a model takes and returns."""
    return [prompt] * steps


async def functions(client: AsyncReplicate, blocking: Replicate, flag: bool) -> None:
    hinted = client.use("a/b", hint=caption)
    await hinted("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await hinted(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number: int = await hinted("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del number
    client.with_raw_response = client.with_raw_response  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    client.use(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.use("a/b", hint="caption")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await client.stream("a/b")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    for event in client.stream("a/b"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        del event
    called = blocking.use("a/b", hint=caption)
    called("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await called("x")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    client.use("a/b", hint=caption, streaming=True)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.use("a/b", hint=caption, streaming=flag)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.use("a/b", hint=caption, streaming=True)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.use("a/b", hint=caption, streaming=flag)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    replicate.use("a/b", time_out=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    replicate.use("a/b", validate="yes", use_async=True)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    replicate.use("a/b", hint=caption, streaming=True)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    replicate.use("a/b", hint=caption, streaming=True, use_async=True)("x", step=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def blocking(client: Replicate) -> None:
    Replicate("r8_x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.run("a/b", prompt="hi")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.run("a/b", webhook_events_filter=["done"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    client.predictions.create("v", {}, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.predictions.get(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.predictions.wait("abc", 60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.models.list(sort_by="name")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = client.predictions.list().result  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    raw: types.Model = client.predictions.with_raw_response.get("abc").parse()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del raw
    client.with_raw_response = client.with_raw_response  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with client.account.get():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    replicate.predictions.get(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    replicate.run("a/b", prompt="hi")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = replicate.predictionz  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def mixed(client: Replicate) -> None:
    await client.account.get()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    async with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    async for one in client.predictions.list():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        del one
