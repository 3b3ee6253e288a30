"""1.x: an image is made, written to disk, and given to the next model."""

import pathlib
import tempfile

import replicate
from replicate.helpers import FileOutput

image = replicate.run("owner/image", input={})
assert isinstance(image, FileOutput)
assert str(image) == image.url
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "image.png"
    with path.open("wb") as file:
        for chunk in image:
            file.write(chunk)
    assert path.read_bytes() == image.read()
images = replicate.run("owner/images", input={})
assert [item.read()[:4] for item in images] == [b"\x89PNG"] * 2
assert images[0].url != ""
assert len(images) == 2
assert isinstance(replicate.run("owner/image", input={}, use_file_output=False), str)
