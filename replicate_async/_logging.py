"""The package's logger, the environment variable that shows it, and what texts leave out."""

from __future__ import annotations

import logging
import os
import re

logger = logging.getLogger("replicate_async")


def redact_url(url: str) -> str:
    """Return a URL without what may be a secret: its query, fragment and credentials."""
    return re.sub(r"(?<=//)[^/]*@", "", re.split(r"[?#]", url, maxsplit=1)[0])


def _configure_logging(level: str) -> None:
    """Show this package's log at the level of REPLICATE_LOG, unless the program has configured logging."""
    if not level:
        return
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if level.lower() in {"info", "debug"}:
        logger.setLevel(level.upper())
    else:
        logger.warning("REPLICATE_LOG=%r is neither 'info' nor 'debug'", level)


_configure_logging(os.environ.get("REPLICATE_LOG", "").strip())
