"""2.x: settings of the module."""

import os

import replicate

right = os.environ["REPLICATE_API_TOKEN"]
replicate.bearer_token = "r8_wrong"
try:
    replicate.account.get()
except replicate.AuthenticationError:
    pass
else:
    raise AssertionError("the wrong token should be refused")
replicate.bearer_token = right
replicate.max_retries = 1
assert replicate.account.get().username == "owner"
assert replicate.bearer_token == right
