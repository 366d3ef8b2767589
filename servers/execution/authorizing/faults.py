"""Says in words why nobody can be signed in, or has to be signed in anew. Quotes nothing that a server said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.errors import SourceError

NEEDED: Final = "sign_in_needed"
"""The code of a call that nobody's sign-in stands behind."""
UNSOUND: Final = "sign_in_unsound"
"""The code of what a server or its authorization server says of signing in, where that cannot be used."""

UNKNOWN_CLIENT: Final = "invalid_client"
"""The error of a token endpoint that does not know Marina, or its secret (RFC 6749, section 5.2)."""

_NAMED: Final = 10
"""Of scopes, in a sentence."""

KNOWN_ERRORS: Final = frozenset(
    {
        "access_denied",
        UNKNOWN_CLIENT,
        "invalid_client_metadata",
        "invalid_grant",
        "invalid_redirect_uri",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
    }
)
"""RFC 6749 (4.1.2.1 and 5.2), RFC 7591 (3.2.2) and RFC 8707 (2): what is passed on of a refusal, as it is."""


def needed(message: str, **data: Any) -> SourceError:
    """Somebody has to sign in before this can be done."""
    return SourceError(message, code=NEEDED, data=data)


def needs_scopes(host: str, scopes: Iterable[str]) -> SourceError:
    """Somebody has to sign in once more, for more than before."""
    named = list(scopes)
    which = ", ".join(named[:_NAMED]) or "it does not say which"
    if len(named) > _NAMED:
        which += f" and {len(named) - _NAMED} more"
    return needed(
        f"The MCP server at {host} wants more rights than the sign-in has: {which}. "
        "Sign in again on the page of the data source to give them.",
        scopes=named,
    )


def unsound(message: str) -> SourceError:
    """What a server says of signing in cannot be used."""
    return SourceError(message, code=UNSOUND)


def named_error(said: Mapping[str, Any]) -> str:
    """The error that an answer names, where it is a known one; else empty."""
    error = said.get("error")
    return error if isinstance(error, str) and error in KNOWN_ERRORS else ""
