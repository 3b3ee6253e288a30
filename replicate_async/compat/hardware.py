"""The hardware that models run on."""

from __future__ import annotations

import builtins

from replicate_async import _bridge
from replicate_async._typing import Unpack
from replicate_async.compat._arguments import Options, native_options
from replicate_async.compat.resource import Namespace, Resource, wrap


class Hardware(Resource):
    """A kind of hardware."""

    sku: str
    name: str

    @property
    def id(self) -> str:
        """The SKU."""
        return self.sku


class HardwareNamespace(Namespace):
    """Operations on hardware."""

    _path = "hardware"

    async def async_list(self, **options: Unpack[Options]) -> builtins.list[Hardware]:
        """List all hardware."""
        kinds = await self._client.native.hardware.list(**native_options(options))
        return [wrap(Hardware, kind, self._client) for kind in kinds]

    def list(self, **options: Unpack[Options]) -> builtins.list[Hardware]:
        """List all hardware."""
        return _bridge.run(self.async_list(**options))


__all__ = ["Hardware", "HardwareNamespace"]
