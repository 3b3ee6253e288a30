"""2.x: the response behind an object."""

from replicate import Replicate

client = Replicate()
response = client.models.with_raw_response.get(model_owner="owner", model_name="text")
assert response.headers["content-type"].startswith("application/json")
assert response.parse().name == "text"
assert response.status_code == 200
with client.account.with_streaming_response.get() as streamed:
    assert streamed.parse().username == "owner"
