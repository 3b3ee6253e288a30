"""1.x: the pieces of an output, as they are made."""

import asyncio

import replicate

prediction = replicate.predictions.create(model="owner/slow-text", input={})
assert "".join(prediction.output_iterator()) == "a b c "
assert prediction.status == "succeeded"


async def main() -> None:
    prediction = await replicate.predictions.async_create(model="owner/slow-text", input={})
    assert "".join([piece async for piece in prediction.async_output_iterator()]) == "a b c "


asyncio.run(main())
