"""1.x: a chat bot answers several users at the same time with async_run."""

import asyncio

import replicate


async def on_message(name: str) -> str:
    output = await replicate.async_run("owner/text", input={"text": name})
    return "".join(output)


async def main() -> None:
    answers = await asyncio.gather(*[on_message(name) for name in ("Ann", "Bob", "Cid")])
    assert answers == ["hello Ann", "hello Bob", "hello Cid"]
    image = await replicate.async_run("owner/image", input={})
    assert (await image.aread()).startswith(b"\x89PNG")
    assert b"".join([chunk async for chunk in image]).startswith(b"\x89PNG")


asyncio.run(main())
