"""What a forked child does with what it inherits."""

from __future__ import annotations


def make_immortal(thing: object) -> None:
    """Keep what a forked child has inherited beyond the end of the interpreter, which clears all modules.

    Finalized, the parent's connections and event loop would edit the epoll set that parent and child share, and the
    parent would wait for ever.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
