"""The API's types as fields of pydantic models, and as arguments and results of FastAPI's handlers."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Annotated, Any

import fastapi
import httpx
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import uvicorn

import replicate_async.fastapi  # noqa: F401 - lets handlers return structs without declaring a type
from replicate_async import (
    AsyncFileOutput,
    AsyncReplicate,
    FileOutput,
    NotFoundError,
    WebhookVerificationError,
    types,
    verify_webhook,
)
from replicate_async.testing import LocalServer
from replicate_async.types import (
    Account,
    Collection,
    Deployment,
    DeploymentRelease,
    File,
    Hardware,
    Model,
    ModelVersion,
    Prediction,
    SearchResults,
    Struct,
    Training,
)

from .test_webhooks import BODY, SECRET, TRAINING, signed

pytestmark = pytest.mark.anyio

PREDICTION: dict[str, Any] = {
    "id": "p1",
    "model": "acme/cat",
    "version": "hidden",
    "input": {"a": [1, {"b": None}], "ä": "🦆"},
    "output": ["https://replicate.delivery/a.png"],
    "error": None,
    "logs": "50%|##| 1/2 [00:01]",
    "status": "a status that is new",
    "created_at": "2025-01-02T03:04:05.678901Z",
    "started_at": "2025-01-02T04:04:05+01:00",
    "metrics": {"predict_time": 1.5},
    "urls": {"get": "https://api.replicate.com/v1/predictions/p1"},
}
MODEL = {
    "owner": "acme",
    "name": "cat",
    "default_example": PREDICTION,
    "latest_version": {"id": "v1", "created_at": "2025-01-01T00:00:00Z", "openapi_schema": {"a": {"$ref": "#/b"}}},
}
NAMED = {name: getattr(types, name) for name in types.__all__}
THINGS = [one for one in NAMED.values() if isinstance(one, type) and issubclass(one, Struct) and one is not Struct]


def made(thing: Any = PREDICTION, kind: Any = Prediction) -> Any:
    return msgspec.convert(thing, kind)


class Job(pydantic.BaseModel):
    """An application's own model."""

    name: str
    prediction: Prediction
    others: list[Prediction] = []
    by_name: dict[str, Model] = {}
    training: Training | None = None


# --- validation ---


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (5, "prediction"),
        (None, "prediction"),
        ([], "prediction"),
        ("p1", "prediction"),
        ({}, "prediction"),
        ({**PREDICTION, "id": 5}, "prediction"),
        ({**PREDICTION, "created_at": "yesterday"}, "prediction"),
        ({key: value for key, value in PREDICTION.items() if key != "status"}, "prediction"),
        (msgspec.convert({"name": "CPU", "sku": "cpu"}, Hardware), "prediction"),
    ],
    ids=["int", "None", "list", "str", "empty", "wrong type", "wrong time", "missing", "another thing"],
)
def test_invalid_values(wrong: Any, place: str) -> None:
    """An invalid value raises pydantic's own ValidationError, with its place and what is wrong."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Job(name="x", prediction=wrong)
    (error,) = caught.value.errors()
    assert error["loc"] == (place,)
    assert (
        "Prediction" in error["msg"]
        or "Expected" in error["msg"]
        or "missing" in error["msg"]
        or "Invalid" in error["msg"]
    )
    json.dumps(caught.value.errors(include_url=False, include_input=False), default=str)


def test_invalid_values_inside() -> None:
    """The message names the place inside the struct, and comes together with other problems of the model."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Job.model_validate({"prediction": {**PREDICTION, "urls": {"get": 5}}, "others": [PREDICTION, {}]})
    messages = {error["loc"]: error["msg"] for error in caught.value.errors()}
    assert set(messages) == {("name",), ("prediction",), ("others", 1)}
    assert "$.urls.get" in messages["prediction",]


def test_instances_stay_what_they_are() -> None:
    """An instance is taken as it is: the same object, not a copy."""
    prediction = made()
    job = Job(name="x", prediction=prediction)
    assert job.prediction is prediction
    assert Job.model_validate(job).prediction is prediction


