"""The decoder of server-sent events, against chunks of any size, the standard, and httpx-sse."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from time import perf_counter

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async._http.sse import ServerSentEvent, SSEDecoder

BOM = "\ufeff".encode()


def decode(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def cut(body: bytes, positions: Sequence[int]) -> list[bytes]:
    """Cut a body into chunks at positions modulo its length; chunks may be empty."""
    ends = sorted(position % (len(body) + 1) for position in positions)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def reference(body: bytes) -> list[ServerSentEvent]:
    """Decode a whole body line by line, like the standard with two deliberate differences.

    An event without data counts if it has a name. An id belongs to its event, or to the next one if it comes alone.
    """
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    events: list[ServerSentEvent] = []
    name, data, last_id = "", "", None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        field, colon, value = line.partition(":")
        if not line:
            if data or name:
                events.append(ServerSentEvent(name or "message", data.removesuffix("\n"), last_id))
                last_id = None
            name, data = "", ""
        elif field == "data":
            data += (value[1:] if value[:1] == " " else value) + "\n"
        elif field == "event":
            name = value[1:] if value[:1] == " " else value
        elif field == "id" and "\0" not in value:
            last_id = value[1:] if value[:1] == " " else value
        else:
            assert colon or field
    return events


CUTS = st.lists(st.integers(0, 10_000), max_size=12)
LINE_ENDS = st.sampled_from(["\n", "\r", "\r\n"])
TEXT = st.text(st.sampled_from("a :\0é€😀\u2028\x0b\x85\ufeff{}"), max_size=6)
VALUE = st.one_of(TEXT, TEXT.map(" {}".format))
LINES = st.one_of(
    st.just(""),
    st.builds("{}:{}".format, st.sampled_from(["data", "event", "id", "retry", "", "datas", "Data", " data"]), VALUE),
    st.sampled_from(["data", "event", "id", ":408: 408 Request Timeout", "data: x", "event: output", "\ufeffdata: x"]),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw lines of every kind with any line end, some with a byte order mark, some cut off."""
    lines = draw(st.lists(st.tuples(LINES, LINE_ENDS), max_size=20))
    body = "".join(line + end for line, end in lines).encode()
    return draw(st.sampled_from([b"", BOM])) + body[: draw(st.integers(0, len(body) + 20))]


@given(bodies(), CUTS)
@settings(max_examples=400, deadline=None)
def test_the_standard(body, positions):
    """Any chunks of a stream with any lines and line ends give the standard's events."""
    assert decode(cut(body, positions)) == reference(body)


@given(st.binary(max_size=60), st.sampled_from([b"", BOM, b"data:", b"data:a\r\n\r"]), CUTS)
@settings(max_examples=200, deadline=None)
def test_invalid_utf8(garbage, before, positions):
    """Bytes that are not UTF-8 are replaced, in the same way for any chunks, and never raise an error."""
    body = before + garbage + b"\n\ndata: last\n\n"
    assert decode(cut(body, positions)) == reference(body)


EVENTS = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["", "output", "logs", "error", "done", "something else"]),
        "data": st.lists(VALUE, min_size=1, max_size=4),
        "id": st.one_of(st.none(), st.integers(0, 9).map("1690212292:{}".format)),
        "comment": st.one_of(st.none(), TEXT),
        "other": st.sampled_from(["", "retry: 10", "retry: x", "unknown: 1", "unknown"]),
    }
)


@given(st.lists(EVENTS, max_size=8), LINE_ENDS, CUTS)
@settings(max_examples=200, deadline=None)
def test_httpx_sse(events, end, positions):
    """The events equal those of httpx-sse for the same chunks."""
    lines: list[str] = []
    for event in events:
        lines += [f":{event['comment']}"] * (event["comment"] is not None)
        lines += [f"event: {event['event']}"] * bool(event["event"])
        lines += [f"id: {event['id']}"] * (event["id"] is not None)
        lines += [f"data:{value}" for value in event["data"]]
        lines += [event["other"]] * bool(event["other"])
        lines.append("")
    chunks = cut("".join(line + end for line in lines).encode(), positions)
    decoded = decode(chunks)

    def content() -> Iterator[bytes]:
        yield from chunks

    response = httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, content=content())
    expected = list(EventSource(response).iter_sse())
    assert [(event.event, event.data) for event in decoded] == [(event.event, event.data) for event in expected]
    # In httpx-sse, an event without an id has the previous one's.
    assert [reference.id for event, reference in zip(decoded, expected, strict=True) if event.id is not None] == [
        event.id for event in decoded if event.id is not None
    ]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_events_are_returned_at_once(end):
    """An event is returned with its last byte, with any line end."""
    body = f"event: output{end}id: 1{end}data: Once{end}{end}".encode()
    for size in (len(body), 1, 2, 3):
        decoder = SSEDecoder()
        for turn in range(3):
            events = [
                event for start in range(0, len(body), size) for event in decoder.feed(body[start : start + size])
            ]
            assert events == [ServerSentEvent("output", "Once", "1")], (size, turn)


