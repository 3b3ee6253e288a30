"""2.x: a list is iterated across its pages."""

from replicate import Replicate

client = Replicate()
names = [model.name for model in client.models.list()]
assert {"text", "model-30"} <= set(names)
page = client.models.list()
assert [len(each.results) for each in page.iter_pages()][0] == 25
assert page.has_next_page()
assert page.get_next_page().results[0].name == names[25]
