"""1.x: an asynchronous stream."""

import asyncio

import replicate


async def main() -> None:
    pieces = [str(event) async for event in await replicate.async_stream("owner/text", input={"text": "Ann"})]
    assert "".join(pieces) == "hello Ann"
    prediction = await replicate.predictions.async_create(model="owner/text", input={"text": "Bob"}, stream=True)
    assert "".join([str(event) async for event in prediction.async_stream()]) == "hello Bob"


asyncio.run(main())
