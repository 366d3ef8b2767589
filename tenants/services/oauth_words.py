"""Says what was wrong, and what to do next, where the OAuth library has a code and no sentence. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oauthlib.oauth2.rfc6749 import errors

from tenants.roles import OAUTH_SCOPES
from tenants.services.oauth_parameters import NO_CHALLENGE, NO_CODE

_SCOPES: Final = (
    f"A scope asked for is not offered. There are {', '.join(OAUTH_SCOPES)}, and tool:NAME beside one of them; without "
    "a scope it is the first two. Nobody gets more than was agreed to."
)

_AGAIN: Final = "Begin again in the client; the OAuth doctor shows an admin what it asked for."

_AT_AUTHORIZATION: Final[Mapping[type[errors.OAuth2Error], str]] = {
    errors.InvalidScopeError: _SCOPES,
    errors.MissingResponseTypeError: NO_CODE,
    errors.UnsupportedResponseTypeError: NO_CODE,
    errors.UnauthorizedClientError: NO_CODE,
    errors.MissingCodeChallengeError: NO_CHALLENGE,
    errors.UnsupportedCodeChallengeMethodError: NO_CHALLENGE,
}

_ON_THE_PAGE: Final[Mapping[type[errors.OAuth2Error], tuple[str, str]]] = {
    errors.InvalidClientIdError: (
        "invalid_client_id",
        "This client is not known to the team, or was removed. Begin again in the client.",
    ),
    errors.MismatchingRedirectURIError: (
        "mismatching_redirect_uri",
        "The address that the client wants you sent back to is none that it registered. " + _AGAIN,
    ),
    errors.MissingClientIdError: (
        "missing_client_id",
        "The request names no client. Open the whole address that the client gave you.",
    ),
    errors.MissingRedirectURIError: (
        "missing_redirect_uri",
        "The request does not say where to send you back to. " + _AGAIN,
    ),
    errors.InvalidRedirectURIError: (
        "invalid_redirect_uri",
        "The address that the client wants you sent back to is not an address. " + _AGAIN,
    ),
}
"""Where there is nobody to send the browser back to: all have one and the same code at oauthlib."""

_AT_TOKENS: Final[Mapping[str, str]] = {
    "code_unknown": "This client was given no such code. Begin again at the authorization endpoint.",
    "code_expired": "The code is older than a minute. Begin again at the authorization endpoint.",
    "code_replayed": "The code came a second time, so what came of it has ended. Authorize again.",
    "verifier_wrong": "The code_verifier is not the one that the code_challenge was made of.",
    "refresh_token_unknown": "This client was given no such refresh token. Authorize again.",
    "refresh_token_replayed": "The refresh token came a second time, so what came of it has ended. Authorize again, "
    "and keep the newest token of each answer.",
    "authorization_ended": "The member's consent has ended. Authorize again.",
    "rights_gone": "The member, or the client's maker, may do nothing of this any more.",
}
"""By what a refusal of ``invalid_grant`` does not tell: ``TenantValidator.why``."""

_BY_CODE: Final[Mapping[str, str]] = {
    "invalid_client": "The client is not known to this team, or did not prove itself. Check its id and secret, or "
    "register anew.",
    "invalid_scope": _SCOPES,
    "unauthorized_client": "This client may not use this grant type.",
}


def words_on_the_page(error: errors.OAuth2Error) -> tuple[str, str]:
    """The code and the sentence for a member whose browser stays here."""
    return _ON_THE_PAGE.get(type(error), (str(error.error), str(error.description or "")))


def words_at_authorization(error: errors.OAuth2Error) -> str:
    """What is told of a refused authorization request."""
    return _AT_AUTHORIZATION.get(type(error)) or str(error.description or "")


def worded(body: dict[str, Any], why: str) -> dict[str, Any]:
    """An error of the token or revocation endpoint, with a sentence where it has none."""
    code = str(body.get("error", ""))
    words = _AT_TOKENS.get(why) if code == "invalid_grant" else _BY_CODE.get(code)
    if not words or body.get("error_description"):
        return body
    return {**body, "error_description": words}