def test_dicts_become_structs() -> None:
    """A dict becomes the struct, with its times, nested structs and unknown values; unknown fields are ignored."""
    job = Job.model_validate({"name": "x", "prediction": {**PREDICTION, "new": 1}, "by_name": {"cat": MODEL}})
    assert job.prediction == made()
    assert job.prediction.created_at == datetime(2025, 1, 2, 3, 4, 5, 678901, timezone.utc)
    assert job.prediction.status == "a status that is new"
    assert type(job.by_name["cat"].latest_version) is ModelVersion
    with_times = {**PREDICTION, "created_at": made().created_at, "urls": made().urls}
    assert Job(name="x", prediction=with_times).prediction == made(), "what is decoded already may be, too"


def test_json_becomes_structs() -> None:
    """The same from JSON."""
    job = Job.model_validate_json(json.dumps({"name": "x", "prediction": PREDICTION, "others": [PREDICTION] * 2}))
    assert job.others == [job.prediction] * 2 == [made()] * 2
    with pytest.raises(pydantic.ValidationError, match="prediction"):
        Job.model_validate_json('{"name": "x", "prediction": {"id": 5}}')


def test_unions() -> None:
    """In a union each member is tried, for instances and for dicts."""
    adapter = pydantic.TypeAdapter(Prediction | Training | None)
    training = made(TRAINING, Training)
    assert type(adapter.validate_python(training)) is Training
    assert type(adapter.validate_python(made())) is Prediction
    assert adapter.validate_python(None) is None
    assert type(adapter.validate_python({"id": "t1", "status": "starting"})) is Training
    assert pydantic.TypeAdapter(int | Hardware | str).validate_python("x") == "x"


@pytest.mark.parametrize("kind", THINGS, ids=lambda kind: kind.__name__)
def test_every_struct(kind: Any) -> None:
    """Every struct is a type that pydantic knows, with a schema for input and one for output."""
    adapter = pydantic.TypeAdapter(kind)
    for mode in ("validation", "serialization"):
        schema = adapter.json_schema(mode=mode)
        assert dangling(schema) == []
        assert list(schema["properties"]) == list(kind.__struct_fields__)
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert set(schema.get("required", [])) == required


def test_pydantics_dataclasses() -> None:
    """Fields of pydantic's dataclasses work like those of its models."""

    @pydantic.dataclasses.dataclass
    class Holder:
        account: Account

    assert Holder(account={"type": "user", "username": "alice"}).account == Account(type="user", username="alice")
    with pytest.raises(pydantic.ValidationError, match="account"):
        Holder(account={"type": "user"})


# --- dumps ---


def test_dumps() -> None:
    """A dump for JSON has the API's form, a dump for Python has the struct itself; both can be read again."""
    job = Job(name="x", prediction=made(), by_name={"cat": made(MODEL, Model)})
    plain = job.model_dump(mode="json")
    assert plain == json.loads(job.model_dump_json())
    assert plain["prediction"] == made().to_dict()
    assert plain["prediction"]["created_at"] == "2025-01-02T03:04:05.678901Z"
    assert plain["prediction"]["input"] == PREDICTION["input"]
    assert plain["by_name"]["cat"]["latest_version"]["openapi_schema"] == {"a": {"$ref": "#/b"}}
    assert plain["training"] is None
    assert job.model_dump()["prediction"] == made()
    for again in (Job.model_validate(plain), Job.model_validate_json(job.model_dump_json()), Job(**job.model_dump())):
        assert again == job


def test_dumps_of_lists() -> None:
    """Adapters dump structs by themselves and in containers."""
    adapter = pydantic.TypeAdapter(list[Prediction])
    assert json.loads(adapter.dump_json([made()])) == [made().to_dict()]
    assert adapter.validate_json(adapter.dump_json([made()])) == [made()]
    with_extra = pydantic.TypeAdapter(Account).dump_json(Account(type="user", username="ä"))
    assert json.loads(with_extra) == {
        "type": "user",
        "username": "ä",
        "name": None,
        "github_url": None,
        "avatar_url": None,
    }


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda job: pickle.loads(pickle.dumps(job))])
def test_models_with_structs_can_be_copied(duplicate: Any) -> None:
    """Models with structs compare, copy and pickle."""
    job = Job(name="x", prediction=made())
    assert duplicate(job) == job
    assert job.model_copy(update={"name": "y"}) != job
    assert job.model_copy(deep=True) == job


