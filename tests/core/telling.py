"""A program that tells how nice it is, and the names in its environment."""

from __future__ import annotations

import os

print(os.nice(0), ",".join(sorted({*os.environ, "LC_CTYPE"})))
