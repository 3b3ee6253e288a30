"""Multipart forms and data URIs."""

from __future__ import annotations

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.testing import OutputFile
from replicate_async.testing._files import Part, parse_multipart, read_data_uri

# Without the two characters that browsers and httpx encode ambiguously.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='"\\'), min_size=1, max_size=20
)


@given(content=st.binary(max_size=200), name=NAMES)
def test_forms_of_httpx(content: bytes, name: str) -> None:
    """A form of httpx is parsed exactly, including the file's name."""
    form = httpx.Request("POST", "http://x", files={"content": (name, content, "a/b")}, data={"type": "c/d"})
    parts = parse_multipart(form.headers["Content-Type"], form.read())
    assert parts == [Part("type", None, None, b"c/d"), Part("content", name, "a/b", content)]


class _Memory:
    """Collects what aiohttp writes."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a.txt", "a b.txt", "é ü.txt", "猫.png", 'q"uote.txt', "<>"])
async def test_forms_of_aiohttp(name: str) -> None:
    """A form of aiohttp is parsed exactly, however the file's name is encoded."""
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("content", b"\r\n--", filename=name, content_type="a/b")
    writer, memory = form(), _Memory()
    await writer.write(memory)  # type: ignore[arg-type]
    (part,) = parse_multipart(writer.headers["Content-Type"], memory.data)
    assert part == Part("content", name, "a/b", b"\r\n--")


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("text/plain", b"", "not multipart/form-data"),
        ("multipart/form-data", b"", "not multipart/form-data with a boundary"),
        ("multipart/form-data; boundary=b", b"", "cut off"),
        ("multipart/form-data; boundary=b", b"--c\r\n\r\n--c--", "cut off or has another boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n\r\n", "cut off"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n--b--", "no blank line"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n\r\nc\r\n--b--", "no name"),
    ],
)
def test_broken_forms(content_type: str, body: bytes, reason: str) -> None:
    """A malformed form raises an error with the reason."""
    with pytest.raises(ValueError, match=reason):
        parse_multipart(content_type, body)


@given(content=st.binary(max_size=100), content_type=st.sampled_from(["image/png", "text/plain"]))
def test_data_uris(content: bytes, content_type: str) -> None:
    """A data URI contains the whole file."""
    read = read_data_uri(OutputFile(content, content_type).data_uri())
    assert (read.data, read.type) == (content, content_type)


def test_percent_encoded_data_uris() -> None:
    """Data URIs need not be base64."""
    assert read_data_uri("data:,a%20b").data == b"a b"
    with pytest.raises(ValueError, match="broken base64"):
        read_data_uri("data:image/png;base64,!!!!")
    with pytest.raises(ValueError, match="not a data URI"):
        read_data_uri("https://example.com/,")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (OutputFile(b"x"), "application/octet-stream"),
        (OutputFile(b"x", name="a.mp4"), "video/mp4"),
        (OutputFile(b"\xff\xd8\xff\xe0"), "image/jpeg"),
        (OutputFile(b"RIFF0000WAVE"), "audio/wav"),
        (OutputFile(b"RIFF0000WEBP"), "image/webp"),
        (OutputFile(b"\x89PNG\r\n\x1a\n", "text/plain"), "text/plain"),
    ],
)
def test_guessed_types(file: OutputFile, expected: str) -> None:
    """A content type is used if set, else guessed from the name, else from the data."""
    assert file.type == expected