def test_derived_structs() -> None:
    """An application's struct that is derived from an API type works likewise, with its new fields."""

    class Priced(Prediction, kw_only=True):
        price: float

    adapter = pydantic.TypeAdapter(Priced)
    assert adapter.validate_python({**PREDICTION, "price": 1}).price == 1.0
    assert "price" in adapter.json_schema()["properties"]
    job = Job(name="x", prediction=adapter.validate_python({**PREDICTION, "price": 1}))
    assert json.loads(job.model_dump_json())["prediction"]["price"] == 1.0


# --- FastAPI ---


def dangling(document: Any) -> list[str]:
    """Return the references of a document that have no target in it."""
    found: list[str] = []

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(reference := part.get("$ref"), str):
                try:
                    place = document
                    assert reference.startswith("#/")
                    for step in reference[2:].split("/"):
                        place = place[step.replace("~1", "/").replace("~0", "~")]
                except (KeyError, AssertionError, TypeError):
                    found.append(reference)
            for value in part.values():
                visit(value)
        elif isinstance(part, list):
            for value in part:
                visit(value)

    visit(document)
    return found


def resolved(document: Any, schema: Any) -> Any:
    """Return the schema that a reference refers to."""
    while "$ref" in schema:
        place = document
        for step in schema["$ref"][2:].split("/"):
            place = place[step]
        schema = place
    return schema


def test_dangling_references_are_found() -> None:
    """The helper above finds a dangling reference."""
    assert dangling({"a": {"$ref": "#/b"}, "b": 1}) == []
    assert dangling({"a": [{"$ref": "#/c"}]}) == ["#/c"]
    assert dangling({"a": {"$ref": "#/components/schemas/Prediction"}}) != []


app = fastapi.FastAPI()


@app.get("/prediction")
async def get_prediction() -> Prediction:
    return made()


@app.get("/maybe")
async def get_maybe() -> Prediction | None:
    return None


@app.get("/models")
async def get_models() -> list[Model]:
    return [made(MODEL, Model)] * 2


@app.get("/by_name")
async def get_by_name() -> dict[str, Hardware]:
    return {"cpu": Hardware(name="CPU", sku="cpu")}


@app.get("/job")
async def get_job() -> Job:
    return Job(name="x", prediction=made(), by_name={"cat": made(MODEL, Model)})


@app.get("/dict", response_model=Prediction)
async def get_dict() -> Any:
    return PREDICTION


@app.get("/any")
async def get_any() -> dict[str, Any]:
    return {"predictions": [made()], "file": AsyncFileOutput("https://example.org/x.png")}


@app.get("/undeclared")
async def get_undeclared():  # type: ignore[no-untyped-def]
    return {"predictions": [made()], "file": AsyncFileOutput("https://example.org/x.png")}


@app.get("/wrong", response_model=Prediction)
async def get_wrong() -> Any:
    return {"id": 5}


@app.get("/sync")
def get_sync() -> Deployment:
    return Deployment(owner="acme", name="fast", current_release=DeploymentRelease(number=1))


@app.post("/prediction")
async def post_prediction(prediction: Annotated[Prediction, fastapi.Body()]) -> dict[str, str]:
    return {"created": prediction.created_at.isoformat(), "type": type(prediction).__name__}


@app.post("/job")
async def post_job(job: Job) -> Job:
    return job


@app.post("/webhook")
async def post_webhook(request: fastapi.Request) -> dict[str, str]:
    try:
        thing = verify_webhook(await request.body(), request.headers, SECRET)
    except WebhookVerificationError as error:
        raise fastapi.HTTPException(400, str(error)) from error
    return {"type": type(thing).__name__, "id": thing.id}


for thing in THINGS:

    @app.get(f"/all/{thing.__name__}", response_model=thing)
    async def get_thing() -> Any:
        raise NotImplementedError


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


