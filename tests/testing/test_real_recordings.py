"""Recordings replay the answers of the real API as they were: statuses, headers, and bodies with unknown members."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from rawserver import RawServer
from replicate_async import AsyncReplicate
from replicate_async.testing import Recording

pytestmark = pytest.mark.anyio

API = "https://api.replicate.com/v1"
DATA_URI = "data:text/plain;base64,YWJj"


def response(status: str, body: str, *headers: str) -> bytes:
    """Return a response in its wire format."""
    content = body.encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def prediction(**members: Any) -> str:
    """Return a prediction as the API sends it, without members that it has not."""
    url = f"{API}/predictions/p1"
    return json.dumps(
        {
            "id": "p1",
            "input": {"text": "a"},
            "urls": {"cancel": f"{url}/cancel", "get": url},
            "created_at": "2024-03-01T10:00:00.123456789Z",
            "unknown": {"number": 12345678901234567890123, "small": 1e-07, "list": [None, {}]},
            **members,
        }
    )


async def send(recording: Recording, *requests: tuple[str, str]) -> list[httpx.Response]:
    """Send requests, and return the responses."""
    headers = {"Authorization": f"Bearer {recording.token}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
        return [
            await client.request(method, recording.base_url + path, headers={"Prefer": "wait"})
            for method, path in requests
        ]


async def test_what_is_kept(tmp_path: Path) -> None:
    """Statuses, headers and bodies are replayed as they came: empty, HTML, and JSON with numbers of any size."""
    scripted = [
        response(
            "201 Created",
            prediction(status="processing", output=DATA_URI),
            "Content-Type: application/json",
            "Preference-Applied: wait",
            "ratelimit-remaining: 599",
            "ratelimit-reset: 1",
            "Set-Cookie: session=cookie-of-mine",
            "CF-RAY: 1-FRA",
        ),
        response("502 Bad Gateway", "<html>Bad gateway</html>", "Content-Type: text/html", "Server: cloudflare"),
        response("403 Forbidden", ""),
        response("429 Too Many Requests", '{"detail": "...", "status": 429}', "Content-Type: application/json"),
        response("200 OK", "null", "Content-Type: application/json"),
    ]
    requests = [("POST", "/predictions"), *[("GET", f"/predictions/p{number}") for number in range(4)]]
    path = tmp_path / "real.json"
    async with RawServer(*scripted) as real:
        with Recording(path, record=True, base_url=f"{real.url}/v1", token="r8_TheToken" * 4) as recording:
            recorded = await send(recording, *requests)
    with Recording(path) as recording:
        replayed = await send(recording, *requests)
    assert [each.status_code for each in replayed] == [201, 502, 403, 429, 200]
    assert [each.content for each in replayed[1:]] == [each.content for each in recorded[1:]]
    # The URLs in it are those of the recording that replays.
    created = [{**each.json(), "urls": None} for each in (recorded[0], replayed[0])]
    assert created[0] == created[1] == {**json.loads(prediction(status="processing", output=DATA_URI)), "urls": None}
    names = ("Preference-Applied", "ratelimit-remaining", "ratelimit-reset", "CF-RAY")
    assert [replayed[0].headers[name] for name in names] == ["wait", "599", "1", "1-FRA"]
    assert "Set-Cookie" not in replayed[0].headers
    assert "cookie-of-mine" not in path.read_text(encoding="utf-8")
    assert replayed[0].json()["urls"]["get"].startswith("http://127.0.0.1:")


async def test_polls_out_of_order(tmp_path: Path) -> None:
    """A recording in which a prediction goes back to an earlier status replays in that order, and the client ends."""
    answers = [
        (201, prediction(status="starting")),
        *[(200, prediction(status=status)) for status in ("processing", "starting", "processing")],
        (200, prediction(status="succeeded", output="hello", completed_at="2024-03-01T10:00:01Z", logs="")),
    ]
    exchanges = [
        {
            "request": {
                "method": "GET" if number else "POST",
                "url": f"{API}/predictions" + ("/p1" if number else ""),
                **({} if number else {"body": {"json": {"version": "ab" * 32, "input": {"text": "a"}}}}),
            },
            "answer": {
                "status": status,
                "headers": {"Content-Type": "application/json"},
                "body": {"json": json.loads(body) | {"unknown": {}, "model": "a/b", "version": "ab" * 32}},
            },
        }
        for number, (status, body) in enumerate(answers)
    ]
    path = tmp_path / "real.json"
    cassette = {"base_url": API, "recorded_at": "2024-03-01T10:00:00Z", "exchanges": exchanges}
    path.write_text(json.dumps(cassette), encoding="utf-8")
    with Recording(path) as recording:
        async with AsyncReplicate(base_url=recording.base_url, bearer_token=recording.token) as client:
            assert await client.run("ab" * 32, input={"text": "a"}, wait=False) == "hello"
