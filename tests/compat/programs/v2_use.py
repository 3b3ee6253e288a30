"""2.x: models as functions."""

import asyncio

import replicate

greet = replicate.use("owner/text")
assert greet(text="Ann") == "hello Ann"
assert "".join(replicate.use("owner/text", streaming=True)(text="Bob")) == "hello Bob"
run = greet.create(text="Cid")
assert run.output() == "hello Cid"


async def main() -> None:
    function = replicate.use("owner/text", use_async=True)
    assert await function(text="Dan") == "hello Dan"


asyncio.run(main())
