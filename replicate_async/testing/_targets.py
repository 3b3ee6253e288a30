"""What to serve, given as ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._server import LocalServer

DEFAULT = "replicate_async.testing.models:register"


def register(target: str, server: LocalServer) -> None:
    """Import a function and call it with the server, so that it registers models there.

    Raises:
        ValueError: It can't be had, or failed; the message is one line that says why.
    """
    function = _find(target)
    try:
        result: Any = function(server)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target}: {_reason(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
        raise ValueError(f"{target} is an async function: expected a plain one, that registers models")


def _find(target: str) -> Callable[[LocalServer], object]:
    name, _, attribute = target.partition(":")
    if not name or not attribute or name.startswith(".") or "/" in name or os.sep in name:  # a path, which is no module
        raise ValueError(f"expected module:function, got {target!r}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {error.name} here, in {Path.cwd()}") from error
        raise ValueError(f"{name}: {_reason(error)}") from error
    except (Exception, SystemExit) as error:  # the latter would end the command without a word
        raise ValueError(f"{name}: {_reason(error)}") from error
    function: Callable[[LocalServer], object] | None = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"the module {name} has no function {attribute}")  # noqa: TRY004  (one kind for all)
    return function


def _reason(error: BaseException) -> str:
    """Return what happened, and where in the user's code."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return text  # which has the place in it
    others = {Path(__file__).parents[1], Path(importlib.__file__).parent}
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if others.isdisjoint(Path(frame.filename).parents) and not frame.filename.startswith("<frozen")
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{text}{where}"
