"""1.x: a Streamlit page shows the progress of a prediction that it reloads."""

import time

import replicate

prediction = replicate.predictions.create(model="owner/progress", input={})
shown = []
while prediction.status not in {"succeeded", "failed", "canceled"}:
    if prediction.progress:
        shown.append(prediction.progress.percentage)
    time.sleep(0.02)
    prediction.reload()
assert prediction.status == "succeeded"
assert prediction.progress.percentage == 1.0
assert (prediction.progress.current, prediction.progress.total) == (4, 4)
assert prediction.created_at.startswith("20")
