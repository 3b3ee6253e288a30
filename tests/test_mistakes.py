"""Common mistakes, with either client: each error says in plain words what to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import replicate_async
from callers import Caller
from replicate_async import AsyncReplicate, Replicate, errors, verify_webhook
from replicate_async.testing import LocalServer, models

pytestmark = pytest.mark.anyio

MODEL = "replicate/hello-world"
# The mistake, the kind of its error, and what the error says.
MISTAKES: list[tuple[str, type[Exception], str]] = [
    # How a model is run.
    (
        f"client.run('{MODEL}', text='a')",
        TypeError,
        "unexpected argument 'text'. Inputs of a model are passed as input={",
    ),
    (f"client.run('{MODEL}', inputs={{}})", TypeError, "'inputs'. Write input={...}"),
    (f"client.run('{MODEL}', {{}}, timeout_seconds=5)", TypeError, "Write time_limit=, in seconds"),
    (f"client.run('{MODEL}', {{}}, webhok='https://x')", TypeError, "Did you mean webhook=?"),
    (f"client.run('{MODEL}', {{}}, webhook_url='https://x')", TypeError, "Write webhook="),
    (f"client.run('{MODEL}', {{}}, time_limt=5)", TypeError, "Did you mean time_limit=?"),
    (f"client.run('{MODEL}', {{}}, headers={{}})", TypeError, "Write extra_headers="),
    (f"client.run('{MODEL}', 'a')", TypeError, "input must be a mapping of the model's input names to values"),
    (f"client.run('{MODEL}', [{{}}])", TypeError, "input must be a mapping"),
    ("client.run('hello-world', {})", ValueError, "use 'owner/name', 'owner/name:version' or a version id"),
    (f"client.run('https://replicate.com/{MODEL}', {{}})", ValueError, f"did you mean '{MODEL}'?"),
    ("client.run('https://replicate.com/a/b/versions/123', {})", ValueError, "did you mean 'a/b'?"),
    ("client.run('')", ValueError, "use 'owner/name'"),
    ("client.run(None)", TypeError, "such as 'owner/name'"),
    (
        "client.run('replicate/nothing', {})",
        errors.NotFoundError,
        "there is no model replicate/nothing, or the token may",
    ),
    (f"client.run('{MODEL}', {{'text': object()}})", TypeError, "input.text can't be encoded as JSON"),
    (f"client.run('{MODEL}', {{'text': float('nan')}})", ValueError, "input.text is not a finite number"),
    (
        f"client.run('{MODEL}', {{'text': open('cat.png', encoding='utf-8')}})",
        TypeError,
        "open it in binary mode ('rb')",
    ),
    (f"client.run('{MODEL}', {{'text': Path('nope.png')}})", FileNotFoundError, "input.text"),
    (f"client.run('{MODEL}', {{'text': Path('.')}})", IsADirectoryError, "a folder can't be uploaded"),
    (f"client.run('{MODEL}', {{}}, wait=90)", ValueError, "from 1 to 60 seconds, True or False"),
    (f"client.run('{MODEL}', {{}}, wait='60')", TypeError, "wait must be a bool or an int"),
    (f"client.run('{MODEL}', {{}}, time_limit='5')", TypeError, "time_limit must be seconds"),
    (f"client.run('{MODEL}', {{}}, on_update=5)", TypeError, "on_update must be a function, not int"),
    (f"client.submit('{MODEL}', {{}}, on_update='x')", TypeError, "on_update must be a function, not str"),
    (f"client.map('{MODEL}', [], on_update=5)", TypeError, "on_update must be a function, not int"),
    (f"client.run('{MODEL}', {{}}, webhook_events_filter='completed')", TypeError, "must be a list of event names"),
    (f"client.run('{MODEL}', {{}}, webhook_events_filter=['end'])", ValueError, "is not one of 'start'"),
    (f"client.run('{MODEL}', {{}}, cancel_after='soon')", ValueError, "such as 30, '90s', '5m' or '1h30m'"),
    (f"client.run('{MODEL}', {{}}, file_encoding_strategy='x')", ValueError, "is not one of 'base64', 'url'"),
    (f"client.run('{MODEL}', {{}}, timeout='5')", TypeError, "timeout must be seconds, an aiohttp.ClientTimeout"),
    (f"client.run('{MODEL}', {{}}, max_retries=-1)", ValueError, "must not be negative"),
    (f"client.map('{MODEL}', {{'text': 'a'}})", TypeError, "inputs must be an iterable of mappings, not dict"),
    (f"client.map('{MODEL}', ['a'])", TypeError, "input must be a mapping"),
    (f"client.map('{MODEL}', [], concurrency=0)", ValueError, "must be at least 1"),
    (f"client.map('{MODEL}', [{{}}], max_workers=5)", TypeError, "Write concurrency="),
    # Options are checked first: before an input is taken, and before a file is opened or sent.
    (f"client.map('{MODEL}', [], max_workers=5)", TypeError, "Write concurrency="),
    (f"client.map('{MODEL}', [{{'text': Path('nope.png')}}], tags=5)", TypeError, "unexpected argument 'tags'"),
    (f"client.map('{MODEL}', [], cancel_after='soon')", ValueError, "such as 30, '90s', '5m' or '1h30m'"),
    (f"client.use('{MODEL}', tags=5)", TypeError, "unexpected argument 'tags'"),
    (f"client.use('{MODEL}', webhook_events_filter=['end'])", ValueError, "is not one of 'start'"),
    (f"client.use('{MODEL}', file_encoding_strategy='x')", ValueError, "is not one of 'base64', 'url'"),
    (f"client.run('{MODEL}', {{'text': Path('nope.png')}}, tags=5)", TypeError, "unexpected argument 'tags'"),
    (f"client.submit('{MODEL}', {{'text': Path('nope.png')}}, tags=5)", TypeError, "unexpected argument 'tags'"),
    (f"client.stream('{MODEL}', {{'text': Path('nope.png')}}, tags=5)", TypeError, "unexpected argument 'tags'"),
    (
        "client.predictions.create(version='a', input={'text': Path('nope.png')}, tags=5)",
        TypeError,
        "unexpected argument 'tags'",
    ),
    (
        "client.models.predictions.create('a/b', input={'text': Path('nope.png')}, tags=5)",
        TypeError,
        "unexpected argument 'tags'",
    ),
    (
        "client.deployments.predictions.create('a/b', input={'text': Path('nope.png')}, tags=5)",
        TypeError,
        "unexpected argument 'tags'",
    ),
    (
        "client.trainings.create('a', 'b', 'c', destination='d/e', input={'zip': Path('nope.zip')}, tags=5)",
        TypeError,
        "unexpected argument 'tags'",
    ),
    ("client.files.create(Path('nope.png'), tags=5)", TypeError, "unexpected argument 'tags'"),
    (f"client.map('{MODEL}', [{{}}], time_limit=5)", TypeError, "'time_limit': this call does not have it"),
    (f"client.use('{MODEL}')('a')", TypeError, "pass them by name"),
    (f"client.use('{MODEL}', validate=True)(txt='a')", ValueError, "txt is not an input; the inputs are text"),
    (f"client.use('{MODEL}').run(text='a')", AttributeError, "Write model(prompt=...)"),
    (f"client.use('{MODEL}').map([])", AttributeError, "Write client.map(ref, [{...}, ...])"),
    (f"client.use('{MODEL}').stream()", AttributeError, "Write client.use(ref, streaming=True)"),
    # Names that do not exist.
    ("client.predict('a/b')", AttributeError, "Write client.run(ref, input={...})"),
    ("client.chat", AttributeError, "Write client.run(ref, input={...})"),
    ("client.run_async('a/b')", AttributeError, "Write client.submit(ref, ...)"),
    ("client.async_run('a/b')", AttributeError, "AsyncReplicate"),
    ("client.prediction", AttributeError, "Did you mean 'predictions'?"),
    ("client.model", AttributeError, "Did you mean 'models'?"),
    ("client.upload('x')", AttributeError, "Write client.files.create(path)"),
    ("client.predictions.retrieve('x')", AttributeError, "Write client.predictions.get(prediction_id)"),
    ("client.predictions.delete('x')", AttributeError, "The API deletes the data of predictions after an hour"),
    ("client.predictions.lists()", AttributeError, "Did you mean 'list'?"),
    ("client.files.upload('cat.png')", AttributeError, "Write client.files.create(path)"),
    ("client.webhooks.secret", AttributeError, "Write client.webhooks.default.secret.get()"),
    ("replicate_async.runn", AttributeError, "Did you mean 'run'?"),
    ("replicate_async.Replcate", AttributeError, "Did you mean 'Replicate'?"),
    ("replicate_async.version", AttributeError, "Write replicate_async.__version__"),
    ("replicate_async.client", AttributeError, "Write replicate_async.Replicate(...)"),
    ("replicate_async.exceptions", AttributeError, "Write replicate_async.errors"),
    # Arguments of single calls.
    ("client.predictions.get('')", ValueError, "prediction_id must not be empty"),
    ("client.predictions.get(None)", TypeError, "prediction_id must be a str, not NoneType"),
    ("client.predictions.cancel(made.model)", TypeError, "prediction_id must be a str, not Model"),
    ("client.predictions.create()", TypeError, "predictions.create needs version="),
    ("client.predictions.create('a/b')", TypeError, "input must be a mapping of the model's input names to values"),
    (
        "client.predictions.create('a/b', 'text')",
        TypeError,
        "input must be a mapping of the model's input names to values",
    ),
    ("client.predictions.stream(5)", TypeError, "expected a Prediction or its id, not int"),
    ("client.predictions.stream(None)", TypeError, "expected a Prediction or its id, not NoneType"),
    ("client.predictions.wait(5)", TypeError, "expected a Prediction or its id, not int"),
    ("client.predictions.wait(made.model)", TypeError, "expected a Prediction or its id, not Model"),
    ("client.trainings.wait(made.prediction)", TypeError, "expected a Training or its id, not Prediction"),
    ("client.predictions.list(limit=5)", TypeError, "itertools.islice"),
    ("client.predictions.create(version='x', input={}, wait=True)", TypeError, 'Write prefer="wait"'),
    ("client.models.get('hello-world')", TypeError, "or one 'owner/name'"),
    ("client.files.create('nope.txt')", FileNotFoundError, "nope.txt"),
    ("client.files.create(5)", TypeError, "content must be bytes, a path or a binary file"),
    ("client.post('/predictions', data={})", TypeError, "Write json="),
    ("verify_webhook(b'{}', {}, 'x')", errors.WebhookVerificationError, "webhook-id: the header is missing"),
    # What calls return.
    ("made.prediction.get('output')", AttributeError, "Write prediction.to_dict(), or the attribute"),
    ("made.prediction.result", AttributeError, "Write prediction.output"),
    ("made.prediction.completed", AttributeError, "Write prediction.done"),
    ("made.prediction.reload()", AttributeError, "client.predictions.get(prediction)"),
    ("made.prediction.ouput", AttributeError, "Did you mean 'output'?"),
    ("made.model.version", AttributeError, "Write model.latest_version"),
    ("made.model.run({})", AttributeError, "Write client.run(model, input={...})"),
    ("made.page[0]", TypeError, "write page.results[0], or iterate the page"),
    ("len(made.page)", TypeError, "len(page.results)"),
    ("made.page.items", AttributeError, "Write page.results"),
    ("made.file['url']", TypeError, "write file.url"),
    ("made.file.write('a.png')", AttributeError, "Write file.save("),
    ("made.file.content", AttributeError, "Write file.read()"),
    ("made.file.save('nope/x.png')", FileNotFoundError, "create the folder 'nope' first: 'nope/x.png'"),
    ("made.file.save(None)", TypeError, "path must be a str or a Path"),
    ("made.run.status", AttributeError, "Write run.prediction.status"),
    ("made.run.result()", AttributeError, "Write run.output()"),
    ("made.run['output']", TypeError, "write run.prediction.output"),
    # The client.
    ("Client('r8_x')", TypeError, "Write bearer_token=..."),
    ("Client(token='r8_x')", TypeError, "'token'. Write bearer_token="),
    ("Client(api_key='r8_x')", TypeError, "'api_key'. Write bearer_token="),
    ("Client(beare_token='r8_x')", TypeError, "Did you mean bearer_token=?"),
    ("Client(retries=3)", TypeError, "Write max_retries="),
    ("Client(http_client=3)", TypeError, "Write session=aiohttp.ClientSession(...)"),
    ("Client(bearer_token='')", ValueError, "omit it to use the environment variable REPLICATE_API_TOKEN"),
    ("Client(bearer_token=5)", TypeError, "bearer_token must be a str, not int"),
    ("Client(base_url='api.replicate.com')", ValueError, "must start with http:// or https://"),
    ("Client(timeout='5')", TypeError, "timeout must be seconds"),
    ("Client(max_connections='5')", TypeError, "max_connections must be an int, not str"),
    ("Client(session=5)", TypeError, "session must be an aiohttp.ClientSession, not int"),
    ("Client(rate_limit=5)", TypeError, "rate_limit must be a RateLimit, not int"),
]
# Only the asynchronous client has these.
ASYNC_MISTAKES: list[tuple[str, type[Exception], str]] = [
    ("client.__enter__()", TypeError, "write async with, or use Replicate"),
    ("list(client.predictions.list())", TypeError, "await it for its first page, or iterate it with async for"),
    ("client.predictions.list().results", AttributeError, "Await it for its first page"),
    ("client.predictions.list()[0]", TypeError, "await it for its first page"),
    ("len(client.predictions.list())", TypeError, "len(page.results)"),
]


@pytest.fixture(params=["async", "blocking"])
async def caller(
    request: pytest.FixtureRequest, replicate_server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    models.register(replicate_server)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(b"x")
    caller = Caller(AsyncReplicate() if request.param == "async" else Replicate())
    yield caller
    await caller("close")


async def attempt(caller: Caller, expression: str, made: Any = None) -> None:
    """Evaluate an expression, and await or iterate what comes of it."""
    names = {
        "client": caller.client,
        "Client": type(caller.client),
        "made": made,
        "Path": Path,
        "replicate_async": replicate_async,
        "verify_webhook": verify_webhook,
    }
    result = await caller.of(eval, expression, names) if caller.blocking else eval(expression, names)
    if inspect.isawaitable(result):
        result = await result
    if inspect.isasyncgen(result) or isinstance(result, Iterator):
        await caller.all(result)


async def things(caller: Caller) -> SimpleNamespace:
    """Return what calls return."""
    run = await caller("submit", MODEL, {"text": "a"})
    return SimpleNamespace(
        run=run,
        prediction=await caller.of(run.wait),
        model=await caller("models.get", MODEL),
        page=await caller("predictions.list"),
        file=await caller("run", "replicate-local/gradient", {"width": 3, "height": 2}),
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_mistakes(caller: Caller) -> None:
    """Each mistake raises an error that says what is wrong, or what to write; nothing is billed."""
    made = await things(caller)
    before = len(await caller.all(await caller("predictions.list")))
    for expression, kind, text in [*MISTAKES, *([] if caller.blocking else ASYNC_MISTAKES)]:
        with pytest.raises(kind) as caught:
            await attempt(caller, expression, made)
        message = str(caught.value)
        assert text in message, f"{expression}: {message}"
        assert "\n" not in message, expression
    assert len(await caller.all(await caller("predictions.list"))) == before
    assert bool(made.page) is True
    assert len(MISTAKES) >= 60
