"""No demand of the specification goes untested."""

from __future__ import annotations

import re
from pathlib import Path

from tests.protocol.requirements import REQUIREMENTS


def test_each_requirement_is_named_by_a_test() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = {
        name
        for names in re.findall(r"@requirement\(([^)]*)\)", sources)
        for name in re.findall(r'"([^"]+)"', names)
    }
    assert set(REQUIREMENTS) - named == set()
