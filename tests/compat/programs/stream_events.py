"""1.x: the events of a language model, by their kind."""

import replicate
from replicate.stream import ServerSentEvent

text, ended = "", False
for event in replicate.stream("owner/text", input={"text": "Ann"}):
    if event.event == ServerSentEvent.EventType.OUTPUT:
        text += event.data
    elif event.event == ServerSentEvent.EventType.DONE:
        ended = True
assert (text, ended) == ("hello Ann", True)
assert "".join(str(event) for event in replicate.stream("owner/text", input={"text": "Bob"})) == "hello Bob"
kinds = {event.event.value for event in replicate.stream("owner/text", input={"text": "Cid"})}
assert kinds >= {"output", "done"}
prediction = replicate.predictions.create(model="owner/text", input={"text": "Dan"}, stream=True)
assert "".join(str(event) for event in prediction.stream()) == "hello Dan"
