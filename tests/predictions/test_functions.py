"""Models as functions: outputs in the form that the schema gives, and the schema fetched only when it is needed."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
import msgspec
import pytest
from msgspec import Meta

import programs
from callers import Caller, calling
from rawserver import RawServer, answer, free_port, prediction
from replicate_async import (
    APIConnectionError,
    AsyncFileOutput,
    AsyncModelFunction,
    AsyncReplicate,
    AsyncRun,
    AsyncStreamingFunction,
    FileOutput,
    ModelError,
    ModelFunction,
    NotFoundError,
    PermissionDeniedError,
    PredictionCanceledError,
    Replicate,
    Run,
    StreamingFunction,
    UnprocessableEntityError,
)
from replicate_async._schema import problems
from replicate_async.testing import LocalServer, OutputFile
from replicate_async.types import Prediction

pytestmark = pytest.mark.anyio

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
OLDER = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
PNG = b"\x89PNG\r\n\x1a\n"


class Result(msgspec.Struct):
    """An output with several kinds of members."""

    image: OutputFile
    caption: str
    more: list[OutputFile]
    size: dict[str, int]


def register(server: LocalServer) -> None:  # noqa: C901 - each is simple
    """Register models with outputs of every form."""

    @server.model("owner/words", version=VERSION, readme="# words", examples=[({"text": "a b"}, ["a", " b"])])
    async def words(text: str = "Once upon a time") -> AsyncIterator[str]:
        """Write words."""
        for number, word in enumerate(text.split()):
            yield f" {word}" if number else word

    @server.model("owner/echo")
    async def echo(value: Any = None, **more: Any) -> Any:
        return [value, more] if more else value

    @server.model("owner/picture")
    async def picture() -> OutputFile:
        return OutputFile(PNG, "image/png", "a.png")

    @server.model("owner/pictures")
    async def pictures(count: int = 2) -> AsyncIterator[OutputFile]:
        for number in range(count):
            yield OutputFile(PNG, "image/png", f"{number}.png")

    @server.model("owner/result")
    async def result() -> Result:
        file = OutputFile(PNG, "image/png", "a.png")
        return Result(file, "https://example.com", [file, file], {"width": 5})

    @server.model("owner/list")
    async def texts() -> list[str]:
        return ["a", "b"]

    @server.model("owner/link")
    async def link() -> str:
        return "https://example.com/page"

    @server.model("owner/links")
    async def links() -> AsyncIterator[str]:
        yield "see "
        yield "https://example.com/page"

    @server.model("owner/broken")
    async def broken() -> AsyncIterator[str]:
        print("about to fail")  # noqa: T201
        yield "Once"
        raise ValueError("no luck today")

    @server.model("owner/endless")
    async def endless() -> AsyncIterator[str]:
        yield "Once"
        await asyncio.Event().wait()

    @server.model("owner/caption")
    async def caption(
        image: Path,
        style: Annotated[Literal["short", "long"], Meta(description="How much\n  to say")] = "short",
        count: Annotated[int, Meta(ge=1, le=4)] = 1,
        strength: Annotated[float, Meta(gt=0, le=1)] = 0.5,
        words: list[str] | None = None,
        seed: int | None = None,
        loud: bool = False,
        name: Annotated[str, Meta(min_length=2, max_length=5, pattern="^[a-z]+$")] = "bob",
    ) -> str:
        """Say what is in a picture."""
        return f"{style} {count}"


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(tidy=True) as server:
        register(server)
        yield server


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


@pytest.fixture(params=["async", "blocking"])
async def call(server: LocalServer, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """Calls with either client."""
    async with calling(request.param, server.base_url, server.token) as call:
        yield call


@pytest.fixture
def acall(client: AsyncReplicate) -> Caller:
    """Calls with the asynchronous client, where the blocking one would show nothing more."""
    return Caller(client)


def operations(server: LocalServer) -> list[str]:
    return [request.operation for request in server.requests]


def schema_requests(server: LocalServer) -> list[str]:
    """Return the requests for models and versions."""
    return [operation for operation in operations(server) if operation in {"models.get", "models.versions.get"}]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.002)


# --- failures and checks ---


async def test_a_model_that_fails(call, server):
    """A failure raises the same error as ``run``, however the function is called."""
    with pytest.raises(ModelError, match="no luck today") as caught:
        await call.of(call.client.use("owner/broken"))
    assert caught.value.prediction.output == ["Once"]
    with pytest.raises(ModelError, match="no luck today"):
        await call.all(call.client.use("owner/broken", streaming=True)())
    handle = await call.of(call.client.use("owner/broken").create)
    with pytest.raises(ModelError, match="no luck today"):
        await call.of(handle.output)
    assert "about to fail" in await call.of(handle.logs)
    assert schema_requests(server) == []


async def test_bad_references(client, server):
    """An invalid reference raises when the function is created; a missing model raises when it is called."""
    for ref in ("nonsense", "", "a/b/c", "https://replicate.com/a/b"):
        with pytest.raises(ValueError, match="ref="):
            client.use(ref)
    with pytest.raises(TypeError, match="ref"):
        client.use(5)
    function = client.use("owner/missing")
    assert server.requests == []
    with pytest.raises(NotFoundError, match="owner/missing"):
        await function()
    with pytest.raises(NotFoundError, match="owner/missing"):
        await function.openapi_schema()


async def test_inputs_have_names(client, server):
    """A positional input raises a TypeError that says so, before anything is sent."""
    with pytest.raises(TypeError, match="keyword"):
        await client.use("owner/words")("Alice")
    with pytest.raises(TypeError, match="keyword"):
        client.use("owner/words", streaming=True)("Alice")
    assert server.requests == []


async def test_inputs_that_the_server_refuses(client):
    """Without ``validate`` the API refuses invalid inputs."""
    with pytest.raises(UnprocessableEntityError, match="count"):
        await client.use("owner/caption")(image=PNG, count=9)


@pytest.mark.parametrize("way", ["call", "create", "stream"])
async def test_all_problems_at_once(acall, server, way):
    """With ``validate`` one error lists all problems, before anything is uploaded or billed."""
    wrong = {"style": "loud", "count": 9, "strength": "much", "words": ["a", 5], "colour": "red", "name": "Bo"}
    function = acall.client.use("owner/caption", validate=True, streaming=way == "stream")
    if way == "stream":
        calling_it = acall.all(function(**wrong))
    else:
        calling_it = acall.of(function if way == "call" else function.create, **wrong)
    with pytest.raises(ValueError, match="owner/caption") as caught:
        await calling_it
    for name in ("image is missing", "style", "count", "strength", "words[1]", "colour", "name='Bo'"):
        assert name in str(caught.value)
    assert "'short', 'long'" in str(caught.value)
    assert "at least 1 and at most 4" in str(caught.value)
    assert operations(server) == ["models.get"]


CHECKED: dict[str, dict[str, Any]] = {
    "all defaults": {},
    "everything": {"style": "long", "count": 4, "strength": 1, "words": ["a"], "seed": 3, "loud": True},
    "a short text": {"name": "x"},
    "a long text": {"name": "abcdef"},
    "a text of the wrong kind": {"name": "Bob"},
    "null where it may be": {"seed": None, "words": None},
    "null where it may not be": {"count": None},
    "null for what is required": {"image": None},
    "the lower end": {"count": 1},
    "below": {"count": 0},
    "above": {"strength": 1.5},
    "the end that isn't in": {"strength": 0},
    "a text for a number": {"count": "2"},
    "a truth for a number": {"count": True},
    "a number for a truth": {"loud": 1},
    "a number for a text": {"style": 1},
    "no choice": {"style": "medium"},
    "a text for a list": {"words": "a"},
    "numbers in a list of texts": {"words": [1, "a"]},
    "an empty list": {"words": []},
    "a fraction": {"seed": 1.5},
    "a file by its URL": {"image": "data:image/png;base64,iVBORw0KGgo="},
    "a number for a file": {"image": 5},
}


async def test_checks_agree_with_the_server(client, server):
    """``validate`` refuses the same inputs as the server, and no others."""
    function = client.use("owner/caption", validate=True)
    plain = client.use("owner/caption")
    checked, refused = {}, {}
    for kind, inputs in CHECKED.items():
        given = {"image": PNG, **inputs}
        try:
            await function(**given)
        except (ValueError, UnprocessableEntityError) as error:
            checked[kind] = isinstance(error, ValueError)
        else:
            checked[kind] = False
        try:
            await plain(**given)
        except UnprocessableEntityError:
            refused[kind] = True
        else:
            refused[kind] = False
    assert checked == refused


async def test_checking_needs_the_schema(server, client):
    """If the schema can't be fetched, the error is raised, and nothing is billed; the next call tries again."""
    function = client.use("owner/words", validate=True, max_retries=0)
    server.faults.add(kind="status", status=500, operation="models.get", times=1)
    with pytest.raises(Exception, match="500"):
        await function(text="a")
    assert operations(server) == ["models.get"]
    assert await function(text="a") == "a"


