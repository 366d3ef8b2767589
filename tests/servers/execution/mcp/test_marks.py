"""What a text hides is marked, and what writes a script or an emoji is left."""

from __future__ import annotations

import pytest

from servers.execution.backends.mcp.marks import has_hidden, mark_hidden


@pytest.mark.parametrize(
    "hidden",
    [
        *("\u200b", "\u202e", "\u2066", "\ufeff", "\U000e0041", "\x00"),
        *("\u115f", "\u3164", "\uffa0", "\u2800", "\u034f", "\u17b4"),
        *("\ufe00", "\U000e0100", "\u180b", "\u180c", "\u180d", "\u180f", "\ufffc"),
    ],
)
def test_a_character_that_nobody_sees_is_marked(hidden: str) -> None:
    assert mark_hidden(f"safe{hidden}text") == f"safe[U+{ord(hidden):04X}]text"
    assert has_hidden(hidden)


@pytest.mark.parametrize("text", ["می‌خواهم", "हिन्दी", "Zoe\u0301", "👨‍👩‍👧", "ᠮᠣᠩᠭᠣᠯ", "two\nlines"])
def test_what_writes_a_script_or_an_emoji_is_left(text: str) -> None:
    assert mark_hidden(text) == text
