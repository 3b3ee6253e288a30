"""The API's types: decoded from the documented examples, from less, and from what it may send in the future."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pydantic
import pytest

from replicate_async import types

PREDICTION = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": "replicate/hello-world",
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "input": {"text": "Alice", "images": ["https://a/b.png"], "seed": 2**40},
    "output": {"words": ["hello", "Alice"]},
    "logs": "loading\n",
    "error": None,
    "status": "succeeded",
    "created_at": "2023-09-08T16:19:34.765994657Z",
    "started_at": "2023-09-08T16:19:34.779176Z",
    "completed_at": "2023-09-08T16:19:34.791859+00:00",
    "deadline": "2023-09-08T18:19:34+02:00",
    "data_removed": False,
    "deployment": "acme/fast",
    "source": "api",
    "metrics": {"predict_time": 0.012683, "total_time": 0.03, "image_count": 4},
    "urls": {
        "web": "https://replicate.com/p/gm3qorzdhgbfurvjtvhg6dckhu",
        "get": "https://api.replicate.com/v1/predictions/gm3qorzdhgbfurvjtvhg6dckhu",
        "cancel": "https://api.replicate.com/v1/predictions/gm3qorzdhgbfurvjtvhg6dckhu/cancel",
        "stream": "https://stream.replicate.com/v1/files/abc",
    },
}
VERSION = {
    "id": PREDICTION["version"],
    "created_at": "2022-04-26T19:29:04.418669Z",
    "cog_version": "0.3.0",
    "openapi_schema": {"components": {"schemas": {"Input": {"type": "object"}}}},
}
MODEL = {
    "url": "https://replicate.com/replicate/hello-world",
    "owner": "replicate",
    "name": "hello-world",
    "description": "A tiny model that says hello",
    "visibility": "public",
    "github_url": "https://github.com/replicate/cog-examples",
    "paper_url": None,
    "license_url": None,
    "run_count": 5681081,
    "is_official": False,
    "cover_image_url": "",
    "default_example": PREDICTION,
    "latest_version": VERSION,
}
ACCOUNT = {
    "type": "organization",
    "username": "acme",
    "name": "Acme Corp, Inc.",
    "github_url": "https://github.com/acme",
    "avatar_url": "https://a/b.png",
}
COLLECTION = {
    "name": "Super resolution",
    "slug": "super-resolution",
    "description": "Upscaling models",
    "full_description": "# Upscaling",
    "models": [MODEL],
}

# What the API documents, thing by thing; every field that has a name in its reference.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Account": ACCOUNT,
    "Collection": COLLECTION,
    "Deployment": {
        "owner": "acme",
        "name": "image-upscaler",
        "current_release": {
            "number": 1,
            "model": "stability-ai/sdxl",
            "version": "da77bc59ee60423279fd632efb4795ab731d9e3ca9705ef3341091fb989b7eaf",
            "created_at": "2024-02-15T16:32:57.018467Z",
            "created_by": ACCOUNT,
            "configuration": {"hardware": "gpu-t4", "min_instances": 0, "max_instances": 5},
        },
    },
    "File": {
        "id": "cneqzikepnug6xezperrr4z55o",
        "name": "input.zip",
        "content_type": "application/zip",
        "size": 2_000_000_000_000,
        "etag": "abc",
        "checksums": {"sha256": "3f4e", "md5": "7ac6"},
        "metadata": {"customer": 123},
        "created_at": "2018-01-27T23:40:51Z",
        "expires_at": "2018-01-28T23:40:51Z",
        "urls": {"get": "https://api.replicate.com/v1/files/cneqzikepnug6xezperrr4z55o"},
    },
    "Hardware": {"name": "Nvidia T4 GPU", "sku": "gpu-t4"},
    "Model": MODEL,
    "ModelVersion": VERSION,
    "Prediction": PREDICTION,
    "SearchResults": {
        "query": "upscale",
        "models": [{"model": MODEL, "metadata": {"generated_description": "x", "tags": ["a"], "score": 0.9}}],
        "collections": [{"name": "a", "slug": "b", "description": "c", "models": ["replicate/hello-world"]}],
        "pages": [{"name": "Docs", "href": "/docs"}],
    },
    "Training": {
        "id": "zz4ibbonubfz7carwiefibzgga",
        "model": "stability-ai/sdxl",
        "version": "da77bc59ee60423279fd632efb4795ab731d9e3ca9705ef3341091fb989b7eaf",
        "input": {"input_images": "https://a/b.zip"},
        "output": {"version": "acme/mine:abc", "weights": "https://a/w.tar"},
        "error": None,
        "status": "processing",
        "logs": "step 1",
        "metrics": {"predict_time": 1.5},
        "source": "web",
        "created_at": "2023-03-28T21:47:58.566434Z",
        "started_at": "2023-03-28T21:48:02.402755Z",
        "completed_at": None,
        "urls": {"get": "https://a", "cancel": "https://b", "web": "https://c"},
    },
    "WebhookSecret": {"key": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
}

# The least the API sends: fields that it documents as required, or without which a thing would be none.
MINIMAL: dict[str, dict[str, Any]] = {
    "Account": {"type": "user", "username": "x"},
    "Collection": {"name": "x", "slug": "y", "description": "z"},
    "Deployment": {"owner": "x", "name": "y"},
    "File": {
        **{field: EXAMPLES["File"][field] for field in ("id", "content_type", "size", "created_at", "expires_at")},
        "checksums": {},
        "metadata": {},
        "urls": {},
    },
    "Hardware": {"name": "x", "sku": "y"},
    "Model": {"owner": "x", "name": "y"},
    "ModelVersion": {"id": "x", "created_at": "2025-01-01T00:00:00Z"},
    "Prediction": {
        field: PREDICTION[field]
        for field in (
            *("id", "model", "version", "input", "output", "data_removed", "error", "status", "created_at", "urls"),
        )
    },
    "SearchResults": {"query": "", "models": [], "collections": [], "pages": []},
    "Training": {"id": "x", "status": "starting"},
    "WebhookSecret": {"key": "whsec_"},
}


def decode(name: str, value: Any) -> Any:
    return msgspec.json.decode(json.dumps(value), type=getattr(types, name))


def public_structs() -> list[type[types.Struct]]:
    exported = [getattr(types, name) for name in types.__all__]
    return [kind for kind in exported if inspect.isclass(kind) and issubclass(kind, types.Struct)]


@pytest.fixture(params=EXAMPLES)
def name(request) -> str:
    return request.param


def test_every_documented_field_is_typed(name):
    """The documented example of each type decodes, and each of its fields is an attribute."""
    thing = decode(name, EXAMPLES[name])
    assert set(EXAMPLES[name]) <= set(thing.__struct_fields__)
    for field, value in EXAMPLES[name].items():
        assert (getattr(thing, field) is None) == (value is None)


def test_optional_fields(name):
    """Fields that the API may leave out read as None."""
    thing = decode(name, MINIMAL[name])
    optional = set(thing.__struct_fields__) - set(MINIMAL[name])
    assert {field: getattr(thing, field) for field in optional} == {
        field: {} if field == "input" else False if field == "data_removed" else None for field in optional
    }


def test_null_and_absent_are_the_same(name):
    """A field that may be absent may be null as well."""
    optional = set(EXAMPLES[name]) - set(MINIMAL[name])
    nulls = dict.fromkeys(optional) | MINIMAL[name]
    assert decode(name, nulls) == decode(name, MINIMAL[name])


def test_unknown_fields_are_ignored(name):
    """Unknown fields are ignored, at any depth, because the API grows."""

    def grown(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{key: grown(inner) for key, inner in value.items()}, "new": {"field": [1]}}
        return [grown(inner) for inner in value] if isinstance(value, list) else value

    # These are any JSON, and keep it.
    free = {"input", "output", "openapi_schema", "metadata"}
    example = {key: value if key in free else grown(value) for key, value in EXAMPLES[name].items()} | {"new": 1}
    assert set(decode(name, example).to_dict()) == set(decode(name, EXAMPLES[name]).to_dict())


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Prediction", "status"),
        ("Prediction", "source"),
        ("Training", "status"),
        ("Training", "source"),
        ("Model", "visibility"),
        ("Account", "type"),
    ],
)
def test_unknown_values_are_kept(name, field):
    """A new status or source decodes, and can be read."""
    assert getattr(decode(name, {**EXAMPLES[name], field: "brand-new"}), field) == "brand-new"


def test_a_prediction_with_its_data_removed():
    """An hour after its end a prediction has lost its data; whether null or absent, it decodes."""
    gone = decode("Prediction", {**PREDICTION, "data_removed": True, "input": {}, "output": None, "logs": None})
    assert gone.data_removed
    assert (gone.input, gone.output, gone.logs) == ({}, None, None)
    assert decode("Prediction", {**PREDICTION, "data_removed": True, "input": None}).input in ({}, None)


def test_a_wrong_type_is_refused(name):
    """A value of another type than documented raises an error with its place."""
    field = next(iter(MINIMAL[name]))
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
        decode(name, {**MINIMAL[name], field: [1]})


def test_times_are_aware(name):
    """Every time has a zone, and its fraction is kept to the microsecond."""
    thing = decode(name, EXAMPLES[name])
    times = {field: value for field in thing.__struct_fields__ if isinstance(value := getattr(thing, field), datetime)}
    assert all(value.utcoffset() is not None for value in times.values())
    if name == "Prediction":
        assert times["created_at"] == datetime(2023, 9, 8, 16, 19, 34, 765995, tzinfo=timezone.utc)
        assert times["deadline"].utcoffset() == timedelta(hours=2)


def test_structs_round_trip(name):
    """A struct becomes JSON, as a dict or as text, which decodes to an equal struct."""
    thing = decode(name, EXAMPLES[name])
    assert json.loads(thing.to_json()) == thing.to_dict()
    assert decode(name, thing.to_dict()) == thing
    assert msgspec.json.decode(thing.to_json(), type=type(thing)) == thing


def test_times_in_dicts_are_text():
    """``to_dict`` returns values that the json module can write."""
    plain = decode("Prediction", PREDICTION).to_dict()
    assert plain["completed_at"] == "2023-09-08T16:19:34.791859Z"
    assert plain["metrics"]["predict_time"] == 0.012683
    json.dumps(plain)


@pytest.mark.parametrize(
    "duplicate",
    [lambda thing: pickle.loads(pickle.dumps(thing)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deep"],
)
def test_structs_compare_copy_and_pickle(name, duplicate):
    """Two structs with the same content are equal, and a copy is another object with the same content."""
    thing = decode(name, EXAMPLES[name])
    copied = duplicate(thing)
    assert copied == thing
    assert copied is not thing
    assert type(copied) is type(thing)
    first = thing.__struct_fields__[0]
    setattr(copied, first, "changed")
    assert copied != thing


def test_deep_copies_share_nothing():
    """Changing a deep copy leaves the original as it is."""
    thing = decode("Prediction", PREDICTION)
    copy.deepcopy(thing).input["text"] = "changed"
    assert thing.input["text"] == "Alice"


def test_defaults_are_not_shared():
    """Two structs that are created without input do not share one dict."""
    first, second = (decode("Training", MINIMAL["Training"]) for _ in range(2))
    first.input["a"] = 1
    assert second.input == {}


def test_reprs_show_the_content(name):
    """The repr of a struct is the expression that creates it, except for the secret."""
    text = repr(decode(name, EXAMPLES[name]))
    assert text.startswith(f"{name}(")
    if name == "WebhookSecret":
        assert EXAMPLES[name]["key"] not in text
    else:
        assert f"{next(iter(EXAMPLES[name]))}=" in text


@pytest.mark.parametrize(
    ("status", "completed", "done"),
    [
        ("starting", False, False),
        ("processing", False, False),
        ("processing", True, False),
        ("starting", True, False),
        ("succeeded", False, True),
        ("failed", False, True),
        ("canceled", False, True),
        ("aborted", False, True),
        ("queued", False, False),
        ("exploded", True, True),
    ],
)
@pytest.mark.parametrize("name", ["Prediction", "Training"])
def test_done(name, status, completed, done):
    """A final status ends a job, an unknown one with a time of completion does too, and a running one never."""
    completed_at = PREDICTION["completed_at"] if completed else None
    assert decode(name, {**EXAMPLES[name], "status": status, "completed_at": completed_at}).done is done


def test_fields_are_given_by_name():
    """Fields are passed by name: their order may change when the API grows."""
    with pytest.raises(TypeError):
        types.Hardware("x", "y")  # type: ignore[misc]


def test_all_structs_are_documented_and_exported():
    """Each struct of the module is in ``__all__`` and has a docstring; every name in ``__all__`` exists."""
    assert all(kind.__doc__ and not kind.__doc__.startswith(kind.__name__) for kind in public_structs())
    own = {
        name
        for name, kind in vars(types).items()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == types.__name__
    }
    assert {name for name in own if not name.startswith("_")} - set(types.__all__) <= {"PageData"}


def test_pydantic_uses_structs_as_fields():
    """A pydantic model may have structs as fields: from JSON or as they are, and returned as JSON."""

    class Answer(pydantic.BaseModel):
        account: types.Account

    made = Answer.model_validate({"account": ACCOUNT})
    assert made.account == decode("Account", ACCOUNT)
    assert Answer(account=made.account).account == made.account
    assert json.loads(made.model_dump_json())["account"]["username"] == "acme"
    assert "account" in Answer.model_json_schema()["properties"]
    with pytest.raises(pydantic.ValidationError):
        Answer.model_validate({"account": {"type": 5}})
