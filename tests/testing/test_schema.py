"""OpenAPI documents of signatures, and arguments for inputs."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional
from unittest import mock

import msgspec
import pydantic
import pytest
from msgspec import Meta

from replicate_async import AsyncReplicate
from replicate_async.testing import OutputFile
from replicate_async.testing._calls import Problem
from replicate_async.testing._functions import ModelFunction, to_output

from .conftest import Caller


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Box(msgspec.Struct):
    label: str
    score: float = 1.0


@dataclasses.dataclass
class Masked:
    mask: Path
    boxes: list[Box]


class Output(pydantic.BaseModel):
    text: str
    also: list[Part] = []


class Part(pydantic.BaseModel):
    number: int


class Pair(NamedTuple):
    left: int
    right: int


def schemas(function: Callable[..., Any]) -> dict[str, Any]:
    components: dict[str, Any] = ModelFunction(function).signature.document["components"]["schemas"]
    return components


def arguments(function: Callable[..., Any], **inputs: Any) -> dict[str, Any]:
    return ModelFunction(function).signature.arguments(inputs, lambda url: Path("/opened", url))


def test_inputs() -> None:
    """Properties have type, title, order, default, bounds and description; those without default are required."""

    def model(
        prompt: Annotated[str, Meta(description="What to paint", max_length=100)],
        num_steps: Annotated[int, Meta(ge=1, le=50)] = 20,
        scale: float = 7.5,
        seed: Optional[int] = None,  # noqa: UP045
        image: Path | None = None,
        tags: list[str] = [],  # noqa: B006
    ) -> str:
        return f"{prompt}{num_steps}{scale}{seed}{image}{tags}"

    assert schemas(model)["Input"] == {
        "type": "object",
        "title": "Input",
        "required": ["prompt"],
        "properties": {
            "prompt": {
                "type": "string",
                "title": "Prompt",
                "description": "What to paint",
                "maxLength": 100,
                "x-order": 0,
            },
            "num_steps": {
                "type": "integer",
                "title": "Num Steps",
                "minimum": 1,
                "maximum": 50,
                "default": 20,
                "x-order": 1,
            },
            "scale": {"type": "number", "title": "Scale", "default": 7.5, "x-order": 2},
            "seed": {"type": "integer", "nullable": True, "title": "Seed", "default": None, "x-order": 3},
            "image": {
                "type": "string",
                "format": "uri",
                "nullable": True,
                "title": "Image",
                "default": None,
                "x-order": 4,
            },
            "tags": {"type": "array", "items": {"type": "string"}, "title": "Tags", "default": [], "x-order": 5},
        },
    }
    document = ModelFunction(model).signature.document
    assert (document["openapi"], document["info"]["title"]) == ("3.0.2", "Cog")


def test_tuples() -> None:
    """OpenAPI 3.0 has no tuples: a tuple is a list of a fixed length, whose items have any of its types."""

    def model(size: tuple[int, int], named: Pair, mixed: tuple[int, str, int], many: tuple[int, ...] = ()) -> str:
        return f"{size}{named}{mixed}{many}"

    components = schemas(model)
    properties = components["Input"]["properties"]
    assert (properties["size"]["items"], properties["size"]["maxItems"]) == ({"type": "integer"}, 2)
    assert properties["mixed"]["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert properties["many"]["items"] == {"type": "integer"}
    assert components["Pair"]["items"] == {"type": "integer"}
    assert "prefixItems" not in str(components)


def test_choices() -> None:
    """Choices are components, in the order of the source, and the property refers to them."""

    def model(
        size: Literal["small", "large", "medium"] = "large", colour: Colour = Colour.RED, n: Literal[4, 2] = 2
    ) -> str:
        return f"{size}{colour}{n}"

    components = schemas(model)
    assert components["Input"]["properties"]["size"] == {
        "allOf": [{"$ref": "#/components/schemas/size"}],
        "default": "large",
        "x-order": 0,
    }
    assert components["size"] == {
        "type": "string",
        "title": "size",
        "description": "An enumeration.",
        "enum": ["small", "large", "medium"],
    }
    assert components["Input"]["properties"]["colour"]["allOf"] == [{"$ref": "#/components/schemas/Colour"}]
    assert components["Input"]["properties"]["colour"]["default"] == "red"
    assert (components["n"]["type"], components["n"]["enum"]) == ("integer", [4, 2])


def words() -> Iterator[str]:
    yield "a"


def pieces() -> Generator[bytes, None, None]:
    yield b"a"


async def numbers() -> AsyncIterator[int]:
    yield 1


def something():  # type: ignore[no-untyped-def]
    yield 1


def text() -> str:
    return "a"


def picture() -> Path:
    return Path("a")


def pictures() -> list[OutputFile]:
    return []


def nothing() -> None:
    return None


def anything():  # type: ignore[no-untyped-def]
    return None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            words,
            {
                "type": "array",
                "items": {"type": "string"},
                "x-cog-array-type": "iterator",
                "x-cog-array-display": "concatenate",
            },
        ),
        (
            pieces,
            {"type": "array", "items": {"type": "string", "format": "uri"}, "x-cog-array-type": "iterator"},
        ),
        (numbers, {"type": "array", "items": {"type": "integer"}, "x-cog-array-type": "iterator"}),
        (
            something,
            {
                "type": "array",
                "items": {"type": "string"},
                "x-cog-array-type": "iterator",
                "x-cog-array-display": "concatenate",
            },
        ),
        (text, {"type": "string"}),
        (picture, {"type": "string", "format": "uri"}),
        (pictures, {"type": "array", "items": {"type": "string", "format": "uri"}}),
        (nothing, {"nullable": True}),
        (anything, {}),
    ],
)
def test_outputs(function: Callable[..., Any], expected: dict[str, Any]) -> None:
    """The return annotation defines the output's schema: generators are iterators, files are URIs."""
    assert schemas(function)["Output"] == {**expected, "title": "Output"}