async def test_leaving_a_call(server, client):
    """Cancelling a call cancels its prediction, unless the caller opted out."""
    for options, status in [({}, "canceled"), ({"cancel_on_abort": False}, "processing")]:
        count = len(server.predictions)
        call = asyncio.ensure_future(client.use("owner/endless", **options)())
        await until(
            lambda count=count: len(server.predictions) > count and [*server.predictions.values()][-1].started_at
        )
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert list(server.predictions.values())[-1].status == status
        async for piece in client.use("owner/endless", streaming=True, **options)():
            assert piece == "Once"
            break
        await until(lambda status=status: list(server.predictions.values())[-1].status == status)


# --- outputs ---


async def test_the_form_of_outputs(call, server):
    """Outputs have the form of the schema: text in one piece, URIs as files, also inside objects and lists."""
    file = FileOutput if call.blocking else AsyncFileOutput
    use = call.client.use
    assert await call.of(use("owner/words")) == "Once upon a time"
    assert type(await call.of(use("owner/picture"))) is file
    assert [type(output) for output in await call.of(use("owner/pictures"))] == [file, file]
    result = await call.of(use("owner/result"))
    assert (type(result["image"]), [type(output) for output in result["more"]]) == (file, [file, file])
    assert result["size"] == {"width": 5}
    assert await call.of(use("owner/list")) == ["a", "b"]
    assert [await call.of(use("owner/echo"), value=value) for value in (5, None, {"a": [1]}, "x")] == [
        *(5, None, {"a": [1]}, "x")
    ]


