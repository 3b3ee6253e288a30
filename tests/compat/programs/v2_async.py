"""2.x: the asynchronous client."""

import asyncio

from replicate import AsyncReplicate


async def main() -> None:
    async with AsyncReplicate() as client:
        outputs = await asyncio.gather(*[client.run("owner/text", input={"text": name}) for name in "abc"])
        assert ["".join(output) for output in outputs] == ["hello a", "hello b", "hello c"]
        image = await client.run("owner/image", input={})
        assert (await image.read()).startswith(b"\x89PNG")
        created = await client.models.predictions.create(model_owner="owner", model_name="text", input={"text": "x"})
        prediction = await client.predictions.wait(created.id)
        assert "".join(prediction.output) == "hello x"
        names = [model.name async for model in client.models.list()]
        assert {"text", "model-30"} <= set(names)
        page = await client.models.list()
        assert len(page.results) == 25
        assert page.has_next_page()
        following = await page.get_next_page()
        assert following.results[0].name == names[25]
        assert [hardware.sku for hardware in await client.hardware.list()]
        assert (await client.account.get()).username == "owner"
        assert (await client.webhooks.default.secret.get()).key.startswith("whsec_")
        versions = await client.models.versions.list(model_owner="owner", model_name="text")
        assert len(versions.results) == 1


asyncio.run(main())
