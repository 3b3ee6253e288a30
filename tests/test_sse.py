"""The parser of event streams: pieces cut anywhere, all that the standard allows, and an oracle: httpx-sse."""

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


def parse(pieces: Sequence[bytes]) -> list[ServerSentEvent]:
    parser = SSEDecoder()
    return [event for piece in pieces for event in parser.feed(piece)]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut a body at places that are taken modulo its length; pieces may be empty."""
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def reference(body: bytes) -> list[ServerSentEvent]:
    """Read a whole body as the standard says, one line after the other.

    With two differences that are meant: an event without data is one if it has a name, and an id belongs to the event
    that it comes with, or if it comes alone, to the next one.
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
    """Lines of every kind, each with whatever end; perhaps with a byte order mark, perhaps cut off."""
    lines = draw(st.lists(st.tuples(LINES, LINE_ENDS), max_size=20))
    body = "".join(line + end for line, end in lines).encode()
    return draw(st.sampled_from([b"", BOM])) + body[: draw(st.integers(0, len(body) + 20))]


@given(bodies(), CUTS)
@settings(max_examples=400, deadline=None)
def test_what_the_standard_says(body, places):
    """However a stream is cut into pieces and whatever its lines and their ends, the standard's events come out."""
    assert parse(cut(body, places)) == reference(body)


@given(st.binary(max_size=60), st.sampled_from([b"", BOM, b"data:", b"data:a\r\n\r"]), CUTS)
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_text(garbage, before, places):
    """What isn't UTF-8 is replaced, in the same way wherever the pieces end, and never an error."""
    body = before + garbage + b"\n\ndata: last\n\n"
    assert parse(cut(body, places)) == reference(body)


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
def test_the_oracle(events, end, places):
    """The events are those that httpx-sse finds in the same pieces."""
    lines: list[str] = []
    for event in events:
        lines += [f":{event['comment']}"] * (event["comment"] is not None)
        lines += [f"event: {event['event']}"] * bool(event["event"])
        lines += [f"id: {event['id']}"] * (event["id"] is not None)
        lines += [f"data:{value}" for value in event["data"]]
        lines += [event["other"]] * bool(event["other"])
        lines.append("")
    pieces = cut("".join(line + end for line in lines).encode(), places)
    found = parse(pieces)

    def content() -> Iterator[bytes]:
        yield from pieces

    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream; charset=utf-8"}, content=content())
    expected = list(EventSource(answer).iter_sse())
    assert [(one.event, one.data) for one in found] == [(one.event, one.data) for one in expected]
    # There, an event without an id has that of the one before.
    assert [theirs.id for ours, theirs in zip(found, expected, strict=True) if ours.id is not None] == [
        one.id for one in found if one.id is not None
    ]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])
def test_no_event_is_held_back(end):
    """An event is there with its last byte, whatever ends the lines: nothing waits for what comes next."""
    body = f"event: output{end}id: 1{end}data: Once{end}{end}".encode()
    for size in (len(body), 1, 2, 3):
        parser = SSEDecoder()
        for turn in range(3):
            found = [event for start in range(0, len(body), size) for event in parser.feed(body[start : start + size])]
            assert found == [ServerSentEvent("output", "Once", "1")], (size, turn)


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
    """Each rule of the standard by an example; whole and byte by byte."""
    expected = {name: events for name, (_, events) in EXAMPLES.items()}
    assert {name: reference(body) for name, (body, _) in EXAMPLES.items()} == expected
    assert {name: parse([body]) for name, (body, _) in EXAMPLES.items()} == expected
    assert {name: parse(cut(body, range(len(body)))) for name, (body, _) in EXAMPLES.items()} == expected


def test_the_comment_is_told():
    """What a server says in a comment, such as why it ends the stream, is at hand."""
    parser = SSEDecoder()
    assert parser.comment == ""
    assert parser.feed(b"data: x\n\n:408: 408 Req") == [ServerSentEvent("message", "x", None)]
    assert parser.feed(b"uest Timeout\n\n") == []
    assert parser.comment == "408: 408 Request Timeout"


def test_a_long_line_is_read_once():
    """The time for a line of megabytes, such as a picture as data URI, grows with its length, not with its square."""
    line = b"data: " + random.Random(0).randbytes(2**21).hex().encode() + b"\n\n"
    pieces = [line[start : start + 1024] for start in range(0, len(line), 1024)]
    started = perf_counter()
    (event,) = parse(pieces)
    assert perf_counter() - started < 0.5
    assert len(event.data) == len(line) - 8