async def test_a_schema_that_cannot_be_fetched(server, call):
    """The error has the id of the prediction, because its output has been paid for."""
    server.faults.add(kind="status", operation="models.get", status=403)
    with pytest.raises(PermissionDeniedError) as caught:
        await call.of(call.client.use("owner/words"), text="a b")
    assert caught.value.prediction_id is not None
    assert server.predictions[caught.value.prediction_id].output == ["a", " b"]


@pytest.mark.parametrize("how", ["create", "stream"])
async def test_a_schema_that_cannot_be_fetched_later(server, client, how):
    """The error of a prediction that was started, or is streamed, has its id as well."""
    server.faults.add(kind="status", operation="models.get", status=403)
    started = await client.use("owner/pictures").create()
    output = started.output() if how == "create" else client.use("owner/pictures", streaming=True)()
    with pytest.raises(PermissionDeniedError) as caught:
        await output
    assert caught.value.prediction_id in server.predictions


async def test_an_empty_text_is_a_text(client):
    """A model of text that yields nothing returns the empty text, and a model of files an empty list."""
    assert await client.use("owner/words")(text="") == ""
    assert await client.use("owner/pictures")(count=0) == []
    assert await client.use("owner/words", streaming=True)(text="") == ""


async def test_text_that_is_a_url(client):
    """A URL stays text where the schema says text, and becomes a file where it says URI."""
    assert type(await client.use("owner/link")()) is str
    assert await client.use("owner/links")() == "see https://example.com/page"
    assert type((await client.use("owner/result")())["caption"]) is str
    assert [type(piece) async for piece in client.use("owner/links", streaming=True)()] == [str, str]
    assert await client.use("owner/links", streaming=True)() == "see https://example.com/page"


