"""From signatures to OpenAPI documents, and from inputs to arguments."""

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
    found: dict[str, Any] = ModelFunction(function).signature.document["components"]["schemas"]
    return found


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
    """OpenAPI 3.0 can't tell the places of a tuple apart: it is a list of so many of any of its kinds."""

    def model(size: tuple[int, int], named: Pair, mixed: tuple[int, str, int], many: tuple[int, ...] = ()) -> str:
        return f"{size}{named}{mixed}{many}"

    found = schemas(model)
    properties = found["Input"]["properties"]
    assert (properties["size"]["items"], properties["size"]["maxItems"]) == ({"type": "integer"}, 2)
    assert properties["mixed"]["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert properties["many"]["items"] == {"type": "integer"}
    assert found["Pair"]["items"] == {"type": "integer"}
    assert "prefixItems" not in str(found)


def test_choices() -> None:
    """Choices stand apart, in the order of the source, and the property refers to them."""

    def model(
        size: Literal["small", "large", "medium"] = "large", colour: Colour = Colour.RED, n: Literal[4, 2] = 2
    ) -> str:
        return f"{size}{colour}{n}"

    found = schemas(model)
    assert found["Input"]["properties"]["size"] == {
        "allOf": [{"$ref": "#/components/schemas/size"}],
        "default": "large",
        "x-order": 0,
    }
    assert found["size"] == {
        "type": "string",
        "title": "size",
        "description": "An enumeration.",
        "enum": ["small", "large", "medium"],
    }
    assert found["Input"]["properties"]["colour"]["allOf"] == [{"$ref": "#/components/schemas/Colour"}]
    assert found["Input"]["properties"]["colour"]["default"] == "red"
    assert (found["n"]["type"], found["n"]["enum"]) == ("integer", [4, 2])


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
        (something, {"type": "array", "items": {}, "x-cog-array-type": "iterator"}),
        (text, {"type": "string"}),
        (picture, {"type": "string", "format": "uri"}),
        (pictures, {"type": "array", "items": {"type": "string", "format": "uri"}}),
        (nothing, {"nullable": True}),
        (anything, {}),
    ],
)
def test_outputs(function: Callable[..., Any], expected: dict[str, Any]) -> None:
    """The return annotation makes the output's schema: generators are iterators, files are URIs."""
    assert schemas(function)["Output"] == {**expected, "title": "Output"}


def test_output_classes() -> None:
    """Structs, dataclasses and pydantic models have their schema in the document, even one that is called Output."""

    def masked() -> Masked:
        raise NotImplementedError

    def output() -> Output:
        raise NotImplementedError

    found = schemas(masked)
    assert found["Output"]["properties"]["mask"] == {"type": "string", "format": "uri"}
    assert found["Output"]["properties"]["boxes"]["items"] == {"$ref": "#/components/schemas/Box"}
    assert found["Box"]["required"] == ["label"]
    found = schemas(output)
    assert found["Output"]["properties"]["also"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert found["Part"]["properties"]["number"]["type"] == "integer"


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
        (positional_only, "positional_only: inputs come by name"),
        (strange, "strange: .*complex.* is neither JSON"),
        (content, "content: bytes can't be an input; a pathlib.Path can"),
        (unknown, "unknown: an annotation can't be resolved: name 'Nowhere'"),
        (3, "a model is a function, not 3"),
    ],
)
def test_bad_signatures(function: Any, reason: str) -> None:
    """What can't be a model is refused with the reason when it is registered."""
    with pytest.raises(TypeError, match=reason):
        ModelFunction(function)


def test_local_annotations() -> None:
    """Annotations may name what is local to the function around."""

    class Local(msgspec.Struct):
        size: int

    def model(box: Local) -> int:
        assert isinstance(box, Local)
        return box.size

    assert arguments(model, box={"size": 3})["box"].size == 3


def test_callables() -> None:
    """An object with a typed __call__ is a function, too."""

    class Model:
        def __call__(self, text: str = "a") -> str:
            return text

    assert schemas(Model())["Input"]["properties"]["text"]["default"] == "a"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [mock.Mock, mock.MagicMock, mock.AsyncMock])
async def test_mocks(call: Caller, kind: type[mock.Mock]) -> None:
    """A mock is a function that takes whatever comes, and knows how it was called."""
    model = kind(return_value="a")
    call.server.model("me/mock")(model)
    assert (await call.run("me/mock", text="b", n=3))["output"] == "a"
    model.assert_called_once_with(text="b", n=3)
    model.return_value = model  # which has no JSON form
    assert (await call.run("me/mock"))["status"] == "failed"


def test_partials() -> None:
    """A partial function has the annotations of the function, and its own defaults."""

    def model(text: str, n: int = 1) -> str:
        return text * n

    found = schemas(functools.partial(functools.partial(model, n=2)))["Input"]["properties"]
    assert (found["text"]["type"], found["n"]["type"], found["n"]["default"]) == ("string", "integer", 2)


def test_arguments() -> None:
    """Inputs are converted to the annotated types; what isn't given is left to the function's defaults."""

    def model(
        file: Path, masked: Masked, part: Part, colour: Colour = Colour.BLUE, n: int = 3, many: list[Path] | None = None
    ) -> str:
        return f"{file}{masked}{part}{colour}{n}{many}"

    found = arguments(
        model,
        file="a.png",
        masked={"mask": "b.png", "boxes": [{"label": "c"}]},
        part={"number": 7},
        colour="red",
        many=["d"],
        undeclared=1,
    )
    assert found == {
        "file": Path("/opened/a.png"),
        "masked": Masked(Path("/opened/b.png"), [Box("c")]),
        "part": Part(number=7),
        "colour": Colour.RED,
        "many": [Path("/opened/d")],
    }


def test_keyword_arguments() -> None:
    """A function with **inputs takes whatever comes."""

    def model(prompt: str, **inputs: Any) -> str:
        return f"{prompt}{inputs}"

    assert arguments(model, prompt="a", seed=1) == {"prompt": "a", "seed": 1}


def test_all_problems_at_once() -> None:
    """A refused input names each field that is wrong, down to the place inside of it."""

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
        "input.files[1]",
    ]
    assert str(document["detail"]).splitlines() == [
        "- input: prompt is required",
        "- input.size: Invalid enum value 'xl'",
        "- input.n: Expected `int` <= 4",
        "- input.files[1]: Expected a URL or data URI",
    ]


def test_output_values() -> None:
    """Whatever a model returns becomes JSON values; files become URLs wherever they are."""
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


@pytest.mark.parametrize("value", [object(), "\ud800", [1j]])
def test_values_without_json(value: Any) -> None:
    """What has no JSON form is an error, not an answer that can't be sent."""
    with pytest.raises((TypeError, UnicodeEncodeError)):
        to_output(value, lambda _: "")
