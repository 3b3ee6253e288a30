"""langchain-community: invoke, stream with stop words, batch and ainvoke."""

import asyncio
import warnings

from replicate_async.compat import install

install()
warnings.simplefilter("ignore")

from langchain_community.llms import Replicate

pinned = Replicate(model="owner/chat:" + "ab" * 32, model_kwargs={"temperature": 0.1})
assert pinned.invoke("Ann") == "you said: Ann "
assert pinned.invoke("Ann stop Bob", stop=["stop"]) == "you said: Ann "
assert "".join(pinned.stream("Ann Bob")) == "you said: Ann Bob "
stopped = "".join(Replicate(model="owner/endless-words:" + "ef" * 32, streaming=True).stream("x", stop=["5"]))
assert stopped.startswith("1 2 3 4 "), stopped
assert "6" not in stopped
assert pinned.batch(["a", "b"]) == ["you said: a ", "you said: b "]
named = Replicate(model="owner/chat")
assert named.invoke("Cid") == "you said: Cid "
assert named.version_obj.id == "ab" * 32


async def main() -> None:
    assert await pinned.ainvoke("Dan") == "you said: Dan "
    assert [piece async for piece in pinned.astream("Eve")][0] == "you said: "


asyncio.run(main())
try:
    Replicate(model="owner/broken:" + "ad" * 32, prompt_key="text").invoke("x")
except RuntimeError as error:
    assert "out of paint" in str(error)
else:
    raise AssertionError("it should have failed")
