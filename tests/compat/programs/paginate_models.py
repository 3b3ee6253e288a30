"""1.x: all pages of a list."""

import replicate

names = []
for page in replicate.paginate(replicate.models.list):
    assert len(page) > 0
    assert page[0].owner
    names += [model.name for model in page.results]
assert {"text", "image", "model-30"} <= set(names)
assert len(names) == len(set(names))
first = replicate.models.list()
assert len(list(first)) == len(first) == 25
assert first.next
second = replicate.models.list(first.next)
assert second[0].name != first[0].name
