"""PKCE's challenge, against the standard's own example."""

from __future__ import annotations

from core.pkce import challenge_of


def test_challenge_is_that_of_the_standards_example() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
