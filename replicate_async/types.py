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
from replicate_async._typing import PydanticType

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
JOB_ID_PATTERN = r"^[^/?#.\x00-\x20\x7f][^/?#\x00-\x20\x7f]*\Z"

# Tuples, because a status of an unexpected type may have no hash.
_TERMINAL = ("succeeded", "failed", "canceled", "aborted")
_RUNNING = ("starting", "processing")


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
_brief.maxlevel = 3


class Struct(PydanticType, Hinted, msgspec.Struct, kw_only=True):
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

    id: Id
    """Unique id, by which ``get``, ``cancel`` and ``wait`` find it."""
    status: Status
    """``starting``, ``processing``, or final: ``succeeded``, ``failed``, ``canceled``, ``aborted`` (before it ran)."""
    completed_at: Time | None = None
    """Time at which the status became final. None before, and in responses to ``Prefer: wait``."""
    input: Input = {}
    """Inputs by name, as the API echoes them. Empty after the API has removed the data."""
    metrics: Metrics | None = None
    """Durations in seconds, token counts, and other numbers that the model reports. None before the end."""
    webhook: str | None = None
    """URL that receives webhook events."""
    webhook_events_filter: list[str] | None = None
    """Events that are sent to the webhook: ``start``, ``output``, ``logs``, ``completed``."""
    webhook_completed: str | None = None
    """URL that older clients set for the ``completed`` event only."""

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
    """``user`` or ``organization``."""
    username: Id
    """Name in URLs, for example in ``owner/model``."""
    name: str | None = None
    """Display name."""
    github_url: str | None = None
    """URL of the GitHub profile."""
    avatar_url: str | None = None
    """URL of the picture."""


class PredictionUrls(Struct, kw_only=True):
    """The URLs to fetch, cancel, stream and view a prediction."""

    get: str | None = None
    """API URL of the prediction or training."""
    cancel: str | None = None
    """API URL to cancel it, with POST."""
    stream: str | None = None
    """URL of the event stream of its output."""
    web: str | None = None
    """Page on replicate.com."""


class PredictionMetrics(OpenStruct):
    """The metrics of a prediction: times in seconds, token counts of language models, and what else the model reports.

    All of them are keys, and attributes as well: ``metrics["image_count"]`` and ``metrics.image_count``. A metric with
    a name below that was not reported is None as an attribute.
    """

    predict_time: float | None
    """Seconds for which the model ran. Most community models are billed by it."""
    total_time: float | None
    """Seconds from the creation to the end, including the time in the queue."""
    time_to_first_token: float | None
    """Seconds until the first token of a language model."""
    tokens_per_second: float | None
    """Output tokens per second of a language model."""
    input_token_count: float | None
    """Number of tokens in the input of a language model."""
    output_token_count: float | None
    """Number of tokens in the output of a language model."""


# A progress bar of tqdm: " 40%|####      | 20/50 [00:02<00:03, 9.8it/s]"; counts may be scaled, as in "1.50G/2.00G".
# Bounded, because logs can be long and full of digits.
_COUNT = r"(\d{1,15}(?:\.\d{1,15})?)([kMGTPEZY]?)"
_PROGRESS_BAR = re.compile(rf"(?<![\d.])(\d{{1,3}}(?:\.\d{{1,3}})?)%\|[^|\r\n]{{0,500}}\| *{_COUNT}/{_COUNT}")
_SCALE = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGTPEZY", 1)}}


class Progress(Struct, kw_only=True):
    """The progress of a prediction: ``percentage`` from 0 to 1, and ``current`` of ``total`` steps."""

    percentage: float
    """Fraction that is done, from 0 to 1."""
    current: int
    """Number of steps that are done."""
    total: int
    """Number of all steps."""


