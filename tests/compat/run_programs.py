"""Runs programs of ``programs/`` one after the other, and prints the tracebacks of those that failed as JSON."""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from pathlib import Path

if sys.argv[1] == "compat":
    from replicate_async.compat import install

    install()
failures = {}
for name in sys.argv[2:]:
    try:
        runpy.run_path(str(Path(__file__).parent / "programs" / f"{name}.py"), run_name="__main__")
    except (Exception, SystemExit):  # noqa: BLE001 - all of them are reported
        failures[name] = traceback.format_exc()
    if sys.argv[1] == "official":
        # Its clients belong to the event loop that used them first.
        for module in [module for module in sys.modules if module.split(".")[0] == "replicate"]:
            del sys.modules[module]
print(json.dumps(failures))
