"""2.x: errors by their class and status code."""

import replicate
from replicate import Replicate

client = Replicate()
try:
    client.predictions.get(prediction_id="nothing")
except replicate.NotFoundError as error:
    assert error.status_code == 404
    assert isinstance(error, replicate.APIStatusError)
    assert isinstance(error, replicate.APIError)
    assert isinstance(error, replicate.ReplicateError)
else:
    raise AssertionError("it should not be found")
try:
    Replicate(bearer_token="r8_wrong").account.get()
except replicate.AuthenticationError as error:
    assert error.status_code == 401
try:
    client.models.get(model_owner="", model_name="x")
except ValueError:
    pass
else:
    raise AssertionError("the owner is empty")
