"""Takes secrets out of what an upstream MCP server says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SHORTEST: Final = 6
"""Characters that a secret has at least to be looked for."""


def sought(secrets: Iterable[str]) -> list[str]:
    """The secrets that are looked for, longest first: one may be the beginning of another."""
    return sorted((each for each in secrets if len(each) >= SHORTEST), key=len, reverse=True)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, which come longest first. What is cut is cut afterwards: of a secret that was
    cut the rest would not be found."""
    for secret in secrets:
        text = text.replace(secret, "[masked]")
    return text
