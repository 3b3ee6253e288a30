"""A local Replicate server for tests, demonstrations and offline work.

pytest imports this package at each start, because the plugin is in it, so its modules are imported on first use only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._calls import Call
    from ._capture import record_metrics
    from ._clock import VirtualClock
    from ._fault_injection import Faults
    from ._faults import Fault
    from ._files import OutputFile
    from ._limits import Limits
    from ._offline import NetworkRefusedError
    from ._process import ServerProcess
    from ._real_clock import Clock
    from ._recorder import Recording, RecordingError
    from ._server import LocalServer
    from ._webhooks import sign_webhook

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
    "record_metrics",
    "sign_webhook",
]

_NAMES = {
    "_calls": ("Call",),
    "_capture": ("record_metrics",),
    "_clock": ("VirtualClock",),
    "_fault_injection": ("Faults",),
    "_faults": ("Fault",),
    "_files": ("OutputFile",),
    "_limits": ("Limits",),
    "_offline": ("NetworkRefusedError",),
    "_process": ("ServerProcess",),
    "_real_clock": ("Clock",),
    "_recorder": ("Recording", "RecordingError"),
    "_server": ("LocalServer",),
    "_webhooks": ("sign_webhook",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


# Type checkers would accept any misspelled name because of __getattr__.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return __all__
