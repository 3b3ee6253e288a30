"""``python -m replicate_async._codegen`` writes the generated files; ``--check`` compares them."""

import sys

from replicate_async._codegen.sync import main

sys.exit(main())
