"""Rules that hold for the page sources as a whole: nothing inline, and colours that can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
TEMPLATES = sorted((FRONTEND / "templates").rglob("*.html"))
TOKENS = (FRONTEND / "src" / "styles" / "tokens.css").read_text()

TEXT, CONTROL = 4.5, 3.0
PAIRS = [
    *(
        (text, ground, TEXT)
        for text in ("ink", "ink-soft", "ink-faint", "accent", "bad")
        for ground in ("surface", "canvas")
    ),
    *(
        (text, ground, TEXT)
        for text in ("ink", "ink-soft", "ink-faint")
        for ground in ("surface-sunken", "surface-hover")
    ),
    ("accent-ink", "accent", TEXT),
    ("accent-ink", "accent-hover", TEXT),
    ("accent", "accent-soft", TEXT),
    ("ink", "accent-soft", TEXT),
    *((state, f"{state}-soft", TEXT) for state in ("ok", "warn", "bad")),
    *(("ink", f"{state}-soft", TEXT) for state in ("ok", "warn", "bad")),
    *(("ink-soft", f"{state}-soft", TEXT) for state in ("ok", "warn", "bad")),
    ("control-line", "surface", CONTROL),
    ("focus", "surface", CONTROL),
    ("focus", "canvas", CONTROL),
]
"""What stands on what, and the contrast that WCAG 2.2 AA asks for (1.4.3, 1.4.11)."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_inline(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"\sstyle\s*=|<style", text)
    assert not re.search(r"\son[a-z]+\s*=", text)
    assert not re.search(r"hx-on|hx-vals\s*=\s*[\"']js:|javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert "|safe" not in text


def _theme(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


LIGHT = _theme(TOKENS.partition("@media")[0])
BY_SYSTEM = _theme(TOKENS.partition("@media")[2].partition('\n:root[data-theme="dark"]')[0])
BY_HAND = _theme(TOKENS.partition('\n:root[data-theme="dark"]')[2])


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [LIGHT, BY_HAND], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "ground", "least"), PAIRS)
def test_colours_can_be_told_apart(theme: dict[str, str], front: str, ground: str, least: float) -> None:
    lighter, darker = sorted((_luminance(theme[front]), _luminance(theme[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= least


def test_dark_is_the_same_by_hand_and_by_system() -> None:
    assert BY_SYSTEM == BY_HAND
    assert BY_SYSTEM.keys() == LIGHT.keys()
