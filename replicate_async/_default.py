"""The module's own ``use``, which makes functions of both kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from replicate_async._sync import ModelFunction, StreamingFunction, default_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_async._predictions.functions import AsyncModelFunction, AsyncStreamingFunction
    from replicate_async.types import Model, ModelVersion

P = ParamSpec("P")
T = TypeVar("T")


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, T],
    streaming: Literal[False] = False,
    use_async: Literal[False] = False,
    **options: Any,
) -> ModelFunction[P, T]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: Literal[False] = False,
    use_async: Literal[False] = False,
    **options: Any,
) -> ModelFunction[..., Any]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, Any],
    streaming: Literal[True],
    use_async: Literal[False] = False,
    **options: Any,
) -> StreamingFunction[P]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: Literal[True],
    use_async: Literal[False] = False,
    **options: Any,
) -> StreamingFunction[...]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, T],
    streaming: bool,
    use_async: Literal[False] = False,
    **options: Any,
) -> ModelFunction[P, T] | StreamingFunction[P]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: bool,
    use_async: Literal[False] = False,
    **options: Any,
) -> ModelFunction[..., Any] | StreamingFunction[...]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, T],
    streaming: Literal[False] = False,
    use_async: Literal[True],
    **options: Any,
) -> AsyncModelFunction[P, T]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: Literal[False] = False,
    use_async: Literal[True],
    **options: Any,
) -> AsyncModelFunction[..., Any]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, Any],
    streaming: Literal[True],
    use_async: Literal[True],
    **options: Any,
) -> AsyncStreamingFunction[P]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: Literal[True],
    use_async: Literal[True],
    **options: Any,
) -> AsyncStreamingFunction[...]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[P, T],
    streaming: bool,
    use_async: Literal[True],
    **options: Any,
) -> AsyncModelFunction[P, T] | AsyncStreamingFunction[P]: ...


@overload
def use(
    ref: str | Model | ModelVersion,
    *,
    hint: None = None,
    streaming: bool,
    use_async: Literal[True],
    **options: Any,
) -> AsyncModelFunction[..., Any] | AsyncStreamingFunction[...]: ...


def use(
    ref: str | Model | ModelVersion,
    *,
    hint: Callable[..., Any] | None = None,
    streaming: bool = False,
    use_async: bool = False,
    **options: Any,
) -> Any:
    """Return a model as a function of the default client. Nothing is fetched before it is used.

    Args:
        ref: ``owner/name``, ``owner/name:version``, a version id, or what ``models.get`` or
            ``models.versions.get`` returned.
        hint: A function with the model's inputs and output, for editors and type checkers; it is never called.
        streaming: Whether calls return the output while it is made.
        use_async: Whether calls are to be awaited.
        **options: What ``Replicate.use`` takes besides.

    Returns:
        The function.

    Raises:
        ValueError: ``ref`` is not a model.

    Source: https://replicate.com/docs/reference/http#predictions.create
    """
    client = default_client()
    # The blocking client has an asynchronous one inside, which works under any event loop.
    chosen: Any = client._async if use_async else client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return chosen.use(ref, hint=hint, streaming=streaming, **options)
