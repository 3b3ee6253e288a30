"""The package's logger, and the environment variable that shows it."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger("replicate_async")


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