def test_output_classes() -> None:
    """The document contains the schemas of structs, dataclasses and pydantic models, even of one named Output."""

    def masked() -> Masked:
        raise NotImplementedError

    def output() -> Output:
        raise NotImplementedError

    components = schemas(masked)
    assert components["Output"]["properties"]["mask"] == {"type": "string", "format": "uri"}
    assert components["Output"]["properties"]["boxes"]["items"] == {"$ref": "#/components/schemas/Box"}
    assert components["Box"]["required"] == ["label"]
    components = schemas(output)
    assert components["Output"]["properties"]["also"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert components["Part"]["properties"]["number"]["type"] == "integer"


def var_positional(*texts: str) -> str:
    return str(texts)


def positional_only(prompt: str, /) -> str:
    return prompt


def strange(value: complex) -> str:
    return str(value)


def content(value: bytes) -> str:
    return str(value)


def unknown(value: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(value)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (var_positional, r"var_positional: .*\*texts"),
        (positional_only, "positional_only: inputs are passed by name"),
        (strange, "strange: .*complex.* is neither JSON"),
        (content, "content: bytes can't be an input; use pathlib.Path"),
        (unknown, "unknown: an annotation can't be resolved: name 'Nowhere'"),
        (3, "a model is a function, not 3"),
    ],
)
def test_bad_signatures(function: Any, reason: str) -> None:
    """A function that can't be a model is refused with the reason when it is registered."""
    with pytest.raises(TypeError, match=reason):
        ModelFunction(function)


def test_local_annotations() -> None:
    """Annotations may use local names of the enclosing function."""

    class Local(msgspec.Struct):
        size: int

    def model(box: Local) -> int:
        assert isinstance(box, Local)
        return box.size

    assert arguments(model, box={"size": 3})["box"].size == 3


def test_callables() -> None:
    """An object with a typed __call__ can be a model, too."""

    class Model:
        def __call__(self, text: str = "a") -> str:
            return text

    assert schemas(Model())["Input"]["properties"]["text"]["default"] == "a"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [mock.Mock, mock.MagicMock, mock.AsyncMock])
async def test_mocks(call: Caller, kind: type[mock.Mock]) -> None:
    """A mock can be a model that takes any input, and records its calls."""
    model = kind(return_value="a")
    call.server.model("me/mock")(model)
    assert (await call.run("me/mock", text="b", n=3))["output"] == "a"
    model.assert_called_once_with(text="b", n=3)
    # A mock has no JSON form.
    model.return_value = model
    assert (await call.run("me/mock"))["status"] == "failed"


