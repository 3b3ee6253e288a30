"""Recordings of a server in another process, which replay without it, and contain no secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec
import pytest
import replicate as official

from replicate_async import AsyncReplicate, BadRequestError, ModelError, Replicate, verify_webhook
from replicate_async._http import clock as sdk_clock
from replicate_async.testing import LocalServer, Recording, RecordingError, ServerProcess
from replicate_async.testing._cassette import (
    Body,
    Cassette,
    Exchange,
    Part,
    RecordedRequest,
    RecordedResponse,
    read_request,
)
from replicate_async.testing._player import Player
from replicate_async.testing._scrubber import Scrubber

from .test_plugin import OPTIONS

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.endurance

TOKEN = "r8_TheAccountsOwnTokenOf37Characters0000"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
MODELS = """
    from collections.abc import Iterator
    from pathlib import Path
    from replicate_async.testing import OutputFile

    PNG = bytes([137]) + b"PNG" + bytes([13, 10, 26, 10]) + bytes(range(256))

    def register(server):
        @server.model("me/hello")
        def hello(text: str, openai_api_key: str = "") -> str:
            print("called with", openai_api_key)
            return f"hello {text}"

        server.model("me/slow", output_delay=0.6)(hello)

        @server.model("me/story")
        def story(prompt: str) -> Iterator[str]:
            yield from (prompt, " and", " so on\\n", "\\u00e4\\u00f6\\u00fc")

        @server.model("me/pictures")
        def pictures() -> Iterator[OutputFile]:
            yield OutputFile(PNG, "image/png", "one.png")
            yield OutputFile(PNG[::-1], "image/png", "two.png")

        @server.model("me/size")
        def size(image: Path) -> int:
            return len(image.read_bytes())

        @server.model("me/zeros")
        def zeros(password: str) -> OutputFile:
            return OutputFile(bytes(300), "application/octet-stream", "zeros.bin")

        @server.model("me/failing")
        def failing() -> None:
            raise ValueError("no way")
"""


@dataclass
class Api:
    """A server that replaces the real API, and the file of its recording."""

    folder: Path
    path: Path

    def process(self, **options: Any) -> ServerProcess:
        """Return the server, to run in a process of its own."""
        return LocalServer.process(
            "recorded_models:register", **{"token": TOKEN, "username": "alice", "tidy": True, **options}
        )

    def record(self, action: Callable[[Recording], Any], **options: Any) -> Any:
        """Record the requests of a function, and return its result."""
        with (
            self.process(**options) as server,
            Recording(self.path, record=True, base_url=server.base_url, token=TOKEN) as recording,
        ):
            return action(recording)

    def replay(self, action: Callable[[Recording], Any]) -> Any:
        """Call a function without the server."""
        with Recording(self.path) as recording:
            return action(recording)

    @property
    def text(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")

    @property
    def cassette(self) -> Any:
        """The content of the file."""
        return msgspec.json.decode(self.path.read_bytes())


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    (tmp_path / "recorded_models.py").write_text(textwrap.dedent(MODELS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return Api(tmp_path, tmp_path / "recordings" / "it.json")


def client_of(recording: Recording) -> Replicate:
    return Replicate(base_url=recording.base_url, bearer_token=recording.token)


def hello(recording: Recording) -> Any:
    with client_of(recording) as client:
        return client.run("me/hello", input={"text": "Alice"})


def test_there_and_back(api: Api) -> None:
    """Recorded responses are replayed without the server."""
    assert api.record(hello) == "hello Alice"
    assert api.replay(hello) == "hello Alice"
    (create,) = [each for each in api.cassette["exchanges"] if each["request"]["method"] == "POST"]
    assert create["request"]["url"].endswith("/v1/models/me/hello/predictions")
    assert create["request"]["headers"] == {"Prefer": "wait"}
    assert create["request"]["body"]["json"] == {"input": {"text": "Alice"}}
    assert create["answer"]["status"] == 201
    assert create["answer"]["body"]["json"]["output"] == "hello Alice"


def test_an_async_client(api: Api) -> None:
    """The same with the async client, several at once."""

    def action(recording: Recording) -> list[str]:
        async def main() -> list[str]:
            async with AsyncReplicate(base_url=recording.base_url, bearer_token=recording.token) as client:
                return await asyncio.gather(*(client.run("me/hello", input={"text": str(n)}) for n in range(20)))

        return asyncio.run(main())

    assert api.record(action) == api.replay(action) == [f"hello {n}" for n in range(20)]


def test_another_library(api: Api) -> None:
    """Any client of the API can be recorded, for example the official SDK."""

    def action(recording: Recording) -> Any:
        with official.Replicate(base_url=recording.base_url, bearer_token=recording.token) as client:
            return client.run("me/hello", input={"text": "Alice"})

    assert api.record(action) == api.replay(action) == "hello Alice"


def test_polling(api: Api) -> None:
    """Equal requests get their responses in order, and then the last one again."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            return client.run("me/slow", input={"text": "a"}, wait=False)

    assert api.record(action) == "hello a"
    *_, last = polls = [each for each in api.cassette["exchanges"] if each["request"]["method"] == "GET"]
    assert len({each["request"]["url"] for each in polls}) < len(polls)

    def once_more(recording: Recording) -> Any:
        output = action(recording)
        with client_of(recording) as client:
            again = [client.predictions.get(last["answer"]["body"]["json"]["id"]) for _ in range(3)]
        return output, [prediction.status for prediction in again]

    assert api.replay(once_more) == ("hello a", ["succeeded"] * 3)