class Prediction(_Job, kw_only=True):
    """One run of a model."""

    model: str | None = None
    """Name of the model, ``owner/name``. None if the API omits it."""
    version: str | None = None
    """Id of the version, or ``hidden`` for official models."""
    created_at: Time
    """Time of creation."""
    urls: PredictionUrls = msgspec.field(default_factory=PredictionUrls)
    """URLs of the prediction."""
    output: Any = None
    """Output as JSON, with files as URLs or data URIs. None until there is some. The API removes it an hour after the
    end."""
    error: str | None = None
    """Why the prediction failed, usually a text. None if it did not."""
    logs: str | None = None
    """What the model has printed so far. None if the API omits it."""
    data_removed: Flag = False
    """Whether the API has removed the input, output, and logs."""
    started_at: Time | None = None
    """Time at which the model started. None before."""
    deadline: Time | None = None
    """Time at which the API cancels the prediction, if ``cancel_after`` was passed."""
    deployment: str | None = None
    """Name of the deployment that runs it, ``owner/name``."""
    source: Source | None = None
    """``web`` if it was created on replicate.com, ``api`` otherwise."""

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
    """Id of 64 hexadecimal digits."""
    created_at: Time
    """Time at which the version was pushed."""
    cog_version: str | None = None
    """Version of Cog that built it."""
    openapi_schema: dict[str, Any] | None = None
    """OpenAPI document as a dict. ``Input`` and ``Output`` are below ``components`` and ``schemas``."""


class Model(Struct, kw_only=True):
    """A model, with its latest version."""

    owner: Id
    """Username of the owner."""
    name: Id
    """Name of the model, without the owner."""
    url: str | None = None
    """Page on replicate.com."""
    visibility: Visibility | None = None
    """``public`` or ``private``."""
    description: str | None = None
    """What the model does, in a sentence."""
    github_url: str | None = None
    """URL of the source code."""
    paper_url: str | None = None
    """URL of the paper."""
    weights_url: str | None = None
    """URL of the weights."""
    license_url: str | None = None
    """URL of the license."""
    cover_image_url: str | None = None
    """URL of the picture on the model's page."""
    run_count: int | None = None
    """Number of predictions so far, of all users."""
    is_official: bool | None = None
    """Whether Replicate maintains the model. Official models run by name and have no public versions."""
    created_at: Time | None = None
    """Time of creation."""
    default_example: Prediction | None = None
    """Prediction that the model's page shows."""
    latest_version: ModelVersion | None = None
    """Newest version. None for a model without versions, and for some official models."""


class Collection(Struct, kw_only=True):
    """A curated list of models; ``models`` is filled by ``collections.get``, not by lists."""

    name: str
    """Title of the collection."""
    slug: Id
    """Name in URLs, and argument of ``collections.get``."""
    description: str | None = None
    """What the collection contains, in a sentence."""
    full_description: str | None = None
    """Longer description in Markdown."""
    models: list[Model] | None = None
    """Models of the collection. None in lists."""


class DeploymentConfiguration(Struct, kw_only=True):
    """The hardware and the scaling bounds of a deployment's release."""

    hardware: str | None = None
    """SKU of the hardware."""
    min_instances: int | None = None
    """Number of instances that always run, 0 to 5."""
    max_instances: int | None = None
    """Number of instances that run at most, 0 to 20."""


class DeploymentRelease(Struct, kw_only=True):
    """The current release of a deployment."""

    number: int | None = None
    """Number of the release; the first is 1."""
    model: str | None = None
    """Name of the model, ``owner/name``."""
    version: str | None = None
    """Id of the version."""
    created_at: Time | None = None
    """Time of the release."""
    created_by: Account | None = None
    """Account that made the release."""
    configuration: DeploymentConfiguration | None = None
    """Hardware and number of instances."""


class Deployment(Struct, kw_only=True):
    """A model version that runs on hardware of your choice."""

    owner: Id
    """Username of the owner."""
    name: Id
    """Name of the deployment, without the owner."""
    current_release: DeploymentRelease | None = None
    """Release that runs now."""


class FileChecksums(Struct, kw_only=True):
    """Digests of a file's content, in hexadecimal."""

    sha256: str | None = None
    """SHA-256 digest, 64 hexadecimal digits."""
    md5: str | None = None
    """MD5 digest, 32 hexadecimal digits."""


class FileUrls(Struct, kw_only=True):
    """The URL to fetch a file."""

    get: str | None = None
    """API URL of the file, which is also the value to pass as a model's input."""


