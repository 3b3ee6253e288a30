"""2.x: the blocking client."""

import os
from datetime import datetime, timezone

from replicate import Replicate

VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
with Replicate(bearer_token=os.environ["REPLICATE_API_TOKEN"], timeout=30.0, max_retries=1) as client:
    prediction = client.predictions.create(version=VERSION, input={"text": "Ann"}, prefer="wait=5")
    prediction = client.predictions.wait(prediction.id)
    assert (prediction.status, "".join(prediction.output)) == ("succeeded", "hello Ann")
    assert prediction.urls.get.endswith(prediction.id)
    assert prediction.metrics.predict_time >= 0
    assert prediction.created_at.tzinfo is not None
    assert datetime.now(timezone.utc) >= prediction.created_at
    assert client.predictions.get(prediction_id=prediction.id).id == prediction.id
    model = client.models.get(model_owner="owner", model_name="text")
    assert model.latest_version.id == VERSION if hasattr(model.latest_version, "id") else True
    created = client.models.predictions.create(model_owner="owner", model_name="text", input={"text": "Bob"})
    assert "".join(client.predictions.wait(created.id).output) == "hello Bob"
    deployment = client.deployments.get(deployment_owner="owner", deployment_name="fast")
    assert deployment.current_release.configuration.hardware == "cpu"
    started = client.deployments.predictions.create(
        deployment_owner="owner", deployment_name="fast", input={"text": "Cid"}
    )
    assert "".join(client.predictions.wait(started.id).output) == "hello Cid"
    assert client.account.get().username == "owner"
    assert client.webhooks.default.secret.get().key.startswith("whsec_")
    assert client.files.create(content=b"abc", filename="a.txt").size == 3
    assert "text" in [item.model.name for item in client.search(query="text").models]
    assert "".join(client.run("owner/text", input={"text": "Dan"})) == "hello Dan"
    assert client.with_options(max_retries=3).max_retries == 3
