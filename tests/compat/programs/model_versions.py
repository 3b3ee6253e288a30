"""1.x: a version of a model, pinned, with its schema."""

import replicate

VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
model = replicate.models.get("owner/text")
version = model.versions.get(VERSION)
assert version.id == model.latest_version.id == VERSION
inputs = version.openapi_schema["components"]["schemas"]["Input"]["properties"]
assert list(inputs) == ["text"]
assert [item.id for item in model.versions.list()] == [VERSION]
prediction = replicate.predictions.create(version=version, input={"text": "Ann"})
prediction.wait()
assert "".join(prediction.output) == "hello Ann"
assert version.created_at.year >= 2020
assert "".join(replicate.run(f"owner/text:{VERSION}", input={"text": "Bob"})) == "hello Bob"
