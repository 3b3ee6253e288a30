"""opentelemetry-instrumentation-replicate: spans of run, stream and predictions.create."""

from replicate_async.compat import install

install()

import replicate
from opentelemetry.instrumentation.replicate import ReplicateInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
ReplicateInstrumentor().instrument(tracer_provider=provider)
reference = "owner/chat:" + "ab" * 32
assert "".join(replicate.run(reference, input={"prompt": "Ann"})) == "you said: Ann "
assert "".join(str(event) for event in replicate.stream(reference, input={"prompt": "Bob"})) == "you said: Bob "
version = replicate.models.get("owner/chat").versions.get("ab" * 32)
prediction = replicate.predictions.create(version=version, input={"prompt": "Cid"})
prediction.wait()
assert "".join(prediction.output) == "you said: Cid "
spans = exporter.get_finished_spans()
assert [span.name for span in spans] == ["replicate.run", "replicate.stream", "replicate.predictions.create"]
ran, streamed, created = [dict(span.attributes) for span in spans]
assert ran["gen_ai.request.model"] == reference
assert ran["gen_ai.prompt.0.user"] == "Ann"
assert ran["gen_ai.completion.0.content"] == "you said: "
assert streamed["gen_ai.completion.0.content"] == "you said: Bob "
assert created["gen_ai.request.model"] == "ab" * 32
ReplicateInstrumentor().uninstrument()
assert "".join(replicate.run(reference, input={"prompt": "Dan"})) == "you said: Dan "
assert len(exporter.get_finished_spans()) == 3