async def test_a_version_of_a_model(server, acall):
    """A function of a version runs that version, and uses its schema."""

    @server.model("owner/words", version=OLDER)
    async def latest() -> list[str]:
        return ["a", "b"]

    function = acall.client.use(f"owner/words:{VERSION}")
    assert await acall.of(function, text="x y") == "x y"
    assert await acall.of(acall.client.use("owner/words")) == ["a", "b"]
    assert [prediction.version for prediction in server.predictions.values()] == [VERSION, OLDER]
    assert str(function) == f"owner/words:{VERSION}"


async def test_fetched_models_and_versions_are_functions(client):
    """A model or a version that was fetched can be used as it is."""
    model = await client.models.get("owner/words")
    assert await client.use(model)(text="a b") == "a b"
    assert "".join(await client.use(model.latest_version)(text="a b")) == "a b"


# --- how often the schema is fetched ---


async def test_the_schema_is_fetched_only_if_needed(server, acall):
    """Creating a function fetches no schema; nor do clear outputs, failures, handles and logs."""
    use = acall.client.use
    await acall.of(use("owner/echo"))
    assert await acall.of(use("owner/echo"), value={"a": "b"}) == {"a": "b"}
    assert await acall.all(use("owner/words", streaming=True)(text="a b")) == ["a", " b"]
    handle = await acall.of(use("owner/echo").create, value="text")
    assert await acall.of(handle.output) == "text"
    repr(use("owner/words"))
    assert schema_requests(server) == []


async def test_the_schema_is_fetched_once(server, client):
    """One request for the schema serves all calls of all functions of a model, concurrent or later."""
    first, second = client.use("owner/words", validate=True), client.with_options(timeout=5).use("owner/words")
    texts = await asyncio.gather(*[function(text="a b") for function in (first, second) for _ in range(5)])
    assert texts == ["a b"] * 10
    assert (await first.openapi_schema(), await first.default_example()) is not None
    await first.signature()
    await second.documentation()
    assert schema_requests(server) == ["models.get"]
    await client.use(f"owner/words:{VERSION}").openapi_schema()
    assert len(schema_requests(server)) == 2


# --- signatures and documentation ---


async def test_signature_and_documentation(acall, server):
    """The signature has the model's inputs, with types and defaults; the documentation describes each of them."""
    function = acall.client.use("owner/caption")
    signature = await acall.of(function.signature)
    assert list(signature.parameters) == ["image", "style", "count", "strength", "words", "seed", "loud", "name"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in signature.parameters.values())
    assert signature.parameters["image"].default is inspect.Parameter.empty
    parameters = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in signature.parameters.items()
        if name != "image"
    }
    assert parameters == {
        "style": (str, "short"),
        "count": (int, 1),
        "strength": (float, 0.5),
        "words": (list, None),
        "seed": (int, None),
        "loud": (bool, False),
        "name": (str, "bob"),
    }
    text = await acall.of(function.documentation)
    assert text.startswith("Run owner/caption.\n\nArgs:\n    image (string, required)")
    assert "    style (string, one of 'short', 'long', default 'short'): How much to say\n" in text
    assert "    count (integer, from 1, to 4, default 1)" in text
    assert schema_requests(server) == ["models.get"]


def test_help_and_inspect():
    """``inspect.signature`` and ``help`` of a blocking function show the model's inputs."""
    with LocalServer(tidy=True) as server:
        register(server)
        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            function = client.use("owner/caption")
            assert list(inspect.signature(function).parameters)[:2] == ["image", "style"]
            shown = pydoc.render_doc(function, renderer=pydoc.plaintext)
            assert "one of 'short', 'long'" in shown
            assert "strength" in shown
            assert "help" not in function.__class__.__doc__
            assert len(schema_requests(server)) == 1


