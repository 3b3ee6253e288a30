"""The operations of the delivery origin: event streams of predictions, and output files of models."""

from __future__ import annotations

from ._calls import Call, Problem, Response, not_found
from ._store import Store


async def stream(store: Store, call: Call) -> Response:
    """Send the events of a prediction: all past events first, then each new one as it occurs."""
    accepted = call.headers.get("Accept", "*/*")
    if "text/event-stream" not in accepted and "*/*" not in accepted:
        raise Problem(406, f"Accept: expected text/event-stream, got {accepted!r}")
    log = store.streams.get(call.path_arguments["stream_key"])
    if log is None:
        raise not_found()
    if store.is_removed(log.prediction):
        log.forget()
    last_id = call.headers.get("Last-Event-ID") if store.resume_streams else None
    return Response(content_type="text/event-stream", headers={"Cache-Control": "no-store"}, chunks=log.follow(last_id))


async def download(store: Store, call: Call) -> Response:
    """Send an output file. The URL is the only credential."""
    file = store.outputs.find(call.path_arguments["output_key"])
    if file is None:
        raise not_found()
    return Response(file.data, 200, file.type)
