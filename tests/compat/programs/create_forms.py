"""1.x: all ways to start a prediction."""

import replicate

VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
model = replicate.models.get("owner/text")
deployment = replicate.deployments.get("owner/fast")
made = [
    replicate.predictions.create(VERSION, {"text": "a"}),
    replicate.predictions.create(version=VERSION, input={"text": "a"}, wait=True),
    replicate.predictions.create(version=VERSION, input={"text": "a"}, wait=5),
    replicate.predictions.create(model="owner/text", input={"text": "a"}),
    replicate.predictions.create(model=("owner", "text"), input={"text": "a"}),
    replicate.predictions.create(model=model, input={"text": "a"}),
    replicate.predictions.create(deployment="owner/fast", input={"text": "a"}),
    replicate.predictions.create(deployment=deployment, input={"text": "a"}),
    replicate.models.predictions.create("owner/text", {"text": "a"}),
    replicate.models.predictions.create(model=("owner", "text"), input={"text": "a"}, webhook="https://x.example"),
]
for prediction in made:
    prediction.wait()
    assert "".join(prediction.output) == "hello a"
try:
    replicate.predictions.create(input={"text": "a"})
except ValueError:
    pass
else:
    raise AssertionError("a version is needed")