def test_tools_that_inspect_a_function():
    """Tools that inspect an object, such as debuggers and mocks, don't fail if the API can't be reached."""
    with Replicate(bearer_token="x", base_url=f"http://127.0.0.1:{free_port()}", max_retries=0) as client:
        function = client.use("owner/words")
        assert "inputs" in inspect.signature(function).parameters
        assert not hasattr(function, "nothing")
        assert isinstance(function.__doc__, str)
        assert "owner/words" in repr(function)
        with pytest.raises(APIConnectionError):
            function.signature()


async def test_schema_and_example(acall):
    """A function returns its schema and the author's example."""
    function = acall.client.use("owner/words")
    schema = await acall.of(function.openapi_schema)
    assert schema["components"]["schemas"]["Output"]["x-cog-array-display"] == "concatenate"
    example = await acall.of(function.default_example)
    assert (type(example), example.input, example.output) == (Prediction, {"text": "a b"}, ["a", " b"])
    assert await acall.of(acall.client.use("owner/echo").default_example) is None
    assert await acall.of(acall.client.use(VERSION).openapi_schema) == {}


STRANGE = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "required": ["class"],
                "properties": {
                    "lambda": {"type": "number", "default": 0.5, "x-order": 1},
                    "class": {"allOf": [{"$ref": "#/components/schemas/class"}], "x-order": 0},
                    "not-a-name": {"type": "string"},
                    "any": {},
                    "of any": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    "several": {"type": ["string", "null"]},
                    "pair": {"type": "array", "prefixItems": [{"type": "integer"}] * 2, "items": False},
                    "whatever": True,
                },
            },
            "class": {"type": "string", "enum": ["a", "b"]},
        }
    }
}


async def test_strange_schemas():
    """Schemas with reserved names, or with nothing in them, break nothing."""
    given = {"class": "a", "lambda": 1, "of any": 5, "several": "x", "pair": [1, 2], "whatever": 3}
    ended = prediction(status="succeeded", completed_at="2025-01-01T00:00:01Z", output=["a", "b"])
    for schema in [STRANGE, {}, None, {"components": {"schemas": {"Input": {}}}}, {"components": None}]:
        version = {"id": VERSION, "created_at": "2025-01-01T00:00:00Z", "openapi_schema": schema}
        model = {"owner": "owner", "name": "name", "visibility": "public", "url": "", "latest_version": version}
        async with RawServer(answer(200, model)) as server, server.client() as client:
            function = client.use("owner/name", validate=True)
            signature = await function.signature()
            assert set(signature.parameters) == ({"any", "several", "pair", "whatever"} if schema is STRANGE else set())
            assert (await function.documentation()).startswith("Run owner/name.")
            server.steps = [answer(201, ended)]
            if schema is not STRANGE:
                with pytest.raises(ValueError, match="no schema"):
                    await function(**given)
                assert len(server.requests) == 1
                continue
            assert await function(**given) == ["a", "b"]
            if schema is STRANGE:
                with pytest.raises(ValueError, match="class='c'") as caught:
                    await function(**{"class": "c", "lambda": "x", "several": 5})
                assert "lambda" in str(caught.value)
                assert "several" in str(caught.value)