def test_partials() -> None:
    """A partial function has the annotations of the function, and its own defaults."""

    def model(text: str, n: int = 1) -> str:
        return text * n

    properties = schemas(functools.partial(functools.partial(model, n=2)))["Input"]["properties"]
    assert (properties["text"]["type"], properties["n"]["type"], properties["n"]["default"]) == ("string", "integer", 2)


def test_arguments() -> None:
    """Inputs are converted to the annotated types; omitted inputs are left to the function's defaults."""

    def model(
        file: Path, masked: Masked, part: Part, colour: Colour = Colour.BLUE, n: int = 3, many: list[Path] | None = None
    ) -> str:
        return f"{file}{masked}{part}{colour}{n}{many}"

    converted = arguments(
        model,
        file="a.png",
        masked={"mask": "b.png", "boxes": [{"label": "c"}]},
        part={"number": 7},
        colour="red",
        many=["d"],
        undeclared=1,
    )
    assert converted == {
        "file": Path("/opened/a.png"),
        "masked": Masked(Path("/opened/b.png"), [Box("c")]),
        "part": Part(number=7),
        "colour": Colour.RED,
        "many": [Path("/opened/d")],
    }


def test_keyword_arguments() -> None:
    """A function with **inputs takes any input."""

    def model(prompt: str, **inputs: Any) -> str:
        return f"{prompt}{inputs}"

    assert arguments(model, prompt="a", seed=1) == {"prompt": "a", "seed": 1}


@dataclasses.dataclass
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise AssertionError("must be positive")
        raise KeyError(self.number)


def test_what_classes_check() -> None:
    """Any error that a class in the signature raises describes the invalid input."""

    def model(first: Checked, second: Checked) -> str:
        return f"{first}{second}"

    with pytest.raises(Problem) as caught:
        arguments(model, first={"number": 0}, second={"number": 2})
    assert str(caught.value.document["detail"]).splitlines() == [
        "- input.first: AssertionError: must be positive",
        "- input.second: KeyError: 2",
    ]
    assert caught.value.status == 422


async def _agree(call: Caller, function: Callable[..., Any], *inputs: dict[str, Any]) -> None:
    """Check that inputs are valid by the document, and that the server runs them."""
    call.server.model("me/model")(function)
    async with AsyncReplicate(base_url=call.server.base_url, bearer_token=call.server.token) as client:
        for inputs_ in inputs:
            assert await client.use("me/model", validate=True)(**inputs_) == str(inputs_)


@pytest.mark.anyio
async def test_documents_say_what_fits(call: Caller) -> None:
    """The server accepts exactly the inputs that are valid by its document."""

    def choices(x: Literal[1, "a", None] = "a") -> str:  # noqa: PYI061  (a spelling of its own)
        return str({"x": x})

    def booleans(x: Literal[True, "auto"] = "auto", y: Literal[True] = True) -> str:
        return str({"x": x, "y": y})

    def tuples(x: tuple[int, str]) -> str:
        return str({"x": list(x)})

    def more(x: int, **inputs: Any) -> str:
        return str({"x": x, **inputs})

    # Older versions of msgspec don't support these choices.
    if tuple(map(int, msgspec.__version__.split(".")[:2])) >= (0, 20):
        await _agree(call, choices, *({"x": x} for x in (1, "a", None)))
        await _agree(call, booleans, {"x": True, "y": True}, {"x": "auto", "y": True})
    await _agree(call, tuples, {"x": [1, "a"]})
    await _agree(call, more, {"x": 1}, {"x": 1, "y": [2], "z": None})


def test_defaults_are_values() -> None:
    """The document contains a default object as JSON."""

    def model(
        box: Box = Box("a"),  # noqa: B008
        aliased: Aliased = Aliased(),  # noqa: B008
        colour: Colour = Colour.RED,
    ) -> str:
        return f"{box}{aliased}{colour}"

    properties = schemas(model)["Input"]["properties"]
    assert [each["default"] for each in properties.values()] == [
        {"label": "a", "score": 1.0},
        {"firstName": "Ann"},
        "red",
    ]


