"""``python -m replicate_async.cli`` is the command ``replicate-async``."""

import sys

from replicate_async.cli import main

sys.exit(main())