VALIDATED = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "format": "uri"},
                    "pictures": {"type": "array", "items": {"type": "string", "format": "uri"}},
                    "seed": {"type": "integer"},
                    "count": {"type": "integer", "default": 1},
                    "mask": {"type": "string", "format": "uri", "nullable": True},
                    "style": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "size": {"allOf": [{"type": "string", "enum": ["a", "b"]}]},
                    "any": {},
                },
            }
        }
    }
}
URL = "https://a/b.png"


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"image": URL}, None),
        ({"image": "data:image/png;base64,AAAA"}, None),
        ({"image": "s3://bucket/b.png", "mask": None, "style": None, "any": None}, None),
        ({"image": b"content", "pictures": [URL, b"content"]}, None),
        ({"image": None}, "image must not be None"),
        ({"image": URL, "seed": None}, "seed must not be None: omit it"),
        ({"image": URL, "count": None}, "count must not be None: omit it"),
        ({"image": URL, "size": None}, "size must not be None: omit it"),
        ({"image": "cat.png"}, "image must be a file or its URL, not 'cat.png'"),
        ({"image": "C:\\cat.png"}, "image must be a file or its URL"),
        ({"image": URL, "mask": "/tmp/mask.png"}, "mask must be a file or its URL"),
        ({"image": URL, "pictures": [URL, "b.png"]}, r"pictures\[1\] must be a file or its URL"),
    ],
)
async def test_validating_what_the_api_refuses(inputs, named):
    """With ``validate``, None and the bare name of a file raise before anything is sent, where the API refuses them."""
    version = {"id": VERSION, "openapi_schema": VALIDATED}
    model = {"owner": "owner", "name": "name", "latest_version": version}
    async with RawServer(answer(200, model)) as server, server.client() as client:
        function = client.use("owner/name", validate=True)
        await function.openapi_schema()
        server.steps = [answer(201, prediction(status="succeeded", output="x"))]
        if named is None:
            assert await function(**inputs) == "x"
        else:
            with pytest.raises(ValueError, match=named):
                await function(**inputs)
            assert len(server.requests) == 1


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 3000 + ")" * 3000, "(?<a>b)", "["], ids=len)
async def test_patterns_that_cannot_be_checked(pattern):
    """With ``validate``, a pattern that Python can't compile is left to the API; so it is by the local server."""
    document = {"components": {"schemas": {"Input": {"properties": {"x": {"type": "string", "pattern": pattern}}}}}}
    version = {"id": VERSION, "openapi_schema": document}
    model = {"owner": "owner", "name": "name", "latest_version": version}
    ended = prediction(status="succeeded", output="x")
    async with RawServer(answer(200, model), answer(201, ended)) as server, server.client() as client:
        assert await client.use("owner/name", validate=True)(x="b") == "x"
    async with LocalServer() as local, AsyncReplicate(bearer_token=local.token, base_url=local.base_url) as client:

        @local.model("owner/name", schema=document)
        def name(x: str) -> str:
            return x

        assert await client.run("owner/name", {"x": "b"}) == "b"


@pytest.mark.parametrize("circle", [True, False])
async def test_references_without_an_end(circle):
    """A schema whose references multiply, or lead in circles, costs no more time than it has parts."""
    parts = {f"Part{number}": {"allOf": [schema_ref(f"Part{number + 1}")] * 2} for number in range(100)}
    parts |= {
        "Part100": {"properties": {"x": {"type": "string"}}, **({"allOf": [schema_ref("Part0")]} if circle else {})}
    }
    document = {
        "components": {"schemas": {"Input": {"allOf": [schema_ref("Part0"), schema_ref("Input")] * 2}, **parts}}
    }
    model = {"owner": "owner", "name": "name", "latest_version": {"id": VERSION, "openapi_schema": document}}
    async with RawServer(answer(200, model)) as server, server.client() as client:
        assert list((await client.use("owner/name").signature()).parameters) == ["x"]


def schema_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


async def test_validating_without_a_schema():
    """With ``validate``, a model without a schema raises, because nothing can be checked."""
    model = {"owner": "owner", "name": "name", "latest_version": None}
    async with RawServer(answer(200, model)) as server, server.client() as client:
        with pytest.raises(ValueError, match="no schema"):
            await client.use("owner/name", validate=True)(x=1)
        with pytest.raises(ValueError, match="no schema"):
            await client.use(VERSION, validate=True)(x=1)
        assert [request.method for request in server.requests] == ["GET"]


async def test_additional_inputs():
    """A model whose schema allows additional inputs takes them, of the given type if there is one."""
    schema = {
        "components": {"schemas": {"Input": {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}}}
    }
    assert problems(schema, {"a": 1, "b": 2}) == []
    assert problems(schema, {"b": "x"}) == ["b must be of type integer, not str"]
    for said, known in [(True, True), ({}, True), (False, False), (None, False)]:
        schema["components"]["schemas"]["Input"]["additionalProperties"] = said
        assert (problems(schema, {"b": "x"}) == []) is known


