"""llm-replicate: a prompt and a conversation, with the library llm."""

import json
import os
import pathlib
import tempfile

from replicate_async.compat import install

install()

folder = tempfile.mkdtemp()
os.environ["LLM_USER_PATH"] = folder
models = pathlib.Path(folder) / "replicate" / "models.json"
models.parent.mkdir()
entry = {"model": "owner/chat", "model_id": "owner-chat", "version": "ab" * 32, "aliases": ["chat"], "chat": True}
models.write_text(json.dumps([entry]), encoding="utf-8")

import llm
import llm_replicate

model = llm.get_model("chat")
assert isinstance(model, llm_replicate.ReplicateModel)
model.key = os.environ["REPLICATE_API_TOKEN"]
assert model.prompt("Ann").text() == "you said: User: Ann Assistant: "
conversation = model.conversation()
conversation.prompt("one").text()
assert conversation.prompt("two").text().startswith("you said: User: one Assistant: you said: ")
pieces = list(model.prompt("Bob", stream=True))
assert "".join(pieces) == "you said: User: Bob Assistant: "