EXAMPLES = {
    "an event of Replicate": (b"event: output\nid: 1690212292:0\ndata: Once\n\n", [("output", "Once", "1690212292:0")]),
    "no name": (b"data: x\n\n", [("message", "x", None)]),
    "no data": (b"event: done\n\n", [("done", "", None)]),
    "empty data": (b"data\n\ndata:\n\n", [("message", "", None), ("message", "", None)]),
    "several lines": (b"data: a\ndata:\ndata:b\ndata:  c\n\n", [("message", "a\n\nb\n c", None)]),
    "the last name counts": (b"event: a\nevent: b\ndata: x\n\n", [("b", "x", None)]),
    "names do not stay": (b"event: a\ndata: x\n\ndata: y\n\n", [("a", "x", None), ("message", "y", None)]),
    "ids do not stay": (b"id: 1\ndata: x\n\ndata: y\n\n", [("message", "x", "1"), ("message", "y", None)]),
    "an empty id": (b"id\ndata: x\n\n", [("message", "x", "")]),
    "a NUL in the id": (b"id: 1\nid: 2\x00\ndata: x\n\n", [("message", "x", "1")]),
    "comments": (b":408: 408 Request Timeout\n\n: hi\n\ndata: x\n:\n\n", [("message", "x", None)]),
    "other fields": (b"retry: 10\nfoo: bar\nfoo\n data: no\nDATA: no\ndata: x\n\n", [("message", "x", None)]),
    "colons": (b"data: a: b\ndata::\n\n", [("message", "a: b\n:", None)]),
    "other breaks": ("data: a\u2028b\x0b\x85d\x0c\n\n".encode(), [("message", "a\u2028b\x0b\x85d\x0c", None)]),
    "a byte order mark": (BOM + b"data: x\n\n", [("message", "x", None)]),
    "a later one is text": (b"data: " + BOM + b"x\n\n" + BOM + b"data: y\n\n", [("message", "\ufeffx", None)]),
    "mixed line ends": (b"data: a\rdata: b\r\n\ndata: c\r\r", [("message", "a\nb", None), ("message", "c", None)]),
    "cut off": (b"data: a\n\ndata: b\n", [("message", "a", None)]),
    "blank lines": (b"\n\n\r\n\rdata: x\n\n\n\n", [("message", "x", None)]),
}


def test_examples():
    """Each rule of the standard by an example, in one chunk and byte by byte."""
    expected = {name: events for name, (_, events) in EXAMPLES.items()}
    assert {name: reference(body) for name, (body, _) in EXAMPLES.items()} == expected
    assert {name: decode([body]) for name, (body, _) in EXAMPLES.items()} == expected
    assert {name: decode(cut(body, range(len(body)))) for name, (body, _) in EXAMPLES.items()} == expected


def test_comments():
    """Comments are no events, wherever they are cut: the server uses them to keep a connection alive or to end it."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: x\n\n:408: 408 Req") == [ServerSentEvent("message", "x", None)]
    assert decoder.feed(b"uest Timeout\n\n") == []
    assert decoder.feed(b"data: y\n\n") == [ServerSentEvent("message", "y", None)]


def test_long_lines_take_linear_time():
    """The time for a line of megabytes, such as an image as a data URI, is proportional to its length."""
    line = b"data: " + random.Random(0).randbytes(2**21).hex().encode() + b"\n\n"
    chunks = [line[start : start + 1024] for start in range(0, len(line), 1024)]
    started = perf_counter()
    (event,) = decode(chunks)
    assert perf_counter() - started < 1.5
    assert len(event.data) == len(line) - 8
