"""1.x: predictions are canceled, in place and by id."""

import asyncio
import time

import replicate

prediction = replicate.predictions.create(model="owner/endless", input={})
while prediction.status == "starting":
    time.sleep(0.02)
    prediction.reload()
prediction.cancel()
prediction.wait()
assert prediction.status == "canceled"


async def main() -> None:
    prediction = await replicate.predictions.async_create(model="owner/endless", input={})
    while prediction.status == "starting":
        await asyncio.sleep(0.02)
        await prediction.async_reload()
    assert (await replicate.predictions.async_cancel(prediction.id)).id == prediction.id
    await prediction.async_wait()
    assert prediction.status == "canceled"


asyncio.run(main())
