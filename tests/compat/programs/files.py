"""1.x: files that are uploaded once and used twice."""

import io
import pathlib
import tempfile

import replicate

with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "notes.txt"
    path.write_bytes(b"abc")
    file = replicate.files.create(path)
    assert (file.name, file.size, file.content_type) == ("notes.txt", 3, "text/plain")
    assert replicate.files.create(str(path)).name == "notes.txt"
    with path.open("rb") as opened:
        named = replicate.files.create(opened, filename="other.bin", content_type="application/zip", metadata={"a": 1})
assert (named.name, named.metadata) == ("other.bin", {"a": 1})
assert file.checksums["sha256"]
assert file.urls["get"].startswith("http")
assert replicate.files.get(file.id).id == file.id
assert file.id in [each.id for each in replicate.files.list()]
assert replicate.run("owner/size", input={"file": file.urls["get"]}) == 3
data = io.BytesIO(b"abcd")
assert [replicate.run("owner/size", input={"file": data}) for _ in range(2)] == [4, 4]
assert replicate.files.delete(file.id)
