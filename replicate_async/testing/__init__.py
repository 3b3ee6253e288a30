"""A Replicate on this machine, for tests, demonstrations and work without a network."""

from __future__ import annotations

from ._calls import Call
from ._clock import Clock, VirtualClock
from ._faults import Fault, Faults
from ._files import OutputFile
from ._limits import Limits
from ._process import ServerProcess
from ._server import LocalServer

__all__ = ["Call", "Clock", "Fault", "Faults", "Limits", "LocalServer", "OutputFile", "ServerProcess", "VirtualClock"]
