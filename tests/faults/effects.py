"""Reads what the plugin's tools have counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path


def read_effects(folder: Path) -> dict[str, Counter[int]]:
    """How often each number took effect, by team. Of a team without any, too."""
    effects: dict[str, Counter[int]] = defaultdict(Counter)
    path = folder / "effects"
    for line in path.read_text().splitlines() if path.exists() else ():
        slug, number = line.split()
        effects[slug][int(number)] += 1
    return effects