def test_time(api: Api) -> None:
    """While replaying, clients wait in virtual time, which starts at the time of the recording."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            return client.account.get().username

    faults = {"faults": [{"kind": "rate_limit", "retry_after": 1, "times": 1}]}
    assert api.record(action, faults=faults) == "alice"
    slower = re.sub(r'"(Retry-After|retry_after)": "?1"?', lambda match: f'"{match[1]}": "120"', api.text)
    api.path.write_text(slower.replace('"retry_after": "120"', '"retry_after": 120'), encoding="utf-8")

    def timed(recording: Recording) -> tuple[str, float]:
        begin = sdk_clock.current.monotonic()
        return action(recording), sdk_clock.current.monotonic() - begin

    name, passed = api.replay(timed)
    assert name == "alice"
    assert passed >= 120


def test_events(api: Api) -> None:
    """An event stream of another host is recorded event by event, and replayed."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            events = list(client.stream("me/story", input={"prompt": "once"}))
            return [(event.event, event.data) for event in events]

    recorded = api.record(action)
    assert "".join(data for event, data in recorded if event == "output") == "once and so on\näöü"
    assert api.replay(action) == recorded
    (stream,) = [each for each in api.cassette["exchanges"] if "/v1/files/" in each["request"]["url"]]
    assert "data: once" in stream["answer"]["body"]["lines"]


def test_files(api: Api) -> None:
    """Output files of another host are recorded and replayed, from responses and from events, with their names."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            first, second = client.run("me/pictures", input={})
            # A new one each time, because existing files are not replaced.
            folder = tempfile.mkdtemp(dir=api.folder)
            saved = [first.save(folder), second.save(folder)]
            contents = [path.read_bytes() for path in saved]
            streamed = [str(event) for event in client.stream("me/pictures", input={}) if event]
            inputs = client.predictions.create(
                version=client.models.get("me", "size").latest_version.id, input={"image": second}, prefer="wait"
            )
            assert inputs.input["image"] == str(second)
            contents.append(httpx.get(streamed[0], trust_env=False).content)
            elsewhere = httpx.URL(streamed[0]).copy_with(path="/favicon.ico")
            assert httpx.get(elsewhere, trust_env=False).status_code == 404
            return [path.name for path in saved], contents, inputs.output

    expected = (["one.png", "two.png"], [PNG, PNG[::-1], PNG], len(PNG))
    assert api.record(action) == expected
    assert api.replay(action) == expected


def test_an_input_elsewhere(api: Api) -> None:
    """URLs of other hosts in an input stay as they are, in the request and in the response."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            text = "https://example.com/a.png?x=1"
            return client.models.predictions.create("me", "hello", input={"text": text}, prefer="wait").input

    assert api.record(action) == api.replay(action) == {"text": "https://example.com/a.png?x=1"}


