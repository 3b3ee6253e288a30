"""Registers models on a server with a function that is named as ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._process import DEFAULT_TARGET


def load_models(target: str | None, server: object) -> None:
    """Import a function and call it with the server. If the target is None, register models for demonstrations.

    Raises:
        ValueError: The function doesn't exist, or raised an error; the message is one line that says why.
    """
    target = target or DEFAULT_TARGET
    function = _import(target)
    try:
        result: Any = function(server)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{target}: {_describe(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
        raise ValueError(f"{target} is an async function: expected a plain function that registers models")


def _import(target: str) -> Callable[[Any], object]:
    name, _, attribute = target.partition(":")
    # A path is not the name of a module.
    if not name or not attribute or name.startswith(".") or "/" in name or os.sep in name:
        raise ValueError(f"expected module:function, got {target!r}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"there is no module {error.name} here, in {Path.cwd()}") from error
        raise ValueError(f"{name}: {_describe(error)}") from error
    # A SystemExit would end the command without a message.
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name}: {_describe(error)}") from error
    function: Callable[[Any], object] | None = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"the module {name} has no function {attribute}")  # noqa: TRY004  (all errors are ValueError)
    return function


def _describe(error: BaseException) -> str:
    """Return an error in one line, with its location in the user's code."""
    text = f"{type(error).__name__}: {error}"
    # The message of a SyntaxError contains the location.
    if isinstance(error, SyntaxError) and error.filename:
        return text
    internal_folders = {Path(__file__).parents[1], Path(importlib.__file__).parent}
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if internal_folders.isdisjoint(Path(frame.filename).parents) and not frame.filename.startswith("<frozen")
    ]
    location = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{text}{location}"
