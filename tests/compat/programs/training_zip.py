"""1.x: a training with a zip of images, reloaded until it is done."""

import io
import time
import zipfile

import replicate

content = io.BytesIO()
with zipfile.ZipFile(content, "w") as archive:
    archive.writestr("a.txt", "a")
content.name = "images.zip"
training = replicate.trainings.create(
    version="owner/text:9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426",
    input={"images": content},
    destination="owner/target",
)
while training.status not in ("succeeded", "failed", "canceled"):
    time.sleep(0.02)
    training.reload()
assert training.status == "succeeded", training.error
assert training.output["version"].startswith("owner/target:")
assert replicate.trainings.get(training.id).id == training.id
assert training.id in [item.id for item in replicate.trainings.list()]
