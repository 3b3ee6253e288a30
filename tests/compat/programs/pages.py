"""1.x, no network: pages, and paginate with a function of one's own."""

import asyncio

from replicate.hardware import Hardware
from replicate.pagination import Page, async_paginate, paginate

PAGES = {
    ...: Page(results=[Hardware(sku="a", name="A"), Hardware(sku="b", name="B")], next="2"),
    "2": Page(results=[Hardware(sku="c", name="C")], previous="1"),
}
page = PAGES[...]
assert (len(page), page[1].sku, [item.sku for item in page]) == (2, "b", ["a", "b"])
assert [[item.sku for item in each] for each in paginate(lambda cursor: PAGES[cursor])] == [["a", "b"], ["c"]]


async def fetch(cursor):
    return PAGES[cursor]


async def main() -> None:
    assert [len(each) async for each in async_paginate(fetch)] == [2, 1]


asyncio.run(main())