class File(Struct, kw_only=True):
    """A file uploaded to Replicate; ``size`` is in bytes."""

    id: Id
    """Unique id, by which ``get``, ``download`` and ``delete`` find it."""
    content_type: str
    """MIME type, for example ``image/png``."""
    size: int
    """Size in bytes."""
    created_at: Time
    """Time of the upload."""
    expires_at: Time | None = None
    """Time at which the API deletes the file."""
    name: str | None = None
    """File name, without folders."""
    etag: str | None = None
    """Entity tag of the content."""
    checksums: FileChecksums
    """Digests of the content."""
    metadata: dict[str, Any]
    """Metadata that was passed to ``files.create``."""
    urls: FileUrls
    """URLs of the file."""


class TrainingOutput(OpenStruct):
    """The output of a training: the reference of the new version, the URL of the weights, and other members."""

    version: str | None
    """Reference of the new version, ``owner/name:id``. ``run`` accepts it."""
    weights: str | None
    """URL of the trained weights."""


class TrainingUrls(PredictionUrls, kw_only=True):
    """The URLs to fetch, cancel, stream and view a training."""


class Training(_Job, kw_only=True):
    """One fine-tuning of a model."""

    model: str | None = None
    """Name of the model that was trained, ``owner/name``."""
    version: str | None = None
    """Id of the version that was trained."""
    output: Output | None = None
    """New version and weights. None until there are some; a text or a list for some trainers."""
    error: str | None = None
    """Why the training failed. None if it did not."""
    logs: str | None = None
    """What the trainer has printed so far."""
    source: Source | None = None
    """``web`` if it was created on replicate.com, ``api`` otherwise."""
    created_at: Time | None = None
    """Time of creation."""
    started_at: Time | None = None
    """Time at which the trainer started. None before."""
    urls: TrainingUrls | None = None
    """URLs of the training. Some trainings have those of a prediction."""


_OpenField(_Job, "metrics", PredictionMetrics)
_OpenField(Training, "output", TrainingOutput)


class Hardware(Struct, kw_only=True):
    """A kind of hardware; ``models.create`` and ``deployments.create`` accept its ``sku``."""

    name: str
    """Display name, for example ``Nvidia T4 GPU``."""
    sku: Id
    """Identifier that ``models.create`` and ``deployments.create`` accept."""


class WebhookSecret(Struct, kw_only=True):
    """The key that signs webhooks."""

    key: Id
    """Key with the prefix ``whsec_``. Keep it secret: ``repr`` does not show it."""

    def __repr__(self) -> str:
        return "WebhookSecret(key='whsec_...')"


class SearchModelMetadata(Struct, kw_only=True):
    """Details of a model that matches a search."""

    generated_description: str | None = None
    """Description that Replicate generated."""
    tags: list[str] | None = None
    """Keywords."""
    score: float | None = None
    """Relevance; higher is better."""


class SearchModel(Struct, kw_only=True):
    """A model that matches a search."""

    model: Model
    """The model."""
    metadata: SearchModelMetadata | None = None
    """Relevance and keywords."""


class SearchCollection(Struct, kw_only=True):
    """A collection that matches a search; ``models`` are names."""

    name: str
    """Title of the collection."""
    slug: Id
    """Name in URLs, and argument of ``collections.get``."""
    description: str | None = None
    """What the collection contains, in a sentence."""
    models: list[str] | None = None
    """Names of the models, ``owner/name``."""


class SearchPage(Struct, kw_only=True):
    """A page of the documentation that matches a search."""

    name: str
    """Title of the page."""
    href: Id
    """URL of the page."""


class SearchResults(Struct, kw_only=True):
    """The results of a search."""

    query: str
    """Text that was searched for."""
    models: list[SearchModel] = []
    """Models that match, the most relevant first."""
    collections: list[SearchCollection] = []
    """Collections that match."""
    pages: list[SearchPage] = []
    """Pages of the documentation that match."""


class PageData(Struct, Generic[T], kw_only=True):
    """One page of a list as the API sends it; ``next`` and ``previous`` are URLs."""

    results: Annotated[list[T], ESSENTIAL]
    """Objects of the page."""
    next: str | None = None
    """URL of the next page. None on the last page."""
    previous: str | None = None
    """URL of the previous page. None on the first page."""