# --- handles ---


async def test_a_handle(call, server):
    """``create`` starts a prediction and returns at once; the handle has its output, logs and the prediction."""
    handle = await call.of(call.client.use("owner/words").create, text="a b")
    assert type(handle) is (Run if call.blocking else AsyncRun)
    assert "Prefer" not in server.requests[0].headers
    assert handle.prediction.id in repr(handle)
    assert [await call.of(handle.output) for _ in range(2)] == ["a b"] * 2
    assert (handle.prediction.status, handle.prediction.output) == ("succeeded", ["a", " b"])
    assert await call.of(handle.logs) == ""
    assert len(server.predictions) == 1


async def test_canceling_a_handle(acall, server):
    """A handle can cancel its prediction; its output then raises an error that says so."""
    handle = await acall.of(acall.client.use("owner/endless").create)
    assert (await acall.of(handle.cancel)).status in {"canceled", "aborted"}
    with pytest.raises(PredictionCanceledError):
        await acall.of(handle.output)


async def test_leaving_a_handle(client, server):
    """Cancelling a wait for a handle's output does not cancel its prediction."""
    handle = await client.use("owner/endless").create()
    with anyio.move_on_after(0.1):
        await handle.output()
    assert (await client.predictions.get(handle.prediction.id)).status == "processing"


# --- streaming ---


async def test_streaming(call, server):
    """A streaming function yields pieces of text, or files, as they come; nothing is sent before."""
    words = call.client.use("owner/words", streaming=True)
    assert type(words) is (StreamingFunction if call.blocking else AsyncStreamingFunction)
    stream = words(text="a b c")
    assert server.requests == []
    assert await call.all(stream) == ["a", " b", " c"]
    assert operations(server) == ["models.predictions.create", "predictions.stream", "predictions.get"]
    assert server.requests[0].json()["stream"] is True
    pictures = await call.all(call.client.use("owner/pictures", streaming=True)())
    assert [type(output) for output in pictures] == [FileOutput if call.blocking else AsyncFileOutput] * 2
    assert await call.of(words(text="d e").read) == "d e"


async def test_a_stream_runs_its_model_once(call, server):
    """However often a stream is read, concurrently or again, its model runs once and is billed once."""
    story = call.client.use("owner/words", streaming=True)(text="a b c")
    assert await call.all(story) == ["a", " b", " c"]
    assert await call.of(story.read) == "a b c"
    assert len(server.predictions) == 1
    story = call.client.use("owner/words", streaming=True)(text="a b c")
    use = call.client.use("owner/echo")
    if call.blocking:
        outputs = [await call.of(use, value=[story, story])]
    else:
        outputs = await asyncio.gather(use(value=[story, story]), use(value=[story, story]))
    assert outputs == [["a b c", "a b c"]] * len(outputs)
    assert len(server.predictions) == 2 + len(outputs)


async def test_awaited_streams(client):
    """An awaited stream returns the whole output: a text, or a list of files."""
    assert await client.use("owner/words", streaming=True)(text="a b") == "a b"
    assert [type(output) for output in await client.use("owner/pictures", streaming=True)()] == [AsyncFileOutput] * 2


# --- using functions ---


async def test_names_of_inputs(call, server):
    """Inputs may have any name, even those of options and ``self``, in each of the three ways to pass them."""
    given = {
        "input": 1,
        "stream": False,
        "timeout": "x",
        "version": 2,
        "wait": 3,
        "validate": 4,
        "prefer": 5,
        "args": 6,
        "self": 7,
    }
    function = call.client.use("owner/echo", extra_headers={"X-A": "b"}, cancel_after="5m")
    assert await call.of(function, **given) == [None, given]
    (request,) = server.requests
    assert request.json() == {"input": given}
    assert (request.headers["X-A"], request.headers["Cancel-After"], request.headers["Prefer"]) == ("b", "5m", "wait")
    run = await call.of(function.create, **given)
    assert await call.of(run.output) == [None, given]
    words = call.client.use("owner/words", streaming=True)(text="a b", self=5)
    assert await call.of(words.read) == "a b"
    assert [each.json()["input"] for each in server.requests if each.method == "POST"] == [
        given,
        given,
        {"text": "a b", "self": 5},
    ]


