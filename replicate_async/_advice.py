"""Advice for common mistakes: what to write instead, for the messages of errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from types import TracebackType

F = TypeVar("F", bound="Callable[..., Any]")

_RUN = "client.run(ref, input={...})"
_AS_DICT = "{0}.to_dict(), or the attribute"
_OUTPUT = "prediction.output"
_PAGE_ITEMS = "page.results, or iterate the page for the items of all pages"
_ASYNC = "Await it for its first page, or iterate it with async for"

# By class, without Async, or module: names that people try, and what to write for them. "" holds for all others.
_ATTRIBUTES: dict[str, dict[str, str]] = {
    "": dict.fromkeys(("get", "keys", "values", "items"), _AS_DICT),
    "Prediction": {
        **dict.fromkeys(("outputs", "result", "results", "text", "url"), _OUTPUT),
        **dict.fromkeys(("completed", "finished", "is_done", "succeeded", "failed"), "prediction.done, or .status"),
        "state": "prediction.status",
    },
    "Model": {
        "version": "model.latest_version",
        "run": "client.run(model, input={...})",
        **dict.fromkeys(("schema", "openapi_schema"), "model.latest_version.openapi_schema"),
    },
    "FileOutput": {
        **dict.fromkeys(("write", "download", "copy"), 'file.save("name.png"), or file.save("folder")'),
        **dict.fromkeys(("content", "bytes", "data", "body"), "file.read()"),
        **dict.fromkeys(("path", "name", "filename"), "file.local_path(), or file.url"),
        **dict.fromkeys(("close", "seek", "tell", "readline"), "open(file.local_path(), 'rb') for an open file"),
        "show": "PIL.Image.open(file.local_path()).show()",
    },
    "Run": {
        **dict.fromkeys(("status", "error", "metrics", "created_at", "input", "model", "urls"), "run.prediction.{1}"),
        **dict.fromkeys(("result", "get", "read", "outputs"), "run.output()"),
        "done": "run.prediction.done",
        "stream": "client.predictions.stream(run.id)",
    },
    "Page": dict.fromkeys(("items", "data", "objects", "predictions", "models", "total", "count"), _PAGE_ITEMS),
    "Paginator": dict.fromkeys(("results", "items", "data", "next", "previous", "has_next_page"), _ASYNC),
    "ModelFunction": {
        **dict.fromkeys(("run", "predict", "call", "invoke"), "model(prompt=...), a call with the model's inputs"),
        "stream": "client.use(ref, streaming=True)",
        "map": "client.map(ref, [{...}, ...])",
        **dict.fromkeys(("submit", "start"), "model.create(prompt=...)"),
    },
    "Replicate": {
        **dict.fromkeys(("predict", "generate", "create", "call", "invoke", "chat", "completions", "images"), _RUN),
        **dict.fromkeys(("run_async", "arun", "run_in_background"), "client.submit(ref, ...), or use AsyncReplicate"),
        "cancel": "client.predictions.cancel(prediction_id)",
        "wait": "client.predictions.wait(prediction_id)",
        "upload": "client.files.create(path)",
        "verify_webhook": "replicate_async.verify_webhook(body, headers, secret)",
    },
    "Predictions": {
        **dict.fromkeys(("retrieve", "fetch", "find"), "client.predictions.get(prediction_id)"),
        **dict.fromkeys(("delete", "remove"), "The API deletes the data of predictions after an hour"),
        **dict.fromkeys(("run", "submit"), _RUN),
    },
    "Files": {
        **dict.fromkeys(("upload", "new", "add", "put"), "client.files.create(path)"),
        **dict.fromkeys(("retrieve", "read", "content"), "client.files.download(...)"),
    },
    "Models": dict.fromkeys(("run", "predict"), _RUN),
    "Webhooks": {"secret": "client.webhooks.default.secret.get()", "verify": "replicate_async.verify_webhook(...)"},
    "replicate_async": {
        **dict.fromkeys(("predict", "generate", "create", "run_async"), "replicate_async.run(ref, input={...})"),
        **dict.fromkeys(("client", "AsyncClients"), "replicate_async.Replicate(...), or default_client()"),
        **dict.fromkeys(("version", "VERSION"), "replicate_async.__version__"),
        "cancel": "replicate_async.predictions.cancel(prediction_id)",
        "wait": "replicate_async.predictions.wait(prediction_id)",
    },
}
# Arguments that people try.
_ARGUMENTS = {
    **dict.fromkeys(("inputs", "model_input", "parameters", "arguments", "args", "kwargs"), "input={...}"),
    **dict.fromkeys(("timeout_seconds", "deadline", "time_out", "wait_timeout"), "time_limit=, in seconds"),
    **dict.fromkeys(("token", "api_key", "key", "replicate_api_token"), "bearer_token="),
    "headers": "extra_headers=",
    "params": "params= of client.get(...), or extra_query=",
    "body": "extra_body=",
    "data": "json=, or content= for bytes",
    "retries": "max_retries=",
    "url": "base_url=",
    "limit": "itertools.islice(..., limit): lists have no limit",
    "page_size": "itertools.islice(..., limit): pages have a fixed size",
    **dict.fromkeys(("max_workers", "workers", "batch_size", "max_concurrency", "n_jobs"), "concurrency="),
    **dict.fromkeys(("webhook_url", "callback"), "webhook="),
    "webhook_events": "webhook_events_filter=",
    "callback_url": "webhook=",
    "wait": 'prefer="wait", or client.run(..., wait=True)',
    "proxies": "session=aiohttp.ClientSession(proxy=...), or the variable HTTPS_PROXY",
    "http_client": "session=aiohttp.ClientSession(...)",
    "verbose": "the variable REPLICATE_LOG=debug",
}
_KNOWN_ARGUMENTS = (
    *("input", "wait", "time_limit", "cancel_on_abort", "use_file_output", "on_update", "progress", "stream"),
    *("concurrency", "ordered", "return_exceptions", "streaming", "validate", "version", "model", "prefer"),
    *("webhook", "webhook_events_filter", "cancel_after", "file_encoding_strategy", "timeout", "max_retries"),
    *("extra_headers", "extra_query", "extra_body", "bearer_token", "api_token", "base_url", "default_headers"),
    *("default_query", "session", "max_connections", "rate_limit", "retry", "created_after", "created_before"),
)


def _noun(kind: str) -> str:
    """Return what a message calls an object of a class."""
    return {"FileOutput": "file", "Run": "run.prediction"}.get(kind, kind.lower())


def _closest(name: str, names: Iterable[str]) -> str | None:
    # Imported here, because no program needs it until it fails.
    from difflib import get_close_matches

    candidates = [public for public in names if not public.startswith("_")]
    return next(iter(get_close_matches(name, candidates, 1, 0.75)), None)


def for_attribute(owner: object, kind: str, name: str) -> str:
    """Return what to say about an attribute that does not exist; may be empty.

    Args:
        owner: Object that lacks the attribute.
        kind: Name of its class without ``Async``, or of the module.
        name: Name of the attribute.
    """
    if name.startswith("_"):
        return ""
    remedies = {**(_ATTRIBUTES[""] if hasattr(type(owner), "to_dict") else {}), **_ATTRIBUTES.get(kind, {})}
    if name in remedies:
        remedy = remedies[name].replace("{0}", _noun(kind)).replace("{1}", name)
        return f". {remedy}" if remedy[0].isupper() else f". Write {remedy}"
    close = _closest(name, dir(owner))
    return f". Did you mean {close!r}?" if close else ""


def for_argument(name: str) -> str:
    """Return what to say about an argument that does not exist."""
    if name in _ARGUMENTS:
        return f". Write {_ARGUMENTS[name]}"
    if name in _KNOWN_ARGUMENTS:
        return ": this call does not have it"
    if close := _closest(name, _KNOWN_ARGUMENTS):
        return f". Did you mean {close}=?"
    return f". Inputs of a model are passed as input={{{name!r}: ...}}"


def for_index(kind: str, key: object) -> str:
    """Return what to say when an object is indexed or iterated, which is not possible.

    Args:
        kind: Name of the class of the object.
        key: Index.
    """
    plain = kind.removeprefix("Async")
    if plain == "Page" and isinstance(key, int):
        return f"write page.results[{key}], or iterate the page for the items of all pages"
    if plain in {"Page", "Paginator"}:
        return _ASYNC.lower() if kind.startswith("Async") else f"write {_PAGE_ITEMS}"
    if isinstance(key, str) and key.isidentifier():
        return f"write {_noun(plain)}.{key}"
    return "read its attributes"


_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def explain_arguments(function: F) -> F:
    """Let errors about the arguments of a client's constructor say what to write."""

    @wraps(function)
    def explained(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **options)
        except TypeError as error:
            trace: TracebackType | None = error.__traceback__
            # An error that was raised inside has more frames.
            if trace is None or trace.tb_next is not None:
                raise
            match = _UNEXPECTED.search(str(error))
            advice = for_argument(match[1]) if match else ". Write bearer_token=..., and all others by name, too"
            # Python 3.13 suggests names by itself.
            message = str(error).partition(". Did you mean")[0]
            raise TypeError(f"{message}{advice.partition('. Inputs of')[0]}") from None

    # Containers such as punq don't look through wrappers.
    vars(explained)["__signature__"] = inspect.signature(function)
    return cast("F", explained)