def test_uploads(api: Api) -> None:
    """A form is recorded part by part, its file as a digest; its random boundary is ignored."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            file = client.files.create(content=("cat.png", PNG), metadata={"cat": True})
            # The file is too large to be sent inline.
            size = client.run("me/size", input={"image": PNG * 2000})
            return file.name, file.metadata, file.size, size

    expected = ("cat.png", {"cat": True}, len(PNG), len(PNG) * 2000)
    assert api.record(action) == expected
    assert api.replay(action) == expected
    upload = next(each for each in api.cassette["exchanges"] if each["request"]["url"].endswith("/files"))
    content, *other_parts = upload["request"]["body"]["form"]
    assert (content["name"], content["filename"], content["body"]["size"]) == ("content", "cat.png", len(PNG))
    assert other_parts == [{"name": "metadata", "body": {"json": {"cat": True}}}]
    assert "boundary" not in api.text


def test_pages_search_and_downloads(api: Api) -> None:
    """Pages, QUERY, text bodies, signed downloads and empty responses are recorded and replayed."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            names = [model.name for model in client.models.list()]
            results = [model.name for model in client.models.search("story")]
            file = client.files.create(content=PNG)
            client.files.delete(file.id)
            return names, results, client.search("hello").query

    recorded = api.record(action, page_size=2)
    assert len(recorded[0]) == 7
    assert api.replay(action) == recorded


def test_failures(api: Api) -> None:
    """Failed predictions and errors are replayed as such."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            with pytest.raises(ModelError) as failed:
                client.run("me/failing", input={})
            with pytest.raises(Exception, match=r"could not be found") as missing:
                client.models.get("me", "nothing")
            return str(failed.value.prediction.error), type(missing.value).__name__

    assert api.record(action) == api.replay(action) == ("no way", "NotFoundError")


def test_secrets(api: Api) -> None:
    """The file contains neither the token nor signatures, webhook secrets, stream keys or secret inputs."""
    seen: set[str] = set()

    def action(recording: Recording) -> Any:
        headers = {"Authorization": f"Bearer {recording.token}", "Cookie": "session=cookie-of-mine"}
        with client_of(recording) as client:
            client.run("me/hello", input={"text": f"my token is {TOKEN}", "openai_api_key": "sk-very-secret"})
            seen.add(client.webhooks.default.secret.get().key)
            streams = [client.models.predictions.create("me", "story", input={"prompt": p}) for p in "ab"]
            seen.update(urlsplit(str(stream.urls.stream)).path.split("/")[-1] for stream in streams)
            texts = [httpx.get(str(stream.urls.stream), trust_env=False).text for stream in streams]
            file = client.files.create(content=PNG)
            signed = {"owner": "alice", "expiry": "4102444800", "signature": "a+signature/of=mine"}
            answer = httpx.get(
                f"{recording.base_url}/files/{file.id}/download", params=signed, headers=headers, trust_env=False
            )
            return [text.split("\n")[2] for text in texts], answer.status_code

    assert api.record(action) == api.replay(action) == (["data: a", "data: b"], 403)
    secrets = {TOKEN, "sk-very-secret", "cookie-of-mine", "signature/of", "signature%2Fof", "local-token", *seen}
    recorded = {secret for secret in secrets - {"stream-2", "stream-3"} if secret in api.text}
    # Only the substitute that replaying returned is in the file.
    assert recorded == {"whsec_c2NydWJiZWQ="}
    assert len(seen) == 6
    assert "Authorization" not in api.text
    assert '"openai_api_key": "SCRUBBED"' in api.text
    with pytest.raises(Exception, match="webhook-id"):
        # The substitute has the format of a secret.
        verify_webhook(b"", {}, "whsec_c2NydWJiZWQ=")


def test_the_token_stays(api: Api) -> None:
    """Neither the code under test nor other hosts get the account's token."""
    with LocalServer(token=TOKEN) as server:

        @server.model("me/story")
        def story() -> Any:
            yield "once"

        with Recording(api.path, record=True, base_url=server.base_url, token=TOKEN) as recording:
            assert recording.token != TOKEN
            with client_of(recording) as client:
                assert list(client.stream("me/story", input={})) == ["once", ""]
        assert {request.token for request in server.requests} == {f"Bearer {TOKEN}", None}
        assert {request.operation for request in server.requests if request.token is None} == {"predictions.stream"}


def test_an_unmatched_request(api: Api) -> None:
    """An unmatched request fails with the differences to the nearest recorded one; leaving raises the same error."""
    api.record(hello)

    def send_other_input(recording: Recording) -> None:
        with client_of(recording) as client, pytest.raises(BadRequestError) as caught:
            client.run("me/hello", input={"text": "Bob"}, webhook="https://example.com/")
        errors.append(str(caught.value))

    errors: list[str] = []
    with pytest.raises(RecordingError) as caught:
        api.replay(send_other_input)
    for text in (errors[0], str(caught.value)):
        assert "/models/me/hello/predictions is not in the recording" in text
        assert 'body.json.input.text: recorded "Alice", sent "Bob"' in text
        assert 'body.json.webhook: recorded nothing, sent "https://example.com/"' in text
        assert "it.json" in text