async def test_chaining(call, server):
    """Outputs of one function are inputs of another: texts, files, lists of them, and streams in progress."""
    use = call.client.use
    picture = await call.of(use("owner/picture"))
    assert await call.of(use("owner/caption"), image=picture, count=2) == "short 2"
    story = use("owner/words", streaming=True)(text="once more")
    assert await call.of(use("owner/words"), text=story) == "once more"
    pictures = await call.of(use("owner/pictures"))
    sent = await call.of(use("owner/echo", validate=True), value=pictures)
    assert sent == pictures
    assert "outputs.download" not in operations(server)


async def test_many_calls_at_once(client, server):
    """One function serves hundreds of concurrent calls."""
    function = client.use("owner/words")
    texts = await asyncio.gather(*[function(text=f"number {number}") for number in range(200)])
    assert texts == [f"number {number}" for number in range(200)]
    assert len(server.predictions) == 200
    assert schema_requests(server) == ["models.get"]


async def test_functions_anywhere(call):
    """A function can be created and used in functions, in threads and in a running loop."""

    def make() -> Any:
        return call.client.use("owner/words")

    assert await call.of(make(), text="a b") == "a b"
    if call.blocking:
        # A server in this loop, which the blocking call blocks, so that the call can't use it.
        async with LocalServer() as other:
            assert other.url
        assert await anyio.to_thread.run_sync(lambda: make()(text="c")) == "c"


def test_the_modules_use():
    """``replicate.use`` creates functions of the default client; with ``use_async`` they are awaited, in any loop."""
    program = """
        import asyncio
        import replicate_async as replicate

        def inside():
            words = replicate.use("owner/words")
            print(type(words).__name__, words(text="a b"))

        inside()
        print(*replicate.use("owner/words", streaming=True)(text="c d"), sep="|")
        words = replicate.use("owner/words", use_async=True)
        print(type(words).__name__)

        async def main():
            print(await words(text="e f"))
            async for piece in replicate.use("owner/words", streaming=True, use_async=True)(text="g h"):
                print(piece, end="|")
            print()

        asyncio.run(main())
        asyncio.run(main())
        try:
            replicate.use("nonsense")
        except ValueError as error:
            print(error)
    """
    with LocalServer() as server:
        register(server)
        output = programs.run(program, REPLICATE_API_TOKEN=server.token, REPLICATE_BASE_URL=server.base_url)
    lines = output.splitlines()
    assert lines[:4] == ["ModelFunction a b", "c| d", "AsyncModelFunction", "e f"]
    assert lines[4:-1] == ["g| h|", "e f", "g| h|"]
    assert "nonsense" in lines[-1]


def test_no_token_is_needed_to_create_a_function():
    """Functions can be created at import time, without a token; the first call raises if it is missing."""
    program = """
        import replicate_async as replicate

        words = replicate.use("owner/words")
        print(repr(words))
        try:
            words()
        except replicate.ReplicateError as error:
            print(error)
    """
    output = programs.run(program)
    assert output.startswith("<ModelFunction owner/words>\n")
    assert "REPLICATE_API_TOKEN" in output


async def test_hints(client):
    """A hint is for type checkers only: it is never called, and changes nothing."""

    def hint(*, text: str) -> str:
        raise AssertionError("it was called")

    function = client.use("owner/words", hint=hint)
    assert isinstance(function, AsyncModelFunction)
    assert await function(text="a b") == "a b"
    with Replicate(bearer_token="x") as blocking:
        assert isinstance(blocking.use("owner/words", hint=hint), ModelFunction)
        assert isinstance(blocking.use("owner/words", hint=hint, streaming=True), StreamingFunction)
