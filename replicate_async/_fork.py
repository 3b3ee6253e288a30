"""What happens in a forked child process."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork_in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function in each forked child, right after the fork; does nothing on platforms without fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def make_immortal(thing: object) -> None:
    """Never finalize an object that a forked child inherited, not even when the interpreter shuts down.

    Finalizing the parent's connections or event loop would modify the epoll set that parent and child share, and the
    parent would wait forever.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
