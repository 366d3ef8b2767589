"""What may stand in a challenge and in an error of OAuth's: the characters that RFC 6749 and RFC 6750 allow. Pure."""

from __future__ import annotations

import re
from typing import Final

_OTHERS: Final = re.compile(r"[^\x20-\x21\x23-\x5B\x5D-\x7E]")


def quotable(text: str) -> str:
    """``text`` with a question mark for what a quoted string there cannot hold (RFC 6750 section 3)."""
    return _OTHERS.sub("?", text)
