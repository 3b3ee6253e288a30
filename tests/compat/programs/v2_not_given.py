"""2.x: arguments that are not given, given on."""

import replicate
from replicate import NOT_GIVEN, NotGiven, Replicate, omit

client = Replicate()


def create(text, webhook=omit, timeout: "float | NotGiven" = NOT_GIVEN):
    return client.models.predictions.create(
        model_owner="owner", model_name="text", input={"text": text}, webhook=webhook, timeout=timeout, stream=omit
    )


assert "".join(client.predictions.wait(create("Ann").id).output) == "hello Ann"
assert "".join(client.predictions.wait(create("Bob", timeout=20.0).id).output) == "hello Bob"
assert client.with_options(timeout=replicate.Timeout(20.0, connect=5.0)).account.get().username == "owner"
