"""How a decision is worded for the log, and the one refusal while there is no log. Pure."""

from __future__ import annotations

from typing import Final

from core.errors import MarinaError, Unavailable
from servers.services.redaction import mask_text
from tenants.audit.records import Reason

DATABASE_UNAVAILABLE: Final = "database_unavailable"


def reason_of(error: MarinaError) -> Reason:
    """Why, as the log keeps it: code, rule and sentence, with anything like a secret masked."""
    # A rule may end in a name that the client made up.
    rule = mask_text(str(error.data.get("rule", "")))
    return Reason(code=str(error.code), rule=rule, message=mask_text(error.message))


def database_unavailable() -> Unavailable:
    """The one answer when what decides a request cannot be read."""
    return Unavailable(
        "The database does not answer now. Try again in a few seconds.", code=DATABASE_UNAVAILABLE
    )


def log_unavailable() -> Unavailable:
    """The one answer while the log cannot be written: nothing runs that could not be recorded."""
    return Unavailable(
        "The log cannot be written now, so nothing was run. Try again in a few seconds.",
        code="log_unavailable",
    )
