"""OpenAPI documents of models of all kinds, in the form of Replicate's: short, and one for each peculiarity."""

from __future__ import annotations

from typing import Any

URI = {"type": "string", "format": "uri"}
TEXT = {"type": "string"}


def document(inputs: dict[str, Any], output: Any = TEXT, *, required: Any = (), **components: Any) -> dict[str, Any]:
    """Return a document. A component may take the place of Input."""
    properties = {name: {"x-order": order, **schema} for order, (name, schema) in enumerate(inputs.items())}
    declared = {"type": "object", "title": "Input", "properties": properties, "required": [*required]}
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "components": {"schemas": {"Input": declared, "Output": output, **components}},
    }


def ref(name: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Any, **members: Any) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **members}


def struct(*required: str, **members: Any) -> dict[str, Any]:
    """Return the schema of an object."""
    return {"type": "object", "properties": members, **({"required": list(required)} if required else {})}


WORDS = array(TEXT, **{"x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"})
LANGUAGES = [f"language {number}" for number in range(30)]

SCHEMAS: dict[str, dict[str, Any]] = {
    # --- inputs ---
    "in/text": document({"text": {**TEXT, "description": "Text to prefix\nwith 'hello'"}}, required=["text"]),
    "in/scalars": document(
        {
            "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
            "guidance": {"type": "number", "minimum": 0, "maximum": 10, "default": 3.5},
            "fast": {"type": "boolean", "default": True},
        }
    ),
    "in/file": document({"image": URI, "mask": URI}, required=["image"]),
    "in/files": document({"images": array(URI), "strengths": array({"type": "number"})}, required=["images"]),
    "in/choice": document(
        {"ratio": {"allOf": [ref("ratio")], "default": "1:1", "description": "Aspect ratio"}},
        ratio={"type": "string", "enum": ["1:1", "16:9", 'say "hi"', "it's", "both ' and \"", "back\\slash"]},
    ),
    "in/many-choices": document(
        {"language": {"allOf": [ref("language")]}}, language={"type": "string", "enum": LANGUAGES}
    ),
    "in/whole-choices": document(
        {"width": {"allOf": [ref("width")], "default": 512}}, width={"type": "integer", "enum": [512, 768]}
    ),
    "in/fraction-choices": document({"megapixels": {"type": "number", "enum": [0.25, 1]}}),
    "in/inconsistent-choices": document({"count": {"type": "integer", "enum": ["1", "2"], "default": "1"}}),
    "in/nullable": document(
        {"seed": {"type": "integer", "nullable": True}, "style": {"allOf": [ref("style")]}},
        style={"type": "string", "enum": ["a", "b"], "nullable": True},
    ),
    "in/nullable-3-1": document(
        {
            "seed": {"type": ["integer", "null"]},
            "image": {"anyOf": [URI, {"type": "null"}]},
            "style": {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        }
    ),
    "in/many-choices-in-unions": document(
        {
            "nullable": {"anyOf": [ref("language"), {"type": "null"}], "default": None},
            "other": {"oneOf": [{"type": "integer"}, {"type": "string", "enum": LANGUAGES}]},
            "one": {"anyOf": [{"enum": ["one long choice " * 6]}, {"type": "null"}]},
        },
        language={"type": "string", "enum": LANGUAGES},
    ),
    "in/union": document({"text": {"anyOf": [TEXT, array(TEXT)]}, "either": {"oneOf": [{"type": "integer"}, URI]}}),
    "in/object": document(
        {
            "plain": {"type": "object"},
            "values": {"type": "object", "additionalProperties": {"type": "number"}},
            "options": struct("size", size={"type": "integer"}, image=URI),
            "list": array(ref("Point")),
        },
        Point=struct("x", "y", x={"type": "number"}, y={"type": "number"}),
    ),
    "in/keywords": document(
        {"class": TEXT, "self": TEXT, "lambda": {"type": "integer"}, "client": TEXT, "None": TEXT}, required=["class"]
    ),
    "in/no-identifiers": document(
        {
            "top-p": {"type": "number"},
            "top_p": {"type": "integer"},
            "3d": {"type": "boolean"},
            "": TEXT,
            "a b": TEXT,
            "\N{LATIN SMALL LIGATURE FI}le": URI,
            "__private": TEXT,
            "naïve": TEXT,
        }
    ),
    "in/odd-defaults": document(
        {
            "steps": {"type": "integer", "minimum": 1, "maximum": 4, "default": 28},
            "size": {"type": "string", "enum": ["s", "m"], "default": "xl"},
            "seed": {"type": "integer", "default": "random"},
            "big": {"type": "number", "default": 1e300, "maximum": 1e200},
        }
    ),
    "in/odd-texts": document(
        {
            "text": {**TEXT, "description": 'Quotes """ and \\ and \\N{x} and \x00 and \u202e and "'},
            "long": {**TEXT, "description": "https://example.org/" + "x" * 150 + " " + "word " * 60},
        }
    ),
    "in/secret": document({"token": {**TEXT, "format": "password", "writeOnly": True, "x-cog-secret": True}}),
    "in/anything": document({"json": {}, "flag": {"title": "Flag"}, "x": {"$ref": "#/nowhere"}, "y": {"type": "Foo"}}),
    "in/additional": {
        **document({}),
        "components": {
            "schemas": {
                "Input": {**struct(inputs=TEXT), "additionalProperties": {"type": "integer"}},
                "Output": TEXT,
            }
        },
    },
    # --- outputs ---
    "out/words": document({"prompt": TEXT}, WORDS, required=["prompt"]),
    "out/iterator": document({}, array(URI, **{"x-cog-array-type": "iterator"})),
    "out/file": document({"prompt": TEXT}, {"title": "Output", **URI}, required=["prompt"]),
    "out/files": document({"prompt": TEXT}, array(URI), required=["prompt"]),
    "out/texts": document({}, array(TEXT)),
    "out/numbers": document({}, array(array({"type": "number"}))),
    "out/flag": document({}, {"type": "boolean"}),
    "out/anything": document({}, {"title": "Output"}),
    "out/object": document({}, {"type": "object"}),
    "out/struct": document(
        {"audio": URI},
        struct(
            "text",
            "segments",
            text=TEXT,
            subtitles=URI,
            segments=array(ref("Segment")),
            scores={"type": "object", "additionalProperties": {"type": "number"}},
            language={"allOf": [ref("Language")]},
        ),
        required=["audio"],
        Segment=struct("start", start={"type": "number"}, words=array(TEXT)),
        Language={"type": "string", "enum": ["en", "de"]},
    ),
    "out/odd-members": document(
        {}, struct("class", **{"class": TEXT, "top-1": {"type": "number"}, "file name": URI, "inner": struct(a=TEXT)})
    ),
    "out/tree": document(
        {}, ref("Node"), Node=struct("name", name=TEXT, children=array(ref("Node")), parent=ref("Node"))
    ),
    "out/endless-list": document({}, ref("Nest"), Nest=array(ref("Nest"))),
    "out/union": document({}, {"anyOf": [TEXT, array(URI), struct(file=URI)]}),
    "out/nullable": document({}, {**URI, "nullable": True}),
    "out/circle": document({}, ref("A"), A={"allOf": [ref("B")]}, B={"allOf": [ref("A")]}),
    # --- documents and names ---
    "odd/empty": {},
    "odd/no-components": {"openapi": "3.1.0"},
    "odd/malformed": {"components": {"schemas": {"Input": [1], "Output": "text"}}},
    "odd/malformed-parts": document(
        {"a": {"type": 5, "enum": "ab"}, "b": {"anyOf": []}}, {"type": "array", "items": [1], "required": 1}
    ),
    "one/same-name": document({"a": TEXT}),
    "two/same-name": document({"b": TEXT}),
    "odd/3d.model-v1.5": document({"text": TEXT}),
    "odd/list": document({"text": TEXT}, array(TEXT)),
    "odd/overload": document({}, struct(a=TEXT)),
    "odd/file": document({}, struct(file=URI)),
    "odd/class": document({"text": TEXT}),
}
