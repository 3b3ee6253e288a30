"""1.x: a thread pool."""

from concurrent.futures import ThreadPoolExecutor

import replicate


def work(number: int) -> str:
    return "".join(replicate.run("owner/text", input={"text": str(number)}))


with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(work, range(8))) == [f"hello {number}" for number in range(8)]
