"""1.x: clients with a token, headers and an httpx.Timeout of their own."""

import os

import httpx
import replicate
from replicate.client import Client

token, url = os.environ["REPLICATE_API_TOKEN"], os.environ["REPLICATE_BASE_URL"].removesuffix("/v1")
client = Client(
    api_token=token, base_url=url, timeout=httpx.Timeout(5.0, read=30.0), headers={"User-Agent": "my-app/1.0"}
)
assert "".join(client.run("owner/text", input={"text": "Ann"})) == "hello Ann"
assert Client(token, base_url=url).accounts.current().username == "owner"
wrong = Client(api_token="r8_wrong", base_url=url)
try:
    wrong.models.get("owner/text")
except replicate.exceptions.ReplicateError as error:
    assert error.status == 401
else:
    raise AssertionError("the token should be refused")
