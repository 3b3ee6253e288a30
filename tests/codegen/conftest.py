"""The generator comes from the source tree: the wheel, with which these tests may run, does not contain it."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "replicate_async" / "_codegen"

spec = spec_from_file_location(
    "replicate_async._codegen", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
)
assert spec is not None
assert spec.loader is not None
sys.modules[spec.name] = package = module_from_spec(spec)
spec.loader.exec_module(package)
