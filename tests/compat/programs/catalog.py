"""1.x: collections, hardware, the account and a search."""

import replicate

(collection,) = replicate.collections.list()
collection = replicate.collections.get(collection.slug)
assert len(collection) == len(list(collection)) == len(collection.models)
assert collection[0].owner
assert "cpu" in [hardware.sku for hardware in replicate.hardware.list()]
assert replicate.default_client.accounts.current().username == "owner"
assert "text" in [model.name for model in replicate.models.search("text")]
assert replicate.webhooks.default.secret().key.startswith("whsec_")