@pytest.mark.anyio
async def test_output_files_as_inputs(call: Caller) -> None:
    """An input can be an OutputFile, with its data and its name."""

    @call.server.model("me/same")
    def same(file: OutputFile, more: list[OutputFile] = []) -> list[OutputFile]:  # noqa: B006
        return [file, *more]

    first = (await call.run("me/same", file="data:text/plain,a"))["output"]
    urls = (await call.run("me/same", file=first[0], more=["data:text/plain,b"]))["output"]
    assert [(await call("GET", url)).body for url in urls] == [b"a", b"b"]


def test_all_problems_at_once() -> None:
    """An invalid input is refused with the path of each invalid value."""

    def model(
        prompt: str, size: Literal["s", "l"], n: Annotated[int, Meta(le=4)] = 1, files: list[Path] | None = None
    ) -> str:
        return f"{prompt}{size}{n}{files}"

    with pytest.raises(Problem) as caught:
        arguments(model, size="xl", n=9, files=["a", 3])
    document = caught.value.document
    assert (document["status"], document["title"]) == (422, "Input validation failed")
    assert [field["field"] for field in document["invalid_fields"]] == [  # type: ignore[attr-defined]
        "input",
        "input.size",
        "input.n",
        "input.files.1",
    ]
    assert str(document["detail"]).splitlines() == [
        "- input: prompt is required",
        '- input.size: input.size must be one of the following: "s", "l"',
        "- input.n: Must be less than or equal to 4",
        "- input.files.1: Invalid type. Expected: string, given: integer",
    ]


def test_output_values() -> None:
    """Results become JSON values; files anywhere in them become URLs."""
    value = {
        "box": Box("a"),
        "masked": Masked(Path("x"), []),
        "output": Output(text="t", also=[Part(number=1)]),
        3: ({4}, Colour.RED),
        "bytes": b"\x89PNG\r\n\x1a\n",
    }
    del value["masked"]
    assert to_output(value, lambda file: f"url of {file.type}") == {
        "box": {"label": "a", "score": 1.0},
        "output": {"text": "t", "also": [{"number": 1}]},
        "3": [[4], "red"],
        "bytes": "url of image/png",
    }


class Renamed(msgspec.Struct, rename="camel", tag=True):
    first_name: str
    file: Path | None = None
    also: list[Renamed] = []


class Aliased(pydantic.BaseModel):
    first_name: str = pydantic.Field("Ann", alias="firstName")


def test_output_values_are_as_declared() -> None:
    """The document and the output use the field names that a struct or a pydantic model declares."""

    def struct() -> Renamed:
        raise NotImplementedError

    def model() -> Aliased:
        raise NotImplementedError

    value = Renamed("Ann", also=[Renamed("Bob")])
    output = to_output(value, lambda _: "")
    assert output == {
        "type": "Renamed",
        "firstName": "Ann",
        "file": None,
        "also": [{"type": "Renamed", "firstName": "Bob", "file": None, "also": []}],
    }
    assert output.keys() == schemas(struct)["Output"]["properties"].keys()
    output = to_output({"model": [Aliased()]}, lambda _: "")["model"][0]
    assert output == {"firstName": "Ann"}
    assert output.keys() == schemas(model)["Output"]["properties"].keys()


class Files(msgspec.Struct):
    path: Path
    small: bytes
    file: OutputFile
    by_name: dict[int, bytes]


def test_files_in_structs(tmp_path: Path) -> None:
    """Files in a struct become URLs, too."""
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    value = Files(tmp_path / "a.txt", b"GIF89a", OutputFile(b"", name="b.png"), {1: b"%PDF-"})
    assert to_output(value, lambda file: file.file_name) == {
        "path": "a.txt",
        "small": "output.gif",
        "file": "b.png",
        "by_name": {"1": "output.pdf"},
    }


@pytest.mark.parametrize("value", [object(), "\ud800", [1j]])
def test_values_without_json(value: Any) -> None:
    """A result without a JSON form is an error, not an unsendable response."""
    with pytest.raises((TypeError, UnicodeEncodeError)):
        to_output(value, lambda _: "")
