"""1.x, no network: the tests of an application replace replicate.run and replicate.predictions.create."""

from unittest.mock import MagicMock, patch

import replicate


def caption(url: str) -> str:
    return replicate.run("owner/caption", input={"image": url})


with patch("replicate.run", return_value="a cat") as run:
    assert caption("https://example.com/cat.png") == "a cat"
run.assert_called_once_with("owner/caption", input={"image": "https://example.com/cat.png"})
with patch.object(replicate.predictions, "create", return_value=MagicMock(id="p1", status="starting")):
    assert replicate.predictions.create(version="v", input={}).id == "p1"
with patch("replicate.client.Client.run", return_value="a dog"):
    assert replicate.Client(api_token="r8_test").run("owner/caption", input={}) == "a dog"
with patch("replicate.prediction.Predictions.get") as get:
    get.return_value.status = "succeeded"
    assert replicate.Client(api_token="r8_test").predictions.get("p1").status == "succeeded"
