"""How scopes that narrow are written. Pure."""

from __future__ import annotations

import re
from typing import Final

NARROWED_TOOL: Final = re.compile(r"tool:[A-Za-z0-9_.-]{1,64}")
