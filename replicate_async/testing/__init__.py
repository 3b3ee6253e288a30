"""A Replicate on this machine, for tests, demonstrations and work without a network.

Importing this package loads none of its parts: pytest does so at each start, for the plugin in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._calls import Call
    from ._clock import Clock, VirtualClock
    from ._faults import Fault, Faults
    from ._files import OutputFile
    from ._limits import Limits
    from ._offline import NetworkRefusedError
    from ._process import ServerProcess
    from ._recorder import Recording, RecordingError
    from ._server import LocalServer

__all__ = [
    "Call",
    "Clock",
    "Fault",
    "Faults",
    "Limits",
    "LocalServer",
    "NetworkRefusedError",
    "OutputFile",
    "Recording",
    "RecordingError",
    "ServerProcess",
    "VirtualClock",
]

_LAZY = {
    "_calls": ("Call",),
    "_clock": ("Clock", "VirtualClock"),
    "_faults": ("Fault", "Faults"),
    "_files": ("OutputFile",),
    "_limits": ("Limits",),
    "_offline": ("NetworkRefusedError",),
    "_process": ("ServerProcess",),
    "_recorder": ("Recording", "RecordingError"),
    "_server": ("LocalServer",),
}
_MODULE_OF = {name: home for home, names in _LAZY.items() for name in names}


if not TYPE_CHECKING:  # they would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
