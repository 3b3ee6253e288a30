"""llama-index-llms-replicate: complete, stream, chat, with a picture."""

import pathlib
import tempfile

from replicate_async.compat import install

install()

from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.replicate import Replicate

llm = Replicate(model="owner/chat:" + "ab" * 32, context_window=100)
assert llm.complete("Ann Bob").text == "you said: Ann Bob "
assert "".join(piece.delta for piece in llm.stream_complete("Cid")) == "you said: Cid "
assert "user: hi" in llm.chat([ChatMessage(role="user", content="hi")]).message.content
deltas = [piece.delta for piece in llm.stream_chat([ChatMessage(role="user", content="hi")])]
assert "".join(deltas).startswith("you said: ")
assert len(deltas) > 2

# With a picture, which is opened for each call.
with tempfile.TemporaryDirectory() as folder:
    picture = pathlib.Path(folder) / "cat.png"
    picture.write_bytes(b"\x89PNG")
    seeing = Replicate(model="owner/see:" + "cd" * 32, image=str(picture), context_window=100)
    assert seeing.complete("what is it").text == "what is it 4"
