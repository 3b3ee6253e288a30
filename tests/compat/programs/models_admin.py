"""1.x: models are created and deleted."""

import replicate

model = replicate.models.create("owner", "temporary", visibility="private", hardware="cpu", description="d")
assert (model.id, model.description, model.latest_version) == ("owner/temporary", "d", None)
assert replicate.models.get("owner", "temporary").name == "temporary"
assert replicate.models.get(owner="owner", name="temporary").name == "temporary"
model.reload()
assert model.visibility == "private"
replicate.models.delete("owner/temporary")
try:
    replicate.models.get("owner/temporary")
except replicate.exceptions.ReplicateError as error:
    assert error.status == 404
else:
    raise AssertionError("the model should be gone")
try:
    model.predict(text="hi")
except replicate.exceptions.ReplicateException:
    pass