@pytest.mark.parametrize("body", [b"{}", b"5", b"null", b"[]", json.dumps({**PREDICTION, "id": 5}).encode()])
async def test_a_bad_body_is_the_clients_fault(http: httpx.AsyncClient, body: bytes) -> None:
    """A body that is not a prediction gets a 422 that says so, and is not the application's failure."""
    answer = await http.post("/prediction", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    answer = await http.post("/job", json={"name": "x", "prediction": json.loads(body)})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "prediction"]


async def test_a_bad_result_is_the_applications_fault(http: httpx.AsyncClient) -> None:
    """A handler that returns something else than it declares fails, as with pydantic's own models."""
    with pytest.raises(fastapi.exceptions.ResponseValidationError):
        await http.get("/wrong")


async def test_results(http: httpx.AsyncClient) -> None:
    """Results of handlers become the API's JSON: structs alone, in lists, dicts and models, and from dicts."""
    expected = made().to_dict()
    assert (await http.get("/prediction")).json() == expected
    assert (await http.get("/maybe")).json() is None
    assert (await http.get("/models")).json() == [made(MODEL, Model).to_dict()] * 2
    assert (await http.get("/by_name")).json() == {"cpu": {"name": "CPU", "sku": "cpu"}}
    assert (await http.get("/job")).json()["prediction"] == expected
    assert (await http.get("/dict")).json() == expected
    assert (await http.get("/sync")).json()["current_release"]["number"] == 1
    assert made(expected) == made(), "and can be read again"


@pytest.mark.parametrize("path", ["/any", "/undeclared"])
async def test_undeclared_results(http: httpx.AsyncClient, path: str) -> None:
    """Structs and file outputs may be anywhere in results whose type says nothing of them."""
    expected = {"predictions": [made().to_dict()], "file": "https://example.org/x.png"}
    assert (await http.get(path)).json() == expected


def test_dumps_of_anything() -> None:
    """Pydantic dumps structs and file outputs where any value is allowed; for Python, they stay what they are."""
    file = AsyncFileOutput("https://example.org/x.png")
    adapter = pydantic.TypeAdapter(dict[str, Any])
    for output in (file, FileOutput(file)):
        value = {"job": made(), "files": [output]}
        assert json.loads(adapter.dump_json(value)) == {"job": made().to_dict(), "files": [file.url]}
        assert adapter.dump_python(value) == value


async def test_bodies(http: httpx.AsyncClient) -> None:
    """Bodies of requests become structs, alone or in a model."""
    answer = await http.post("/prediction", json=PREDICTION)
    assert answer.json() == {"created": "2025-01-02T03:04:05.678901+00:00", "type": "Prediction"}
    answer = await http.post("/job", json={"name": "x", "prediction": PREDICTION})
    assert answer.json()["prediction"] == made().to_dict()


async def test_webhooks(http: httpx.AsyncClient) -> None:
    """A webhook is verified with the framework's headers and body."""
    answer = await http.post("/webhook", content=BODY, headers=signed())
    assert answer.json() == {"type": "Prediction", "id": "ufawqhfynnddngldkgtslldrkq"}
    answer = await http.post("/webhook", content=json.dumps(TRAINING), headers=signed(json.dumps(TRAINING)))
    assert answer.json()["type"] == "Training"
    answer = await http.post("/webhook", content=BODY + " ", headers=signed())
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (400, "webhook-signature")