def test_once_too_often(api: Api) -> None:
    """A create that was recorded once gets no second response, because the API would bill it twice."""
    api.record(hello)

    def twice(recording: Recording) -> None:
        hello(recording)
        with pytest.raises(BadRequestError, match="was recorded 1 time, and is sent once more"):
            hello(recording)

    with pytest.raises(RecordingError, match="once more"):
        api.replay(twice)


def test_what_fails_first(api: Api) -> None:
    """An error of the code under test is not replaced by a RecordingError, and no file is written."""
    with pytest.raises(ZeroDivisionError):
        api.record(lambda recording: 1 / 0)
    assert not api.path.exists()
    api.record(hello)

    def failing(recording: Recording) -> None:
        with client_of(recording) as client, pytest.raises(BadRequestError):
            client.account.get()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        api.replay(failing)


def test_an_api_that_is_gone(api: Api) -> None:
    """If the API can't be reached, the client gets an error, and nothing is recorded."""

    def action(recording: Recording) -> str:
        with client_of(recording) as client, pytest.raises(Exception, match="recorder got no response") as caught:
            client.account.get(max_retries=0)
        return str(caught.value)

    with Recording(api.path, record=True, base_url="http://127.0.0.1:9/v1", token=TOKEN) as recording:
        assert "http://127.0.0.1:9/v1/account" in action(recording)
    assert api.cassette["exchanges"] == []

    with pytest.raises(RecordingError, match="which is empty"), Recording(api.path) as recording:
        httpx.get(recording.base_url + "/account", trust_env=False)


