"""1.x: a job is started, stored as JSON, and looked for later."""

import json
import time

import replicate

prediction = replicate.predictions.create(model="owner/text", input={"text": "Ann"})
stored = json.dumps(prediction.dict())
row = json.loads(stored)
assert row["id"] == prediction.id
for _ in range(500):
    current = replicate.predictions.get(row["id"])
    if current.status == "succeeded":
        break
    time.sleep(0.01)
assert "".join(current.output) == "hello Ann"
assert current.completed_at.startswith("20")
assert prediction.id in [item.id for item in replicate.predictions.list()]