async def test_the_document(http: httpx.AsyncClient) -> None:
    """The application's OpenAPI document has every field with its type, and every reference has a target."""
    answer = await http.get("/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert dangling(document) == []

    def returned(path: str) -> Any:
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        return resolved(document, content["schema"])

    schema = returned("/prediction")
    assert schema["type"] == "object"
    assert list(schema["properties"]) == list(Prediction.__struct_fields__)
    assert schema["properties"]["id"]["type"] == "string"
    assert schema["properties"]["created_at"] == {"type": "string", "format": "date-time"}
    assert "id" in schema["required"]
    assert "logs" not in schema["required"]
    assert returned("/models")["type"] == "array"
    model = resolved(document, returned("/models")["items"])
    assert "latest_version" in model["properties"]
    for thing in THINGS:
        assert list(returned(f"/all/{thing.__name__}")["properties"]) == list(thing.__struct_fields__)
    taken = document["paths"]["/prediction"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "created_at" in resolved(document, taken)["properties"]
    assert (await http.get("/docs")).status_code == 200


async def test_components_have_names(http: httpx.AsyncClient) -> None:
    """Each struct is one component with its own name, also inside of others, and statuses are listed."""
    document = (await http.get("/openapi.json")).json()
    components = document["components"]["schemas"]
    assert {thing.__name__ for thing in THINGS} <= set(components)
    known, other = components["Prediction"]["properties"]["status"]["anyOf"]
    assert known == {"enum": ["starting", "processing", "succeeded", "failed", "canceled", "aborted"]}
    assert other == {"type": "string"}, "the API adds statuses without notice"
    assert components["Job"]["properties"]["prediction"] == {"$ref": "#/components/schemas/Prediction"}
    example, _ = components["Model"]["properties"]["default_example"]["anyOf"]
    assert example == {"$ref": "#/components/schemas/Prediction"}


@pytest.fixture
def local() -> Iterator[LocalServer]:
    with LocalServer(tidy=True) as server:

        @server.model("acme/greet", official=True)
        def greet(text: str) -> str:
            """Greet."""
            return f"hello {text}"

        yield server


async def test_an_application(local: LocalServer) -> None:
    """An application that is created at import time calls the API under uvicorn, and returns its response."""
    replicate = AsyncReplicate(bearer_token=local.token, base_url=local.base_url)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with replicate:
            yield

    application = fastapi.FastAPI(lifespan=lifespan)

    @application.post("/greetings")
    async def create(text: str) -> Prediction:
        return await replicate.models.predictions.create("acme", "greet", input={"text": text}, prefer="wait")

    @application.get("/greetings/{prediction_id}")
    async def get(prediction_id: str) -> Prediction:
        try:
            return await replicate.predictions.get(prediction_id)
        except NotFoundError as error:
            raise fastapi.HTTPException(404, error.detail) from error

    @application.get("/collections/{slug}")
    async def collection(slug: str) -> Collection:
        return await replicate.collections.get(slug)

    @application.get("/search")
    async def search(query: str) -> SearchResults:
        return await replicate.search(query)

    @application.post("/files")
    async def upload(file: fastapi.UploadFile) -> File:
        return await replicate.files.create((file.filename or "upload", file.file))

    async with serving(application) as url, httpx.AsyncClient(base_url=url) as http:
        greeting = made((await http.post("/greetings", params={"text": "Alice"})).json())
        assert (greeting.output, greeting.status) == ("hello Alice", "succeeded")
        assert made((await http.get(f"/greetings/{greeting.id}")).json()) == greeting
        assert (await http.get("/greetings/nowhere")).status_code == 404
        models = (await http.get("/collections/local-models")).json()["models"]
        assert [model["name"] for model in models] == ["greet"]
        assert (await http.get("/search", params={"query": "greet"})).json()["models"][0]["model"]["name"] == "greet"
        uploaded = (await http.post("/files", files={"file": ("cät.png", b"abc", "image/png")})).json()
        assert (uploaded["name"], uploaded["size"]) == ("cät.png", 3)
        assert dangling((await http.get("/openapi.json")).json()) == []


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    """Serve an application over a socket, and return its URL."""
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            # What comes before the application is ready waits in the socket's queue.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


# --- without pydantic ---


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_importing_the_types_does_not_import_pydantic() -> None:
    """Pydantic is not imported by programs that don't use it."""
    program = "import sys, replicate_async.types as t; t.Account(type='user', username='x'); print({})"
    assert run(program.format("[name for name in sys.modules if 'pydantic' in name]")) == "[]"


def test_everything_works_without_pydantic() -> None:
    """Nothing needs pydantic to be installed."""
    program = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
        "from replicate_async import AsyncReplicate, Replicate, types, verify_webhook\n"
        "import msgspec\n"
        'print(msgspec.json.decode(b\'{"type": "user", "username": "x"}\', type=types.Account).to_json())'
    )
    assert json.loads(run(program))["username"] == "x"
