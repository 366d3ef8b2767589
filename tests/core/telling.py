"""A program that tells how nice it is, whether its turns are long, and the names in its environment."""

from __future__ import annotations

import os

from tests.turns import has_long_turns

print(os.nice(0), has_long_turns(os.getpid()), ",".join(sorted({*os.environ, "LC_CTYPE"})))
