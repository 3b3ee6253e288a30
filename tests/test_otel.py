"""OpenTelemetry: spans with the right parents, and metrics, from both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callers import Caller, calling
from rawserver import TOKEN, RawServer, answer, prediction, record_pauses
from replicate_async import ModelError, NotFoundError
from replicate_async.otel import OpenTelemetryHook
from replicate_async.testing import LocalServer, record_metrics

pytestmark = pytest.mark.anyio


class Telemetry:
    """What was exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._metrics = InMemoryMetricReader()
        self.meters = MeterProvider([self._metrics])
        self.tracer = self.tracers.get_tracer("the program")

    def hook(self, **options: Any) -> OpenTelemetryHook:
        return OpenTelemetryHook(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def named(self, prefix: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith(prefix)]

    def parent_of(self, span: ReadableSpan) -> str | None:
        parents = {other.context.span_id: other.name for other in self.spans if other.context}
        return parents[span.parent.span_id] if span.parent else None

    def metric(self, name: str) -> list[Any]:
        data: Any = self._metrics.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:

        @server.model("owner/echo", official=True)
        async def echo(text: str = "", seconds: float = 0) -> str:
            await asyncio.sleep(seconds)
            record_metrics(token_input_count=3, token_output_count=5)
            return f"hello {text}"

        @server.model("owner/words", official=True)
        async def words(text: str = "a b c") -> AsyncIterator[str]:
            for word in text.split():
                yield word

        @server.model("owner/broken", official=True)
        async def broken() -> str:
            raise ValueError("no luck today")

        yield server


@pytest.fixture
async def call(kind: str, server: LocalServer, telemetry: Telemetry) -> AsyncIterator[Caller]:
    async with calling(kind, server.base_url, server.token, hooks=[telemetry.hook()]) as call:
        yield call


async def test_parents(call: Caller, telemetry: Telemetry):
    """A prediction is a span below the caller's, and its upload, create and polls are below it."""
    with telemetry.tracer.start_as_current_span("request of a user"):
        await call("run", "owner/echo", {"text": bytes(300_000)}, wait=False)
    span = telemetry.named("generate_content")[0]
    assert span.name == "generate_content owner/echo"
    assert telemetry.parent_of(span) == "request of a user"
    requests = [other for other in telemetry.spans if other.name.startswith(("GET", "POST"))]
    assert {"POST /files", "POST /models/owner/echo/predictions", "GET /predictions/{id}"} == {
        request.name for request in requests
    }
    assert {telemetry.parent_of(request) for request in requests} == {span.name}


async def test_attributes(call: Caller, telemetry: Telemetry, server: LocalServer):
    """A prediction's span has its model, id, status, times and tokens, and nothing else of it."""
    await call("run", "owner/echo", {"text": "secret input"})
    span = telemetry.named("generate_content")[0]
    assert span.attributes is not None
    assert span.attributes["gen_ai.provider.name"] == "replicate"
    assert span.attributes["gen_ai.request.model"] == "owner/echo"
    assert span.attributes["gen_ai.response.id"] in server.predictions
    assert span.attributes["gen_ai.usage.input_tokens"] == 3
    assert span.attributes["gen_ai.usage.output_tokens"] == 5
    assert span.attributes["replicate.status"] == "succeeded"
    assert span.attributes["replicate.predict_time"] is not None
    exported = "".join(span.to_json() for span in telemetry.spans)
    assert "secret input" not in exported
    assert "hello" not in exported
    assert server.token not in exported


async def test_inputs_if_asked_for(kind: str, server: LocalServer, telemetry: Telemetry):
    """Inputs are recorded on request, whatever is in them."""
    async with calling(kind, server.base_url, server.token, hooks=[telemetry.hook(record_inputs=True)]) as call:
        await call("run", "owner/echo", {"text": "Ada"})
        with pytest.raises(TypeError):
            await call("run", "owner/echo", {"text": object()})
    first, second = telemetry.named("generate_content")
    assert first.attributes is not None
    assert first.attributes["replicate.input"] == '{"text":"Ada"}'
    assert not second.status.is_ok


async def test_concurrent_predictions(call: Caller, telemetry: Telemetry):
    """Concurrent predictions have their own callers' spans as parents."""

    async def run(number: int) -> None:
        with telemetry.tracer.start_as_current_span(f"caller {number}"):
            await call("run", "owner/echo", {"text": str(number), "seconds": 0.05}, wait=False)

    await asyncio.gather(*[run(number) for number in range(8)])
    assert {telemetry.parent_of(span) for span in telemetry.named("generate_content")} == {
        f"caller {number}" for number in range(8)
    }


async def test_failures(call: Caller, telemetry: Telemetry):
    """What fails is an error: the prediction, or the create."""
    with pytest.raises(ModelError):
        await call("run", "owner/broken")
    with pytest.raises(NotFoundError):
        await call("run", "no/model")
    failed, missing = telemetry.named("generate_content")
    assert failed.attributes is not None
    assert missing.attributes is not None
    assert failed.attributes["error.type"] == "failed"
    assert missing.attributes["error.type"] == "NotFoundError"
    assert not failed.status.is_ok
    assert not missing.status.is_ok
    assert [point.value for point in telemetry.metric("replicate.predictions.in_flight")] == [0]


async def test_stream(call: Caller, telemetry: Telemetry):
    """A stream is a span that ends with it, and is not the caller's current span between events."""
    from opentelemetry import trace

    with telemetry.tracer.start_as_current_span("caller") as caller:
        await call.all(call.client.stream("owner/words"))
        assert trace.get_current_span() is caller
    span = telemetry.named("generate_content")[0]
    assert telemetry.parent_of(span) == "caller"
    assert not [span for span in telemetry.spans if "://" in span.name]


async def test_metrics(call: Caller, telemetry: Telemetry):
    """Metrics count predictions, their times and their tokens."""
    for _ in range(3):
        await call("run", "owner/echo")
    assert [point.value for point in telemetry.metric("replicate.predictions.in_flight")] == [0]
    assert [point.count for point in telemetry.metric("gen_ai.client.operation.duration")] == [3]
    assert [point.count for point in telemetry.metric("replicate.predict_time")] == [3]
    tokens = {
        point.attributes["gen_ai.token.type"]: point.sum for point in telemetry.metric("gen_ai.client.token.usage")
    }
    assert tokens == {"input": 9, "output": 15}
    assert telemetry.metric("http.client.request.duration")


@pytest.mark.parametrize(
    "metrics",
    [
        [1],
        {"token_input_count": float("nan"), "token_output_count": 10**400, "predict_time": 10**400},
        {"input_token_count": float("inf"), "output_token_count": True, "predict_time": "x"},
    ],
    ids=["list", "numbers", "types"],
)
async def test_odd_metrics(telemetry: Telemetry, metrics: Any):
    """Whatever a model reports, the span of its prediction ends; what is not a number is not recorded."""
    ended = prediction(status=["odd"], completed_at="2025-01-01T00:00:01Z", output="x", metrics=metrics)
    async with RawServer(answer(201, ended)) as server, server.client(hooks=[telemetry.hook()]) as client:
        assert (await client.models.predictions.create("owner/name", input={})).done
        server.steps = [answer(201, {**ended, "id": "p2", "status": "succeeded"})]
        assert await client.run("owner/name", {}) == "x"
    assert len(telemetry.named("generate_content")) == 2
    assert not telemetry.metric("gen_ai.client.token.usage")
    assert not telemetry.metric("replicate.predict_time")


async def test_throttles_and_retries(telemetry: Telemetry):
    """Refusals and retries are counted, and each attempt is a span."""
    record_pauses()
    steps = [answer(429, {"detail": "slow down"}, {"Retry-After": "1"}), answer(500), answer(200, b"{}")]
    async with RawServer(*steps) as server, server.client(hooks=[telemetry.hook()]) as client:
        await client.get("/account?signature=1")
    assert [point.value for point in telemetry.metric("replicate.requests.throttled")] == [1]
    assert [point.value for point in telemetry.metric("replicate.requests.retried")] == [2]
    spans = telemetry.named("GET /account")
    assert [(span.attributes or {})["http.response.status_code"] for span in spans] == [429, 500, 200]
    assert [(span.attributes or {}).get("http.request.resend_count") for span in spans] == [None, 1, 2]
    exported = "".join(span.to_json() for span in spans)
    assert "signature" not in exported
    assert TOKEN not in exported
