"""1.x, no network: a helper that repeats what was refused with 429."""

import replicate
from replicate.exceptions import ModelError, ReplicateError, ReplicateException

assert issubclass(ModelError, ReplicateException)
assert issubclass(ReplicateError, ReplicateException)
calls = []


def flaky():
    calls.append(1)
    if len(calls) < 3:
        raise ReplicateError(status=429, title="Too Many Requests", detail="Request was throttled.")
    return "done"


def with_retry(function):
    for _ in range(5):
        try:
            return function()
        except ReplicateError as error:
            if error.status != 429:
                raise
            assert error.detail == "Request was throttled."
            assert "throttled" in str(error)
    raise AssertionError("refused too often")


assert with_retry(flaky) == "done"
assert replicate.exceptions.ReplicateError is ReplicateError
