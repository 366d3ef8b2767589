"""``python -m marina.stdio URL``: the same as the command ``marina-stdio``."""

import sys

from marina.stdio.command import main

sys.exit(main())
