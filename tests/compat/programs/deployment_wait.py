"""1.x: a prediction of a deployment, waited for."""

import replicate

deployment = replicate.deployments.get("owner/fast")
assert (deployment.id, deployment.current_release.configuration.hardware) == ("owner/fast", "cpu")
prediction = deployment.predictions.create(input={"text": "Ann"})
assert prediction.status in {"starting", "processing", "succeeded"}
prediction.wait()
assert prediction.status == "succeeded"
assert "".join(prediction.output) == "hello Ann"
assert prediction.metrics["predict_time"] >= 0
other = replicate.deployments.predictions.create("owner/fast", {"text": "Bob"})
other.wait()
assert "".join(other.output) == "hello Bob"
assert [item.name for item in replicate.deployments.list()] == ["fast"]
