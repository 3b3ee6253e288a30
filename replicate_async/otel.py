"""Traces and metrics for OpenTelemetry: a hook that makes a span for each prediction and each request.

Needs ``opentelemetry-api``, which the extra ``otel`` installs. Names follow the semantic conventions for generative AI
and for HTTP where these fit.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace

from replicate_async import hooks
from replicate_async._usage import metrics_of
from replicate_async._version import __version__

__all__ = ["OpenTelemetryHook"]

# Spans of predictions without a caller that waits are ended when there are more.
_MAX_OPEN_SPANS = 10_000
_MAX_INPUT = 10_000
_RUN = otel_context.create_key("replicate_async.run")
_ONE_JOB = re.compile(r"/?(predictions|trainings)/([^/]+)(/cancel)?")


class _Run(msgspec.Struct, eq=False):
    """The span of a prediction, and what is known about it."""

    span: trace.Span
    model: str
    prediction_id: str | None = None


class OpenTelemetryHook:
    """A hook that reports to OpenTelemetry: pass it to a client as ``hooks=[OpenTelemetryHook()]``.

    Each prediction is a span below the caller's current one, and its requests are spans below it. Outputs, logs and the
    API token are never recorded, inputs only with ``record_inputs``.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        record_inputs: bool = False,
    ) -> None:
        """Create a hook.

        Args:
            tracer_provider: The provider of spans. If omitted, the global one.
            meter_provider: The provider of metrics. If omitted, the global one.
            record_inputs: Whether the spans of predictions have their inputs, as the attribute ``replicate.input``: the
                first 10,000 characters of their JSON.
        """
        self._tracer = trace.get_tracer("replicate_async", __version__, tracer_provider)
        meter = metrics.get_meter("replicate_async", __version__, meter_provider)
        self._record_inputs = record_inputs
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._requests: dict[hooks.RequestSent, trace.Span] = {}
        self._in_flight = meter.create_up_down_counter(
            "replicate.predictions.in_flight", "{prediction}", "Predictions that were created and have not ended."
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Time from the start of a prediction to its end."
        )
        self._predict_time = meter.create_histogram(
            "replicate.predict_time", "s", "Time for which predictions ran, as the API reports it."
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of language models, as the API reports them."
        )
        self._request_duration = meter.create_histogram(
            "http.client.request.duration", "s", "Time from sending a request to the end of its response."
        )
        self._throttles = meter.create_counter(
            "replicate.requests.throttled", "{request}", "Requests that the API refused because of a rate limit."
        )
        self._retries = meter.create_counter("replicate.requests.retried", "{request}", "Requests that were repeated.")
        self._handlers: dict[type[hooks.Event], Callable[[Any], AbstractContextManager[object] | None]] = {
            hooks.PredictionStarted: self._start,
            hooks.PredictionCreated: self._create,
            hooks.PredictionChanged: self._change,
            hooks.PredictionEnded: self._end,
            hooks.RequestSent: self._send,
            hooks.ResponseReceived: lambda event: self._receive(event, event.status_code),
            hooks.RequestFailed: lambda event: self._receive(
                event, type(event.error).__qualname__ if event.error else "canceled"
            ),
            hooks.RequestThrottled: lambda event: self._throttles.add(1, _method(event.request)),
            hooks.RequestRetried: lambda event: self._retries.add(1, _method(event)),
        }

    def __call__(self, event: hooks.Event) -> AbstractContextManager[object] | None:
        """Report an event.

        Args:
            event: The event.

        Returns:
            For ``PredictionStarted``, the context in which the prediction is created.
        """
        handler = self._handlers.get(type(event))
        return None if handler is None else handler(event)

    # --- predictions ---

    @contextmanager
    def _start(self, event: hooks.PredictionStarted) -> Generator[None]:
        attributes = _attributes(event.model)
        if self._record_inputs:
            attributes["replicate.input"] = msgspec.json.encode(event.input, enc_hook=str).decode()[:_MAX_INPUT]
        span = self._tracer.start_span(
            f"{attributes['gen_ai.operation.name']} {event.model}",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        run = _Run(span, event.model)
        token = otel_context.attach(otel_context.set_value(_RUN, run, trace.set_span_in_context(span)))
        try:
            yield
        except BaseException as error:
            if run.prediction_id is None:
                _fail(span, type(error).__qualname__)
            raise
        finally:
            otel_context.detach(token)
            if run.prediction_id is None:
                span.end()

    def _create(self, event: hooks.PredictionCreated) -> None:
        prediction = event.prediction
        run = otel_context.get_value(_RUN)
        if not isinstance(run, _Run):
            return
        run.prediction_id = prediction.id
        run.span.set_attribute("gen_ai.response.id", prediction.id)
        self._in_flight.add(1, _attributes(run.model))
        self._runs[prediction.id] = run
        if len(self._runs) > _MAX_OPEN_SPANS:
            _, oldest = self._runs.popitem(last=False)
            self._in_flight.add(-1, _attributes(oldest.model))
            oldest.span.end()

    def _change(self, event: hooks.PredictionChanged) -> None:
        if run := self._runs.get(event.prediction.id):
            run.span.add_event(str(event.prediction.status))

    def _end(self, event: hooks.PredictionEnded) -> None:
        prediction = event.prediction
        run = self._runs.pop(prediction.id, None)
        if run is None:
            return
        attributes = _attributes(run.model)
        self._in_flight.add(-1, attributes)
        reported, status = metrics_of(prediction), str(prediction.status)
        run.span.set_attribute("replicate.status", status)
        if (predict_time := reported.get("predict_time")) is not None:
            run.span.set_attribute("replicate.predict_time", predict_time)
            self._predict_time.record(predict_time, attributes)
        for kind in ("input", "output"):
            count = reported.get(f"{kind}_token_count", reported.get(f"token_{kind}_count"))
            if count is not None:
                run.span.set_attribute(f"gen_ai.usage.{kind}_tokens", int(count))
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if prediction.done and status != "succeeded":
            _fail(run.span, status)
            attributes["error.type"] = status
        self._duration.record(event.seconds, attributes)
        run.span.end()

    # --- requests ---

    def _send(self, event: hooks.RequestSent) -> None:
        match = _ONE_JOB.fullmatch(event.url)
        run = self._runs.get(match[2]) if match else None
        # Polls serve all callers, so they run in an empty context.
        context = None if run is None else trace.set_span_in_context(run.span)
        template = f"/{match[1]}/{{id}}{match[3] or ''}" if match else event.url
        attributes: dict[str, str | int] = {**_method(event)}
        name = event.method
        if "://" not in template:
            # Whole URLs may be secret.
            name = f"{event.method} {template}"
            attributes["url.template"] = template
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        self._requests[event] = self._tracer.start_span(
            name, context=context, kind=trace.SpanKind.CLIENT, attributes=attributes
        )

    def _receive(self, event: hooks.ResponseReceived | hooks.RequestFailed, result: int | str) -> None:
        span = self._requests.pop(event.request, None)
        attributes: dict[str, str | int] = {**_method(event.request)}
        if isinstance(result, int):
            attributes["http.response.status_code"] = result
        if isinstance(result, str) or result >= 400:
            attributes["error.type"] = str(result)
        self._request_duration.record(event.seconds, attributes)
        if span is not None:
            span.set_attributes(attributes)
            if "error.type" in attributes:
                _fail(span, str(result))
            span.end()


def _attributes(model: str) -> dict[str, str]:
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": model,
    }


def _method(event: hooks.RequestSent | hooks.RequestRetried) -> dict[str, str]:
    return {"http.request.method": event.method}


def _fail(span: trace.Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(trace.StatusCode.ERROR, kind)
