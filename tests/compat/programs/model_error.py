"""1.x: a model that fails, and one whose input is wrong."""

import replicate
from replicate.exceptions import ModelError, ReplicateError

try:
    replicate.run("owner/broken", input={})
except ModelError as error:
    assert "out of paint" in str(error)
    assert "out of paint" in error.prediction.error
    assert error.prediction.status == "failed"
    error.prediction.reload()
    assert "about to fail" in error.prediction.logs
else:
    raise AssertionError("it should have failed")
try:
    replicate.run("owner/size", input={})
except ReplicateError as error:
    assert (error.status, error.title) == (422, "Input validation failed")
    assert "file" in error.detail
else:
    raise AssertionError("the input should be refused")