def test_what_makes_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing token, a file that isn't a recording, and using a recording before its with statement are errors."""
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    with pytest.raises(ValueError, match="set REPLICATE_API_TOKEN"):
        Recording(tmp_path / "it.json", record=True)
    with pytest.raises(FileNotFoundError):
        Recording(tmp_path / "it.json")
    for text in ("", '{"exchanges": []}', '{"base_url": "", "recorded_at": "2025-01-01T00:00:00Z", "exchanges": [{}]}'):
        (tmp_path / "it.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"it\.json is not a recording"):
            Recording(tmp_path / "it.json")
    with pytest.raises(RuntimeError, match="with statement"):
        Recording(tmp_path / "it.json", record=True, token=TOKEN).base_url  # noqa: B018


@pytest.mark.parametrize(
    ("url", "scrubbed"),
    [
        ("https://x.com/a?X-Goog-Signature=ab%2Fc&x=1", "https://x.com/a?X-Goog-Signature=SCRUBBED&x=1"),
        ("https://x.com/a?x=1&X-Amz-Security-Token=abc#f", "https://x.com/a?x=1&X-Amz-Security-Token=SCRUBBED#f"),
        (
            "see https://x.com/?sig=abc, or <https://x.com/?token=ab>",
            "see https://x.com/?sig=SCRUBBED or <https://x.com/?token=SCRUBBED>",
        ),
        ("https://x.com/?signatures=abc&design=1", "https://x.com/?signatures=abc&design=1"),
        ("my r8_abcdefghijk, and r8_x", "my SCRUBBED, and r8_x"),
    ],
)
def test_scrubbing(url: str, scrubbed: str) -> None:
    """Signatures and tokens are found in any text by their names and formats."""
    assert Scrubber().scrub(RecordedRequest("GET", url)).url == scrubbed
    body = Body(json={"deep": [{"text": url}]})
    assert Scrubber("t").scrub(RecordedResponse(200, {}, body)).body == Body(json={"deep": [{"text": scrubbed}]})


SECRET_NAMES = """
    key keys openai_key license_key secret_key access_key aws_secret_access_key private_key private_key_pem api_key
    api-key apiKey APIKey openAIKey openaiapikey api_key_id api_keys token tokens hf_token hf_tokens access_tokens
    authToken API_TOKEN auth_token_2 secret secrets client_secret secret_value password passwd db_password_1 pwd
    passphrase credentials Authorization passcode cookie cookies session_cookie cookie_header sessionCookies
    auth basic_auth httpAuth bearer pat github_pat jwt jwt_value
"""
OTHER_NAMES = """
    max_tokens max_new_tokens min_tokens maxTokens num_tokens stop_tokens stop_token eos_token pad_token_id
    trigger_token token_count tokenizer keyframes key_frame keyword keypoints hotkey monkey turkey primary_key
    musical_key public_key secretary author authors passage prompt text
    auth_type pat_name pattern path patch forbearer cooking
"""


@pytest.mark.parametrize(("names", "secret"), [(SECRET_NAMES, True), (OTHER_NAMES, False)])
def test_names_of_secrets(names: str, secret: bool) -> None:
    """Inputs are secrets by the words of their names, in any spelling; similar names are not secrets."""
    values = {name: f"value of {name}" for name in names.split()}
    body = Body(json={"input": values, "output": dict.fromkeys(values, "the same")})
    scrubber = Scrubber()
    scrubber.learn(body)
    scrubbed = scrubber.scrub(body).json
    assert scrubbed["input"] == (dict.fromkeys(values, "SCRUBBED") if secret else values)
    # Names are only significant in inputs.
    assert scrubbed["output"] == dict.fromkeys(values, "the same")


def test_secrets_inside_of_strings() -> None:
    """Secrets in JSON inside of strings and in the parameters of URLs are replaced, and wherever else they occur."""
    inner = {"api_key": 'sk-"quoted"-secret', "nested": '{"password": "short", "text": "stays"}'}
    body = Body(
        json={
            "input": {
                "config": json.dumps(inner),
                "webhook": "https://me:pass-word-1@x.test/?api_key=parameter%2Fsecret&page=2#access_token=in-the-fragment",
            },
            "output": "parameter/secret, parameter%2Fsecret, in-the-fragment",
            "logs": json.dumps("using " + inner["api_key"]),
        }
    )
    scrubber = Scrubber()
    scrubber.learn(body)
    text = json.dumps(scrubber.scrub(body).json)
    for secret in ("quoted", "short", "pass-word-1", "parameter", "in-the-fragment"):
        assert secret not in text
    assert "stays" in text
    assert "page=2" in text


@pytest.mark.parametrize("place", ["output", "input", "key", "deep key", "inner key"])
def test_secrets_in_any_encoding(place: str) -> None:
    """A secret is replaced as it is, in hex, in base64, and escaped, in values and in keys; names stay."""
    secret = "sk-<Secret>&+/='Value%42é"
    content = secret.encode()
    texts = [secret, content.hex(), content.hex().upper(), escape(secret), escape(secret).replace("&#x27;", "&#39;")]
    texts += [quote(secret), json.dumps(secret)[1:-1]]
    texts += [base64.b64encode(b"x" * count + content + b"yy").decode() for count in range(3)]
    for text in texts:
        echo: Any = {
            "output": {"output": f"a {text} b"},
            "input": {"input": {"prompt": f"a {text} b"}},
            "key": {"output": {f"a {text} b": 1}, "metrics": {text: 1}},
            "deep key": {"input": {"map": [{text: {"stays": 1}}]}},
            "inner key": {"input": {"config": json.dumps({text: 1})}},
        }[place]
        inputs = {"password": secret, "credentials": {"name of it": "other-secret"}, **echo.pop("input", {})}
        scrubber = Scrubber()
        scrubber.learn(body := Body(json={"input": inputs, **echo}))
        scrubbed: Any = scrubber.scrub(body).json
        shown = json.dumps(scrubbed)
        assert json.dumps(text)[1:-1] not in shown
        assert "lue%42" not in shown
        assert scrubbed["input"]["password"] == "SCRUBBED"
        assert scrubbed["input"]["credentials"] == {"name of it": "SCRUBBED"}


def test_secrets_that_are_names() -> None:
    """A secret that is also the name of a member does not change the recording's own names, or those of secrets."""
    inputs = {"password": "password", "auth": "response", "metadata": "x"}
    scrubber = Scrubber()
    answer = RecordedResponse(200, {}, Body(json={"input": inputs}))
    scrubber.learn(answer)
    assert scrubber.scrub(answer).body == Body(json={"input": {**inputs, "password": "SCRUBBED", "auth": "SCRUBBED"}})


def test_secrets_in_metadata() -> None:
    """The metadata of files is scrubbed like inputs, in forms and in responses."""
    metadata = {"api_key": "sk-of-the-metadata", "note": "stays"}
    request = RecordedRequest("POST", "https://x/files", {}, Body(form=[Part("metadata", Body(json=metadata))]))
    response = RecordedResponse(201, {}, Body(json={"id": "a", "metadata": metadata}))
    as_text = RecordedRequest(
        "POST", "https://x/files", {}, Body(form=[Part("metadata", Body(lines=[json.dumps(metadata)]))])
    )
    for recorded in (request, response, as_text):
        scrubber = Scrubber()
        scrubber.learn(recorded)
        text = repr(scrubber.scrub(recorded))
        assert "sk-of-the-metadata" not in text
        assert "stays" in text


def test_the_token_in_any_encoding() -> None:
    """The token is replaced in base64 at any place, percent-encoded, escaped, and in upper or lower case."""
    token = "r8_Token-Of/The+Account42"
    texts = [token.upper(), token.lower(), quote(token, safe=""), quote(quote(token, safe="")), json.dumps(token)]
    texts += ["".join(f"%{byte:02X}" for byte in token.encode()), "".join(rf"\u{ord(c):04x}" for c in token)]
    for around in ("", "a", "ab", "user:"):
        encoded = base64.b64encode((around + token + around).encode()).decode()
        texts += [encoded, f"data:text/plain;base64,{encoded}", f"Basic {encoded}"]
        texts.append(base64.urlsafe_b64encode((around + token + around).encode()).decode())
    scrubber = Scrubber(token)
    binary = Body(base64=base64.b64encode(b"x" + token.encode()).decode())
    for text in texts:
        scrubbed: Any = scrubber.scrub(Body(json={"output": text})).json
        assert token.lower() not in unquote(unquote(scrubbed["output"])).lower()
        assert "SCRUBBED" in scrubbed["output"] or "BBEDSCRU" in scrubbed["output"]
        for piece in (scrubbed["output"].rpartition(",")[2].rpartition(" ")[2],):
            with suppress(ValueError):
                assert b"Of/The" not in base64.b64decode(piece)
    assert token.encode() not in scrubber.scrub(binary).to_bytes()


def test_secrets_that_are_no_texts() -> None:
    """Numbers and nested values in a secret input are secrets, too, and are replaced wherever they occur."""
    inputs: Any = {"password": 1234567890, "token": {"value": ["deep-secret", None, True]}, "tokens_in": 1234567890}
    body = Body(json={"input": inputs, "logs": "got 1234567890 and deep-secret", "output": [1234567890, 12345678901]})
    scrubber = Scrubber()
    scrubber.learn(body)
    assert scrubber.scrub(body).json == {
        "input": {"password": "SCRUBBED", "token": {"value": ["SCRUBBED", None, True]}, "tokens_in": "SCRUBBED"},
        "logs": "got SCRUBBED and SCRUBBED",
        "output": ["SCRUBBED", 12345678901],
    }
    answer = RecordedResponse(200, {}, Body(json={"input": {"key": "long-secret"}, "output": "long-secret-part-2"}))
    longer_response = RecordedResponse(200, {}, Body(json={"input": {"key": "long-secret-part-2"}}))
    scrubber.learn([answer, longer_response])
    assert scrubber.scrub(answer).body == Body(json={"input": {"key": "SCRUBBED"}, "output": "SCRUBBED"})


@pytest.mark.parametrize("now", ["sk-very-secret", "another-key"])
def test_a_secret_elsewhere(api: Api, now: str) -> None:
    """A recording replays if another input contains the secret, whether or not the secret has changed."""

    def action(recording: Recording, key: str = "sk-very-secret") -> Any:
        with client_of(recording) as client:
            return client.run("me/hello", input={"text": f"call it with {key}", "openai_api_key": key})

    assert api.record(action) == "hello call it with sk-very-secret"
    assert "very-secret" not in api.text
    assert api.replay(lambda recording: action(recording, now)) == "hello call it with SCRUBBED"


def test_a_secret_that_is_a_word() -> None:
    """A recording replays if the secret of this run is a word of the recording."""

    def sent(**inputs: str) -> RecordedRequest:
        body = msgspec.json.encode({"input": inputs})
        return read_request("POST", "https://x/a", {"Content-Type": "application/json"}, body)

    recorded = [sent(text="hello", key="SCRUBBED"), sent(text="a fake key")]
    exchanges = [
        Exchange(request, RecordedResponse(status)) for request, status in zip(recorded, (201, 202), strict=True)
    ]
    player = Player(Cassette("https://x", datetime.now(timezone.utc), exchanges))
    requests = [sent(text="hello", key="a fake key"), sent(text="a fake key")]
    assert [player.respond(request).status for request in requests] == [201, 202]


def test_what_is_encoded(api: Api) -> None:
    """Files and digests stay unchanged, even if a secret looks like a part of their base64."""

    def action(recording: Recording) -> Any:
        with client_of(recording) as client:
            return client.run("me/zeros", input={"password": "AAAAAAAA"}).read()

    assert api.record(action) == api.replay(action) == bytes(300)
    scrubber = Scrubber("AAAAAAAA")
    texts = ["data:x/y;base64,AAAAAAAAAAAA", "see data:;base64,AAAAAAAA, and AAAAAAAA"]
    assert scrubber.scrub(Body(json=texts)).json == [texts[0], "see data:;base64,AAAAAAAA, and SCRUBBED"]
    assert scrubber.scrub(Body(sha256="AAAAAAAA" * 8)) == Body(sha256="AAAAAAAA" * 8)
    assert scrubber.scrub(Body(json={"base64": "AAAAAAAA"})) == Body(json={"base64": "SCRUBBED"})


def test_an_older_recording() -> None:
    """A recording that contains a secret, from before a rule for its name, still replays."""
    sent = b'{"input": {"secret_key": "sk-very-secret", "text": "with sk-very-secret"}}'
    request = read_request("POST", "https://x/a", {"Content-Type": "application/json"}, sent)
    player = Player(Cassette("https://x", datetime.now(timezone.utc), [Exchange(request, RecordedResponse(204))]))
    assert player.respond(request).status == 204


def test_the_nearest() -> None:
    """The nearest request has the same URL if there is one; lists and headers are compared as well."""

    def exchange(method: str, url: str, body: object, **headers: str) -> Exchange:
        return Exchange(RecordedRequest(method, url, headers, Body(json=body)), RecordedResponse(200))

    exchanges = [
        exchange("POST", "https://x/b", {"input": {"texts": ["a", "b"]}}, Prefer="wait"),
        exchange("POST", "https://x/a", {"wholly": "different"}),
    ]
    player = Player(Cassette("https://x", datetime.now(timezone.utc), exchanges))
    sent = b'{"input": {"texts": ["a", "c"]}, "stream": true}'
    with pytest.raises(LookupError) as caught:
        player.respond(read_request("POST", "https://x/b", {"Content-Type": "application/json"}, sent))
    assert caught.value.args[0].split("\n  ")[1:] == [
        'headers: recorded {"Prefer":"wait"}, sent nothing',
        'body.json.input.texts[1]: recorded "b", sent "c"',
        "body.json.stream: recorded nothing, sent true",
    ]
    with pytest.raises(LookupError, match="number 2, differs"):
        player.respond(read_request("POST", "https://x/a", {}, b'{"input": {"texts": ["a", "b"]}}'))


TESTS = """
    import pytest
    import replicate_async

    pytestmark = pytest.mark.replicate_recording("cassettes/hello.json")

    def test_module(replicate_recording):
        assert replicate_async.run("me/hello", input={"text": "Alice"}) == "hello Alice"

    @pytest.mark.replicate_recording("cassettes/async.json")
    @pytest.mark.anyio
    async def test_async(async_replicate, anyio_backend_name):
        assert await async_replicate.run("me/hello", input={"text": "Bob"}) == "hello Bob"

    @pytest.mark.replicate_recording("cassettes/blocking.json")
    def test_blocking(replicate_client):
        assert replicate_client.account.get().username == "alice"
"""


def test_with_pytest(pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker records with --replicate-record and the environment's account, and replays without either."""
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(errors=3)
    without = pytester.runpytest_subprocess(*OPTIONS, "--replicate-record")
    without.assert_outcomes(errors=3)
    without.stdout.fnmatch_lines(["*set REPLICATE_API_TOKEN*"])
    with api.process() as server, monkeypatch.context() as patch:
        patch.setenv("REPLICATE_BASE_URL", server.base_url)
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(passed=3)
    assert len(list((pytester.path / "cassettes").iterdir())) == 3
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=3)


def test_one_recording_for_several(pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests can't overwrite each other's recordings; with {test} in the path, each has its own."""
    test = """
    import pytest
    import replicate_async

    @pytest.mark.replicate_recording("PATH")
    @pytest.mark.parametrize("text", ["a/b", "c"])
    def test_hello(text):
        assert replicate_async.run("me/hello", input={"text": text}) == f"hello {text}"
    """
    with api.process() as server, monkeypatch.context() as patch:
        patch.setenv("REPLICATE_BASE_URL", server.base_url)
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        pytester.makepyfile(test.replace("PATH", "it.json"))
        result = pytester.runpytest_subprocess(*OPTIONS, "--replicate-record")
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*recorded by another test: with {test} in the path, each test has its own"])
        pytester.makepyfile(test.replace("PATH", "cassettes/{test}.json"))
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(passed=2)
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=2)
    names = sorted(path.name for path in (pytester.path / "cassettes").iterdir())
    assert names == ["test_hello-a-b-.json", "test_hello-c-.json"]


def test_tests_of_one_name(pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests with the same name have separate recordings, whichever of them run; file names stay if possible."""
    pytester.makepyfile(
        """
        import pytest
        import replicate_async

        pytestmark = pytest.mark.replicate_recording("cassettes/{test}.json")

        def say(text):
            assert replicate_async.run("me/hello", input={"text": text}) == f"hello {text}"

        class TestOne:
            def test_it(self): say("one")

        class TestTwo:
            def test_it(self): say("two")

        @pytest.mark.parametrize("text", ["a/m", "a-m"])
        def test_texts(text): say(text)
        """
    )
    name = "test_tests_of_one_name.py"

    def names() -> list[str]:
        return sorted(path.name for path in (pytester.path / "cassettes").iterdir())

    with api.process() as server, monkeypatch.context() as patch:
        patch.setenv("REPLICATE_BASE_URL", server.base_url)
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        record = (*OPTIONS, "--replicate-record")
        for only in ("TestTwo::test_it", "TestOne::test_it"):
            pytester.runpytest_subprocess(*record, f"{name}::{only}").assert_outcomes(passed=1)
        before = names()
        pytester.runpytest_subprocess(*record).assert_outcomes(passed=4)
    assert {*before, "test_texts-a-m-.json"} < {*names()}
    tests = {each: msgspec.json.decode((pytester.path / "cassettes" / each).read_bytes())["test"] for each in names()}
    assert tests["test_it.json"] == f"{name}::TestTwo::test_it"
    assert len({*tests.values()}) == len(tests) == 4
    pytester.runpytest_subprocess(*OPTIONS, f"{name}::TestOne").assert_outcomes(passed=1)
    # Old recordings don't contain the name of their test.
    old = pytester.path / "cassettes" / "test_it.json"
    old.write_text(re.sub(r',\s*"test": ".*"', "", old.read_text(encoding="utf-8")), encoding="utf-8")
    assert "test" not in msgspec.json.decode(old.read_bytes())
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=4)


def test_with_pytest_when_it_fails(pytester: pytest.Pytester, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing test is not recorded; an unmatched request fails a test that ignores it, and only once."""
    pytester.makepyfile(TESTS.split("@pytest", 1)[0])
    with api.process() as server, monkeypatch.context() as patch:
        patch.setenv("REPLICATE_BASE_URL", server.base_url)
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(passed=1)
        kept = (pytester.path / "cassettes" / "hello.json").read_bytes()
        failing = TESTS.split("@pytest", 1)[0].replace('== "hello Alice"', '== "Alice"')
        pytester.makepyfile(failing)
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(failed=1)
        assert (pytester.path / "cassettes" / "hello.json").read_bytes() == kept
        half = """
        import pytest
        import replicate_async

        @pytest.mark.xfail(strict=True)
        @pytest.mark.replicate_recording("cassettes/hello.json")
        def test_that_is_expected_to():
            assert replicate_async.run("me/hello", input={"text": "Bob"}) == "Bob"

        @pytest.mark.replicate_recording("cassettes/skipped.json")
        def test_that_is_skipped():
            assert replicate_async.run("me/hello", input={"text": "Bob"}) == "hello Bob"
            pytest.skip("for the rest")
        """
        pytester.makepyfile(half)
        pytester.runpytest_subprocess(*OPTIONS, "--replicate-record").assert_outcomes(xfailed=1, skipped=1)
    assert (pytester.path / "cassettes" / "hello.json").read_bytes() == kept
    assert not (pytester.path / "cassettes" / "skipped.json").exists()
    other_tests = """
    import pytest
    import replicate_async

    pytestmark = pytest.mark.replicate_recording("cassettes/hello.json")

    def test_not_noticed():
        try:
            replicate_async.run("me/hello", input={"text": "Bob"})
        except replicate_async.BadRequestError:
            pass

    def test_noticed():
        replicate_async.run("me/hello", input={"text": "Bob"})
    """
    pytester.makepyfile(other_tests)
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=1, errors=1, failed=1)
    result.stdout.fnmatch_lines(['*body.json.input.text: recorded "Alice", sent "Bob"*'])
