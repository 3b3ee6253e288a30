"""2.x, no network: objects from JSON, and back."""

import replicate
from replicate.types import ModelGetResponse, Prediction
from replicate.types.prediction import Prediction as SamePrediction

assert SamePrediction is Prediction
data = {
    **{"id": "p1", "model": "owner/text", "version": "v1", "status": "succeeded", "input": {"a": 1}, "output": "x"},
    **{"logs": "", "error": None, "created_at": "2025-01-01T00:00:00Z", "data_removed": False},
    "urls": {"get": "https://api.replicate.com/v1/predictions/p1", "cancel": "https://x", "web": "https://y"},
}
prediction = Prediction.model_validate(data)
assert (prediction.id, prediction.urls.get[-2:], prediction.created_at.year) == ("p1", "p1", 2025)
assert prediction.model_dump(mode="json")["output"] == "x"
assert '"p1"' in prediction.model_dump_json()
assert prediction.to_dict()["id"] == "p1"
assert Prediction.model_validate_json(prediction.model_dump_json()) == prediction
assert prediction.model_copy(update={"status": "failed"}).status == "failed"
assert ModelGetResponse.model_construct(owner="a", name="b").owner == "a"
assert not replicate.NOT_GIVEN
assert isinstance(replicate.NOT_GIVEN, replicate.NotGiven)
assert issubclass(Prediction, replicate.BaseModel)
