"""The objects that the API returns, as plain structs.

Unknown fields are ignored and unknown enum values are kept, because the API adds both without notice. Fields that
the API may omit are ``None``. Times are timezone-aware. A field whose value is not of the documented type keeps the
value as the API sent it.

Source: https://replicate.com/docs/reference/http
"""

from __future__ import annotations

import re
import reprlib
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, cast

import msgspec

from replicate_async._hints import Hinted

__all__ = [
    "Account",
    "Collection",
    "Deployment",
    "DeploymentConfiguration",
    "DeploymentRelease",
    "File",
    "FileChecksums",
    "FileUrls",
    "Hardware",
    "Model",
    "ModelVersion",
    "Prediction",
    "PredictionMetrics",
    "PredictionUrls",
    "Progress",
    "SearchCollection",
    "SearchModel",
    "SearchModelMetadata",
    "SearchPage",
    "SearchResults",
    "Source",
    "Status",
    "Struct",
    "Training",
    "TrainingOutput",
    "TrainingUrls",
    "Visibility",
    "WebhookEvent",
    "WebhookSecret",
]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")

# Arguments accept only known values. Fields of responses accept any.
WebhookEvent = Literal["start", "output", "logs", "completed"]

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

    Input = dict[str, Any]
    Flag = bool
    Metrics: TypeAlias = "PredictionMetrics"
    Output: TypeAlias = "TrainingOutput | str | list[Any]"
    AccountType = Literal["user", "organization"] | str
    Source = Literal["web", "api"] | str
    Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"] | str
    Visibility = Literal["public", "private"] | str
else:

    def _open_enum(*values: str) -> Any:
        """Return the type of a text that has known values. The decoder accepts any, schemas show the known ones."""
        return Annotated[str, msgspec.Meta(extra_json_schema={"anyOf": [{"enum": [*values]}, {"type": "string"}]})]

    AccountType = _open_enum("user", "organization")
    Source = _open_enum("web", "api")
    Status = _open_enum("starting", "processing", "succeeded", "failed", "canceled", "aborted")
    Visibility = _open_enum("public", "private")
    # These may be null after the data is removed, and are then empty.
    Input = dict[str, Any] | None
    Flag = bool | None
    # The decoder makes dicts, which become their types afterwards.
    Metrics = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema={"title": "PredictionMetrics"})]
    Output = dict[str, Any] | str | list[Any]

# Times are always timezone-aware.
Time = Annotated[datetime, msgspec.Meta(tz=True)]
if not TYPE_CHECKING:
    # The class itself, also if a test has frozen the time while this module is imported.
    Time = Annotated[next(kind for kind in datetime.__mro__ if kind.__module__ == "datetime"), Time.__metadata__[0]]
# Marks the fields without which an object can't be used. The lenient decoder accepts surprises in all others.
ESSENTIAL = msgspec.Meta(extra={"essential": True})
Id = Annotated[str, ESSENTIAL]
# A job's id becomes a part of paths.
JobId = Annotated[Id, msgspec.Meta(pattern=r"^[^/?#.\x00-\x20\x7f][^/?#\x00-\x20\x7f]*$")]

# Tuples, because a status of an unexpected type may have no hash.
_TERMINAL = ("succeeded", "failed", "canceled", "aborted")
_RUNNING = ("starting", "processing")


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
_brief.maxlevel = 3


