"""The state of a local server: plain data, and the rules for it. Independent of HTTP, except for URLs in responses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from replicate_async.types import (
    Account,
    Collection,
    Deployment,
    DeploymentConfiguration,
    DeploymentRelease,
    File,
    Hardware,
    Model,
    ModelVersion,
    Prediction,
    PredictionMetrics,
    PredictionUrls,
    Training,
)

from ._calls import Call, invalid, not_found
from ._event_log import EventLog
from ._files import OutputFile, read_data_uri
from ._functions import ModelFunction
from ._hosted import HostedModel, Version
from ._jobs import Job
from ._limits import Limits, RateLimiter
from ._outputs import RETENTION, Outputs
from ._real_clock import Clock
from ._runner import NotStartedError, Runner
from ._table import Table
from ._webhooks import Webhooks

HARDWARE = [
    Hardware(name="CPU", sku="cpu"),
    Hardware(name="Nvidia T4 GPU", sku="gpu-t4"),
    Hardware(name="Nvidia L40S GPU", sku="gpu-l40s"),
    Hardware(name="Nvidia A100 (80GB) GPU", sku="gpu-a100-large"),
    Hardware(name="Nvidia H100 GPU", sku="gpu-h100"),
]
Sku = Annotated[str, Meta(extra_json_schema={"enum": [hardware.sku for hardware in HARDWARE]})]
FILE_LIFETIME = timedelta(hours=24)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[0-9a-f]{64}")


@dataclass
class StoredFile:
    """An uploaded file."""

    record: File
    content: bytes


class Store:
    """The state of one server."""

    def __init__(
        self,
        *,
        username: str,
        page_size: int | None,
        api_url: str | None,
        tidy: bool,
        hold: float,
        files: Literal["url", "data"],
        resume_streams: bool,
        limits: Limits | None,
        webhooks: Webhooks,
        clock: Clock,
    ) -> None:
        # Empty until the server listens.
        self.url = self.delivery_url = ""
        self._api_url = api_url
        self.tidy = tidy
        self.output_files: Literal["url", "data"] = files
        self.page_size = page_size
        self.hold = hold
        self.resume_streams = resume_streams
        self.clock = clock
        self.limiter = RateLimiter(limits, clock)
        self.webhooks = webhooks
        self.account = Account(
            type="user", username=username, name=username.title(), github_url=f"https://github.com/{username}"
        )
        self.hardware = list(HARDWARE)
        self.models: Table[HostedModel] = Table()
        self.versions: dict[str, tuple[HostedModel, Version]] = {}
        self.predictions: Table[Prediction] = Table()
        self.trainings: Table[Training] = Table()
        self.jobs: dict[str, Job[Any]] = {}
        self.streams: dict[str, EventLog] = {}
        self.outputs = Outputs(clock)
        self.deployments: Table[Deployment] = Table()
        self.files: Table[StoredFile] = Table()
        self.collections: Table[Collection] = Table()
        self.collections.add(
            "local-models",
            Collection(
                name="Local models",
                slug="local-models",
                description="All public models on this server.",
                full_description="# Local models\n\nAll public models that are registered on this local server.",
            ),
        )
        self.files_secret = os.urandom(32)
        self.runner = Runner(clock, self.publish)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def listen(self, url: str, delivery_url: str) -> None:
        """Set the server's origins, which the URLs in responses start with."""
        self.url, self.delivery_url = url, delivery_url
        for model in self.models.values():
            for example in model.examples.values():
                example.urls = self._urls(example.id)

    @property
    def api_url(self) -> str:
        """The origin of the API in responses."""
        return self._api_url or self.url

    # Models

    def add_model(self, name: str, **fields: Any) -> HostedModel:
        """Add a model without versions. ``fields`` are further fields of the API's model."""
        owner, slash, short = name.partition("/")
        if not slash or not NAME.fullmatch(owner) or not NAME.fullmatch(short):
            raise ValueError(f"a model's name is owner/name, of letters, digits and - _ . : got {name!r}")
        url = f"https://replicate.com/{name}"
        record = Model(owner=owner, name=short, url=url, run_count=0, is_official=False, **fields)
        return self.models.add(name, HostedModel(record, self.clock.now()))

    def add_version(self, model: HostedModel, function: ModelFunction, version_id: str | None = None) -> Version:
        """Add a version to a model as its latest, or replace the version with the same id."""
        version_id = version_id or hashlib.sha256(model.name.encode()).hexdigest()
        if not _VERSION.fullmatch(version_id):
            raise ValueError(f"a version is 64 hexadecimal digits in lower case: got {version_id!r}")
        if version_id in self.versions and self.versions[version_id][0] is not model:
            raise ValueError(f"version {version_id} belongs to {self.versions[version_id][0].name}")
        record = ModelVersion(
            id=version_id,
            created_at=self.clock.now(),
            cog_version="0.14.0",
            openapi_schema=function.signature.document,
        )
        version = model.versions.add(version_id, Version(record, function))
        self.versions[version_id] = (model, version)
        self.update_latest_version(model)
        return version

    def update_latest_version(self, model: HostedModel) -> None:
        """Set the latest version that clients see: most official models have none."""
        hidden = model.record.is_official and not self.tidy and not model.shows_version
        model.record.latest_version = model.latest.record if model.latest and not hidden else None

    def remove_version(self, model: HostedModel, version_id: str) -> None:
        """Remove a version and its predictions."""
        model.versions.remove(version_id)
        del self.versions[version_id]
        self.update_latest_version(model)
        for prediction in list(self.predictions.values()):
            if prediction.version == version_id:
                self.jobs[prediction.id].cancel()
                self.predictions.remove(prediction.id)

    def model(self, owner: str, name: str) -> HostedModel:
        """Return a model, or raise the API's 404."""
        try:
            return self.models[f"{owner}/{name}"]
        except KeyError:
            raise not_found() from None

    def runnable(self, owner: str, name: str) -> tuple[HostedModel, Version]:
        """Return a model that runs by name, with its latest version, or raise the API's 404."""
        model = self.model(owner, name)
        if model.latest is None or not (model.record.is_official or self.tidy):
            raise not_found()
        return model, model.latest

    def check_hardware(self, sku: str) -> None:
        """Raise the API's 422 if the hardware doesn't exist."""
        skus = [hardware.sku for hardware in self.hardware]
        if sku not in skus:
            words = ", ".join(f'"{each}"' for each in skus)
            raise invalid("hardware", f"hardware must be one of the following: {words}", "enum")

    def deployment(self, call: Call) -> tuple[Deployment, DeploymentRelease, DeploymentConfiguration]:
        """Return the deployment that the path of a call names, with its release, or raise the API's 404."""
        owner, name = call.path_arguments["deployment_owner"], call.path_arguments["deployment_name"]
        deployment = self.deployments.get(f"{owner}/{name}")
        if deployment is None:
            raise not_found()
        release = deployment.current_release or DeploymentRelease()
        return deployment, release, release.configuration or DeploymentConfiguration()

    # Predictions and trainings

    def new_id(self) -> str:
        """Return an id like those of the API: 26 characters of base 32."""
        return base64.b32encode(os.urandom(17))[:26].decode().lower()

    def new_prediction(
        self, model: HostedModel, version: Version, inputs: dict[str, Any], deployment: str | None = None
    ) -> Prediction:
        """Return a prediction that has not started, and isn't in the list yet."""
        prediction_id = self.new_id()
        return Prediction(
            id=prediction_id,
            model=model.name,
            version="hidden" if model.record.is_official else version.record.id,
            input=inputs,
            logs="",
            status="starting",
            created_at=self.clock.now(),
            deployment=deployment,
            source="api",
            urls=self._urls(prediction_id),
        )

    def _urls(self, prediction_id: str) -> PredictionUrls:
        api = f"{self.api_url}/v1/predictions/{prediction_id}"
        return PredictionUrls(get=api, cancel=f"{api}/cancel", web=f"https://replicate.com/p/{prediction_id}")

    def add_stream(self, job: Job[Any]) -> str:
        """Keep the events of a job, and return the URL of its event stream."""
        key = secrets.token_urlsafe(32)
        self.streams[key] = EventLog(job, self.clock)
        return f"{self.delivery_url}/v1/files/{key}"

    def predict(
        self,
        prediction: Prediction,
        model: HostedModel,
        version: Version,
        arguments: dict[str, Any],
        *,
        cancel_after: float | None = None,
        interruption: str | None = None,
    ) -> Job[Prediction]:
        """Add a prediction to the list, and run it, or let it fail before its start with an interruption."""
        job = Job(prediction, self.clock)
        job.list_lag, job.read_lag = version.list_lag, version.read_lag
        self.predictions.add(prediction.id, prediction)
        self.jobs[prediction.id] = job
        model.record.run_count = (model.record.run_count or 0) + 1
        prediction.urls.stream = self.add_stream(job)

        async def work(job: Job[Prediction]) -> None:
            if version.startup:
                await self.clock.sleep(version.startup)
            if interruption is not None:
                raise NotStartedError(interruption)
            await self.runner.predict(
                job, version.function, arguments, setup=version.setup, output_delay=version.output_delay
            )

        if cancel_after is not None:
            prediction.deadline = prediction.created_at + timedelta(seconds=cancel_after)
            job.cancel_after(cancel_after)
        self.runner.begin(job, work)
        return job

    def to_wire(self, record: Prediction | Training) -> dict[str, Any]:
        """Return a prediction or training as the API sends it."""
        if isinstance(record, Prediction):
            self.fresh(record)
        return self.jobs[record.id].to_wire()

    def to_held_wire(self, job: Job[Prediction]) -> dict[str, Any]:
        """Return a prediction as the API responds to a held request.

        The API responds as soon as the output is there, before the prediction has ended for it. When the hold ends
        first, the status is ``starting``, unless there is a part of the output.
        """
        fields = job.to_wire()
        if not job.done and (fields["output"] is None or self.tidy):
            fields.pop("started_at", None)
            fields["status"] = "starting"
        if job.record.status == "succeeded" and not self.tidy:
            for name in ("started_at", "completed_at", "metrics"):
                fields.pop(name, None)
            fields |= {"status": "processing", "output": self.outputs.inline(fields["output"], self.delivery_url)}
        return fields

    def add_example(self, model: HostedModel, version: Version, inputs: dict[str, Any], output: Any) -> None:
        """Add an example to a model: a prediction that was never run."""
        example = self.new_prediction(model, version, inputs)
        example.status, example.output = "succeeded", output
        example.started_at = example.completed_at = example.created_at
        example.metrics = PredictionMetrics(predict_time=0.0, total_time=0.0)
        model.examples.add(example.id, example)
        if model.record.default_example is None:
            model.record.default_example = example

    def fresh(self, prediction: Prediction) -> Prediction:
        """Return the prediction, without its data if the retention time has passed."""
        ended = prediction.completed_at
        if ended is not None and not prediction.data_removed and self.clock.now() - ended >= RETENTION:
            prediction.input, prediction.output, prediction.logs = {}, None, None
            prediction.data_removed = True
        return prediction

    def is_removed(self, record: Prediction | Training) -> bool:
        """Return whether the data of a prediction was removed."""
        return isinstance(record, Prediction) and self.fresh(record).data_removed

    # Files

    def publish(self, file: OutputFile) -> str:
        """Return a URL for a model's output file."""
        return file.data_uri() if self.output_files == "data" else self.outputs.publish(file, self.delivery_url)

    def live_files(self) -> Table[StoredFile]:
        """Return the uploaded files, without expired ones."""
        now = self.clock.now()
        expiries = [(file_id, file.record.expires_at) for file_id, file in self.files.items()]
        for file_id, expiry in expiries:
            if expiry is not None and expiry <= now:
                self.files.remove(file_id)
        return self.files

    def open_file(self, url: str) -> Path:
        """Return a file on disk with the content of a URL in an input; raises ``ValueError`` if it is unavailable."""
        if url.startswith("data:"):
            content, name = read_data_uri(url).data, "input"
        elif url.startswith(f"{self.delivery_url}/"):
            output = self.outputs.at(url)
            if output is None:
                raise ValueError(f"There is no file {url}, or it has expired")
            content, name = output.data, output.file_name
        elif url.startswith((f"{self.url}/v1/files/", f"{self.api_url}/v1/files/")):
            stored = self.live_files().get(url.rpartition("/")[2])
            if stored is None:
                raise ValueError(f"There is no file {url}")
            content, name = stored.content, Path(stored.record.name or "").name or "input"
        else:
            raise ValueError("This server fetches nothing: use a data URI or a file of this server")
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="replicate-local-")
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        path = folder / (name if name != ".." else "input")
        path.write_bytes(content)
        return path

    def sign_download(self, file_id: str, expiry: int) -> str:
        """Return the signature of a file's download URL."""
        text = f"{self.account.username} {file_id} {expiry}"
        return base64.b64encode(hmac.digest(self.files_secret, text.encode(), "sha256")).decode()

    async def stop(self) -> None:
        """End all jobs and remove temporary files."""
        await self.runner.stop()
        await self.webhooks.stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