class Struct(Hinted, msgspec.Struct, kw_only=True):
    """The base of all objects of the API. They can be compared, printed, copied, pickled and serialized to JSON."""

    # The fields that the repr shows; all if empty.
    _shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self._shown or self.__struct_fields__)
        shown = [f"{name}={_brief.repr(value)}" for name, value in fields if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the object as a dict of JSON-compatible values; times become ISO 8601 strings.

        pandas makes a table with a column for each field: ``DataFrame([p.to_dict() for p in predictions])``.
        """
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_json(self) -> str:
        """Return the object as a JSON document."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Let pydantic, and so FastAPI, use the object as a field or a result."""
        # Only pydantic calls this, so pydantic_core is installed.
        from pydantic_core import core_schema

        def convert(value: object) -> Struct:
            if isinstance(value, cls):
                return value
            try:
                return msgspec.convert(value, cls)
            except msgspec.ValidationError as error:
                # Pydantic expects a ValueError, which msgspec's error is only from version 0.20 on.
                raise ValueError(str(error)) from error

        return core_schema.no_info_plain_validator_function(
            convert,
            # Makes it a named component of the application's document.
            ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
            json_schema_input_schema=core_schema.dict_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_dict, when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """Describe the object in the OpenAPI document of an application."""
        from pydantic import TypeAdapter
        from pydantic_core import core_schema

        (top,), components = msgspec.json.schema_components((cls,))

        def inline(part: Any) -> Any:
            if isinstance(part, dict):
                fields = cast("dict[str, Any]", part)
                if "$ref" in fields:
                    name = fields["$ref"].rpartition("/")[2]
                    nested: Any = globals().get(name)
                    if nested is not None and nested is not cls:
                        # Within a list, because the handler itself describes only what is of this class.
                        return handler(core_schema.list_schema(TypeAdapter(nested).core_schema))["items"]
                    # The application's document has no place for other definitions than those of pydantic.
                    return inline(components[name])
                return {key: inline(value) for key, value in fields.items()}
            if isinstance(part, list):
                return [inline(item) for item in cast("list[Any]", part)]  # type: ignore[redundant-cast]  # for pyright
            return part

        inlined: dict[str, Any] = inline(top)
        return inlined


class OpenStruct(dict[str, Any]):
    """The base of objects that may have any member. All members are keys, and attributes as well."""

    _documented: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        cls._documented = frozenset(cls.__annotations__)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name in self._documented:
                return None
            raise AttributeError(f"{type(self).__name__} has no member {name!r}", name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._documented, *self]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Return the members as a dict of JSON-compatible values."""
        return dict(self)

    def to_json(self) -> str:
        """Return the object as a JSON document."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Let pydantic, and so FastAPI, use the object as a field or a result."""
        # Only pydantic calls this, so pydantic_core is installed.
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.dict_schema(core_schema.str_schema()))


class _OpenField:
    """A field that is decoded as a dict, and becomes an object when it is read: most are not, and decoding is fast."""

    def __init__(self, owner: type[Struct], name: str, kind: type[OpenStruct]) -> None:
        self._field: Any = getattr(owner, name)
        self._kind = kind
        setattr(owner, name, self)

    def __get__(self, instance: Any, owner: type) -> Any:
        value: Any = self._field.__get__(instance, owner)
        if type(value) is dict:
            value = self._kind(cast("dict[str, Any]", value))
            self._field.__set__(instance, value)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        self._field.__set__(instance, value)


def has_ended(status: object, completed_at: object) -> bool:
    """Whether a status is final, or unknown to this version while there is a completion time."""
    return status in _TERMINAL or (status not in _RUNNING and bool(completed_at))


def logs_of(job: Prediction | Training) -> str:
    """Return the logs of a prediction or training; empty if it has none, or something that is not a text."""
    return job.logs if isinstance(job.logs, str) else ""


class _Job(Struct, kw_only=True):
    """The base of predictions and trainings, which have a status that becomes final."""

    id: JobId
    status: Status
    completed_at: Time | None = None
    input: Input = {}
    metrics: Metrics | None = None
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None
    webhook_completed: str | None = None

    _shown: ClassVar[tuple[str, ...]] = ("id", "status", "model", "output", "error")

    def __post_init__(self) -> None:
        if self.input is None:  # pyright: ignore[reportUnnecessaryComparison]
            self.input = {}

    def _repr_html_(self) -> str:
        """Show a table in notebooks."""
        from html import escape

        web = getattr(getattr(self, "urls", None), "web", None)
        values = {**{name: getattr(self, name) for name in self._shown}, "input": self.input, "metrics": self.metrics}
        texts = {
            name: value if isinstance(value, str) else _brief.repr(value) for name, value in values.items() if value
        }
        rows = {name: escape(text if len(text) <= 500 else f"{text[:500]}...") for name, text in texts.items()}
        if isinstance(web, str) and web.startswith("https://"):
            rows["id"] = f'<a href="{escape(web)}">{rows["id"]}</a>'
        cells = "".join(
            f"<tr><th>{name}</th><td style='text-align: left'>{text}</td></tr>" for name, text in rows.items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{cells}</table>"

    @property
    def done(self) -> bool:
        """Whether the status is final, or unknown to this version while there is a completion time."""
        return has_ended(self.status, self.completed_at)


class Account(Struct, kw_only=True):
    """A user or an organization."""

    type: AccountType
    username: Id
    name: str | None = None
    github_url: str | None = None
    avatar_url: str | None = None


class PredictionUrls(Struct, kw_only=True):
    """The URLs to fetch, cancel, stream and view a prediction."""

    get: str | None = None
    cancel: str | None = None
    stream: str | None = None
    web: str | None = None


class PredictionMetrics(OpenStruct):
    """The metrics of a prediction: times in seconds, token counts of language models, and what else the model reports.

    All of them are keys, and attributes as well: ``metrics["image_count"]`` and ``metrics.image_count``. A metric with
    a name below that was not reported is None as an attribute.
    """

    predict_time: float | None
    total_time: float | None
    time_to_first_token: float | None
    tokens_per_second: float | None
    input_token_count: float | None
    output_token_count: float | None


# A progress bar of tqdm: " 40%|####      | 20/50 [00:02<00:03, 9.8it/s]"; counts may be scaled, as in "1.50G/2.00G".
# Bounded, because logs can be long and full of digits.
_COUNT = r"(\d{1,15}(?:\.\d{1,15})?)([kMGTPEZY]?)"
_PROGRESS_BAR = re.compile(rf"(?<![\d.])(\d{{1,3}}(?:\.\d{{1,3}})?)%\|[^|\r\n]{{0,500}}\| *{_COUNT}/{_COUNT}")
_SCALE = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGTPEZY", 1)}}


class Progress(Struct, kw_only=True):
    """The progress of a prediction: ``percentage`` from 0 to 1, and ``current`` of ``total`` steps."""

    percentage: float
    current: int
    total: int


class Prediction(_Job, kw_only=True):
    """One run of a model."""

    model: str | None = None
    version: str | None = None
    created_at: Time
    urls: PredictionUrls = msgspec.field(default_factory=PredictionUrls)
    output: Any = None
    error: str | None = None
    logs: str | None = None
    data_removed: Flag = False
    started_at: Time | None = None
    deadline: Time | None = None
    deployment: str | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        # This runs for each prediction of a page, where a call of the base class would take an eighth of the decoding.
        if self.input is None:  # pyright: ignore[reportUnnecessaryComparison]
            super().__post_init__()
        if self.data_removed is None:  # pyright: ignore[reportUnnecessaryComparison]
            self.data_removed = False

    @property
    def progress(self) -> Progress | None:
        """The progress according to the last progress bar in the logs; None if there is none."""
        bars = _PROGRESS_BAR.findall(logs_of(self))
        if not bars:
            return None
        percentage, current, current_unit, total, total_unit = bars[-1]
        return Progress(
            percentage=float(percentage) / 100,
            current=int(float(current) * _SCALE[current_unit]),
            total=int(float(total) * _SCALE[total_unit]),
        )


class ModelVersion(Struct, kw_only=True):
    """A version of a model, with the OpenAPI document that describes its inputs and outputs."""

    id: Id
    created_at: Time
    cog_version: str | None = None
    openapi_schema: dict[str, Any] | None = None


class Model(Struct, kw_only=True):
    """A model, with its latest version."""

    owner: Id
    name: Id
    url: str | None = None
    visibility: Visibility | None = None
    description: str | None = None
    github_url: str | None = None
    paper_url: str | None = None
    weights_url: str | None = None
    license_url: str | None = None
    cover_image_url: str | None = None
    run_count: int | None = None
    is_official: bool | None = None
    created_at: Time | None = None
    default_example: Prediction | None = None
    latest_version: ModelVersion | None = None


class Collection(Struct, kw_only=True):
    """A curated list of models; ``models`` is filled by ``collections.get``, not by lists."""

    name: str
    slug: Id
    description: str | None = None
    full_description: str | None = None
    models: list[Model] | None = None


class DeploymentConfiguration(Struct, kw_only=True):
    """The hardware and the scaling bounds of a deployment's release."""

    hardware: str | None = None
    min_instances: int | None = None
    max_instances: int | None = None


class DeploymentRelease(Struct, kw_only=True):
    """The current release of a deployment."""

    number: int | None = None
    model: str | None = None
    version: str | None = None
    created_at: Time | None = None
    created_by: Account | None = None
    configuration: DeploymentConfiguration | None = None


class Deployment(Struct, kw_only=True):
    """A model version that runs on hardware of your choice."""

    owner: Id
    name: Id
    current_release: DeploymentRelease | None = None


class FileChecksums(Struct, kw_only=True):
    """Digests of a file's content, in hexadecimal."""

    sha256: str | None = None
    md5: str | None = None


class FileUrls(Struct, kw_only=True):
    """The URL to fetch a file."""

    get: str | None = None


class File(Struct, kw_only=True):
    """A file uploaded to Replicate; ``size`` is in bytes."""

    id: Id
    content_type: str
    size: int
    created_at: Time
    expires_at: Time | None = None
    name: str | None = None
    etag: str | None = None
    checksums: FileChecksums
    metadata: dict[str, Any]
    urls: FileUrls


class TrainingOutput(OpenStruct):
    """The output of a training: the reference of the new version, the URL of the weights, and other members."""

    version: str | None
    weights: str | None


class TrainingUrls(PredictionUrls, kw_only=True):
    """The URLs to fetch, cancel, stream and view a training."""


class Training(_Job, kw_only=True):
    """One fine-tuning of a model."""

    model: str | None = None
    version: str | None = None
    output: Output | None = None
    error: str | None = None
    logs: str | None = None
    source: Source | None = None
    created_at: Time | None = None
    started_at: Time | None = None
    urls: TrainingUrls | None = None


_OpenField(_Job, "metrics", PredictionMetrics)
_OpenField(Training, "output", TrainingOutput)


class Hardware(Struct, kw_only=True):
    """A kind of hardware; ``models.create`` and ``deployments.create`` accept its ``sku``."""

    name: str
    sku: Id


class WebhookSecret(Struct, kw_only=True):
    """The key that signs webhooks."""

    key: Id

    def __repr__(self) -> str:
        return "WebhookSecret(key='whsec_...')"


class SearchModelMetadata(Struct, kw_only=True):
    """Details of a model that matches a search."""

    generated_description: str | None = None
    tags: list[str] | None = None
    score: float | None = None


class SearchModel(Struct, kw_only=True):
    """A model that matches a search."""

    model: Model
    metadata: SearchModelMetadata | None = None


class SearchCollection(Struct, kw_only=True):
    """A collection that matches a search; ``models`` are names."""

    name: str
    slug: Id
    description: str | None = None
    models: list[str] | None = None


class SearchPage(Struct, kw_only=True):
    """A page of the documentation that matches a search."""

    name: str
    href: Id


class SearchResults(Struct, kw_only=True):
    """The results of a search."""

    query: str
    models: list[SearchModel] = []
    collections: list[SearchCollection] = []
    pages: list[SearchPage] = []


class PageData(Struct, Generic[T], kw_only=True):
    """One page of a list as the API sends it; ``next`` and ``previous`` are URLs."""

    results: Annotated[list[T], ESSENTIAL]
    next: str | None = None
    previous: str | None = None
